/* optim.c - registry of optimisers, an update of all parameters, the global gradient norm, and the bf16 copies.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "train/optim.h"

#include <math.h>
#include <string.h>

#define OPTIMIZER(x) extern const moa_optimizer moa_optimizer_##x;
#include "train/optimizers.def"
#undef OPTIMIZER

static const moa_optimizer *const table[] = {
#define OPTIMIZER(x) &moa_optimizer_##x,
#include "train/optimizers.def"
#undef OPTIMIZER
};

const moa_optimizer *const *moa_optimizers(int *n) {
    *n = (int)(sizeof table / sizeof *table);
    return table;
}

const moa_optimizer *moa_optimizer_find(const char *name) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(table[i]->name, name)) return table[i];
    return NULL;
}

/* A part is summed by one thread in eight f64 lanes; the parts are added in their order. */
enum { PART = 1 << 14, PARTS_AT_ONCE = 256 };

static double part_sum(const float *g, int64_t n) {
    double s[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++) s[j] += (double)g[i + j] * (double)g[i + j];
    for (; i < n; i++) s[0] += (double)g[i] * (double)g[i];
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

double moa_sum_squares(const float *g, int64_t n, int n_threads) {
    double sum = 0, part[PARTS_AT_ONCE];
    for (int64_t base = 0; base < n; base += (int64_t)PART * PARTS_AT_ONCE) {
        int64_t left = (n - base + PART - 1) / PART;
        int k = (int)(left < PARTS_AT_ONCE ? left : PARTS_AT_ONCE);
#pragma omp parallel for schedule(static) num_threads(n_threads) if (k > 1)
        for (int j = 0; j < k; j++) {
            int64_t at = base + (int64_t)j * PART;
            part[j] = part_sum(g + at, n - at < PART ? n - at : PART);
        }
        for (int j = 0; j < k; j++) sum += part[j];
    }
    return sum;
}

double moa_grad_norm(const moa_optim_param *p, int n, int n_threads) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += moa_sum_squares(p[i].w->grad->data, moa_tensor_count(p[i].w), n_threads);
    return sqrt(sum);
}

int64_t moa_optim_states(const moa_optimizer *o, moa_optim_param *p, int n, float *memory) {
    int64_t total = 0;
    for (int i = 0; i < n; i++) {
        const int n_state = o->n_state(&p[i]);
        for (int j = 0; j < MOA_OPTIM_STATES; j++) {
            if (memory) p[i].state[j] = j < n_state ? memory + total : NULL;
            if (j < n_state) total += moa_tensor_count(p[i].w);
        }
    }
    return total;
}

int moa_optim_update(const moa_optimizer *o, const moa_optim_param *p, int n, moa_optim_cfg cfg, double grad_norm, double clip,
                     moa_exec *scratch, moa_err *err) {
    cfg.grad_scale = clip > 0 && grad_norm > clip ? clip / grad_norm : 1.0;
    for (int i = 0; i < n; i++) {
        moa_arena_reset(scratch->arena);
        scratch->err = (moa_err){0};
        MOA_TRY(o->update(&p[i], &cfg, scratch, err));
    }
    return MOA_OK;
}

void moa_optim_refresh_half(const moa_tensor *w, int n_threads) {
    if (!w->half) return;
    const float *x = w->data;
    uint16_t *h = w->half->data;
    int64_t n = moa_tensor_count(w);
#pragma omp parallel for simd schedule(static) num_threads(n_threads) if (n > PART)
    for (int64_t i = 0; i < n; i++) h[i] = moa_f32_to_bf16(x[i]);
}
