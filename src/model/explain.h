/* explain.h - what a model will cost on this machine, before it runs (moa explain).
 *
 * Bytes come from the file's header, limits from tensor/machine.h. How far the work stays from them is measured in a few seconds on made-up
 * weights that lie outside the caches as the model's will: seconds of every kind of work that a layer has (queries, keys and values;
 * gate and up; the experts together; ..), by the functions that the graph calls, with as many rows as the step has. A step of B rows is then
 *     sum over works of how many there are * seconds(rows) + attention over the context + small work
 * where small work is what lies between: norms, rotations, sums. (explain_lab.h)
 *
 * Experts: routing at random takes U(B) = E (1 - (1 - k/E)^B) of a layer's E on the average, each with B k / U rows. Trained routers and those
 * with random weights alike send rows of one prompt to fewer, so that this is the most that a step may be expected to take; how many it is
 * is known only after running (routes).
 *
 * With `run`, predicting and running go by turns, point after point and round after round, and what is compared is what stood side by
 * side: a machine whose speed changes by the minute does so for both.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_EXPLAIN_H
#define MOA_MODEL_EXPLAIN_H

#include "model/session.h"
#include "tensor/machine.h"

typedef enum moa_part { MOA_PART_ATTENTION, MOA_PART_DENSE, MOA_PART_EXPERTS, MOA_PART_SHARED, MOA_PART_ROUTER, MOA_PART_HEAD, MOA_PARTS } moa_part;
const char *moa_part_name(moa_part p);

enum { MOA_EXPLAIN_BATCHES = 6, MOA_EXPLAIN_PREFILL = MOA_EXPLAIN_BATCHES, MOA_EXPLAIN_POINTS, MOA_EXPLAIN_THREADS = 11, MOA_EXPLAIN_ROUNDS = 9 };
extern const int moa_explain_batch[MOA_EXPLAIN_BATCHES]; /* 1, 2, 4, 8, 16, 32 */

typedef struct moa_explain_cost { double total, products, attention, small; } moa_explain_cost; /* seconds of a step */

/* What keeps a step from the nearer of its limits. */
typedef enum moa_gap { MOA_GAP_NONE, MOA_GAP_PRODUCTS, MOA_GAP_ATTENTION, MOA_GAP_SMALL, MOA_GAP_REST } moa_gap;
const char *moa_gap_name(moa_gap g);

typedef struct moa_explain_point { /* decoding 1 to 32 rows over one shared prefix of `context` positions; a prefill of `prompt` tokens */
    int rows;
    double unique;         /* experts of a layer that have rows; 0: dense */
    double bytes;          /* of weights that the step reads */
    double read_s, work_s; /* the limits: reading them, and the products at the peak of their kernels' instructions */
    moa_explain_cost cost; /* predicted */
    double real, ratio;    /* seconds measured; real over predicted, the median of the rounds; 0: not measured */
    moa_gap gap;
} moa_explain_point;

typedef struct moa_explained {
    double weights[MOA_PARTS], bytes[MOA_PARTS];   /* of the whole model */
    double active[MOA_PARTS];                      /* bytes that one token reads */
    double kv_bytes;                               /* of one position */
    double packed_bytes;                           /* of weights that are packed too, in memory of their own; 0: none is */
    int n_expert, n_used;
    bool counted;                                  /* experts are those that steps took; else as routing at random would */
    int threads, n_tried;                          /* best threads; what was tried: products of one row */
    struct { int threads; double read_gbps, product_gbps; } tried[MOA_EXPLAIN_THREADS];
    double read_gbps;                              /* with `threads`, at most */
    moa_explain_point point[MOA_EXPLAIN_POINTS];
    int context, prompt;
    double seconds;                                /* that measuring took, the model's own runs left out */
} moa_explained;

/* Which experts steps took: how many of a layer, the mean over the layers, and the rows of each, the busiest first, of some layers. (A mean of
 * rows over layers would look like more experts than any layer takes.) */
enum { MOA_EXPLAIN_LAYERS = 4 };
typedef struct moa_explain_routes {
    double unique[MOA_EXPLAIN_POINTS];
    int n_layer;   /* at most MOA_EXPLAIN_LAYERS */
    double *rows;  /* [POINTS][n_layer][n_expert] */
} moa_explain_routes;

typedef struct moa_explain_cfg {
    int context, prompt;  /* positions before the decoded ones; tokens of the prefill */
    int threads;          /* 0: the best of all processors */
    moa_repack repack;
    const moa_explain_routes *routes; /* NULL: at random */
    /* Runs one step of the model itself; called once more than `rounds` for each point, the first time to warm up. NULL: predict only. */
    int (*run)(void *ctx, double *seconds, int point, int threads, moa_err *err);
    void *ctx;
    int rounds;           /* with run: 1 to MOA_EXPLAIN_ROUNDS */
} moa_explain_cfg;

int moa_explain(moa_explained *out, const moa_model *m, const moa_machine *limits, const moa_explain_cfg *cfg, moa_err *err);

#endif
