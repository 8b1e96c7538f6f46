/* rope.h - rotary position embedding (Su et al. 2021, arXiv:2104.09864).
 * Cosines and sines of a row are made once and used by all its heads: cheaper than a table that would have to live
 * somewhere. The angle is reduced in double, so position 10^6 is as exact as position 1.
 * SPDX-License-Identifier: Apache-2.0 */

/* cs[0..h) = cos, cs[h..2h) = sin of pos * freq[i]. Angle = k pi/2 + r, |r| <= pi/4; polynomials are Taylor series in r,
 * cut where the next term is below 2^-26 (r^10 / 10! and r^11 / 11! at pi/4). */
static void rope_angles(float *restrict cs, const double *restrict freq, int32_t pos, int64_t h, float sign) {
    const double magic = 0x1.8p52;
#pragma omp simd
    for (int64_t i = 0; i < h; i++) {
        const double a = (double)pos * freq[i];
        const double t = a * 0x1.45f306dc9c883p-1 + magic, k = t - magic;
        const float r = (float)((a - k * 0x1.921fb54442d18p0) - k * 0x1.1a62633145c07p-54);
        uint64_t bits;
        memcpy(&bits, &t, sizeof bits);
        const uint32_t quad = (uint32_t)bits & 3u;
        const float z = r * r;
        float s = MOA_FMA(0x1.71de3ap-19f, z, -0x1.a01a02p-13f);
        s = MOA_FMA(s, z, 0x1.111112p-7f);
        s = MOA_FMA(s, z, -0x1.555556p-3f);
        s = MOA_FMA(s * z, r, r);
        float c = MOA_FMA(-0x1.27e4fcp-22f, z, 0x1.a01a02p-16f);
        c = MOA_FMA(c, z, -0x1.6c16c2p-10f);
        c = MOA_FMA(c, z, 0x1.555556p-5f);
        c = MOA_FMA(c, z, -0.5f);
        c = MOA_FMA(c, z, 1.0f);
        const int32_t odd = (int32_t)(quad & 1u);
        const float sv = moa_vsel(odd, c, s), cv = moa_vsel(odd, s, c);
        cs[i] = moa_vbits(moa_vword(cv) ^ (((quad + 1u) & 2u) << 30));
        cs[h + i] = sign * moa_vbits(moa_vword(sv) ^ ((quad & 2u) << 30));
    }
}

static void rope_head_neox(float *restrict y, const float *restrict x, const float *restrict cs, int64_t h, bool to) {
    if (to) {
#pragma omp simd
        for (int64_t i = 0; i < h; i++) {
            y[i] += x[i] * cs[i] - x[h + i] * cs[h + i];
            y[h + i] += x[i] * cs[h + i] + x[h + i] * cs[i];
        }
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < h; i++) {
        y[i] = x[i] * cs[i] - x[h + i] * cs[h + i];
        y[h + i] = x[i] * cs[h + i] + x[h + i] * cs[i];
    }
}

static void rope_head_norm(float *restrict y, const float *restrict x, const float *restrict cs, int64_t h, bool to) {
    if (to) {
#pragma omp simd
        for (int64_t i = 0; i < h; i++) {
            y[2 * i] += x[2 * i] * cs[i] - x[2 * i + 1] * cs[h + i];
            y[2 * i + 1] += x[2 * i] * cs[h + i] + x[2 * i + 1] * cs[i];
        }
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < h; i++) {
        y[2 * i] = x[2 * i] * cs[i] - x[2 * i + 1] * cs[h + i];
        y[2 * i + 1] = x[2 * i] * cs[h + i] + x[2 * i + 1] * cs[i];
    }
}

static void rope(const void *args, int64_t r0, int64_t r1, int thread) {
    const moa_rope_args *p = args;
    const int64_t hd = p->hd, nr = p->n_rot, end = p->first + nr, d = p->n_head * hd;
    float *cs = p->scratch + thread * nr;
    for (int64_t i = r0; i < r1; i++) {
        rope_angles(cs, p->freq + (p->which ? p->which[i] * (nr / 2) : 0), p->pos[i], nr / 2, p->back ? -1.0f : 1.0f);
        for (int64_t j = 0; p->magnitude != 1.0f && j < nr; j++) cs[j] *= p->magnitude;
        for (int64_t g = 0; g < p->n_head; g++) {
            const float *restrict x = p->x + i * d + g * hd;
            float *restrict y = p->y + i * d + g * hd;
            if (p->neox) rope_head_neox(y + p->first, x + p->first, cs, nr / 2, p->add);
            else rope_head_norm(y + p->first, x + p->first, cs, nr / 2, p->add);
            for (int64_t j = 0; j < p->first; j++) y[j] = p->add ? y[j] + x[j] : x[j];
            for (int64_t j = end; j < hd; j++) y[j] = p->add ? y[j] + x[j] : x[j];
        }
    }
}
