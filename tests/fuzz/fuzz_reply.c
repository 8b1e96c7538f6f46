/* fuzz_reply.c - any bytes as what a server behind a URL sends: first byte: how they are cut; the rest as a stream, as a whole body, and as a
 * header line. Text only grows, it and the thoughts are UTF-8 and bounded; the same bytes cut otherwise say the same, and what they say of tokens can
 * be told. SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "serve/upstream/upstream.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const moa_buf *b) {
    moa_assert(b->len <= MOA_REPLY_TEXT_MAX);
    for (size_t i = 0; i < b->len;) {
        utf8proc_int32_t c;
        const utf8proc_ssize_t k = utf8proc_iterate((const utf8proc_uint8_t *)b->data + i, (utf8proc_ssize_t)(b->len - i), &c);
        moa_assert(k > 0);
        i += (size_t)k;
    }
}

/* Every row has a token, and a number that JSON has. */
static void tell_probs(moa_reply *r) {
    moa_token_log *l;
    moa_token_prob row[1 + 5];
    moa_assert_eq(moa_token_log_new(&l, 5, NULL), 0);
    moa_upstream_probs(l, r->probs);
    moa_assert_eq(json_array_size(r->probs), 0);
    for (int64_t i = 0; i < moa_token_log_count(l); i++) {
        moa_str s;
        moa_token_log_get(l, i, row);
        moa_assert(row[0].id >= 0);
        for (int k = 0; k < 6 && row[k].id >= 0; k++) moa_assert(moa_token_log_bytes(&s, l, row[k].id) && row[k].logprob <= 0 && row[k].logprob >= -9999);
    }
    moa_token_log_free(l);
}

static void check(const moa_reply *r, int rc) {
    moa_assert(rc <= 0 && rc == r->err.code);
    moa_assert(rc == 0 || r->err.text[0]);
    moa_assert(r->text.len <= MOA_REPLY_TEXT_MAX && r->n_call <= MOA_REPLY_CALLS_MAX);
    moa_assert(r->prompt_tokens >= 0 && r->completion_tokens >= 0 && r->cached_tokens >= 0 && r->cached_tokens <= r->prompt_tokens);
    check_text(&r->text);
    check_text(&r->thought);
}

static int feed(moa_reply *r, const char *p, size_t n, size_t step) {
    size_t shown = 0;
    int rc = 0;
    moa_reply_init(r, "far");
    moa_reply_want_probs(r);
    for (size_t i = 0; i < n && rc >= 0; i += step) {
        rc = moa_reply_feed(r, p + i, n - i < step ? n - i : step);
        moa_assert(r->text.len >= shown);
        shown = r->text.len;
    }
    if (rc >= 0) rc = moa_reply_end(r, true);
    check(r, rc);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    const char *p = (const char *)data + 1;
    const size_t n = size - 1;
    char why[301];
    moa_reply a, b;
    const int rc = feed(&a, p, n, n + 1), other = feed(&b, p, n, 1 + data[0] % 64);
    moa_assert_eq(rc, other);
    moa_assert(a.text.len == b.text.len && !memcmp(moa_buf_str(&a.text), moa_buf_str(&b.text), a.text.len));
    moa_assert(a.thought.len == b.thought.len && !memcmp(moa_buf_str(&a.thought), moa_buf_str(&b.thought), a.thought.len));
    moa_assert(json_equal(a.probs, b.probs));
    tell_probs(&a);
    moa_reply_deinit(&a);
    moa_reply_init(&a, "far");
    moa_reply_want_probs(&a);
    int whole = moa_reply_body(&a, p, n);
    moa_reply_reason(&a, why, sizeof why);
    if (whole >= 0) whole = moa_reply_end(&a, false);
    check(&a, whole);
    tell_probs(&a);
    moa_reply_deinit(&a);
    moa_reply_deinit(&b);
    const double wait = moa_retry_after(p, n, 1e9);
    moa_assert(wait >= -1 && wait < 1e300);
    return 0;
}
