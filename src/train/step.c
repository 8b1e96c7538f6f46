/* step.c - one step: forward and backward over the parts of a batch, clipping, update.
 *
 * The loss is the mean over all learned tokens of the whole batch: each part divides by the batch's count, so that the
 * number of parts changes nothing but rounding. Only rows whose target is learned get logits; their number is rounded up
 * (with rows of weight 0), so that the matrix library meets few shapes. The loss of preferences is a mean over the pairs of the batch in the same way.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "train/schedule.h"
#include "train/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROUND_ROWS = 128 };

static moa_tensor *ints(moa_exec *x, const int32_t *v, int64_t n) {
    moa_tensor *t = moa_new_tensor(x, MOA_I32, 1, &n);
    if (t) memcpy(t->data, v, (size_t)n * sizeof *v);
    return t;
}

/* The learned rows of a part: which, what follows them, their weights and pairs. */
typedef struct part { moa_tensor *rows, *target, *weight, *pair; int64_t n; } part;

static bool learned_rows(part *p, moa_exec *x, const moa_train_batch *b, int64_t at, int64_t n) {
    p->n = 0;
    for (int64_t i = 0; i < n; i++) p->n += b->weight[at + i] > 0;
    const int64_t padded = (p->n + ROUND_ROWS - 1) / ROUND_ROWS * ROUND_ROWS;
    p->rows = moa_new_tensor(x, MOA_I32, 1, &padded);
    p->target = moa_new_tensor(x, MOA_I32, 1, &padded);
    p->weight = moa_new_tensor(x, MOA_F32, 1, &padded);
    p->pair = moa_new_tensor(x, MOA_I32, 1, &padded);
    if (p->n == 0 || !p->rows || !p->target || !p->weight || !p->pair) return false;
    int32_t *r = p->rows->data, *t = p->target->data, *k = p->pair->data;
    float *w = p->weight->data;
    for (int64_t i = p->n; i < padded; i++) r[i] = t[i] = k[i] = 0, w[i] = 0;
    for (int64_t i = 0, j = 0; i < n; i++) {
        if (!(b->weight[at + i] > 0)) continue;
        r[j] = (int32_t)i;
        t[j] = b->target[at + i];
        k[j] = b->pair[at + i];
        w[j++] = b->weight[at + i];
    }
    return true;
}

static int step_error(const moa_trainer *t, const moa_exec *x, moa_err *err) {
    if (err) *err = x->err;
    return x->err.code ? moa_wrap(err, x->err.code, "step %lld", (long long)t->at.total_step + 1)
                       : moa_fail(err, MOA_ENOMEM, "step %lld: no memory", (long long)t->at.total_step + 1);
}

/* *logits of the learned rows; NULL where there are none. */
static int part_forward(moa_tensor **logits, part *p, moa_trainer *t, const moa_train_batch *b, int64_t at, int64_t n, moa_err *err) {
    moa_exec *x = &t->x;
    *logits = NULL;
    moa_tape_reset(x->tape);
    moa_arena_reset(x->arena);
    x->err = (moa_err){0};
    moa_tensor *ids = ints(x, b->id + at, n), *pos = ints(x, b->pos + at, n), *start = ints(x, b->doc_start + at, n);
    if (!learned_rows(p, x, b, at, n) && !x->err.code) return 0;
    const moa_rows_in in = {.ids = ids, .pos = pos, .out_rows = p->rows, .attend = moa_attend_packed, .attend_ctx = start};
    if (!x->err.code) *logits = moa_model_forward(x, t->m, &in);
    return *logits && !x->err.code ? 0 : step_error(t, x, err);
}

/* The pairs of this part counted from 1, in p->pair; their references. A pair's rows lie together, chosen before rejected. */
static moa_tensor *part_reference(part *p, moa_trainer *t) {
    int32_t *k = p->pair->data, last = 0;
    int64_t n = 0;
    for (int64_t i = 0; i < p->n; last = k[i++]) n += abs(k[i]) != abs(last) || (k[i] > 0 && last < 0);
    moa_tensor *ref = moa_new_tensor(&t->x, MOA_F32, 2, (const int64_t[]){n, 2});
    float *f = ref ? ref->data : NULL;
    int32_t at = 0;
    last = 0;
    for (int64_t i = 0; f && i < p->n; i++) {
        const int32_t own = k[i];
        if (abs(own) != abs(last) || (own > 0 && last < 0)) {
            moa_assert(abs(own) >= 1 && abs(own) <= t->n_reference);
            memcpy(f + 2 * at++, t->reference + 2 * (abs(own) - 1), 2 * sizeof *f);
        }
        k[i] = own > 0 ? at : -at;
        last = own;
    }
    return ref;
}

