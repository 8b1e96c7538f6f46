/* rng.h - seeded random numbers that are equal on every machine: xoshiro256++ seeded by splitmix64
 * (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021).
 * The state is 32 bytes of plain data, so a checkpoint stores it whole.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_BASE_RNG_H
#define MOA_BASE_RNG_H

#include <stdint.h>

typedef struct moa_rng { uint64_t s[4]; } moa_rng;

uint64_t moa_mix64(uint64_t x); /* splitmix64 finaliser: hashes one word */
uint64_t moa_hash64(const void *p, uint64_t n, uint64_t seed); /* of bytes, equal on every machine */
void moa_rng_seed(moa_rng *r, uint64_t seed);
/* Independent stream number `stream` of a seed: one per sequence, worker, item. */
void moa_rng_seed2(moa_rng *r, uint64_t seed, uint64_t stream);
uint64_t moa_rng_u64(moa_rng *r);
uint32_t moa_rng_below(moa_rng *r, uint32_t n); /* uniform in [0, n), n > 0, without bias */
int moa_rng_range(moa_rng *r, int lo, int hi);  /* uniform in [lo, hi], lo <= hi */
double moa_rng_f64(moa_rng *r);                 /* uniform in [0, 1), 53 bits */
float moa_rng_f32(moa_rng *r);                  /* uniform in [0, 1), 24 bits */
double moa_rng_normal(moa_rng *r);              /* mean 0, variance 1 (Box-Muller, no hidden state) */

#endif
