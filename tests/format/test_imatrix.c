/* test_imatrix.c - importance matrices: both formats give back what was put in, and refuse what is damaged.
 * With MOA_CORPUS=FOLDER the files become inputs of fuzz_imatrix.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "format/gguf.h"
#include "format/imatrix.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void temp(char *out, size_t n, const char *name) {
    const char *dir = getenv("TMPDIR");
    snprintf(out, n, "%s/moa-test-%d-%s", dir ? dir : "/tmp", (int)getpid(), name);
}

static moa_imatrix *sample(void) {
    moa_imatrix *m = moa_imatrix_new();
    m->text = strdup("text.txt"), m->model = strdup("model.gguf"), m->text_hash = 0xdeadbeef12345678u, m->chunks = 7, m->chunk_size = 64;
    moa_imatrix_entry *e = moa_imatrix_add(m, "blk.1.ffn_down_exps.weight", 3, 4); /* expert 1 has no data */
    for (int i = 0; i < 12; i++) e->sum[i] = i / 4 == 1 ? 0 : 10 + i;
    e->count[0] = 2, e->count[1] = 0, e->count[2] = 4;
    e = moa_imatrix_add(m, "blk.0.attn_q.weight", 1, 8);
    for (int i = 0; i < 8; i++) e->sum[i] = 0.5 * i;
    e->count[0] = 100;
    return m;
}

static void save(const char *folder, const char *name, const void *p, size_t n) {
    char path[512];
    moa_writer *w;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(moa_writer_open(&w, path, NULL), 0);
    moa_writer_add(w, p, n);
    assert_int_equal(moa_writer_commit(w, NULL), 0);
}

static void keep(const char *path, const char *name) {
    char *data;
    size_t n;
    if (!getenv("MOA_CORPUS")) return;
    assert_int_equal(moa_read_file(&data, &n, path, 1 << 20, NULL), 0);
    save(getenv("MOA_CORPUS"), name, data, n);
    free(data);
}

static void both_formats(void **state) {
    (void)state;
    static const char *const names[] = {"im.gguf", "im.dat"};
    static const float q[8] = {0, 0.005f, 0.01f, 0.015f, 0.02f, 0.025f, 0.03f, 0.035f};
    static const float expert[3][4] = {{5, 5.5f, 6, 6.5f}, {28 / 6.0f, 30 / 6.0f, 32 / 6.0f, 34 / 6.0f}, {4.5f, 4.75f, 5, 5.25f}};
    for (int f = 0; f < 2; f++) {
        char path[256];
        moa_imatrix *m = sample(), *r = NULL;
        moa_err err = {0};
        float got[8];
        temp(path, sizeof path, names[f]);
        if (moa_imatrix_write(m, path, &err) < 0 || moa_imatrix_read(&r, path, &err) < 0) fail_msg("%s", err.text);
        keep(path, names[f]);
        assert_int_equal(r->n_entry, 2);
        assert_int_equal(r->chunks, 7);
        assert_string_equal(r->text, "text.txt");
        const moa_imatrix_entry *e = moa_imatrix_find(r, "blk.0.attn_q.weight");
        assert_true(moa_imatrix_mean(got, e, 1, 8, 0));
        for (int i = 0; i < 8; i++) assert_true(fabsf(got[i] - q[i]) <= 1e-6f);
        e = moa_imatrix_find(r, "blk.1.ffn_down_exps.weight");
        for (int k = 0; k < 3; k++) { /* the expert without data: the mean over the rows of the others */
            assert_true(moa_imatrix_mean(got, e, 3, 4, k));
            for (int i = 0; i < 4; i++) assert_true(fabsf(got[i] - expert[k][i]) <= 1e-5f);
        }
        assert_false(moa_imatrix_mean(got, e, 2, 4, 0)); /* of another model */
        assert_null(moa_imatrix_find(r, "blk.0.attn_k.weight"));
        if (f == 0) assert_true(r->text_hash == m->text_hash && !strcmp(r->model, "model.gguf") && r->chunk_size == 64);
        moa_imatrix_free(m), moa_imatrix_free(r);
        unlink(path);
    }
}

/* Every cut of a .dat is refused, but for the two at which older tools end; no cut of either may read too far. */
static void cut_files(void **state) {
    (void)state;
    static const char *const names[] = {"cut.gguf", "cut.dat"};
    for (int f = 0; f < 2; f++) {
        char path[256], *data;
        size_t n;
        moa_imatrix *m = sample(), *r;
        int taken = 0;
        temp(path, sizeof path, names[f]);
        assert_int_equal(moa_imatrix_write(m, path, NULL), 0);
        assert_int_equal(moa_read_file(&data, &n, path, 1 << 20, NULL), 0);
        for (size_t k = 0; k < n; k++) {
            moa_err err = {0};
            void *copy = malloc(k ? k : 1);
            memcpy(copy, data, k);
            if (moa_imatrix_read_memory(&r, copy, k, "cut", &err) >= 0) taken++, moa_imatrix_free(r);
            else assert_true(err.text[0] != 0 && r == NULL);
            free(copy);
        }
        assert_int_equal(taken > (f ? 1 : 31), 0); /* padding at the end of a GGUF file may be cut */
        free(data);
        moa_imatrix_free(m);
        unlink(path);
    }
}

static const float good[4] = {1, 2, 3, 4}, nan_in[4] = {1, NAN, 3, 4}, minus[4] = {1, -2, 3, 4};
static const struct bad { const char *name, *type; const float *sum; int n_count; int code; const char *says; } BAD[] = {
    {"fine", "imatrix", good, 2, 0, NULL},
    {"wrong_type", "model", good, 2, MOA_EFORMAT, "general.type is 'model'"},
    {"no_counts", "imatrix", good, 0, MOA_ENOTFOUND, "'a.counts' is missing"},
    {"wrong_counts", "imatrix", good, 1, MOA_EFORMAT, "1 counts for 2 matrices"},
    {"not_a_number", "imatrix", nan_in, 2, MOA_EFORMAT, "'a.in_sum2' holds a value"},
    {"negative", "imatrix", minus, 2, MOA_EFORMAT, "'a.in_sum2' holds a value"},
    {"nothing", "imatrix", NULL, 0, MOA_EFORMAT, "no entry"},
};

static void bad_files(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        const struct bad *b = &BAD[i];
        char path[256];
        moa_err err = {0};
        moa_imatrix *r;
        float count[2] = {1, 1};
        moa_gguf_out *o = moa_gguf_out_new();
        moa_gguf_put_str(o, "general.type", b->type, strlen(b->type));
        const moa_tensor s = moa_view2(MOA_F32, (void *)(uintptr_t)(b->sum ? b->sum : good), 2, 2), c = moa_view2(MOA_F32, count, b->n_count ? b->n_count : 1, 1);
        if (b->sum) moa_gguf_put_tensor(o, "a.in_sum2", &s);
        if (b->n_count) moa_gguf_put_tensor(o, "a.counts", &c);
        temp(path, sizeof path, "bad.gguf");
        assert_int_equal(moa_gguf_write(o, path, &err), 0);
        moa_gguf_out_free(o);
        keep(path, b->name);
        const int rc = moa_imatrix_read(&r, path, &err);
        if (rc != b->code || (b->says && !strstr(err.text, b->says))) fail_msg("%s: %d '%s'", b->name, rc, err.text);
        if (rc == 0) moa_imatrix_free(r);
        unlink(path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(both_formats), cmocka_unit_test(cut_files), cmocka_unit_test(bad_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
