/* sampler.c - logits -> token, without heap calls.
 *
 * Order: mask of the grammar, biases, repetition penalty, presence and frequency penalty, temperature, top-k, top-p, min-p, draw (as in llama.cpp's chain and the HF library; the
 * penalty is CTRL's, arXiv:1909.05858). With probabilities p sorted by (p descending, id ascending) each cut keeps a
 * prefix: top-k its first k; top-p the shortest whose sum reaches top_p of what top-k left; min-p those with
 * p >= min_p * p_first (arXiv:2407.01082). Candidates come out of a heap one by one, so no full sort of the
 * vocabulary is made: cuts usually keep few.
 *
 * Odd logits: NaN and -inf are never chosen; +inf counts as the largest finite number, so several +inf are equally likely.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/sampler.h"
#include "base/err.h"
#include "base/rng.h"
#include "tensor/kernel.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PART = 64, LANES = PART / 4 };

struct moa_sampler {
    moa_sampling cfg;
    moa_rng rng;
    const moa_kernels *kern;
    int n_vocab;
    float *p;           /* [n_vocab, and zeros up to a whole PART] penalised logits, then weights exp((l - max) / T) */
    double *part;       /* [n_vocab / PART, rounded up] sums of weights */
    int32_t *heap;      /* [n_vocab] ids */
    int32_t *recent;    /* [MOA_REPEAT_MAX] ring */
    int64_t n_recent;   /* ever accepted */
    int64_t n_prompt;   /* of these, before the reply */
    const moa_bias *bias; int n_bias;
    uint64_t *seen;     /* bitset over the vocabulary, 0 between calls */
};

moa_sampling moa_sampling_defaults(void) {
    return (moa_sampling){.temperature = 0.7f, .top_p = 1.0f, .repeat_penalty = 1.0f, .repeat_last = 64, .seed = 1};
}

static int range(const char *field, double v, double lo, double hi, moa_err *err) {
    if (v >= lo && v <= hi) return 0; /* false for NaN */
    return moa_fail(err, MOA_EINVAL, "sampling: %s = %g, expected %g to %g", field, v, lo, hi);
}

int moa_sampling_check(const moa_sampling *s, moa_err *err) {
    MOA_TRY(range("temperature", s->temperature, 0, 100, err));
    MOA_TRY(range("top_k", s->top_k, 0, 1 << 24, err));
    if (!(s->top_p > 0)) return moa_fail(err, MOA_EINVAL, "sampling: top_p = %g, expected more than 0, at most 1", (double)s->top_p);
    MOA_TRY(range("top_p", s->top_p, 0, 1, err));
    MOA_TRY(range("min_p", s->min_p, 0, 1, err));
    if (!(s->repeat_penalty > 0))
        return moa_fail(err, MOA_EINVAL, "sampling: repeat_penalty = %g, expected more than 0, at most 10", (double)s->repeat_penalty);
    MOA_TRY(range("repeat_penalty", s->repeat_penalty, 0, 10, err));
    MOA_TRY(range("presence_penalty", s->presence_penalty, -2, 2, err));
    MOA_TRY(range("frequency_penalty", s->frequency_penalty, -2, 2, err));
    return range("repeat_last", s->repeat_last, 0, MOA_REPEAT_MAX, err);
}

int moa_sampler_new(moa_sampler **out, const moa_sampling *cfg, int n_vocab, moa_err *err) {
    MOA_TRY(moa_sampling_check(cfg, err));
    if (n_vocab < 1) return moa_fail(err, MOA_EINVAL, "sampler: vocabulary of %d tokens", n_vocab);
    moa_sampler *s = calloc(1, sizeof *s);
    const size_t n = (size_t)n_vocab;
    const int rc = s ? moa_kernels_default(&s->kern, err) : 0;
    if (rc < 0) {
        free(s);
        return rc;
    }
    if (s) {
        s->n_vocab = n_vocab;
        s->p = calloc(n / PART + 1, PART * sizeof *s->p);
        s->part = malloc((n / PART + 1) * sizeof *s->part);
        s->heap = malloc(n * sizeof *s->heap);
        s->recent = malloc(MOA_REPEAT_MAX * sizeof *s->recent);
        s->seen = calloc(n / 64 + 1, sizeof *s->seen);
    }
    if (!s || !s->p || !s->part || !s->heap || !s->recent || !s->seen) {
        moa_sampler_free(s);
        return moa_fail(err, MOA_ENOMEM, "sampler: no memory for %d tokens", n_vocab);
    }
    moa_sampler_reset(s, cfg);
    *out = s;
    return 0;
}

