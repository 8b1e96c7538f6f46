/* optim.h - optimisers: one file each in optim/, registry optimizers.def.
 *
 * Weights and states are f32; the bf16 copies that dense products read (tensor->half) are refreshed in the same pass.
 * Results are independent of the number of threads (elementwise loops, sums over fixed parts in a fixed order), except of
 * muon's products: oneDNN gives the same bits for the same number of threads only, as in the rest of a training step.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TRAIN_OPTIM_H
#define MOA_TRAIN_OPTIM_H

#include "model/model.h"

typedef struct moa_optim_cfg {
    double lr;                    /* of this step */
    double beta1, beta2, eps;     /* adamw, and what muon leaves to it */
    double momentum;              /* muon */
    double weight_decay;          /* decoupled: w -= lr * weight_decay * w; 1-D tensors have none */
    double grad_scale;            /* gradients are multiplied by it first (clipping) */
    int64_t step;                 /* 1-based count of updates done with these states, for bias correction */
    int n_threads;
} moa_optim_cfg;

enum { MOA_OPTIM_STATES = 2 };
typedef struct moa_optim_param {
    moa_tensor *w;                     /* f32, with grad; half may be NULL */
    bool hidden;                       /* a matrix inside a layer: no embedding, no output, no norm */
    float *state[MOA_OPTIM_STATES];    /* as many as w has elements; NULL beyond n_state */
} moa_optim_param;

typedef struct moa_optimizer {
    const char *name, *help;
    bool has_momentum;                 /* reads cfg->momentum */
    int (*n_state)(const moa_optim_param *p);
    /* Update one parameter. scratch: memory and the type of products; its arena is reset before each. */
    int (*update)(const moa_optim_param *p, const moa_optim_cfg *cfg, moa_exec *scratch, moa_err *err);
} moa_optimizer;
const moa_optimizer *const *moa_optimizers(int *n);
const moa_optimizer *moa_optimizer_find(const char *name);

/* One update of all: clips to a global norm of `clip` (0: does not), cfg->grad_scale is filled here. grad_norm is moa_grad_norm's. */
int moa_optim_update(const moa_optimizer *o, const moa_optim_param *p, int n, moa_optim_cfg cfg, double grad_norm, double clip,
                     moa_exec *scratch, moa_err *err);
/* The floats that all states of p take; with memory for them (zeroed by the caller), gives each its own. */
int64_t moa_optim_states(const moa_optimizer *o, moa_optim_param *p, int n, float *memory);

/* sqrt of the sum of squares of all gradients; not finite when any of them is not. */
double moa_grad_norm(const moa_optim_param *p, int n, int n_threads);
double moa_sum_squares(const float *v, int64_t n, int n_threads);
void moa_optim_refresh_half(const moa_tensor *w, int n_threads); /* half = bf16(w); nothing to do without half */
/* The AdamW step itself; muon uses it for what is no hidden matrix. */
void moa_adamw_update(const moa_optim_param *p, const moa_optim_cfg *cfg);

#endif
