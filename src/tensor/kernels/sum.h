/* sum.h - the one order in which inference adds floats: element i belongs to lane i % 16, a lane adds its elements in their order,
 * and lanes are folded in halves: 8 to 15 onto 0 to 7, then 4, 2 and 1 of them. Where elements end within 16, the other lanes add 0.
 * A product adds with fused multiply-adds, fmaf in plain C. So each function has one result, bit for bit, on every instruction set: a
 * vector of 16 lanes, two of 8 or an array of floats differ in speed only. (Scores and mixes of attention have no such sums: theirs run
 * one after the other, side by side for many results.)
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_KERNELS_SUM_H
#define MOA_TENSOR_KERNELS_SUM_H

enum { SUM_LANES = 16 };

/* Changes the lanes. */
static inline float sum_fold(float lane[SUM_LANES]) {
    for (int half = SUM_LANES / 2; half; half /= 2)
        for (int l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

#ifdef VN /* with a simd.h: SUM_PARTS vectors are the lanes */
enum { SUM_PARTS = SUM_LANES / VN };
MOA_INLINE VF sum_join(const VF *part) { return SUM_PARTS == 2 ? vf_add(part[0], part[SUM_PARTS - 1]) : part[0]; }
/* Of n < 16 elements, how many part p has. */
MOA_INLINE int sum_rest(int64_t n, int p) { return n <= p * VN ? 0 : n - p * VN < VN ? (int)(n - p * VN) : VN; }
#endif

#endif