void moa_sampler_free(moa_sampler *s) {
    if (!s) return;
    free(s->p);
    free(s->part);
    free(s->heap);
    free(s->recent);
    free(s->seen);
    free(s);
}

void moa_sampler_reset(moa_sampler *s, const moa_sampling *cfg) {
    s->cfg = *cfg;
    s->n_recent = s->n_prompt = 0;
    s->n_bias = 0;
    moa_rng_seed(&s->rng, cfg->seed);
}

void moa_sampler_copy(moa_sampler *to, const moa_sampler *from) {
    moa_assert_eq(to->n_vocab, from->n_vocab);
    to->cfg = from->cfg;
    to->rng = from->rng;
    to->n_recent = from->n_recent;
    memcpy(to->recent, from->recent, (size_t)(from->n_recent < MOA_REPEAT_MAX ? from->n_recent : MOA_REPEAT_MAX) * sizeof *to->recent);
}

void moa_sampler_accept(moa_sampler *s, int32_t token) {
    if (token < 0 || token >= s->n_vocab) return;
    s->recent[s->n_recent++ % MOA_REPEAT_MAX] = token;
}

void moa_sampler_begin(moa_sampler *s) { s->n_prompt = s->n_recent; }

void moa_sampler_bias(moa_sampler *s, const moa_bias *bias, int n) {
    s->bias = bias;
    s->n_bias = n;
}

static void add_bias(moa_sampler *s) {
    for (int i = 0; i < s->n_bias; i++) {
        const int32_t t = s->bias[i].token;
        if (t < 0 || t >= s->n_vocab) continue;
        if (s->bias[i].bias <= -100) s->p[t] = -INFINITY;
        else s->p[t] = fminf(s->p[t] + s->bias[i].bias, FLT_MAX);
    }
}

/* l - presence [count > 0] - frequency count, as OpenAI's API has it: of the reply's tokens, not of the prompt's. */
static void penalise_reply(moa_sampler *s) {
    const float presence = s->cfg.presence_penalty, frequency = s->cfg.frequency_penalty;
    int64_t from = s->n_prompt, n = s->n_recent;
    if (presence == 0 && frequency == 0) return;
    if (n - from > MOA_REPEAT_MAX) from = n - MOA_REPEAT_MAX;
    for (int64_t i = from; i < n; i++) {
        const int32_t t = s->recent[i % MOA_REPEAT_MAX];
        const bool first = !(s->seen[t / 64] >> (t % 64) & 1);
        s->seen[t / 64] |= 1ull << (t % 64);
        s->p[t] = fminf(s->p[t] - frequency - (first ? presence : 0), FLT_MAX);
    }
    for (int64_t i = from; i < n; i++) s->seen[s->recent[i % MOA_REPEAT_MAX] / 64] = 0;
}

/* Once for each distinct token of the window. */
static void penalise(moa_sampler *s) {
    int64_t n = s->cfg.repeat_last < s->n_recent ? s->cfg.repeat_last : s->n_recent;
    if (s->cfg.repeat_penalty == 1.0f) n = 0;
    for (int64_t i = s->n_recent - n; i < s->n_recent; i++) {
        const int32_t t = s->recent[i % MOA_REPEAT_MAX];
        if (s->seen[t / 64] >> (t % 64) & 1) continue;
        s->seen[t / 64] |= 1ull << (t % 64);
        s->p[t] = s->p[t] > 0 ? s->p[t] / s->cfg.repeat_penalty : s->p[t] * s->cfg.repeat_penalty;
        if (s->p[t] > FLT_MAX) s->p[t] = FLT_MAX; /* a penalty below 1 raises: inf - inf would be NaN */
    }
    for (int64_t i = s->n_recent - n; i < s->n_recent; i++) s->seen[s->recent[i % MOA_REPEAT_MAX] / 64] = 0;
}

