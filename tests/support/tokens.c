/* tokens.c - see tokens.h. SPDX-License-Identifier: Apache-2.0 */
#include "support/tokens.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

int tok_try_load(tok_loaded *l, moa_gguf_out *o, const char *label, moa_err *err) {
    char path[300];
    const char *corpus = getenv("MOA_CORPUS"), *dir = getenv("TMPDIR");
    if (corpus) snprintf(path, sizeof path, "%s/%s", corpus, label);
    else snprintf(path, sizeof path, "%s/moa-tokens-%d.gguf", dir ? dir : "/tmp", (int)getpid());
    *l = (tok_loaded){NULL, NULL};
    if (moa_gguf_write(o, path, err) < 0 || moa_gguf_open(&l->g, path, err) < 0) fail_msg("%s", err->text);
    if (!corpus) unlink(path);
    moa_gguf_out_free(o);
    return moa_tokenizer_open(&l->t, l->g, err);
}

tok_loaded tok_load(moa_gguf_out *o, const char *label) {
    tok_loaded l;
    moa_err err = {0};
    if (tok_try_load(&l, o, label, &err) < 0) fail_msg("%s: %s", label, err.text);
    return l;
}

void tok_unload(tok_loaded l) {
    moa_tokenizer_close(l.t);
    moa_gguf_close(l.g);
}

void tok_expect(const moa_tokenizer *t, const char *text, int flags, const int32_t *want, int64_t n) {
    moa_ids ids = {0};
    moa_err err = {0};
    if (moa_tokenize(&ids, t, text, strlen(text), flags, &err) < 0) fail_msg("'%s': %s", text, err.text);
    if (ids.n != n || (n && memcmp(ids.v, want, (size_t)n * sizeof *want) != 0)) {
        for (int64_t i = 0; i < ids.n; i++) printf(" %d", ids.v[i]);
        fail_msg("'%s': got the above", text);
    }
    moa_ids_deinit(&ids);
}
