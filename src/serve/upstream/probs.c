/* probs.c - what a server tells of each token: rows of logprobs.content into the call's log. Nothing in them is trusted: a row without a number or
 * a text is left out. SPDX-License-Identifier: Apache-2.0 */
#include "serve/upstream/upstream.h"

#include <string.h>

enum { TOKEN_MAX = 1024 };
typedef struct token { char own[TOKEN_MAX]; moa_token_told told; } token;

/* "bytes" says more than the text, which has no broken characters: parts of a character that is several tokens. */
static bool read_bytes(token *t, const json_t *list) {
    const json_t *b;
    size_t i;
    if (!json_is_array(list) || json_array_size(list) > TOKEN_MAX) return false;
    json_array_foreach(list, i, b) {
        const json_int_t v = json_integer_value(b);
        if (!json_is_integer(b) || v < 0 || v > 255) return false;
        t->own[i] = (char)v;
    }
    t->told.bytes = (moa_str){t->own, i};
    return true;
}

static bool read_token(token *t, const json_t *v) {
    const json_t *text = json_object_get(v, "token"), *lp = json_object_get(v, "logprob");
    if (!json_is_string(text) || !json_is_number(lp)) return false;
    const double x = json_number_value(lp);
    t->told.bytes = (moa_str){json_string_value(text), json_string_length(text)};
    t->told.logprob = (float)(x < -9999 ? -9999 : x > 0 ? 0 : x); /* OpenAI's least number; some servers say -Infinity as a smaller one */
    read_bytes(t, json_object_get(v, "bytes"));
    return true;
}

static void tell(moa_token_log *to, token *t, moa_token_told *row, const json_t *v) {
    const json_t *top = json_object_get(v, "top_logprobs"), *one;
    size_t i;
    int n = 0;
    moa_err err;
    if (!read_token(&t[n], v)) return;
    row[n] = t[n].told, n++;
    json_array_foreach(top, i, one) {
        if (n > to->top) break;
        if (read_token(&t[n], one)) row[n] = t[n].told, n++;
    }
    moa_token_log_tell(to, row, n, &err); /* without memory for it, the reply goes on without */
}

void moa_upstream_probs(moa_token_log *to, json_t *rows) {
    token t[1 + MOA_TOP_MAX];
    moa_token_told row[1 + MOA_TOP_MAX];
    const json_t *v;
    size_t i;
    if (!to || !json_array_size(rows)) return;
    json_array_foreach(rows, i, v) tell(to, t, row, v);
    json_array_clear(rows);
}
