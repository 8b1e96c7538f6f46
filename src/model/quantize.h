/* quantize.h - a model file with weights of other types. Works on tensors by their names, whatever the architecture, and holds
 * one slice of one tensor in memory at a time.
 *
 * A scheme says which type each weight gets: a base type and rules for those that deserve more bits (quantize.c has the table).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_QUANTIZE_H
#define MOA_MODEL_QUANTIZE_H

#include "format/gguf.h"
#include "format/imatrix.h"

typedef enum moa_where { MOA_EVERY_LAYER, MOA_FIRST_EIGHTH, MOA_HALF_OF_LAYERS /* the first and last eighth, and every third between */ } moa_where;

typedef struct moa_scheme_rule {
    const char *piece;     /* of the tensor's name; NULL ends the list */
    moa_where where;
    bool experts;          /* only in models with experts */
    moa_dtype type;
} moa_scheme_rule;

typedef struct moa_scheme {
    const char *name, *help;
    moa_dtype type;        /* of weights that no rule names */
    uint32_t file_type;    /* general.file_type of the GGUF specification */
    moa_scheme_rule rule[8];
} moa_scheme;

const moa_scheme *moa_scheme_find(const char *name);  /* case-insensitive; NULL when unknown */
const moa_scheme *moa_schemes(int *n);

typedef struct moa_quantize_event {
    int i, n;              /* tensor i of n is about to be written */
    const moa_tensor *from;
    moa_dtype to;
    bool kept;             /* copied as it is */
    moa_dtype wanted;      /* what the scheme says: differs from `to` where a block does not divide the rows */
    bool no_importance;    /* there is an importance matrix, but not for this weight */
} moa_quantize_event;

typedef struct moa_quantize_cfg {
    const moa_scheme *scheme;
    const moa_imatrix *imatrix;                               /* NULL: every weight counts the same */
    bool (*event)(void *ctx, const moa_quantize_event *e);    /* NULL; false stops: MOA_ECANCELED, no file is written */
    void *ctx;
    int n_threads;                                            /* 0: all cores; the file does not depend on it */
} moa_quantize_cfg;

/* Atomic. Keys are kept, but for those of split files; the new file is whole. */
int moa_quantize_file(const moa_gguf *in, const char *out, const moa_quantize_cfg *cfg, moa_err *err);

/* The type that a scheme gives a tensor; *wanted (may be NULL) as in the event. n_layer counts the blocks of the file. */
moa_dtype moa_scheme_type(const moa_scheme *s, const moa_tensor *t, int n_layer, bool tied, bool experts, moa_dtype *wanted);

#endif
