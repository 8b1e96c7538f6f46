/* explain.h - what a model will cost on this machine, before it runs (moa explain).
 *
 * Bytes come from the file's header. Rates are measured in a few seconds: how fast the machine reads, and, for every kind of matrix that
 * the model has (type, rows, columns), seconds a weight of one product with 1 to 512 rows, on made-up weights that lie outside the caches as
 * the model's will. A step of B rows is then predicted as
 *     sum over matrices of weights read * seconds a weight(rows) + KV bytes / read rate or attention work / its rate + small work
 * where experts of a layer are U(B) matrices with B k / U rows each, and small work is what lies between products: norms, rotations,
 * activations, sums. Routing at random gives U(B) = E (1 - (1 - k/E)^B), which is the most there can be on the average; real rows share
 * more, how much is known only after running (unique).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_EXPLAIN_H
#define MOA_MODEL_EXPLAIN_H

#include "model/session.h"

typedef enum moa_part { MOA_PART_ATTENTION, MOA_PART_DENSE, MOA_PART_EXPERTS, MOA_PART_SHARED, MOA_PART_ROUTER, MOA_PART_HEAD, MOA_PARTS } moa_part;
const char *moa_part_name(moa_part p);

enum { MOA_EXPLAIN_BATCHES = 6, MOA_EXPLAIN_THREADS = 8 };
extern const int moa_explain_batch[MOA_EXPLAIN_BATCHES]; /* 1, 2, 4, 8, 16, 32 */

typedef struct moa_explain_cost { double total, products, attention, small; } moa_explain_cost; /* seconds of a step */

typedef struct moa_explained {
    double weights[MOA_PARTS], bytes[MOA_PARTS];   /* of the whole model */
    double active[MOA_PARTS];                      /* bytes that one token reads */
    double kv_bytes;                               /* of one position */
    int n_expert, n_used;
    int threads, n_tried;                          /* best threads; what was tried, plain reading and products of one row: */
    struct { int threads; double read_gbps, product_gbps; } tried[MOA_EXPLAIN_THREADS];
    double read_gbps;                              /* with `threads` */
    double unique[MOA_EXPLAIN_BATCHES + 1];        /* experts of a layer in a step of B rows, and in the prefill; 0: dense */
    double step_bytes[MOA_EXPLAIN_BATCHES];        /* weights that the step reads */
    moa_explain_cost decode[MOA_EXPLAIN_BATCHES];  /* over one shared prefix of `context` positions */
    moa_explain_cost prefill;                      /* `prompt` tokens in one step */
    int context, prompt;
    double seconds;                                /* that measuring took */
} moa_explained;

/* context: positions before the decoded ones; prompt: tokens of the prefill; threads 0: the best of all cores; unique [BATCHES + 1]: experts
 * of a layer that steps really take, NULL: as routing at random would. */
int moa_explain(moa_explained *out, const moa_model *m, int context, int prompt, int threads, const double *unique, moa_err *err);

#endif
