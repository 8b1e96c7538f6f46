/* fuzz_schema.c - any bytes as a JSON schema: a grammar or an error with words. Of a grammar the shortest text, found by trying
 * bytes that lead on, must be JSON.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "format/grammar.h"

#include <jansson.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LONGEST = 300 };

/* A sentence: the first byte that is alive, closing ones first. */
static void write_one(const moa_grammar *g) {
    static const char order[] = "\"}],:0123456789-T.{[abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSUVWXYZ\\/ +@";
    moa_matcher *m;
    char text[LONGEST + 1];
    size_t n = 0;
    moa_err err = {0};
    if (moa_matcher_new(&m, g, NULL, &err) < 0) return;
    const int s = moa_matcher_open(m, &err);
    while (s >= 0 && n < LONGEST && !moa_matcher_complete(m, s)) {
        size_t k = 0;
        while (order[k] && moa_matcher_feed(m, s, &order[k], 1, &err) != 1) k++;
        if (!order[k]) break;
        text[n++] = order[k];
    }
    if (s >= 0 && moa_matcher_complete(m, s)) {
        json_t *v = json_loadb(text, n, JSON_DECODE_ANY, NULL);
        moa_assert(v != NULL);
        json_decref(v);
    }
    moa_matcher_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    moa_grammar *g;
    moa_err err = {0};
    const int rc = moa_grammar_from_schema(&g, (const char *)data, size, "fuzz", &err);
    if (rc < 0) {
        moa_assert(!g && err.code == rc && err.text[0]);
        return 0;
    }
    write_one(g);
    moa_grammar_free(g);
    return 0;
}
