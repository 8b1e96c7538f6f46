/* skills.c - see skills.h. SPDX-License-Identifier: Apache-2.0 */
#include "agent/skills.h"

#include "base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_letter(unsigned char c) { return ((c | 32) >= 'a' && (c | 32) <= 'z') || c >= 0x80; }
static bool is_digit(unsigned char c) { return c >= '0' && c <= '9'; }

int moa_skill_words(const char ***word, moa_arena *a, const char *text, int n_max, moa_err *err) {
    const int most = n_max < MOA_WORDS_MAX ? n_max : MOA_WORDS_MAX;
    int n = 0;
    *word = moa_arena_alloc(a, (size_t)(most + 1) * sizeof **word);
    if (!*word) return moa_fail(err, MOA_ENOMEM, "%d words", most);
    for (const unsigned char *p = (const unsigned char *)text; *p && n < most;) {
        const unsigned char *from = p;
        const bool letter = is_letter(*p), digit = is_digit(*p);
        do p++;
        while (*p && ((letter && is_letter(*p)) || (digit && is_digit(*p))));
        const size_t len = (size_t)(p - from);
        if ((!letter && *from <= ' ') || *from == 0x7F || (letter && len > MOA_WORD_MAX)) continue;
        char *w = moa_arena_strndup(a, digit ? "#" : (const char *)from, digit ? 1 : len);
        if (!w) return moa_fail(err, MOA_ENOMEM, "a word");
        for (char *c = w; *c; c++)
            if (*c >= 'A' && *c <= 'Z') *c = (char)(*c | 32);
        (*word)[n++] = w;
    }
    return n;
}

void moa_skill_unit(moa_skill *s) {
    double sum = 0;
    for (int i = 0; i < MOA_SKILL_DIM; i++) sum += (double)s->v[i] * (double)s->v[i];
    const double scale = sum > 0 ? 1 / sqrt(sum) : 0;
    for (int i = 0; i < MOA_SKILL_DIM; i++) s->v[i] = (float)(s->v[i] * scale);
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

int moa_skill_of(moa_skill *out, moa_arena *a, const char *text, moa_err *err) {
    const moa_arena_mark mark = moa_arena_save(a);
    const char **word;
    const int n = moa_skill_words(&word, a, text, MOA_WORDS_MAX, err);
    *out = (moa_skill){{0}};
    if (n > 0) qsort(word, (size_t)n, sizeof *word, by_text);
    for (int i = 0, k; i < n; i += k) {
        for (k = 1; i + k < n && !strcmp(word[i], word[i + k]);) k++;
        const uint64_t h = moa_hash64(word[i], strlen(word[i]), 0);
        out->v[h % MOA_SKILL_DIM] += (float)((h >> 63 ? -1 : 1) * (1 + log(k)));
    }
    moa_arena_restore(a, mark);
    if (n < 0) return n;
    moa_skill_unit(out);
    return 0;
}

double moa_skill_cosine(const moa_skill *a, const moa_skill *b) {
    double sum = 0;
    for (int i = 0; i < MOA_SKILL_DIM; i++) sum += (double)a->v[i] * (double)b->v[i];
    return sum;
}

int moa_skill_nearest(const moa_skill *s, const moa_skill *center, int n, double *cosine) {
    int best = -1;
    *cosine = -2;
    for (int i = 0; i < n; i++) {
        const double c = moa_skill_cosine(s, &center[i]);
        if (c > *cosine) *cosine = c, best = i;
    }
    return best;
}

void moa_skill_write(char out[MOA_SKILL_TEXT], const moa_skill *s) {
    static const char hex[] = "0123456789abcdef";
    float most = 0;
    for (int i = 0; i < MOA_SKILL_DIM; i++) most = fabsf(s->v[i]) > most ? fabsf(s->v[i]) : most;
    for (int i = 0; i < MOA_SKILL_DIM; i++) {
        const int q = most > 0 ? 128 + (int)lrintf(127 * s->v[i] / most) : 128;
        out[2 * i] = hex[q >> 4], out[2 * i + 1] = hex[q & 15];
    }
    out[MOA_SKILL_TEXT - 1] = 0;
}

static int nibble(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

bool moa_skill_read(moa_skill *out, const char *text) {
    if (!text || strlen(text) != MOA_SKILL_TEXT - 1) return false;
    for (int i = 0; i < MOA_SKILL_DIM; i++) {
        const int a = nibble(text[2 * i]), b = nibble(text[2 * i + 1]);
        if (a < 0 || b < 0) return false;
        out->v[i] = (float)(16 * a + b - 128);
    }
    moa_skill_unit(out);
    return true;
}

/* ---- groups ---- */

/* k-means++: each further center is a vector drawn by its squared distance to the nearest center, 2 - 2 cos. */
static void first_centers(moa_skill *center, const moa_skill *s, int n, int k, double *far, uint64_t seed) {
    moa_rng g;
    moa_rng_seed(&g, seed);
    center[0] = s[moa_rng_below(&g, (uint32_t)n)];
    for (int c = 1; c < k; c++) {
        double sum = 0;
        for (int i = 0; i < n; i++) {
            const double d = 2 - 2 * moa_skill_cosine(&s[i], &center[c - 1]);
            if (c == 1 || d < far[i]) far[i] = d > 0 ? d : 0;
            sum += far[i];
        }
        double at = moa_rng_f64(&g) * sum;
        int pick = 0;
        for (; pick < n - 1 && (at -= far[pick]) > 0;) pick++;
        center[c] = s[pick];
    }
}

/* Each vector to its nearest center; the mean cosine. */
static double assign(int *group, const moa_skill *s, int n, const moa_skill *center, int k) {
    double sum = 0, c;
    for (int i = 0; i < n; i++, sum += c) group[i] = moa_skill_nearest(&s[i], center, k, &c);
    return sum / n;
}

/* A group that has lost all its vectors keeps its center. */
static void move_centers(moa_skill *center, const int *group, const moa_skill *s, int n, int k) {
    for (int c = 0; c < k; c++) {
        moa_skill sum = {{0}};
        int size = 0;
        for (int i = 0; i < n; i++) {
            if (group[i] != c) continue;
            size++;
            for (int d = 0; d < MOA_SKILL_DIM; d++) sum.v[d] += s[i].v[d];
        }
        moa_skill_unit(&sum);
        if (size) center[c] = sum;
    }
}

double moa_skill_groups(moa_skill *center, int *group, const moa_skill *s, int n, int k, uint64_t seed, moa_err *err) {
    enum { TURNS = 100 };
    if (n < 1 || k < 1) return moa_fail(err, MOA_EINVAL, "%d groups of %d vectors", k, n);
    int *g = malloc((size_t)n * sizeof *g);
    double *far = malloc((size_t)n * sizeof *far), mean = -2, was = -3;
    if (g && far) {
        first_centers(center, s, n, k, far, seed);
        for (int t = 0; t < TURNS && mean > was + 1e-9; t++) {
            was = mean;
            mean = assign(g, s, n, center, k);
            move_centers(center, g, s, n, k);
        }
        mean = assign(g, s, n, center, k);
        if (group) memcpy(group, g, (size_t)n * sizeof *g);
    }
    const bool ok = g && far;
    free(g);
    free(far);
    return ok ? mean : moa_fail(err, MOA_ENOMEM, "groups of %d vectors", n);
}
