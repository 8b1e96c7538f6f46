/* test_gguf_split.c - a model in several files: all tensors are there without a copy; every way in which parts can be
 * missing or wrong is an error that names the file. With MOA_CORPUS=FOLDER the cases become inputs of fuzz_split.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "format/gguf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_PART = 4 };

/* What one part says and holds. */
typedef struct part { int no, count, total; /* -1: key absent */ const char *tensor[3]; } part;
typedef struct split_case {
    const char *name;
    part part[MAX_PART];
    int n_file;        /* parts that are written; they are called 1 .. n_file of n_name */
    int n_name, open;  /* opened as number `open` */
    int code;
    const char *says;  /* in the error, and the name of the file */
} split_case;

static const split_case CASES[] = {
    {"three", {{0, 3, 5, {"a", "b"}}, {1, 3, 5, {"c"}}, {2, 3, 5, {"d", "e"}}}, 3, 3, 1, 0, NULL},
    {"keys_only_first", {{0, 2, 1, {NULL}}, {1, 2, 1, {"a"}}}, 2, 2, 1, 0, NULL},
    {"no_total", {{0, 2, -1, {"a"}}, {1, 2, -1, {"b"}}}, 2, 2, 1, 0, NULL},
    {"one_of_one", {{0, 1, 1, {"a"}}}, 1, 1, 1, 0, NULL},
    {"second_opened", {{0, 2, 2, {"a"}}, {1, 2, 2, {"b"}}}, 2, 2, 2, MOA_EINVAL, "is part 2 of 2"},
    {"missing", {{0, 3, 3, {"a"}}, {1, 3, 3, {"b"}}}, 2, 3, 1, MOA_ENOTFOUND, "-00003-of-00003.gguf"},
    {"wrong_name", {{0, 3, 3, {"a"}}, {1, 3, 3, {"b"}}}, 2, 2, 1, MOA_EINVAL, "does not end with -00001-of-00003.gguf"},
    {"wrong_number", {{0, 2, 2, {"a"}}, {0, 2, 2, {"b"}}}, 2, 2, 1, MOA_EFORMAT, "-00002-of-00002.gguf: is part 1 of 2"},
    {"wrong_count", {{0, 2, 2, {"a"}}, {1, 3, 2, {"b"}}}, 2, 2, 1, MOA_EFORMAT, "-00002-of-00002.gguf: is part 2 of 3"},
    {"no_keys", {{0, 2, 2, {"a"}}, {-1, -1, -1, {"b"}}}, 2, 2, 1, MOA_ENOTFOUND, "-00002-of-00002.gguf: key 'split.no' is missing"},
    {"wrong_total", {{0, 2, 3, {"a"}}, {1, 2, 3, {"b"}}}, 2, 2, 1, MOA_EFORMAT, "2 tensors together, split.tensors.count says 3"},
    {"other_model", {{0, 2, 2, {"a"}}, {1, 2, 3, {"b"}}}, 2, 2, 1, MOA_EFORMAT, "-00002-of-00002.gguf: split.tensors.count = 3, the first part says 2"},
    {"twice", {{0, 2, 2, {"a"}}, {1, 2, 2, {"a"}}}, 2, 2, 1, MOA_EFORMAT, "tensor 'a' given twice"},
    {"too_many", {{0, 70000, 2, {"a"}}}, 1, 2, 1, MOA_ELIMIT, "split.count is 70000"},
};

static void put(moa_gguf_out *o, const char *key, int v) {
    if (v >= 0) moa_gguf_put_u32(o, key, (uint32_t)v);
}

static void write_part(const char *path, const part *p) {
    moa_err err = {0};
    float value[3][8]; /* borrowed until the write */
    moa_gguf_out *o = moa_gguf_out_new();
    if (p->no <= 0) moa_gguf_put_str(o, "general.architecture", "llama", 5);
    put(o, "split.no", p->no), put(o, "split.count", p->count), put(o, "split.tensors.count", p->total);
    for (int i = 0; i < 3 && p->tensor[i]; i++) {
        for (int j = 0; j < 8; j++) value[i][j] = (float)(p->tensor[i][0] * 100 + j);
        const moa_tensor t = moa_view2(MOA_F32, value[i], 2, 4);
        moa_gguf_put_tensor(o, p->tensor[i], &t);
    }
    if (moa_gguf_write(o, path, &err) < 0) fail_msg("%s", err.text);
    moa_gguf_out_free(o);
}

