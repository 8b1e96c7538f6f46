/* stream.c - see stream.h. Stop strings are few and short, so they are compared directly at each new position.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/stream.h"
#include "base/err.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST = 4096 }; /* bytes: a reply of the default length never grows it while decoding */

int moa_stream_init(moa_stream *s, const char *const *stop, int n_stop, moa_err *err) {
    *s = (moa_stream){.stop = stop, .n_stop = n_stop, .cap = FIRST};
    if (!(s->text = malloc(FIRST))) return moa_fail(err, MOA_ENOMEM, "generate: no memory for text");
    s->text[0] = 0;
    return 0;
}

void moa_stream_deinit(moa_stream *s) {
    free(s->text);
    *s = (moa_stream){0};
}

/* First place at or after `from` where a stop string lies whole; len when there is none. */
static size_t find_stop(const moa_stream *s, size_t from) {
    for (size_t at = from; at < s->len; at++)
        for (int i = 0; i < s->n_stop; i++) {
            const size_t n = strlen(s->stop[i]);
            if (n <= s->len - at && !memcmp(s->text + at, s->stop[i], n)) return at;
        }
    return s->len;
}

int moa_stream_add(moa_stream *s, const char *bytes, size_t n, moa_err *err) {
    if (s->stopped || !n) return 0;
    if (n >= s->cap - s->len) {
        size_t cap = s->cap * 2 > s->len + n + 1 ? s->cap * 2 : s->len + n + 1;
        char *p = realloc(s->text, cap);
        if (!p) return moa_fail(err, MOA_ENOMEM, "generate: no memory for %zu bytes of text", cap);
        s->text = p;
        s->cap = cap;
    }
    memcpy(s->text + s->len, bytes, n);
    s->len += n;
    /* What was sent cannot begin a stop string, and nothing before it can either. */
    const size_t end = find_stop(s, s->sent);
    s->stopped = end < s->len;
    s->len = end;
    s->text[end] = 0;
    return 0;
}

size_t moa_stream_ready(const moa_stream *s) {
    if (s->ended) return s->len;
    size_t hold = 0; /* longest end of the text that is the beginning of a stop string */
    for (int i = 0; !s->stopped && i < s->n_stop; i++) {
        size_t k = strlen(s->stop[i]) - 1;
        if (k > s->len - s->sent) k = s->len - s->sent;
        for (; k > hold; k--)
            if (!memcmp(s->text + s->len - k, s->stop[i], k)) hold = k;
    }
    const size_t ready = moa_utf8_ready(s->text, s->len - hold);
    return ready > s->sent ? ready : s->sent;
}

void moa_stream_end(moa_stream *s) {
    s->len = moa_utf8_ready(s->text, s->len);
    s->text[s->len] = 0;
    s->ended = true;
}

void moa_stream_break(moa_stream *s) {
    s->len = moa_stream_ready(s);
    s->text[s->len] = 0;
    s->ended = true;
}
