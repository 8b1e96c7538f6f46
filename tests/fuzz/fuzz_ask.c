/* fuzz_ask.c - any bytes as the body of a request, and as what a model writes where tools are offered. Refused with a status and words, or
 * a conversation that is whole: roles and contents that are texts, stops that are not empty, calls whose arguments are texts.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/json.h"
#include "serve/ask.h"

#include <stdlib.h>
#include <string.h>

static void check_fault(const moa_fault *f) {
    moa_buf b;
    json_t *v;
    moa_err err = {0};
    moa_buf_init(&b, 1 << 20);
    moa_assert(f->status >= 400 && f->status < 600 && f->text[0]);
    moa_fault_json(&b, f);
    moa_assert(!b.failed);
    moa_assert_eq(moa_json_parse(&v, moa_buf_str(&b), b.len, b.len, "fault", &err), 0);
    json_decref(v);
    moa_buf_deinit(&b);
}

static void check_ask(const moa_ask *a) {
    moa_assert(a->n_msg > 0 && !strcmp(a->msg[a->n_msg - 1].role, "user"));
    for (int i = 0; i < a->n_msg; i++) moa_assert(a->msg[i].role && a->msg[i].content);
    for (int i = 0; i < a->extra.n_stop; i++) moa_assert(a->extra.stop[i][0]);
    if (a->image[0]) moa_assert(json_array_size(a->talk) >= 1);
    for (size_t i = 0; i < json_array_size(a->talk); i++) {
        const json_t *c = json_object_get(json_array_get(a->talk, i), "content");
        moa_assert(json_is_string(c) || json_array_size(c) > 0);
    }
    moa_assert(moa_ask_n(a) >= 1 && moa_ask_n(a) <= MOA_ASK_CHOICES);
}

static void read_body(const char *text, size_t n) {
    moa_ask a = {0};
    moa_fault f = {0};
    int rc = moa_ask_body(&a, text, n, &f);
    if (rc >= 0) rc = moa_tools_read(&a.tools, a.body, false, &f);
    if (rc >= 0) rc = moa_ask_format(&a, json_object_get(a.body, "response_format"), "response_format", &f);
    if (rc >= 0) rc = moa_ask_logprobs(&a, &f);
    if (rc >= 0) rc = moa_ask_messages(&a, json_object_get(a.body, "messages"), &f);
    if (rc >= 0) check_ask(&a);
    else check_fault(&f);
    json_decref(moa_tools_schema(&a.tools));
    moa_ask_deinit(&a);
}

static void read_reply(const char *text, size_t n) {
    static const char tools[] = "{\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}},{\"type\":\"function\",\"function\":{\"name\":\"add\"}}]}";
    json_t *body = json_loads(tools, 0, NULL), *c;
    moa_tools t = {0};
    moa_fault f;
    size_t before, i, shown = 0;
    moa_assert_eq(moa_tools_read(&t, body, false, &f), 0);
    for (size_t k = 1; k <= n; k++) { /* as it grows: what was shown stays shown */
        const size_t ready = moa_tools_ready(text + shown, k - shown, shown == 0);
        moa_assert(shown + ready <= k);
        shown += ready;
        if (k > 200) k += n / 16;
    }
    json_t *calls = moa_tools_calls(&before, &t, text, n, "id");
    moa_assert(before <= n);
    json_array_foreach(calls, i, c) {
        const json_t *fn = json_object_get(c, "function");
        moa_assert(json_is_string(json_object_get(c, "id")) && json_is_string(json_object_get(fn, "name")) && json_is_string(json_object_get(fn, "arguments")));
    }
    json_decref(calls);
    moa_tools_deinit(&t);
    json_decref(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    moa_assert(text);
    memcpy(text, data, size);
    text[size] = 0;
    read_body(text, size);
    read_reply(text, strlen(text));
    free(text);
    return 0;
}
