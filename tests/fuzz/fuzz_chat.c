/* fuzz_chat.c - any bytes as a chat template and a conversation: "template \0 role \0 content \0 role \0 ...". Small
 * limits, so that a loop ends soon; whatever happens is a text or an error with words.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "format/chat.h"
#include "format/jinja.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_MESSAGE = 8 };

static int messages(moa_message *m, char *text, size_t n) {
    const char *part[2 * MAX_MESSAGE];
    int k = 0;
    for (size_t i = 0; i < n && k < 2 * MAX_MESSAGE; i += strlen(text + i) + 1) part[k++] = text + i;
    for (int i = 0; i + 1 < k; i += 2) m[i / 2] = (moa_message){part[i], part[i + 1]};
    return k / 2;
}

/* The interpreter itself with tight limits, and values of every JSON type. */
static void render_tight(const char *text, size_t n) {
    static const char json[] = "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]}],\"tools\":[{\"function\":"
                               "{\"name\":\"f\",\"parameters\":{\"a\":1,\"b\":[1.5,null,true]}}}],\"x\":{\"y\":{}},\"s\":\"\\u00e9\"}";
    moa_jinja *t;
    moa_err err = {0};
    char *out = NULL;
    size_t len = 0;
    if (moa_jinja_parse(&t, text, n, "fuzz", &err) < 0) {
        moa_assert(err.code < 0 && err.text[0]);
        return;
    }
    json_t *vars = json_loads(json, 0, NULL);
    int rc = moa_jinja_render(&out, &len, t, vars, &(moa_jinja_limits){.steps = 100000, .memory = 8 << 20, .output = 1 << 20, .now = 1}, &err);
    moa_assert(rc == 0 ? out && out[len] == 0 && len <= 1 << 20 : !out && err.code == rc && err.text[0]);
    free(out);
    json_decref(vars);
    moa_jinja_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size_t n = end ? (size_t)(end - data) : size;
    render_tight((const char *)data, n);
    char *text = calloc(1, size - n + 1);
    if (!text) return 0;
    if (end) memcpy(text, end + 1, size - n - 1);
    moa_message m[MAX_MESSAGE];
    moa_chat_template *t = NULL;
    moa_err err = {0};
    int n_msg = messages(m, text, end ? size - n - 1 : 0);
    if (n < 4096 && n_msg > 0 && moa_chat_template_parse(&t, (const char *)data, n, &err) == 0) {
        char *out = NULL;
        int rc = moa_chat_render(&out, NULL, t, m, n_msg, "<s>", "</s>", true, &err);
        moa_assert(rc == 0 ? out != NULL : !out && err.text[0]);
        free(out);
    }
    moa_chat_template_free(t);
    free(text);
    return 0;
}
