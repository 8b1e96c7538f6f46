/* probe_sums.h - enough sums under way at once to hide an instruction's latency: 4 or 5 cycles times 2 units. Named variables, which
 * compilers keep in registers. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_PROBE_SUMS_H
#define MOA_TENSOR_PROBE_SUMS_H

enum { N_SUMS = 12 };
#define SUMS(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11)
/* The compiler must not know the sum any more, or it might do n turns in fewer. */
#define KEEP(i) __asm__ volatile("" : "+x"(s##i));

/* n turns of all sums, and their total in `all`. The file says what START, TURN and TOTAL do with sum i. */
#define TURNS(V, first)                                                                                                          \
    SUMS(START)                                                                                                                  \
    for (int64_t t = 0; t < n; t++) {                                                                                            \
        SUMS(TURN)                                                                                                               \
        SUMS(KEEP)                                                                                                               \
    }                                                                                                                            \
    V all = first;                                                                                                               \
    SUMS(TOTAL)

#endif
