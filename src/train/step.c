/* step.c - one step: forward and backward over the parts of a batch, clipping, update.
 *
 * The loss is the mean over all learned tokens of the whole batch: each part divides by the batch's count, so that the
 * number of parts changes nothing but rounding. Only rows whose target is learned get logits; their number is rounded up
 * (with rows of weight 0), so that the matrix library meets few shapes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "train/schedule.h"
#include "train/trainer.h"

#include <math.h>
#include <string.h>

enum { ROUND_ROWS = 128 };

static moa_tensor *ints(moa_exec *x, const int32_t *v, int64_t n) {
    moa_tensor *t = moa_new_tensor(x, MOA_I32, 1, &n);
    if (t) memcpy(t->data, v, (size_t)n * sizeof *v);
    return t;
}

/* Rows of the part with a learned target, their targets and weights. */
static int64_t learned_rows(moa_tensor **rows, moa_tensor **target, moa_tensor **weight, moa_exec *x, const moa_train_batch *b, int64_t at,
                            int64_t n) {
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++) m += b->weight[at + i] > 0;
    int64_t padded = (m + ROUND_ROWS - 1) / ROUND_ROWS * ROUND_ROWS;
    *rows = moa_new_tensor(x, MOA_I32, 1, &padded);
    *target = moa_new_tensor(x, MOA_I32, 1, &padded);
    *weight = moa_new_tensor(x, MOA_F32, 1, &padded);
    if (m == 0 || !*rows || !*target || !*weight) return 0;
    int32_t *r = (*rows)->data, *t = (*target)->data;
    float *w = (*weight)->data;
    memset(r, 0, (size_t)padded * 4);
    memset(t, 0, (size_t)padded * 4);
    memset(w, 0, (size_t)padded * 4);
    for (int64_t i = 0, j = 0; i < n; i++) {
        if (!(b->weight[at + i] > 0)) continue;
        r[j] = (int32_t)i;
        t[j] = b->target[at + i];
        w[j++] = b->weight[at + i];
    }
    return m;
}

static int run_part(double *loss, moa_trainer *t, const moa_train_batch *b, int64_t at, int64_t n, moa_err *err) {
    moa_exec *x = &t->x;
    moa_tape_reset(x->tape);
    moa_arena_reset(x->arena);
    x->err = (moa_err){0};
    moa_tensor *rows, *target, *weight;
    moa_tensor *ids = ints(x, b->id + at, n), *pos = ints(x, b->pos + at, n), *start = ints(x, b->doc_start + at, n);
    if (learned_rows(&rows, &target, &weight, x, b, at, n) == 0 && !x->err.code) return 0;
    const moa_rows_in in = {.ids = ids, .pos = pos, .out_rows = rows, .attend = moa_attend_packed, .attend_ctx = start};
    moa_tensor *logits = moa_model_forward(x, t->m, &in);
    moa_tensor *l = moa_cross_entropy(x, logits, target, weight, (float)b->n_learned);
    if (!l || x->err.code) {
        if (err) *err = x->err;
        return x->err.code ? moa_wrap(err, x->err.code, "step %lld", (long long)t->at.total_step + 1)
                           : moa_fail(err, MOA_ENOMEM, "step %lld: no memory", (long long)t->at.total_step + 1);
    }
    *loss += (double)*(float *)l->data;
    return moa_tape_backward(x, l, 1.0f, err);
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
    for (int i = 0; i < s->accumulate; i++) MOA_TRY(run_part(&out->loss, t, b, i * n, n, err));
    out->grad_norm = moa_grad_norm(t->param, t->n_param, t->n_threads);
    out->skipped = !isfinite(out->loss) || !isfinite(out->grad_norm);
    return out->skipped ? 0 : update(t, s, out, err);
}