/* Selections that vectors know: NaN is below everything. */
static inline float clean(float l) {
    const float low = l > -INFINITY ? l : -INFINITY;
    return low < FLT_MAX ? low : FLT_MAX;
}

/* to = clean logits -> the highest. to may be l. */
static float clean_all(float *to, const float *l, int n) {
    float top[LANES];
    int i = 0;
    for (int k = 0; k < LANES; k++) top[k] = -INFINITY;
#pragma omp simd
    for (int k = 0; k < n; k++) to[k] = clean(l[k]);
    for (; i + LANES <= n; i += LANES)
#pragma omp simd
        for (int k = 0; k < LANES; k++) top[k] = to[i + k] > top[k] ? to[i + k] : top[k];
    for (; i < n; i++) top[0] = to[i] > top[0] ? to[i] : top[0];
    for (int k = 1; k < LANES; k++) top[0] = top[k] > top[0] ? top[k] : top[0];
    return top[0];
}

static bool before(const float *p, int32_t a, int32_t b) { return p[a] > p[b] || (p[a] == p[b] && a < b); }

static void sift(int32_t *h, const float *p, int64_t n, int64_t i) {
    const int32_t v = h[i];
    for (int64_t c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && before(p, h[c + 1], h[c])) c++;
        if (before(p, v, h[c])) break;
        h[i] = h[c];
    }
    h[i] = v;
}

/* The next of the sorted order moves to the end of the heap's array: kept candidates fill it from the back. */
static int32_t pop(int32_t *h, const float *p, int64_t *n) {
    const int32_t top = h[0];
    h[0] = h[--*n];
    h[*n] = top;
    sift(h, p, *n, 0);
    return top;
}

/* Weights of all of p -> how many of the sorted order stay; they lie at heap[n - 1], heap[n - 2] ... */
static int64_t cut(moa_sampler *s, double total) {
    const int64_t n = s->n_vocab;
    int64_t left = n, k = s->cfg.top_k > 0 && s->cfg.top_k < n ? s->cfg.top_k : n, kept = 0;
    for (int64_t i = 0; i < n; i++) s->heap[i] = (int32_t)i;
    for (int64_t i = n / 2 - 1; i >= 0; i--) sift(s->heap, s->p, n, i);
    const float least = s->cfg.min_p * s->p[s->heap[0]];
    if (k < n) {
        for (total = 0; kept < k; kept++) total += s->p[pop(s->heap, s->p, &left)];
        const int64_t in_k = kept;
        double sum = 0;
        for (kept = 0; kept < in_k; kept++) {
            const float w = s->p[s->heap[n - 1 - kept]];
            if (kept && (sum >= s->cfg.top_p * total || w < least)) break;
            sum += w;
        }
        return kept;
    }
    for (double sum = 0; kept < n; kept++) {
        const float w = s->p[s->heap[0]];
        if (kept && ((s->cfg.top_p < 1 && sum >= s->cfg.top_p * total) || w < least)) break;
        sum += s->p[pop(s->heap, s->p, &left)];
    }
    return kept;
}

/* By weights of all of p, whose sums are there: a part at a time, then token by token. */
static int32_t draw_any(const moa_sampler *s, double u) {
    const int64_t n = s->n_vocab, n_part = (n + PART - 1) / PART;
    int64_t at = 0;
    int32_t last = -1;
    for (int64_t i = 0; i < n_part; i++) {
        if (s->part[i] <= 0) continue;
        at = i; /* rounding of the sums may leave u beyond the end */
        if (u < s->part[i]) break;
        u -= s->part[i];
    }
    for (int64_t i = at * PART; i < n; i++) {
        if (s->p[i] <= 0) continue;
        last = (int32_t)i; /* here too */
        if ((u -= (double)s->p[i]) < 0) break;
    }
    return last;
}

