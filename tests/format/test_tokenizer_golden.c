/* test_tokenizer_golden.c - ids of published vocabularies, exactly as other engines give them, and back to the text.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/tokenizer.h"

#include "base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

static const char *shared(char *out, size_t n, const char *rest) {
    const char *root = getenv("MOA_SHARED");
    snprintf(out, n, "%s/%s", root ? root : "../shared", rest);
    FILE *f = fopen(out, "rb");
    if (f) return fclose(f), out;
    printf("skip: %s is not here\n", out);
    skip();
    return NULL;
}

typedef struct vocab { moa_gguf *g; moa_tokenizer *t; } vocab;

static vocab open_vocab(const char *path) {
    vocab v = {0};
    moa_err err = {0};
    if (moa_gguf_open(&v.g, path, &err) < 0 || moa_tokenizer_open(&v.t, v.g, &err) < 0) fail_msg("%s (%s)", err.text, err.hint);
    return v;
}

static void close_vocab(vocab v) {
    moa_tokenizer_close(v.t);
    moa_gguf_close(v.g);
}

static void show(char *out, size_t n, const int32_t *v, int64_t count) {
    size_t k = 0;
    out[0] = 0;
    for (int64_t i = 0; i < count && k + 16 < n; i++) k += (size_t)snprintf(out + k, n - k, " %d", v[i]);
}

static void check(const moa_tokenizer *t, const char *text, size_t n, const int32_t *want, int64_t n_want, const char *where) {
    moa_ids ids = {0};
    moa_err err = {0};
    if (moa_tokenize(&ids, t, text, n, 0, &err) < 0) fail_msg("%s: %s", where, err.text);
    if (ids.n != n_want || (n_want && memcmp(ids.v, want, (size_t)n_want * sizeof *want) != 0)) {
        char a[4096], b[4096];
        show(a, sizeof a, ids.v, ids.n);
        show(b, sizeof b, want, n_want);
        fail_msg("%s: '%.*s'\n got     %s\n expected%s", where, (int)n, text, a, b);
    }
    char *back;
    size_t len;
    assert_int_equal(moa_detokenize(&back, &len, t, ids.v, ids.n, false, &err), 0);
    assert_int_equal(len, n);
    assert_memory_equal(back, text, n);
    free(back);
    moa_ids_deinit(&ids);
}

static void run_vectors(const char *path, const char *name) {
    char in[540], out[540];
    snprintf(in, sizeof in, "%s.inp", path);
    snprintf(out, sizeof out, "%s.out", path);
    vocab v = open_vocab(path);
    char *inp, *line;
    moa_err err = {0};
    size_t n_inp;
    assert_int_equal(moa_read_file(&inp, &n_inp, in, 1 << 24, &err), 0);
    assert_int_equal(moa_read_file(&line, NULL, out, 1 << 24, &err), 0);
    static const char sep[] = "\n__ggml_vocab_test__\n";
    char *l = line;
    int cases = 0;
    for (char *p = inp; p && p < inp + n_inp; cases++) {
        char *end = strstr(p, sep);
        size_t n = end ? (size_t)(end - p) : strlen(p);
        char *eol = strchr(l, '\n');
        int32_t want[4096];
        int64_t n_want = 0;
        if (!eol) { /* a last text without a line of ids is the file's tail */
            cases--;
            break;
        }
        *eol = 0;
        for (char *e = l; *e;) {
            char *stop;
            long id = strtol(e, &stop, 10);
            if (stop == e) break;
            assert_true(n_want < 4096);
            want[n_want++] = (int32_t)id;
            e = stop;
        }
        char where[600];
        snprintf(where, sizeof where, "%s text %d", name, cases + 1);
        check(v.t, p, n, want, n_want, where);
        l = eol + 1;
        p = end ? end + sizeof sep - 1 : NULL;
    }
    printf("%s: %d texts\n", name, cases);
    assert_true(cases > 30);
    free(inp);
    free(line);
    close_vocab(v);
}

static void run_golden(const char *name) {
    char path[512], rel[128];
    snprintf(rel, sizeof rel, "goldens/tokenizer/ggml-vocab-%s.gguf", name);
    if (shared(path, sizeof path, rel)) run_vectors(path, name);
}

/* The same texts on the vocabularies cut to them (tests/golden/README.md): there in every clone. */
static void cut(void **state) {
    (void)state;
    static const char *const names[] = {"gpt-2", "deepseek-coder", "falcon", "llama-spm", "phi-3"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[128];
        snprintf(path, sizeof path, "tests/golden/vocab-%s.gguf", names[i]);
        run_vectors(path, names[i]);
    }
}

static void gpt2(void **state) { (void)state; run_golden("gpt-2"); }
static void deepseek_coder(void **state) { (void)state; run_golden("deepseek-coder"); }
static void falcon(void **state) { (void)state; run_golden("falcon"); }
static void llama_spm(void **state) { (void)state; run_golden("llama-spm"); }
static void phi3(void **state) { (void)state; run_golden("phi-3"); }

static void stories(void **state) {
    (void)state;
    char path[512], cases_path[512];
    if (!shared(path, sizeof path, "data/models/stories260k/stories260K-f32.gguf")) return;
    if (!shared(cases_path, sizeof cases_path, "data/models/stories260k/golden.json")) return;
    vocab v = open_vocab(path);
    json_error_t je;
    json_t *root = json_load_file(cases_path, 0, &je), *c;
    assert_non_null(root);
    size_t i;
    json_array_foreach(json_object_get(root, "cases"), i, c) {
        const char *text = json_string_value(json_object_get(c, "text"));
        json_t *want = json_object_get(c, "ids");
        moa_ids ids = {0};
        moa_err err = {0};
        if (moa_tokenize(&ids, v.t, text, strlen(text), MOA_TOK_BOS, &err) < 0) fail_msg("%s", err.text);
        assert_int_equal(ids.n, (int64_t)json_array_size(want));
        for (int64_t k = 0; k < ids.n; k++) assert_int_equal(ids.v[k], (int)json_integer_value(json_array_get(want, (size_t)k)));
        moa_ids_deinit(&ids);
    }
    assert_true(i > 1);
    json_decref(root);
    close_vocab(v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut), cmocka_unit_test(gpt2), cmocka_unit_test(deepseek_coder), cmocka_unit_test(falcon),
        cmocka_unit_test(llama_spm), cmocka_unit_test(phi3), cmocka_unit_test(stories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
