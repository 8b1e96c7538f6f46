/* driver.c - runs a fuzz target without libFuzzer: FOLDER [RUNS [FIRST]].
 *
 * First every file of the folder as it is, in the order of names; then RUNS mutations of them (bit flips, bytes,
 * interesting words, truncations, copies inside a file, splices of two files). Mutation i depends only on i and
 * the corpus, so a crash is repeated by FOLDER 1 i; its number is printed when the process dies. Each input is
 * an exact heap copy, so that AddressSanitizer sees a read of one byte too many, and has 20 seconds.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/rng.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_FILES = 1024, MAX_BYTES = 1 << 20, RUNS = 5000, SEED = 20 };

typedef struct input { char *name, *data; size_t n; } input;

static input corpus[MAX_FILES];
static int n_corpus;
static char doing[320]; /* what a crash report names */

static void on_death(int sig) {
    const char *what = sig == SIGALRM ? "too slow: " : "died on: ";
    ssize_t ignored = write(2, what, strlen(what));
    ignored += write(2, doing, strlen(doing));
    ignored += write(2, "\n", 1);
    (void)ignored;
    signal(sig, SIG_DFL);
    raise(sig);
}

static void run(const char *p, size_t n) {
    uint8_t *copy = malloc(n ? n : 1);
    if (!copy) exit(1);
    memcpy(copy, p, n);
    alarm(20);
    LLVMFuzzerTestOneInput(copy, n);
    alarm(0);
    free(copy);
}

static int by_name(const void *a, const void *b) { return strcmp(((const input *)a)->name, ((const input *)b)->name); }

static int load(const char *folder) {
    DIR *d = opendir(folder);
    if (!d) return -1;
    for (struct dirent *e; (e = readdir(d)) && n_corpus < MAX_FILES;) {
        char path[4096];
        if (e->d_name[0] == '.' || snprintf(path, sizeof path, "%s/%s", folder, e->d_name) >= (int)sizeof path) continue;
        input *in = &corpus[n_corpus];
        if (moa_read_file(&in->data, &in->n, path, MAX_BYTES, NULL) < 0) continue;
        in->name = strdup(e->d_name);
        n_corpus += in->name != NULL;
    }
    closedir(d);
    qsort(corpus, (size_t)n_corpus, sizeof *corpus, by_name);
    return n_corpus;
}

static void put_word(moa_rng *r, char *p, size_t n) {
    static const uint64_t word[] = {0, 1, 2, 7, 8, 9, 12, 31, 32, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000u,
                                    0xffffffffu, 0x7fffffffffffffffull, 0x8000000000000000ull, 0xffffffffffffffffull};
    uint64_t w = word[moa_rng_below(r, sizeof word / sizeof *word)];
    size_t bytes = (size_t)1 << moa_rng_below(r, 4);
    if (bytes > n) bytes = n;
    memcpy(p + moa_rng_below(r, (uint32_t)(n - bytes + 1)), &w, bytes);
}

/* One change in place; returns the new length (never longer). */
static size_t change(moa_rng *r, char *p, size_t n) {
    if (n == 0) return 0;
    size_t at = moa_rng_below(r, (uint32_t)n);
    uint32_t kind = moa_rng_below(r, 16); /* what shifts or hides all that follows is seldom: it mostly tests the first check */
    if (kind < 5) {
        p[at] = (char)(p[at] ^ 1 << moa_rng_below(r, 8));
    } else if (kind < 8) {
        p[at] = (char)moa_rng_below(r, 256);
    } else if (kind < 11) {
        put_word(r, p, n);
    } else if (kind < 14) { /* copy inside */
        size_t from = moa_rng_below(r, (uint32_t)n), most = n - (at > from ? at : from);
        memmove(p + at, p + from, moa_rng_below(r, (uint32_t)(most < 64 ? most : 64) + 1));
    } else if (kind == 14) { /* cut out */
        size_t k = moa_rng_below(r, (uint32_t)(n - at < 16 ? n - at : 16) + 1);
        memmove(p + at, p + at + k, n - at - k);
        return n - k;
    } else {
        return at;
    }
    return n;
}

static void mutate(uint64_t i) {
    moa_rng r;
    moa_rng_seed2(&r, SEED, i);
    const input *a = &corpus[moa_rng_below(&r, (uint32_t)n_corpus)], *b = &corpus[moa_rng_below(&r, (uint32_t)n_corpus)];
    snprintf(doing, sizeof doing, "mutation %llu of %s", (unsigned long long)i, a->name);
    char *p = malloc(a->n + b->n + 1);
    if (!p) exit(1);
    size_t n = a->n;
    memcpy(p, a->data, n);
    if (moa_rng_below(&r, 16) == 0 && a->n && b->n) { /* the beginning of one, the end of another */
        n = moa_rng_below(&r, (uint32_t)a->n);
        size_t from = moa_rng_below(&r, (uint32_t)b->n);
        memcpy(p + n, b->data + from, b->n - from);
        n += b->n - from;
    }
    for (uint32_t k = 1 + moa_rng_below(&r, 4); k > 0; k--) n = change(&r, p, n);
    run(p, n);
    free(p);
}

int main(int argc, char **argv) {
    if (argc < 2 || load(argv[1]) <= 0) {
        fprintf(stderr, "usage: %s FOLDER-WITH-INPUTS [RUNS [FIRST]]\n", argv[0]);
        return 2;
    }
    signal(SIGALRM, on_death);
    signal(SIGABRT, on_death);
    signal(SIGSEGV, on_death);
    uint64_t runs = argc > 2 ? strtoull(argv[2], NULL, 10) : RUNS, first = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    for (int i = 0; i < n_corpus && first == 0; i++) {
        snprintf(doing, sizeof doing, "%s", corpus[i].name);
        run(corpus[i].data, corpus[i].n);
    }
    for (uint64_t i = first; i < first + runs; i++) mutate(i);
    printf("%s: %d inputs, %llu mutations\n", argv[1], n_corpus, (unsigned long long)runs);
    for (int i = 0; i < n_corpus; i++) {
        free(corpus[i].name);
        free(corpus[i].data);
    }
    return 0;
}
