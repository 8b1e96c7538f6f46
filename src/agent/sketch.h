/* sketch.h - the graph of a mix as a picture: who is asked, who reads whom.
 *
 * The graph is the one that the strategy builds, and grows, in one run over models that are none: each call is answered at once by a few placeholder words
 * in the form that its role asks for (sketch.c). So a picture cannot differ from what the code does, and nothing is loaded or asked.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_SKETCH_H
#define MOA_AGENT_SKETCH_H

#include "agent/mix.h"
#include "base/arena.h"

#include <jansson.h>

typedef struct moa_sketch_node {
    const char *name, *role;
    const char *model;      /* NULL: no call, moa itself decides */
    const int *in; int n_in; /* whom it reads */
    int by;                 /* the node that decided, while the run went on, that this one is needed; -1: it was there from the beginning */
    bool answer;
} moa_sketch_node;
typedef struct moa_sketch {
    moa_arena *arena;
    moa_sketch_node *node; int n;
    int n_call, n_grown;    /* of them: calls of models; added while the run went on */
    bool named;             /* models have names of the user's */
} moa_sketch;
/* s is parsed, not bound: models keep their names, and are not looked for. Deadlines and budgets are left aside, since nothing takes time here; the store is empty. */
int moa_sketch_make(moa_sketch *g, const moa_mix_spec *s, moa_err *err);
void moa_sketch_deinit(moa_sketch *g);

/* For a terminal: box drawing of at most `columns` (at least 40), top to bottom. Wide rows and long runs are elided. */
int moa_sketch_text(moa_buf *out, const moa_sketch *g, int columns, moa_err *err);
/* An SVG, left to right. */
int moa_sketch_svg(moa_buf *out, const moa_sketch *g, const char *title, moa_err *err);
/* {"nodes": [{"id", "node", "role", "model", "reads": [ids], "added_by": id}], "calls", "answer"}: all of it, nothing elided. NULL: no memory. */
json_t *moa_sketch_json(const moa_sketch *g);

/* ---- sketch_layout.c: what is shown, in layers; both pictures draw it ---- */
typedef struct moa_sketch_item {
    const char *label;      /* "p3", "…", "question"; NULL: nothing, an edge passes by */
    const char *role, *model; /* NULL: question, answer, edges */
    bool call, more;        /* more: stands for several nodes */
    int layer;
    double size, at;        /* across the layers: how wide it is and where it begins; whoever draws sets size */
    double want;            /* scratch of the layout */
} moa_sketch_item;
/* All items of from[] (one layer) to all of to[] (the next one): they read the same, so that one line joins them. */
typedef struct moa_sketch_edge { int *from, *to; int n_from, n_to; bool decides; } moa_sketch_edge;
typedef struct moa_sketch_layout {
    moa_arena *arena;
    moa_sketch_item *item; int n_item;
    int *first;             /* [n_layer + 1] items of a layer lie side by side, from first[l] */
    int n_layer;
    moa_sketch_edge *edge; int n_edge; /* by layer of their from[] */
} moa_sketch_layout;
/* most: nodes of one kind side by side in a layer, the others become "…"; layers: at most so many, the others become one. */
int moa_sketch_lay(moa_sketch_layout *l, const moa_sketch *g, int most, int layers, moa_err *err);
/* Sets `at` of all items by their sizes, with this gap between neighbours; returns the extent. */
double moa_sketch_place(moa_sketch_layout *l, double gap, bool whole);
void moa_sketch_layout_deinit(moa_sketch_layout *l);

#endif
