/* rouge.c - see rouge.h. SPDX-License-Identifier: Apache-2.0 */
#include "agent/rouge.h"

#include "agent/strategy.h"
#include "base/rng.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Bytes beyond ASCII belong to words: scripts are not told apart, so a text of another script is few long words. */
static bool in_word(char c) { return isalnum((unsigned char)c) || (unsigned char)c > 127; }

/* Hashes of the words: 64 bits, so that texts of 2,048 words have no two different words alike (chance below 1e-12). */
static int words(uint64_t *w, const char *s) {
    int n = 0;
    while (*s && n < MOA_ROUGE_WORDS) {
        uint64_t h = 0xcbf29ce484222325ull; /* FNV-1a */
        const char *from = s;
        for (; in_word(*s); s++) h = (h ^ (uint64_t)tolower((unsigned char)*s)) * 0x100000001b3ull;
        if (s > from) w[n++] = moa_mix64(h);
        else s++;
    }
    return n;
}

/* Hunt's table row by row: l[j] is the length for the words of a so far and the first j of b. */
static int common(const uint64_t *a, int n_a, const uint64_t *b, int n_b, int *l) {
    memset(l, 0, (size_t)(n_b + 1) * sizeof *l);
    for (int i = 0; i < n_a; i++)
        for (int j = 1, left_above = 0; j <= n_b; j++) {
            const int above = l[j];
            l[j] = a[i] == b[j - 1] ? left_above + 1 : above > l[j - 1] ? above : l[j - 1];
            left_above = above;
        }
    return l[n_b];
}

int moa_rouge_l(double *f, const char *a, const char *b, moa_err *err) {
    uint64_t *w = malloc(2 * MOA_ROUGE_WORDS * sizeof *w);
    int *l = malloc((MOA_ROUGE_WORDS + 1) * sizeof *l);
    *f = 0;
    if (w && l) {
        const int n_a = words(w, a), n_b = words(w + MOA_ROUGE_WORDS, b), n = common(w, n_a, w + MOA_ROUGE_WORDS, n_b, l);
        if (n) *f = 2.0 * n / (n_a + n_b); /* 2 P R / (P + R) */
    }
    const bool ok = w && l;
    free(w);
    free(l);
    return ok ? 0 : moa_fail(err, MOA_ENOMEM, "comparing two texts");
}

int moa_consensus(int *winner, bool *exact, const char *const *text, int n, double min_rouge, moa_err *err) {
    moa_ballot *b = calloc((size_t)n + 1, sizeof *b);
    double *sum = calloc((size_t)n + 1, sizeof *sum), least = 2, f;
    moa_vote v = {.winner = -1};
    int rc = b && sum ? 0 : moa_fail(err, MOA_ENOMEM, "a consensus of %d texts", n);
    for (int i = 0; rc >= 0 && i < n; i++) b[i] = (moa_ballot){.text = text[i], .n = text[i] ? strlen(text[i]) : 0, .absent = !text[i]};
    if (rc >= 0) rc = moa_vote_count(&v, NULL, b, n, err);
    *exact = v.winner >= 0 && v.size > 1;
    *winner = *exact ? v.winner : -1;
    for (int i = 0; rc >= 0 && !*exact && min_rouge < 1 && i < n; i++)
        for (int j = 0; rc >= 0 && j < i; j++) {
            if (!text[i] || !text[j]) continue;
            rc = moa_rouge_l(&f, text[i], text[j], err);
            sum[i] += f, sum[j] += f;
            least = f < least ? f : least;
        }
    if (rc >= 0 && !*exact && least <= 1 && least > min_rouge)
        for (int i = 0; i < n; i++)
            if (text[i] && (*winner < 0 || sum[i] > sum[*winner])) *winner = i;
    free(b);
    free(sum);
    return rc < 0 ? rc : 0;
}
