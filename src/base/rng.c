/* rng.c - see rng.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"

#include <math.h>
#include <string.h>

static uint64_t rotl(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

uint64_t moa_mix64(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

uint64_t moa_hash64(const void *p, uint64_t n, uint64_t seed) {
    const unsigned char *b = p;
    uint64_t h = moa_mix64(seed ^ (n * 0x9e3779b97f4a7c15ull));
    for (; n >= 8; n -= 8, b += 8) {
        uint64_t w = 0;
        for (int i = 0; i < 8; i++) w |= (uint64_t)b[i] << (8 * i);
        h = moa_mix64(h ^ w) + 0x9e3779b97f4a7c15ull;
    }
    uint64_t w = 0;
    for (uint64_t i = 0; i < n; i++) w |= (uint64_t)b[i] << (8 * i);
    return moa_mix64(h ^ w);
}

void moa_rng_seed(moa_rng *r, uint64_t seed) {
    for (int i = 0; i < 4; i++) r->s[i] = moa_mix64(seed += 0x9e3779b97f4a7c15ull);
}

void moa_rng_seed2(moa_rng *r, uint64_t seed, uint64_t stream) {
    moa_rng_seed(r, moa_mix64(seed) ^ moa_mix64(stream + 0x9e3779b97f4a7c15ull));
}

uint64_t moa_rng_u64(moa_rng *r) {
    uint64_t *s = r->s, out = rotl(s[0] + s[3], 23) + s[0], t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return out;
}

/* Lemire's multiply and reject. */
uint32_t moa_rng_below(moa_rng *r, uint32_t n) {
    uint32_t floor = (uint32_t)(-n) % n;
    for (;;) {
        uint64_t m = (moa_rng_u64(r) >> 32) * (uint64_t)n;
        if ((uint32_t)m >= floor) return (uint32_t)(m >> 32);
    }
}

int moa_rng_range(moa_rng *r, int lo, int hi) {
    uint32_t n = (uint32_t)hi - (uint32_t)lo + 1u; /* 0: the whole range of int */
    uint32_t k = n ? moa_rng_below(r, n) : (uint32_t)(moa_rng_u64(r) >> 32);
    return (int)((uint32_t)lo + k);
}

double moa_rng_f64(moa_rng *r) { return (double)(moa_rng_u64(r) >> 11) * 0x1p-53; }
float moa_rng_f32(moa_rng *r) { return (float)(moa_rng_u64(r) >> 40) * 0x1p-24f; }

double moa_rng_normal(moa_rng *r) {
    double u = 1.0 - moa_rng_f64(r), v = moa_rng_f64(r); /* u in (0, 1] */
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}
