/* fuzz_grammar.c - any bytes as "GBNF \0 text": a grammar or an error with words; then the text, byte by byte: what is refused
 * changes nothing, what is alive can be fed at once as well.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "format/grammar.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void feed(const moa_grammar *g, const uint8_t *p, size_t n) {
    moa_matcher *m;
    moa_err err = {0};
    if (moa_matcher_new(&m, g, NULL, &err) < 0) return;
    const int a = moa_matcher_open(m, &err), b = a < 0 ? a : moa_matcher_fork(m, a, &err);
    size_t alive = 0;
    int rc = a < 0 ? a : 1;
    for (; rc == 1 && alive < n; alive += rc == 1) rc = moa_matcher_feed(m, a, p + alive, 1, &err);
    if (rc >= 0) {
        moa_assert_eq(moa_matcher_feed(m, b, p, alive, &err), 1);
        moa_assert(moa_matcher_complete(m, a) == moa_matcher_complete(m, b));
        moa_assert(!moa_matcher_finished(m, a) || moa_matcher_feed(m, a, "x", 1, &err) == 0);
    } else {
        moa_assert(err.code == rc && err.text[0]);
    }
    moa_matcher_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    const size_t n = end ? (size_t)(end - data) : size;
    moa_grammar *g;
    moa_err err = {0};
    const int rc = moa_grammar_parse(&g, (const char *)data, n, "fuzz", &err);
    if (rc < 0) {
        moa_assert(!g && err.code == rc && err.text[0]);
        return 0;
    }
    if (end && size - n - 1 < 4096) feed(g, end + 1, size - n - 1);
    moa_grammar_free(g);
    return 0;
}