static void part_path(char *out, size_t n, const char *name, int no, int count) {
    const char *dir = getenv("TMPDIR");
    snprintf(out, n, "%s/moa-test-%d-%s-%05d-of-%05d.gguf", dir ? dir : "/tmp", (int)getpid(), name, no, count);
}

static void check_tensors(const split_case *c, const moa_gguf *g) {
    int n = 0;
    for (int p = 0; p < c->n_file; p++)
        for (int i = 0; i < 3 && c->part[p].tensor[i]; i++, n++) {
            const moa_tensor *t = moa_gguf_tensor(g, c->part[p].tensor[i]);
            assert_non_null(t);
            assert_ptr_equal(t, moa_gguf_tensor_at(g, n)); /* in the order of the parts */
            for (int j = 0; j < 8; j++) assert_true(((const float *)t->data)[j] == (float)(t->name[0] * 100 + j));
        }
    assert_int_equal(moa_gguf_n_tensor(g), n);
    assert_int_equal(moa_gguf_n_part(g), c->n_file);
    assert_null(moa_gguf_tensor(g, "z"));
    assert_non_null(moa_gguf_find(g, "general.architecture"));
}

/* u32 length and the bytes of each part. */
static void save_case(const split_case *c, const char *folder) {
    char path[512];
    moa_writer *w;
    snprintf(path, sizeof path, "%s/%s", folder, c->name);
    assert_int_equal(moa_writer_open(&w, path, NULL), 0);
    for (int p = 0; p < c->n_file; p++) {
        char *data;
        size_t n;
        part_path(path, sizeof path, c->name, p + 1, c->n_name);
        assert_int_equal(moa_read_file(&data, &n, path, 1 << 20, NULL), 0);
        moa_writer_add(w, &(uint32_t){(uint32_t)n}, 4);
        moa_writer_add(w, data, n);
        free(data);
    }
    assert_int_equal(moa_writer_commit(w, NULL), 0);
}

static void cases(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        const split_case *c = &CASES[i];
        char path[512];
        moa_gguf *g;
        moa_err err = {0};
        for (int p = 0; p < c->n_file; p++) {
            part_path(path, sizeof path, c->name, p + 1, c->n_name);
            write_part(path, &c->part[p]);
        }
        if (getenv("MOA_CORPUS")) save_case(c, getenv("MOA_CORPUS"));
        part_path(path, sizeof path, c->name, c->open, c->n_name);
        const int rc = moa_gguf_open(&g, path, &err);
        if (rc != c->code || (c->says && !strstr(err.text, c->says)))
            fail_msg("%s: %d '%s', expected %d and '%s'", c->name, rc, err.text, c->code, c->says ? c->says : "");
        if (rc == 0) check_tensors(c, g);
        else assert_null(g);
        moa_gguf_close(g);
        for (int p = 0; p < c->n_file; p++) {
            part_path(path, sizeof path, c->name, p + 1, c->n_name);
            unlink(path);
        }
    }
}

/* A damaged part is named, not the first one. */
static void damaged_part(void **state) {
    (void)state;
    char first[512], second[512];
    moa_gguf *g;
    moa_err err = {0};
    part_path(first, sizeof first, "damaged", 1, 2), part_path(second, sizeof second, "damaged", 2, 2);
    write_part(first, &(part){0, 2, 2, {"a"}});
    write_part(second, &(part){1, 2, 2, {"b"}});
    assert_int_equal(truncate(second, 150), 0);
    assert_int_equal(moa_gguf_open(&g, first, &err), MOA_EFORMAT);
    assert_non_null(strstr(err.text, second));
    assert_null(g);
    unlink(first), unlink(second);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(cases), cmocka_unit_test(damaged_part)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
