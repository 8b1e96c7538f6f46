/* fp4.c - MXFP4 and NVFP4: 4-bit floats (E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives) with a small float as scale.
 * gpt-oss is published in MXFP4. Read only.
 *
 *   MXFP4, 17 bytes, 32 elements                  NVFP4, 36 bytes, 64 elements in 4 runs of 16
 *    0   1  e  scale 2^(e - 127) (E8M0)            0   4  d  scale of each run (E4M3 without sign)
 *    1  16  q  low nibble of byte j: element j,    4  32  q  8 bytes a run: low nibble of byte j: element j, high: j + 8
 *              high: j + 16
 *   x = (scale / 2) * (2 * value), so that the second factor is an integer
 * Files of NVFP4 keep one more factor a matrix in a tensor of its own (NAME.scale): it belongs to the graph.
 * Source: OCP Microscaling Formats (MX) v1.0; block_nvfp4 of the ggml project.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/quant/block.h"

const int8_t moa_fp4_levels[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static void levels(int8_t *restrict q, const uint8_t *restrict s, int n) {
    for (int j = 0; j < n; j++) {
        q[j] = moa_fp4_levels[s[j] & 15];
        q[j + n] = moa_fp4_levels[s[j] >> 4];
    }
}

static void unpack_mxfp4(moa_ints *u, const void *src, int n) {
    const moa_block_mxfp4 *b = src;
    for (int i = 0; i < n / MOA_QB; i++) {
        levels(u->q + i * MOA_QB, b[i].q, 16);
        u->d[2 * i] = u->d[2 * i + 1] = moa_e8m0_half(b[i].e);
        u->m[2 * i] = u->m[2 * i + 1] = 0;
    }
}

static void unpack_nvfp4(moa_ints *u, const void *src, int n) {
    const moa_block_nvfp4 *b = src;
    for (int j = 0; j < n / 16; j++) {
        levels(u->q + 16 * j, b[j / 4].q + j % 4 * 8, 8);
        u->d[j] = moa_ue4m3_half(b[j / 4].d[j % 4]);
        u->m[j] = 0;
    }
}

MOA_DEQUANTIZE(mxfp4)
const moa_type moa_type_mxfp4 = MOA_READ_ONLY(MXFP4, mxfp4, MOA_QB, 32, "4.25 bits: 32 x 4-bit floats, power of two");
MOA_DEQUANTIZE(nvfp4)
const moa_type moa_type_nvfp4 = MOA_READ_ONLY(NVFP4, nvfp4, 64, 16, "4.5 bits: 64 x 4-bit floats, 4 scales of 8 bits");
