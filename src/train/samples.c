/* samples.c - see samples.h. SPDX-License-Identifier: Apache-2.0 */
#include "train/samples.h"

#include "base/err.h"
#include "base/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int moa_samples_line(moa_buf *b, const moa_item *it, uint64_t index, const char *const *cand, const bool *correct, int n) {
    const moa_buf *texts[] = {&it->question, &it->answer, &it->solution};
    static const char *const keys[] = {"question", "answer", "solution"};
    moa_buf_addf(b, "{\"family\":\"%s\",\"level\":%d,\"index\":%" PRIu64, it->family->name, it->level, index);
    for (int i = 0; i < 3; i++) {
        moa_buf_addf(b, ",\"%s\":", keys[i]);
        moa_json_add_str(b, moa_buf_str(texts[i]), texts[i]->len);
    }
    moa_buf_adds(b, ",\"candidates\":[");
    for (int i = 0; i < n; i++) {
        if (i) moa_buf_adds(b, ",");
        moa_json_add_str(b, cand[i], strlen(cand[i]));
    }
    moa_buf_adds(b, "],\"correct\":[");
    for (int i = 0; i < n; i++) moa_buf_addf(b, "%s%s", i ? "," : "", correct[i] ? "true" : "false");
    moa_buf_adds(b, "]}\n");
    return b->failed;
}

static const char *keep(moa_arena *a, const char *s) { return moa_arena_strndup(a, s, strlen(s)); }

static int read_item(moa_samples *s, moa_sampled *it, const json_t *o, const char *where, moa_err *err) {
    const char *q, *sol, *ans;
    MOA_TRY(moa_json_get_str(&q, o, "question", NULL, where, err));
    MOA_TRY(moa_json_get_str(&sol, o, "solution", NULL, where, err));
    MOA_TRY(moa_json_get_str(&ans, o, "answer", "", where, err));
    const json_t *cand = json_object_get(o, "candidates"), *ok = json_object_get(o, "correct");
    size_t n = json_array_size(cand);
    if (!q || !sol) return moa_fail(err, MOA_EFORMAT, "%s: question or solution is missing", where);
    if (n < 1 || n > MOA_CANDIDATES_MAX || json_array_size(ok) != n)
        return moa_fail(err, MOA_EFORMAT, "%s: candidates and correct must be arrays of one length, 1 to %d", where, MOA_CANDIDATES_MAX);
    unsigned char *correct = moa_arena_alloc(s->arena, n);
    it->cand = moa_arena_alloc(s->arena, n * sizeof *it->cand);
    it->question = keep(s->arena, q);
    it->solution = keep(s->arena, sol);
    it->answer = keep(s->arena, ans);
    if (!correct || !it->cand || !it->question || !it->solution || !it->answer) return moa_fail(err, MOA_ENOMEM, "%s: no memory", where);
    it->correct = correct;
    it->n = (int)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *c = json_array_get(cand, i), *k = json_array_get(ok, i);
        if (!json_is_string(c) || !json_is_boolean(k)) return moa_fail(err, MOA_EFORMAT, "%s: candidate %zu is no text with a truth", where, i);
        correct[i] = json_is_true(k);
        it->n_correct += correct[i];
        if (!(it->cand[i] = keep(s->arena, json_string_value(c)))) return moa_fail(err, MOA_ENOMEM, "%s: no memory", where);
    }
    return 0;
}

static int grow(moa_samples *s, int64_t *cap, moa_err *err) {
    if (s->n < *cap) return 0;
    *cap = *cap ? *cap * 2 : 256;
    moa_sampled *p = realloc(s->item, (size_t)*cap * sizeof *p);
    if (!p) return moa_fail(err, MOA_ENOMEM, "no memory for the samples");
    s->item = p;
    return 0;
}

static int read_all(moa_samples *s, moa_jsonl *r, const char *path, moa_err *err) {
    int64_t cap = 0;
    for (;;) {
        json_t *o;
        char where[300];
        int rc = moa_jsonl_next(&o, r, err);
        if (rc <= 0) return rc;
        snprintf(where, sizeof where, "%.250s:%zu", path, r->line);
        rc = grow(s, &cap, err);
        if (rc == 0) {
            s->item[s->n] = (moa_sampled){0};
            rc = read_item(s, &s->item[s->n], o, where, err);
            s->n++;
        }
        json_decref(o);
        MOA_TRY(rc);
    }
}

int moa_samples_load(moa_samples **out, const char *path, moa_err *err) {
    *out = NULL;
    moa_jsonl r;
    MOA_TRY(moa_jsonl_open(&r, path, (size_t)1 << 31, err));
    moa_samples *s = calloc(1, sizeof *s);
    int rc = s && (s->arena = moa_arena_new(0, 0)) ? read_all(s, &r, path, err) : moa_fail(err, MOA_ENOMEM, "%s: no memory", path);
    moa_jsonl_close(&r);
    if (rc == 0 && s->n == 0) rc = moa_fail(err, MOA_EFORMAT, "%s: no samples in it", path);
    if (rc == 0 && !(s->mixed = malloc((size_t)s->n * sizeof *s->mixed))) rc = moa_fail(err, MOA_ENOMEM, "%s: no memory", path);
    if (rc < 0) {
        moa_samples_free(s);
        return rc;
    }
    for (int64_t i = 0; i < s->n; i++)
        if (s->item[i].n_correct > 0 && s->item[i].n_correct < s->item[i].n) s->mixed[s->n_mixed++] = i;
    *out = s;
    return 0;
}

void moa_samples_free(moa_samples *s) {
    if (!s) return;
    moa_arena_free(s->arena);
    free(s->item);
    free(s->mixed);
    free(s);
}