static int32_t draw(moa_sampler *s, double total) {
    const int64_t n = s->n_vocab;
    if (s->cfg.top_k <= 0 && s->cfg.top_p >= 1 && s->cfg.min_p <= 0) return draw_any(s, moa_rng_f64(&s->rng) * total);
    const int64_t kept = cut(s, total);
    int32_t last = -1;
    double sum = 0;
    for (int64_t i = 0; i < kept; i++) sum += (double)s->p[s->heap[n - 1 - i]];
    double u = moa_rng_f64(&s->rng) * sum;
    for (int64_t i = 0; i < kept; i++) {
        const int32_t t = s->heap[n - 1 - i];
        if (s->p[t] <= 0) continue;
        last = t;
        if ((u -= (double)s->p[t]) < 0) break;
    }
    return last;
}

/* Of PART weights. */
static double sum_of(const float *p) {
    double lane[LANES];
#pragma omp simd
    for (int k = 0; k < LANES; k++) lane[k] = ((double)p[k] + (double)p[k + LANES]) + ((double)p[k + 2 * LANES] + (double)p[k + 3 * LANES]);
#pragma omp simd
    for (int k = 0; k < LANES / 4; k++) lane[k] = (lane[k] + lane[k + LANES / 4]) + (lane[k + LANES / 2] + lane[k + 3 * LANES / 4]);
    return (lane[0] + lane[2]) + (lane[1] + lane[3]);
}

/* p = exp((l - max) * scale); returns the sum. Every token of every sequence takes two of these over the whole vocabulary: one number after
 * the other, the sums alone were a tenth of a small model's step. So they add up by parts. */
static double weigh(moa_sampler *s, const float *l, float max, float scale) {
    const int n = s->n_vocab;
    double total = 0;
#pragma omp simd
    for (int i = 0; i < n; i++) s->p[i] = (clean(l[i]) - max) * scale;
    s->kern->slot[MOA_K_EXP][MOA_F32]->fn.expv(s->p, s->p, n);
    for (int i = 0; i < n; i += PART) total += s->part[i / PART] = sum_of(s->p + i);
    return total;
}

void moa_sampler_top(moa_sampler *s, const float *logits, moa_token_prob *top, int k) {
    const float max = clean_all(s->p, logits, s->n_vocab);
    int n = 0;
    for (int i = 0; i < s->n_vocab; i++) {
        if (n == k && (!k || s->p[i] <= top[k - 1].logprob)) continue;
        int at = n < k ? n++ : k - 1;
        for (; at > 0 && s->p[i] > top[at - 1].logprob; at--) top[at] = top[at - 1];
        top[at] = (moa_token_prob){i, s->p[i]};
    }
    const float norm = (float)log(weigh(s, s->p, max, 1));
    for (int i = 0; i < k; i++) top[i] = i < n ? (moa_token_prob){top[i].id, top[i].logprob - max - norm} : (moa_token_prob){-1, -INFINITY};
}

/* Only tokens of the mask can be chosen. */
static void forbid(moa_sampler *s, const uint64_t *mask) {
    for (int i = 0; i < s->n_vocab; i += 64)
        for (uint64_t m = ~mask[i / 64]; m; m &= m - 1) {
            const int k = i + __builtin_ctzll(m);
            if (k < s->n_vocab) s->p[k] = -INFINITY;
        }
}

/* The lower id on ties. */
static int32_t first_of(const float *p, float v) {
    int32_t i = 0;
    while (p[i] != v) i++;
    return i;
}

/* logprob is of what the model said, before masks, penalties and temperature. */
int32_t moa_sampler_pick(moa_sampler *s, const float *logits, const uint64_t *mask, float *logprob) {
    const int n = s->n_vocab;
    const float top = clean_all(s->p, logits, n);
    if (mask) forbid(s, mask);
    add_bias(s);
    penalise(s);
    penalise_reply(s);
    const float max = clean_all(s->p, s->p, n);
    int32_t t = -1;
    if (max > -INFINITY && s->cfg.temperature > 0) t = draw(s, weigh(s, s->p, max, fminf(1.0f / s->cfg.temperature, FLT_MAX))); /* 0 * inf would be NaN */
    else if (max > -INFINITY) t = first_of(s->p, max);
    if (logprob) *logprob = t < 0 ? -INFINITY : (float)(clean(logits[t]) - top - log(weigh(s, logits, top, 1)));
    return t;
}

int32_t moa_sampler_next(moa_sampler *s, const float *logits, float *logprob) { return moa_sampler_pick(s, logits, NULL, logprob); }
