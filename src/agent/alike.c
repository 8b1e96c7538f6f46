/* alike.c - see alike.h. SPDX-License-Identifier: Apache-2.0 */
#include "agent/alike.h"

#include "agent/strategy.h"
#include "base/rng.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- words ---- */

typedef struct term { uint64_t word; int text; double weight; } term; /* word: its hash */

static int by_word(const void *a, const void *b) {
    const term *x = a, *y = b;
    if (x->word != y->word) return x->word < y->word ? -1 : 1;
    return (x->text > y->text) - (x->text < y->text);
}

/* Words of a text, from out on; out NULL: how many. */
static size_t words_of(term *out, const char *s, int text) {
    enum { MOST = 64 };
    size_t n = 0;
    while (*s) {
        char word[MOST];
        size_t k = 0;
        while (*s && !isalnum((unsigned char)*s) && (unsigned char)*s < 0x80) s++;
        for (; *s && (isalnum((unsigned char)*s) || (unsigned char)*s >= 0x80); s++)
            if (k < MOST) word[k++] = (char)tolower((unsigned char)*s);
        if (!k) continue;
        if (out) out[n] = (term){moa_hash64(word, k, 0), text, 1};
        n++;
    }
    return n;
}

/* Equal words of a text become one, with their count. */
static size_t fold(term *t, size_t n) {
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        if (k && t[k - 1].word == t[i].word && t[k - 1].text == t[i].text) t[k - 1].weight++;
        else t[k++] = t[i];
    }
    return k;
}

int moa_words_alike(double *out, const char *const *text, int n, moa_err *err) {
    size_t n_term = 0, at = 0;
    for (int i = 0; i < n; i++) n_term += text[i] ? words_of(NULL, text[i], i) : 0;
    term *t = malloc((n_term + 1) * sizeof *t);
    double *len = calloc((size_t)n + 1, sizeof *len);
    if (!t || !len) {
        free(t);
        free(len);
        return moa_fail(err, MOA_ENOMEM, "the words of %d texts", n);
    }
    for (int i = 0; i < n; i++) at += text[i] ? words_of(t + at, text[i], i) : 0;
    qsort(t, n_term, sizeof *t, by_word);
    n_term = fold(t, n_term);
    memset(out, 0, (size_t)n * (size_t)n * sizeof *out);
    for (size_t i = 0, end; i < n_term; i = end) {
        for (end = i; end < n_term && t[end].word == t[i].word; end++) {}
        const double idf = log((1.0 + n) / (double)(1 + end - i)) + 1; /* smooth: a word of all texts counts a little */
        for (size_t a = i; a < end; a++) {
            t[a].weight *= idf;
            len[t[a].text] += t[a].weight * t[a].weight;
            for (size_t b = i; b < a; b++) out[t[b].text * n + t[a].text] += t[a].weight * t[b].weight;
        }
    }
    for (int i = 0; i < n; i++) {
        out[i * n + i] = text[i] ? 1 : 0;
        for (int j = i + 1; j < n; j++) {
            const double both = len[i] > 0 && len[j] > 0 ? out[i * n + j] / sqrt(len[i] * len[j]) : 0;
            out[i * n + j] = out[j * n + i] = both;
        }
    }
    free(t);
    free(len);
    return 0;
}

/* ---- replies ---- */

typedef struct pair { moa_run *r; const int *in; int n_in; double *all; int i, j; } pair;

static const char *text_of(const moa_run *r, int node) { return r->node[node].state == MOA_NODE_DONE && r->node[node].text ? moa_node_reply(&r->node[node]) : NULL; }

static int embed_all(double *out, const pair *p, moa_backend *b, moa_err *err) {
    const char *text[256];
    int at[256], n = 0, dim;
    float *v;
    for (int i = 0; i < p->n_in && n < 256; i++)
        if (text_of(p->r, p->in[i])) at[n] = i, text[n++] = text_of(p->r, p->in[i]);
    if (!n) return 0;
    MOA_TRY(b->ops->embed(b, &v, &dim, text, n, err));
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            double dot = 0;
            for (int k = 0; k < dim; k++) dot += (double)v[(size_t)i * (size_t)dim + (size_t)k] * (double)v[(size_t)j * (size_t)dim + (size_t)k];
            out[at[i] * p->n_in + at[j]] = dot;
        }
    free(v);
    return 0;
}

/* All pairs at once, when the first that nobody has told is asked for. */
static int measure(double *out, void *ctx, moa_err *err) {
    pair *p = ctx;
    const size_t n = (size_t)p->n_in;
    if (!p->all) {
        moa_backend *b = moa_backend_plain(p->r->cfg->proposer[0]);
        const char **text = moa_arena_calloc(p->r->arena, (n + 1) * sizeof *text);
        double *all = moa_arena_calloc(p->r->arena, n * n * sizeof *all);
        if (!text || !all) return moa_fail(err, MOA_ENOMEM, "%zu replies compared", n);
        for (size_t i = 0; i < n; i++) text[i] = text_of(p->r, p->in[i]);
        MOA_TRY(b->ops->embed ? embed_all(all, p, b, err) : moa_words_alike(all, text, p->n_in, err));
        p->all = all;
    }
    *out = p->all[p->i * p->n_in + p->j];
    return 0;
}

int moa_alike(double *out, moa_run *r, const int *in, int n_in, moa_err *err) {
    pair p = {.r = r, .in = in, .n_in = n_in};
    for (p.i = 0; p.i < n_in; p.i++)
        for (p.j = 0; p.j <= p.i; p.j++) {
            double v = p.i == p.j;
            char key[40];
            const char *a = text_of(r, in[p.i]), *b = text_of(r, in[p.j]);
            if (!a || !b) v = 0;
            else if (p.i != p.j) {
                snprintf(key, sizeof key, "%016llx-%016llx", (unsigned long long)moa_hash64(a, strlen(a), 0), (unsigned long long)moa_hash64(b, strlen(b), 0));
                MOA_TRY(moa_run_observe(&v, r, "alike", key, measure, &p, err));
            }
            out[p.i * n_in + p.j] = out[p.j * n_in + p.i] = v;
        }
    return 0;
}
