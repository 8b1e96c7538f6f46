/* fit.c - choosing scales: weighted least squares over a search of roundings.
 *
 * For fixed integers q the best scale is a closed form, d = sum(w x q) / sum(w q^2), and likewise for scale
 * and offset (two normal equations). The integers depend on the scale in turn, so a range of starting
 * scales around "the largest value meets the last level" is tried, each is solved, the best is kept.
 * Sums are double: a block must not overflow whatever weights come in.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/quant/block.h"

#include <math.h>

/* Beyond f16 max * 127 * 64 no format can follow. */
static const float x_limit = 1e9f;

void moa_fit_clean(float *x, float *w, const float *src, const float *importance, int n) {
    bool any = false;
    for (int i = 0; i < n; i++) {
        const float v = src[i];
        x[i] = v > x_limit ? x_limit : v < -x_limit ? -x_limit : v == v ? v : 0.0f;
        const float a = importance ? importance[i] : 1.0f;
        w[i] = a > 0 ? (a < 1e30f ? a : 1e30f) : 0.0f; /* NaN and negative: no weight */
        any |= w[i] > 0;
    }
    if (!any)
        for (int i = 0; i < n; i++) w[i] = 1.0f;
}

uint16_t moa_f16_clamped(float f) {
    if (f != f) return 0;
    return moa_f32_to_f16(f > 65504.0f ? 65504.0f : f < -65504.0f ? -65504.0f : f);
}

static int clamp_round(float v, int lo, int hi) {
    if (v <= (float)lo) return lo;
    if (v >= (float)hi) return hi;
    return (int)rintf(v);
}

int moa_fit_round(float x, float d, float m, int lo, int hi) {
    if (d == 0) return lo > 0 ? lo : 0;
    return clamp_round((x - m) / d, lo, hi);
}

double moa_fit_error(const float *x, const float *w, int n, float d, float m, int lo, int hi) {
    const float inv = d == 0 ? 0.0f : 1.0f / d;
    double e = 0;
    for (int i = 0; i < n; i++) {
        const float q = (float)(d == 0 ? 0 : clamp_round((x[i] - m) * inv, lo, hi));
        const double r = (double)x[i] - (double)d * (double)q - (double)m;
        e += (double)w[i] * r * r;
    }
    return e;
}

/* Best scale for the integers that inv gives. Returns the error it removes, sum(wxq)^2 / sum(wq^2). */
static double try_scale(float *d, const float *x, const float *w, int n, float inv, int lo, int hi) {
    double xq = 0, qq = 0;
    for (int i = 0; i < n; i++) {
        const double q = clamp_round(x[i] * inv, lo, hi);
        xq += (double)w[i] * (double)x[i] * q;
        qq += (double)w[i] * q * q;
    }
    if (qq <= 0) return 0;
    *d = (float)(xq / qq);
    return xq * xq / qq;
}

float moa_fit_scale(const float *x, const float *w, int n, int lo, int hi) {
    float big = 0; /* the largest value, with its sign */
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(big)) big = x[i];
    if (fabsf(big) < 1e-35f) return 0;
    float best_d = big / (float)lo, d = 0;
    double best = 0;
    for (int side = 0; side < 2; side++) /* big meets the lowest level, or the highest */
        for (int c = -7; c <= 7; c++) {
            const float inv = ((float)(side ? hi : lo) + 0.125f * (float)c) / big;
            if (!isfinite(inv)) continue;
            const double gain = try_scale(&d, x, w, n, inv, lo, hi);
            if (gain > best) best = gain, best_d = d;
        }
    return isfinite(best_d) ? best_d : 0;
}

/* One step: integers from (d, m), then the best (d, m) for them. False when the equations are singular. */
static bool solve_affine(float *d, float *m, const float *x, const float *w, int n, int hi, bool below_zero) {
    double sw = 0, sx = 0, sq = 0, sqq = 0, sxq = 0;
    const float inv = 1.0f / *d;
    for (int i = 0; i < n; i++) {
        const double q = clamp_round((x[i] - *m) * inv, 0, hi), wi = w[i], xi = x[i];
        sw += wi, sx += wi * xi, sq += wi * q, sqq += wi * q * q, sxq += wi * xi * q;
    }
    const double det = sw * sqq - sq * sq;
    if (!(det > 1e-12 * sw * sqq)) return false;
    double nd = (sw * sxq - sx * sq) / det, nm = (sqq * sx - sq * sxq) / det;
    if (below_zero && nm > 0) nm = 0, nd = sxq / sqq;
    if (!(nd > 0)) return false;
    *d = (float)nd, *m = (float)nm;
    return isfinite(1.0f / *d);
}

void moa_fit_affine(float *d, float *m, const float *x, const float *w, int n, int hi, bool below_zero) {
    float lo_x = x[0], hi_x = x[0];
    for (int i = 1; i < n; i++) lo_x = fminf(lo_x, x[i]), hi_x = fmaxf(hi_x, x[i]);
    if (below_zero && lo_x > 0) lo_x = 0;
    *d = 0, *m = lo_x;
    if (hi_x - lo_x < 1e-35f) return;
    double best = INFINITY;
    for (int c = -8; c <= 8; c++) {
        float td = (hi_x - lo_x) / ((float)hi + 0.125f * (float)c), tm = lo_x;
        for (int step = 0; step < 3; step++) {
            const double e = moa_fit_error(x, w, n, td, tm, 0, hi);
            if (e < best) best = e, *d = td, *m = tm;
            if (!solve_affine(&td, &tm, x, w, n, hi, below_zero)) break;
        }
    }
}

/* ---- uneven levels ---- */

static int nearest_level(float v, const int8_t level[16]) {
    int lo = 0, hi = 15;
    while (hi - lo > 1) {
        const int mid = (lo + hi) / 2;
        if (v < (float)level[mid]) hi = mid;
        else lo = mid;
    }
    return v - (float)level[lo] <= (float)level[hi] - v ? lo : hi;
}

int moa_fit_level(float x, float d, const int8_t level[16]) { return nearest_level(d == 0 ? 0 : x / d, level); }

/* try_scale for levels: the error that the best scale for these choices removes. */
static double try_levels(float *d, const float *x, const float *w, int n, float inv, const int8_t level[16]) {
    double xq = 0, qq = 0;
    for (int i = 0; i < n; i++) {
        const double q = level[nearest_level(x[i] * inv, level)];
        xq += (double)w[i] * (double)x[i] * q;
        qq += (double)w[i] * q * q;
    }
    if (qq <= 0) return 0;
    *d = (float)(xq / qq);
    return xq * xq / qq;
}

/* The largest value meets one of the outer levels, give or take a sixth; each start is solved, and solved again. */
float moa_fit_levels(const float *x, const float *w, int n, const int8_t level[16]) {
    float big = 0, best_d = 0;
    double best = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(big)) big = x[i];
    if (fabsf(big) < 1e-35f) return 0;
    for (int side = 0; side < 2; side++)
        for (int c = -10; c <= 10; c++) {
            float d = 0, inv = (float)level[side ? 15 : 0] * (1.0f + (float)c / 60.0f) / big;
            for (int step = 0; step < 2 && isfinite(inv); step++) {
                const double gain = try_levels(&d, x, w, n, inv, level);
                if (gain > best) best = gain, best_d = d;
                inv = 1.0f / d;
            }
        }
    return isfinite(best_d) ? best_d : 0;
}