static int run_part(double *loss, moa_trainer *t, const moa_recipe_stage *s, const moa_train_batch *b, int64_t at, int64_t n, moa_err *err) {
    moa_exec *x = &t->x;
    moa_tensor *logits, *l;
    part p;
    MOA_TRY(part_forward(&logits, &p, t, b, at, n, err));
    if (!logits) return 0;
    if (s->loss == MOA_LOSS_DPO) {
        moa_tensor *ref = part_reference(&p, t);
        l = ref ? moa_dpo(x, logits, p.target, p.pair, ref, (float)s->beta, (float)b->n_doc) : NULL;
    } else {
        l = moa_cross_entropy(x, logits, p.target, p.weight, (float)b->n_learned);
    }
    if (!l || x->err.code) return step_error(t, x, err);
    *loss += (double)*(float *)l->data;
    return moa_tape_backward(x, l, 1.0f, err);
}

static double log_prob(const float *x, int64_t d, int32_t target) {
    double m = (double)x[0], sum = 0;
    for (int64_t j = 1; j < d; j++) m = (double)x[j] > m ? (double)x[j] : m;
    for (int64_t j = 0; j < d; j++) sum += exp((double)x[j] - m);
    return (double)x[target] - m - log(sum);
}

int moa_trainer_log_probs(double *of, int64_t n_pair, moa_trainer *t, const moa_recipe_stage *s, const moa_train_batch *b, moa_err *err) {
    const int64_t n = b->n / s->accumulate;
    for (int k = 0; k < s->accumulate; k++) {
        moa_tensor *logits;
        part p;
        MOA_TRY(part_forward(&logits, &p, t, b, k * n, n, err));
        for (int64_t i = 0; logits && i < p.n; i++) {
            const int32_t own = ((int32_t *)p.pair->data)[i];
            moa_assert(own && abs(own) <= n_pair);
            of[2 * (abs(own) - 1) + (own < 0)] += log_prob((const float *)logits->data + i * moa_cols(logits), moa_cols(logits), ((int32_t *)p.target->data)[i]);
        }
    }
    return 0;
}

static void zero_grads(moa_trainer *t) {
    for (int i = 0; i < t->n_param; i++) {
        moa_tensor *g = t->param[i].w->grad;
        memset(g->data, 0, moa_tensor_bytes(g));
    }
}

static int update(moa_trainer *t, const moa_recipe_stage *s, const moa_step_stats *st, moa_err *err) {
    const moa_optim_cfg cfg = {.lr = st->lr, .beta1 = s->beta1, .beta2 = s->beta2, .eps = s->eps, .momentum = s->momentum,
                               .weight_decay = s->weight_decay, .step = t->at.updates + 1, .n_threads = t->n_threads};
    MOA_TRY(moa_optim_update(moa_optimizer_find(s->optimizer), t->param, t->n_param, cfg, st->grad_norm, s->clip, &t->scratch, err));
    t->at.updates++;
    return 0;
}

int moa_trainer_step(moa_step_stats *out, moa_trainer *t, const moa_recipe_stage *s, const moa_train_batch *b, moa_err *err) {
    *out = (moa_step_stats){0};
    int64_t warm = s->warmup >= 1 ? (int64_t)s->warmup : (int64_t)ceil(s->warmup * (double)s->steps);
    out->lr = moa_schedule_lr(moa_schedule_find(s->schedule), t->at.step, s->steps, warm, s->lr, s->min_lr);
    zero_grads(t);
    int64_t n = b->n / s->accumulate;
    for (int i = 0; i < s->accumulate; i++) MOA_TRY(run_part(&out->loss, t, s, b, i * n, n, err));
    out->grad_norm = moa_grad_norm(t->param, t->n_param, t->n_threads);
    out->skipped = !isfinite(out->loss) || !isfinite(out->grad_norm);
    return out->skipped ? 0 : update(t, s, out, err);
}
