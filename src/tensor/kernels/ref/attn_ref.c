/* attn_ref.c - attention over one block of 32 cached positions, in plain C: the definition.
 *
 * Keys lie transposed, [hd][32], so that 32 scores are 32 independent sums over hd and no vector ISA needs a
 * horizontal sum; values lie [32][hd]. Both sums run in ascending order of hd or position, in every ISA. The rows of
 * q are the heads that share one key head.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernel.h"

enum { BLOCK = 32 };

#define SCORE(NAME, TYPE, LOAD)                                                                                                  \
    static void NAME(float *s, const float *q, const void *k, int n_q, int hd, float scale) {                                    \
        const TYPE *key = k; /* [hd, 32] */                                                                                      \
        for (int j = 0; j < n_q; j++) {                                                                                          \
            float acc[BLOCK] = {0};                                                                                              \
            for (int d = 0; d < hd; d++)                                                                                         \
                for (int t = 0; t < BLOCK; t++) acc[t] += q[j * hd + d] * LOAD(key[d * BLOCK + t]);                              \
            for (int t = 0; t < BLOCK; t++) s[j * BLOCK + t] = acc[t] * scale;                                                   \
        }                                                                                                                        \
    }

#define MIX(NAME, TYPE, LOAD)                                                                                                    \
    static void NAME(float *o, const float *p, const void *v, int n_q, int n_pos, int hd) {                                      \
        const TYPE *val = v; /* [32, hd] */                                                                                      \
        for (int j = 0; j < n_q; j++)                                                                                            \
            for (int t = 0; t < n_pos; t++)                                                                                      \
                for (int d = 0; d < hd; d++) o[j * hd + d] += p[j * BLOCK + t] * LOAD(val[t * hd + d]);                          \
    }

#define AS_IS(x) (x)
SCORE(score_f32, float, AS_IS)
SCORE(score_f16, uint16_t, moa_f16_to_f32)
MIX(mix_f32, float, AS_IS)
MIX(mix_f16, uint16_t, moa_f16_to_f32)

#define ROW(NAME, OP, TYPE, FIELD, FN, HELP)                                                                                     \
    const moa_kernel moa_kernel_##NAME = {                                                                                       \
        .name = #NAME, .help = HELP, .op = OP, .dtype = TYPE, .isa = MOA_ISA_REF, .fn.FIELD = FN}
ROW(attn_score_f32_ref, MOA_K_ATTN_SCORE, MOA_F32, attn_score, score_f32, "scores of 32 cached keys, f32");
ROW(attn_score_f16_ref, MOA_K_ATTN_SCORE, MOA_F16, attn_score, score_f16, "scores of 32 cached keys, f16");
ROW(attn_mix_f32_ref, MOA_K_ATTN_MIX, MOA_F32, attn_mix, mix_f32, "weighted sum of cached values, f32");
ROW(attn_mix_f16_ref, MOA_K_ATTN_MIX, MOA_F16, attn_mix, mix_f16, "weighted sum of cached values, f16");
