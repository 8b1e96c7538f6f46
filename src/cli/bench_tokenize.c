/* bench_tokenize.c - moa bench tokenize [TEXT]: how fast text becomes ids, on one core. The text is a file, or words, numbers and
 * punctuation made by seed; beside it texts that have no words at all, where a careless tokenizer takes quadratic time.
 * benches.def: BENCH(tokenize). SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/file.h"
#include "base/rng.h"
#include "cli/bench.h"
#include "format/hf.h"
#include "format/tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MADE = 4 << 20, MAX_TEXT = 1 << 30 };

static char *make_words(size_t n) {
    static const char *const LAST[] = {" ", " ", " ", " ", " ", ", ", ". ", "\n", "'s ", " 1234 "};
    char *text = malloc(n + 32);
    moa_rng r;
    moa_rng_seed(&r, 1);
    for (size_t i = 0; text && i < n;) {
        for (uint32_t k = 1 + (uint32_t)moa_rng_below(&r, 9); k; k--) text[i++] = (char)('a' + moa_rng_below(&r, 26));
        const char *last = LAST[moa_rng_below(&r, sizeof LAST / sizeof *LAST)];
        memcpy(text + i, last, strlen(last));
        i += strlen(last);
    }
    return text;
}

/* Seconds of this thread, which works alone: other programs take none of them. */
static double own_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The best of the runs: what disturbs one only makes it slower. */
static int measure(const moa_tokenizer *t, const char *name, const char *text, size_t n, const moa_bench_opt *o, moa_err *err) {
    const int runs = o->runs ? o->runs : 3;
    double best = 0;
    moa_ids ids = {0};
    for (int i = 0; i < runs; i++) {
        ids.n = 0;
        const double t0 = own_seconds();
        const int rc = moa_tokenize(&ids, t, text, n, 0, err);
        const double s = own_seconds() - t0;
        if (rc < 0) return moa_ids_deinit(&ids), rc;
        if (i == 0 || s < best) best = s;
    }
    const double mb = best > 0 ? (double)n / 1e6 / best : 0;
    if (o->json) printf("{\"text\":\"%s\",\"bytes\":%zu,\"tokens\":%lld,\"mb_per_s\":%.2f}\n", name, n, (long long)ids.n, mb);
    else printf("%-8s %10zu bytes %10lld tokens %8.2f MB/s\n", name, n, (long long)ids.n, mb);
    moa_ids_deinit(&ids);
    return 0;
}

static int measure_all(const moa_tokenizer *t, const moa_bench_opt *o, moa_err *err) {
    static const struct { const char *name; char c; } ONE[] = {{"letters", 'a'}, {"spaces", ' '}, {"digits", '1'}, {"points", '.'}};
    char *text = NULL;
    size_t n = MADE;
    if (o->arg) MOA_TRY(moa_read_file(&text, &n, o->arg, MAX_TEXT, err));
    else text = make_words(n);
    if (!text) return moa_fail(err, MOA_ENOMEM, "no memory for a text of %zu bytes", n);
    int rc = measure(t, o->arg ? "text" : "words", text, n, o, err);
    for (size_t i = 0; rc == 0 && i < sizeof ONE / sizeof *ONE; i++) {
        memset(text, ONE[i].c, n);
        rc = measure(t, ONE[i].name, text, n, o, err);
    }
    free(text);
    return rc;
}

static int run(const moa_bench_opt *o, moa_err *err) {
    char path[4096];
    moa_gguf *g = NULL;
    moa_tokenizer *t = NULL;
    MOA_TRY(moa_cli_model_path(path, sizeof path, o->model, err));
    MOA_TRY(moa_gguf_open_any(&g, path, MOA_HF_HEAD, err));
    int rc = moa_tokenizer_open(&t, g, err);
    if (rc == 0) rc = measure_all(t, o, err);
    moa_tokenizer_close(t);
    moa_gguf_close(g);
    return rc;
}

const moa_bench moa_bench_tokenize = {.name = "tokenize", .help = "text to ids on one core; texts without words too", .run = run};
