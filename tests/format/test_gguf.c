/* test_gguf.c - reading: every class of damage is refused with words that say what and where; writing: what is read
 * and put back gives the same bytes. With MOA_CORPUS=FOLDER the damaged files are written there, as seeds for fuzz_gguf.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/gguf.h"

#include "base/err.h"
#include "base/file.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- a file, byte by byte ---- */

typedef struct file { uint8_t d[1 << 13]; size_t n; } file;

static void put(file *f, const void *p, size_t n) {
    assert_true(f->n + n <= sizeof f->d);
    if (n) memcpy(f->d + f->n, p, n);
    f->n += n;
}
static void p32(file *f, uint32_t v) { put(f, &v, 4); }
static void p64(file *f, uint64_t v) { put(f, &v, 8); }
static void pstr(file *f, const char *s) {
    p64(f, strlen(s));
    put(f, s, strlen(s));
}
static void head(file *f, uint32_t version, uint64_t n_tensor, uint64_t n_kv) {
    put(f, "GGUF", 4);
    p32(f, version);
    p64(f, n_tensor);
    p64(f, n_kv);
}
static void kv(file *f, const char *key, uint32_t type) {
    pstr(f, key);
    p32(f, type);
}
static void arr(file *f, const char *key, uint32_t elem, uint64_t n) {
    kv(f, key, MOA_GGUF_ARR);
    p32(f, elem);
    p64(f, n);
}
static void tensor(file *f, const char *name, int n_dim, const uint64_t *dim, uint32_t type, uint64_t at) {
    pstr(f, name);
    p32(f, (uint32_t)n_dim);
    for (int i = 0; i < n_dim; i++) p64(f, dim[i]);
    p32(f, type);
    p64(f, at);
}
static void pad(file *f) {
    while (f->n % 32) put(f, "", 1);
}
static void zeros(file *f, size_t n) {
    for (size_t i = 0; i < n; i++) put(f, "", 1);
}
#define DIMS(...) (const uint64_t[]){__VA_ARGS__}

/* ---- damage: one function a class ---- */

static void empty(file *f) { (void)f; }
static void wrong_magic(file *f) { put(f, "GGML\3\0\0\0", 8); }
static void short_header(file *f) { put(f, "GGUF\3\0\0\0\1\0", 10); }
static void version_1(file *f) { head(f, 1, 0, 0); }
static void version_9(file *f) { head(f, 9, 0, 0); }
static void big_endian(file *f) { head(f, 0x03000000, 0, 0); }
static void too_many_tensors(file *f) { head(f, 3, 1ull << 40, 0); }
static void too_many_keys(file *f) { head(f, 3, 0, UINT64_MAX); }
static void key_too_long(file *f) { head(f, 3, 0, 1), p64(f, UINT64_MAX - 3), zeros(f, 40); }
static void key_empty(file *f) { head(f, 3, 0, 1), kv(f, "", MOA_GGUF_U32), p32(f, 1), zeros(f, 16); }
static void key_with_zero(file *f) { head(f, 3, 0, 1), p64(f, 3), put(f, "a\0b", 3), p32(f, MOA_GGUF_U32), p32(f, 1); }
static void key_control(file *f) { head(f, 3, 0, 1), kv(f, "a\33[2J", MOA_GGUF_U32), p32(f, 1); }
static void key_twice(file *f) { head(f, 3, 0, 2), kv(f, "a", 0), put(f, "x", 1), kv(f, "a", 0), put(f, "y", 1), zeros(f, 16); }
static void value_type(file *f) { head(f, 3, 0, 1), kv(f, "a", 13), zeros(f, 16); }
static void value_cut(file *f) { head(f, 3, 0, 1), kv(f, "long.name", MOA_GGUF_U64), p32(f, 1); }
static void string_length(file *f) { head(f, 3, 0, 1), kv(f, "a", MOA_GGUF_STR), p64(f, 1000), zeros(f, 9); }
static void bool_2(file *f) { head(f, 3, 0, 1), kv(f, "a", MOA_GGUF_BOOL), put(f, "\2", 1); }
static void bool_array(file *f) { head(f, 3, 0, 1), arr(f, "a", MOA_GGUF_BOOL, 3), put(f, "\0\1\7", 3); }
static void array_elem(file *f) { head(f, 3, 0, 1), arr(f, "a", 99, 1), zeros(f, 16); }
static void array_count(file *f) { head(f, 3, 0, 1), arr(f, "a", MOA_GGUF_U64, 1ull << 61), zeros(f, 64); }
static void array_string_cut(file *f) { head(f, 3, 0, 1), arr(f, "a", MOA_GGUF_STR, 3), pstr(f, "x"), p64(f, 50), zeros(f, 20); }
static void array_nested_elem(file *f) { head(f, 3, 0, 1), arr(f, "a", MOA_GGUF_ARR, 1), p32(f, 77), p64(f, 1), zeros(f, 9); }
static void array_too_deep(file *f) {
    head(f, 3, 0, 1);
    arr(f, "a", MOA_GGUF_ARR, 1);
    for (int i = 0; i < 8; i++) p32(f, MOA_GGUF_ARR), p64(f, 1);
    zeros(f, 32);
}
static void alignment_3(file *f) { head(f, 3, 0, 1), kv(f, "general.alignment", MOA_GGUF_U32), p32(f, 24); }
static void alignment_0(file *f) { head(f, 3, 0, 1), kv(f, "general.alignment", MOA_GGUF_U32), p32(f, 0); }
static void alignment_type(file *f) { head(f, 3, 0, 1), kv(f, "general.alignment", MOA_GGUF_U64), p64(f, 32); }
static void tensor_name_control(file *f) { head(f, 3, 1, 0), tensor(f, "w\302\2332J", 1, DIMS(8), 0, 0), pad(f), zeros(f, 64); }
static void tensor_name_empty(file *f) { head(f, 3, 1, 0), tensor(f, "", 1, DIMS(8), 0, 0), pad(f), zeros(f, 64); }
static void tensor_twice(file *f) {
    head(f, 3, 2, 0), tensor(f, "w", 1, DIMS(8), 0, 0), tensor(f, "w", 1, DIMS(8), 0, 32), pad(f), zeros(f, 64);
}
static void tensor_type(file *f) { head(f, 3, 1, 0), tensor(f, "blk.0.w", 1, DIMS(8), 31, 0), pad(f), zeros(f, 64); }
static void tensor_type_huge(file *f) { head(f, 3, 1, 0), tensor(f, "w", 1, DIMS(8), 0xfffffff0u, 0), pad(f), zeros(f, 64); }
static void dims_0(file *f) { head(f, 3, 1, 0), tensor(f, "w", 0, NULL, 0, 0), pad(f), zeros(f, 64); }
static void dims_5(file *f) { head(f, 3, 1, 0), tensor(f, "w", 5, DIMS(1, 1, 1, 1, 1), 0, 0), pad(f), zeros(f, 64); }
static void dim_zero(file *f) { head(f, 3, 1, 0), tensor(f, "w", 2, DIMS(8, 0), 0, 0), pad(f), zeros(f, 64); }
static void dim_overflow(file *f) { head(f, 3, 1, 0), tensor(f, "w", 2, DIMS(1ull << 33, 1ull << 33), 0, 0), pad(f), zeros(f, 64); }
static void dim_negative(file *f) { head(f, 3, 1, 0), tensor(f, "w", 1, DIMS(UINT64_MAX), 0, 0), pad(f), zeros(f, 64); }
static void bytes_overflow(file *f) { head(f, 3, 1, 0), tensor(f, "w", 1, DIMS(1ull << 62), MOA_F64, 0), pad(f), zeros(f, 64); }
static void block_row(file *f) { head(f, 3, 1, 0), tensor(f, "w", 2, DIMS(33, 2), MOA_Q8_0, 0), pad(f), zeros(f, 256); }
static void offset_odd(file *f) { head(f, 3, 1, 0), tensor(f, "w", 1, DIMS(8), 0, 4), pad(f), zeros(f, 64); }
static void offset_far(file *f) { head(f, 3, 1, 0), tensor(f, "w", 1, DIMS(8), 0, 1ull << 63), pad(f), zeros(f, 64); }
static void data_cut(file *f) { head(f, 3, 1, 0), tensor(f, "w", 1, DIMS(64), 0, 0), pad(f), zeros(f, 255); }
static void data_missing(file *f) { head(f, 3, 1, 0), tensor(f, "w", 1, DIMS(1), 0, 0); }
static void overlap(file *f) {
    head(f, 3, 2, 0), tensor(f, "v", 1, DIMS(16), 0, 32), tensor(f, "w", 1, DIMS(16), 0, 0), pad(f), zeros(f, 128);
}

static const struct damage { const char *name; void (*make)(file *); int code; const char *says; } DAMAGE[] = {
#define D(fn, code, says) {#fn, fn, code, says}
    D(empty, MOA_EFORMAT, "the file is empty"),
    D(wrong_magic, MOA_EFORMAT, "magic is 'GGML', expected 'GGUF'"),
    D(short_header, MOA_EFORMAT, "offset 8: number of tensors takes 8 bytes, the file has 2 left"),
    D(version_1, MOA_EUNSUPPORTED, "version 1, expected 2 or 3"),
    D(version_9, MOA_EUNSUPPORTED, "version 9, expected 2 or 3"),
    D(big_endian, MOA_EUNSUPPORTED, "big-endian"),
    D(too_many_tensors, MOA_EFORMAT, "number of tensors is 1099511627776"),
    D(too_many_keys, MOA_EFORMAT, "number of keys is 18446744073709551615"),
    D(key_too_long, MOA_EFORMAT, "offset 32: key takes 18446744073709551612 bytes"),
    D(key_empty, MOA_EFORMAT, "has 0 bytes, expected 1 to 65535"),
    D(key_with_zero, MOA_EFORMAT, "no control characters"),
    D(key_control, MOA_EFORMAT, "key 0 'a?[2J' has 5 bytes, expected 1 to 65535 and no control characters"),
    D(key_twice, MOA_EFORMAT, "key 'a' given twice, first as key 0"),
    D(value_type, MOA_EFORMAT, "key 'a': value type 13, expected 0 to 12"),
    D(value_cut, MOA_EFORMAT, "key 'long.name': 1 values of type u64, the file has 4 bytes left"),
    D(string_length, MOA_EFORMAT, "string takes 1000 bytes, the file has 9 left"),
    D(bool_2, MOA_EFORMAT, "bool is 2, expected 0 or 1"),
    D(bool_array, MOA_EFORMAT, "bool is 7, expected 0 or 1"),
    D(array_elem, MOA_EFORMAT, "element type 99"),
    D(array_count, MOA_EFORMAT, "array of 2305843009213693952 u64"),
    D(array_string_cut, MOA_EFORMAT, "key 'a', element 1"),
    D(array_nested_elem, MOA_EFORMAT, "value type 77"),
    D(array_too_deep, MOA_ELIMIT, "nested more than"),
    D(alignment_3, MOA_EFORMAT, "general.alignment' is 24, expected a power of two"),
    D(alignment_0, MOA_EFORMAT, "general.alignment' is 0"),
    D(alignment_type, MOA_EFORMAT, "is u64, expected u32"),
    D(tensor_name_empty, MOA_EFORMAT, "is empty or holds control characters"),
    D(tensor_name_control, MOA_EFORMAT, "name of tensor 0 'w??2J' is empty or holds control characters"),
    D(tensor_twice, MOA_EFORMAT, "tensor 'w' given twice, first as tensor 0"),
    D(tensor_type, MOA_EUNSUPPORTED, "tensor 'blk.0.w': type number 31 is Q4_0_4_4"),
    D(tensor_type_huge, MOA_EUNSUPPORTED, "type number 4294967280 is not known"),
    D(dims_0, MOA_EFORMAT, "has 0 dimensions, expected 1 to 4"),
    D(dims_5, MOA_EFORMAT, "has 5 dimensions, expected 1 to 4"),
    D(dim_zero, MOA_EFORMAT, "dimension 1 is 0"),
    D(dim_overflow, MOA_EFORMAT, "dimension 1 is 8589934592"),
    D(dim_negative, MOA_EFORMAT, "dimension 0 is 18446744073709551615"),
    D(bytes_overflow, MOA_EFORMAT, "elements of F64"),
    D(block_row, MOA_EFORMAT, "rows of 33 elements, Q8_0 needs a multiple of 32"),
    D(offset_odd, MOA_EFORMAT, "lies at 4, expected a multiple of 32"),
    D(offset_far, MOA_EFORMAT, "at offset 9223372036854775808"),
    D(data_cut, MOA_EFORMAT, "takes 256 bytes at offset 0 of the data, which has 255"),
    D(data_missing, MOA_EFORMAT, "takes 4 bytes"),
    D(overlap, MOA_EFORMAT, "tensor 'v' at offset 32 of the data overlaps 'w', which ends at 64"),
#undef D
};

static void save(const char *folder, const char *name, const file *f) {
    char path[512];
    moa_writer *w;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(moa_writer_open(&w, path, NULL), 0);
    moa_writer_add(w, f->d, f->n);
    assert_int_equal(moa_writer_commit(w, NULL), 0);
}

/* An exact heap copy, so that a sanitizer sees a read behind the end. */
static int open_copy(const file *f, moa_gguf **g, uint8_t **copy, moa_err *err) {
    *copy = malloc(f->n ? f->n : 1);
    assert_non_null(*copy);
    memcpy(*copy, f->d, f->n);
    return moa_gguf_open_memory(g, *copy, f->n, "bad.gguf", err);
}

static void damaged(void **state) {
    (void)state;
    const char *folder = getenv("MOA_CORPUS");
    for (size_t i = 0; i < sizeof DAMAGE / sizeof *DAMAGE; i++) {
        static file f;
        f.n = 0;
        DAMAGE[i].make(&f);
        if (folder) save(folder, DAMAGE[i].name, &f);
        moa_gguf *g;
        uint8_t *copy;
        moa_err err = {0};
        int rc = open_copy(&f, &g, &copy, &err);
        if (rc != DAMAGE[i].code || !strstr(err.text, DAMAGE[i].says) || !strstr(err.text, "bad.gguf"))
            fail_msg("%s: %d '%s', expected %d and '%s'", DAMAGE[i].name, rc, err.text, DAMAGE[i].code, DAMAGE[i].says);
        assert_null(g);
        free(copy);
    }
}

/* As many keys as the bytes allow, but more than anybody has: refused at once, before a table is made. */
static void key_limit(void **state) {
    (void)state;
    enum { N = 70000 };
    file h = {.n = 0};
    head(&h, 3, 0, N);
    size_t size = h.n + (size_t)N * 14;
    uint8_t *d = calloc(1, size);
    moa_gguf *g;
    moa_err err = {0};
    assert_non_null(d);
    memcpy(d, h.d, h.n);
    assert_int_equal(moa_gguf_open_memory(&g, d, size, "many.gguf", &err), MOA_ELIMIT);
    assert_non_null(strstr(err.text, "many.gguf: offset 16: number of keys is 70000, at most 65536"));
    assert_null(g);
    free(d);
}

/* One of everything. */
static void whole(file *f) {
    head(f, 3, 3, 16);
    kv(f, "t.u8", MOA_GGUF_U8), put(f, "\xff", 1);
    kv(f, "t.i8", MOA_GGUF_I8), put(f, "\xff", 1);
    kv(f, "t.u16", MOA_GGUF_U16), put(f, "\xff\xff", 2);
    kv(f, "t.i16", MOA_GGUF_I16), put(f, "\xfe\xff", 2);
    kv(f, "t.u32", MOA_GGUF_U32), p32(f, 4000000000u);
    kv(f, "t.i32", MOA_GGUF_I32), p32(f, (uint32_t)-7);
    kv(f, "t.f32", MOA_GGUF_F32), put(f, &(float){1.5f}, 4);
    kv(f, "t.bool", MOA_GGUF_BOOL), put(f, "\1", 1);
    kv(f, "t.str", MOA_GGUF_STR), pstr(f, "hello");
    kv(f, "t.u64", MOA_GGUF_U64), p64(f, 1ull << 40);
    kv(f, "t.i64", MOA_GGUF_I64), p64(f, (uint64_t)-9);
    kv(f, "t.f64", MOA_GGUF_F64), put(f, &(double){-0.25}, 8);
    arr(f, "a.str", MOA_GGUF_STR, 3), pstr(f, "x"), pstr(f, ""), pstr(f, "three");
    arr(f, "a.i16", MOA_GGUF_I16, 2), put(f, "\1\0\xff\xff", 4);
    arr(f, "a.none", MOA_GGUF_STR, 0);
    arr(f, "a.nest", MOA_GGUF_ARR, 2), p32(f, MOA_GGUF_U8), p64(f, 2), put(f, "ab", 2), p32(f, MOA_GGUF_STR), p64(f, 1), pstr(f, "q");
    tensor(f, "one", 1, DIMS(3), MOA_F32, 0);
    tensor(f, "two", 2, DIMS(32, 2), MOA_Q8_0, 32);
    tensor(f, "four", 4, DIMS(2, 3, 4, 5), MOA_F16, 128);
    pad(f);
    for (int i = 0; i < 128 + 256; i++) put(f, &(uint8_t){(uint8_t)(i < 12 || (i >= 32 && i < 100) || (i >= 128 && i < 368) ? i : 0)}, 1);
}

static void reads(void **state) {
    (void)state;
    static file f;
    f.n = 0;
    whole(&f);
    if (getenv("MOA_CORPUS")) save(getenv("MOA_CORPUS"), "whole", &f);
    moa_gguf *g;
    uint8_t *copy;
    moa_err err = {0};
    if (open_copy(&f, &g, &copy, &err) < 0) fail_msg("%s", err.text);
    uint32_t u;
    float x;
    bool b;
    moa_str s;
    assert_int_equal(moa_gguf_version(g), 3);
    assert_int_equal(moa_gguf_u32(&u, g, "t.u8", 0, &err), 0), assert_int_equal(u, 255);
    assert_int_equal(moa_gguf_u32(&u, g, "t.u16", 0, &err), 0), assert_int_equal(u, 65535);
    assert_int_equal(moa_gguf_u32(&u, g, "t.u32", 0, &err), 0), assert_true(u == 4000000000u);
    assert_int_equal(moa_gguf_u32(&u, g, "absent", 77, &err), 0), assert_int_equal(u, 77);
    assert_int_equal(moa_gguf_u32(&u, g, "t.i8", 0, &err), MOA_EFORMAT), assert_non_null(strstr(err.text, "'t.i8' is -1"));
    assert_int_equal(moa_gguf_u32(&u, g, "t.u64", 0, &err), MOA_EFORMAT);
    assert_int_equal(moa_gguf_u32(&u, g, "t.str", 0, &err), MOA_EFORMAT), assert_non_null(strstr(err.text, "is str, expected"));
    assert_int_equal(moa_gguf_need_u32(&u, g, "absent", &err), MOA_ENOTFOUND), assert_non_null(strstr(err.text, "'absent'"));
    assert_int_equal(moa_gguf_f32(&x, g, "t.f32", 0, &err), 0), assert_true(x == 1.5f);
    assert_int_equal(moa_gguf_f32(&x, g, "t.f64", 0, &err), 0), assert_true(x == -0.25f);
    assert_int_equal(moa_gguf_f32(&x, g, "t.i32", 0, &err), 0), assert_true(x == -7.0f);
    assert_int_equal(moa_gguf_bool(&b, g, "t.bool", false, &err), 0), assert_true(b);
    assert_int_equal(moa_gguf_bool(&b, g, "t.u8", false, &err), MOA_EFORMAT);
    assert_int_equal(moa_gguf_str(&s, g, "t.str", "", &err), 0), assert_int_equal(s.n, 5), assert_memory_equal(s.p, "hello", 5);
    assert_int_equal(moa_gguf_arr_int(moa_gguf_find(g, "t.i64"), 0), -9);
    assert_int_equal(moa_gguf_arr_int(moa_gguf_find(g, "a.i16"), 1), -1);
    const moa_gguf_kv *a = moa_gguf_find(g, "a.str");
    s = moa_gguf_arr_str(a, 2);
    assert_int_equal(a->count, 3), assert_int_equal(s.n, 5), assert_memory_equal(s.p, "three", 5);
    assert_int_equal(moa_gguf_arr_str(a, 1).n, 0);
    const moa_tensor *t = moa_gguf_tensor(g, "four");
    assert_non_null(t);
    assert_int_equal(t->shape[0], 5), assert_int_equal(t->shape[3], 2), assert_int_equal(((uint8_t *)t->data)[1], 129);
    assert_null(moa_gguf_tensor(g, "fou"));
    assert_null(moa_gguf_find(g, "t.u"));
    assert_int_equal(moa_gguf_tensor(g, "two")->shape[1], 32);
    moa_gguf_close(g);
    free(copy);
}

/* Every shorter file is refused, at every length. */
static void truncated(void **state) {
    (void)state;
    static file f;
    f.n = 0;
    whole(&f);
    size_t all = f.n - (384 - 368); /* padding behind the last tensor may be missing */
    for (f.n = 0; f.n < all; f.n++) {
        moa_gguf *g;
        uint8_t *copy;
        moa_err err = {0};
        assert_int_equal(open_copy(&f, &g, &copy, &err), MOA_EFORMAT);
        free(copy);
    }
}

/* ---- writing ---- */

static void rewrite(const char *from, const char *to) {
    moa_gguf *g;
    moa_err err = {0};
    if (moa_gguf_open(&g, from, &err) < 0) fail_msg("%s", err.text);
    moa_gguf_out *o = moa_gguf_out_new();
    for (int i = 0; i < moa_gguf_n_kv(g); i++) moa_gguf_put_kv(o, moa_gguf_kv_at(g, i));
    for (int i = 0; i < moa_gguf_n_tensor(g); i++) {
        const moa_tensor *t = moa_gguf_tensor_at(g, i);
        moa_gguf_put_tensor(o, t->name, t);
    }
    if (moa_gguf_write(o, to, &err) < 0) fail_msg("%s", err.text);
    moa_gguf_out_free(o);
    moa_gguf_close(g);
    moa_map a, b;
    assert_int_equal(moa_map_open(&a, from, &err), 0);
    assert_int_equal(moa_map_open(&b, to, &err), 0);
    if (a.size != b.size || memcmp(a.data, b.data, a.size) != 0) fail_msg("%s: %zu bytes, rewritten %zu", from, a.size, b.size);
    moa_map_close(&a);
    moa_map_close(&b);
}

static char *temp_file(char *out, size_t n, const char *name) {
    const char *dir = getenv("TMPDIR");
    snprintf(out, n, "%s/moa-test-%d-%s", dir ? dir : "/tmp", (int)getpid(), name);
    return out;
}

static void rewrites_exactly(void **state) {
    (void)state;
    static file f;
    f.n = 0;
    whole(&f);
    char a[256], b[256];
    temp_file(a, sizeof a, "a.gguf"), temp_file(b, sizeof b, "b.gguf");
    save("/", a + 1, &f);
    rewrite(a, b);
    rewrite(b, a); /* over the file it was read from */
    unlink(a), unlink(b);
}

static void rewrites_published(void **state) {
    (void)state;
    const char *root = getenv("MOA_SHARED");
    static const char *const FOLDERS[] = {"goldens/tokenizer", "goldens/arch", "goldens/quant", "data/models/stories260k"};
    char b[256];
    temp_file(b, sizeof b, "b.gguf");
    int n = 0;
    for (size_t i = 0; i < sizeof FOLDERS / sizeof *FOLDERS; i++) {
        char folder[512], path[1024];
        snprintf(folder, sizeof folder, "%s/%s", root ? root : "../shared", FOLDERS[i]);
        DIR *d = opendir(folder);
        for (struct dirent *e; d && (e = readdir(d));) {
            size_t k = strlen(e->d_name);
            if (k < 5 || strcmp(e->d_name + k - 5, ".gguf") != 0) continue;
            snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
            rewrite(path, b);
            n++;
        }
        if (d) closedir(d);
    }
    unlink(b);
    if (!n) {
        printf("skip: no published files under %s\n", root ? root : "../shared");
        skip();
    }
    printf("%d files rewritten byte for byte\n", n);
}

static void writes(void **state) {
    (void)state;
    char path[256];
    temp_file(path, sizeof path, "w.gguf");
    moa_gguf_out *o = moa_gguf_out_new();
    float w[6] = {1, 2, 3, 4, 5, 6};
    moa_tensor t = moa_view2(MOA_F32, w, 2, 3);
    moa_gguf_put_u32(o, "n", 1);
    moa_gguf_put_str(o, "s", "abc", 3);
    moa_gguf_put_u64(o, "big", 1ull << 50);
    moa_gguf_put_f32(o, "x", 0.5f);
    moa_gguf_put_bool(o, "yes", true);
    moa_gguf_put_arr(o, "ids", MOA_GGUF_I32, (int32_t[]){-1, 5}, 2);
    moa_gguf_put_strs(o, "words", (moa_str[]){{"a", 1}, {"bc", 2}}, 2);
    moa_gguf_put_u32(o, "n", 2); /* replaces, in place */
    moa_gguf_put_u32(o, "general.alignment", 256);
    moa_gguf_put_tensor(o, "w", &t);
    moa_gguf_put_tensor(o, "v", &t);
    moa_err err = {0};
    if (moa_gguf_write(o, path, &err) < 0) fail_msg("%s", err.text);
    moa_gguf *g;
    if (moa_gguf_open(&g, path, &err) < 0) fail_msg("%s", err.text);
    uint32_t u;
    assert_int_equal(moa_gguf_n_kv(g), 8);
    assert_int_equal(moa_gguf_need_u32(&u, g, "n", &err), 0), assert_int_equal(u, 2);
    assert_int_equal(moa_gguf_alignment(g), 256);
    assert_int_equal((uintptr_t)moa_gguf_tensor(g, "v")->data % 256, 0);
    assert_memory_equal(moa_gguf_tensor(g, "v")->data, w, sizeof w);
    assert_int_equal(moa_gguf_tensor(g, "w")->shape[0], 2);
    assert_int_equal(moa_gguf_arr_int(moa_gguf_find(g, "ids"), 0), -1);
    assert_int_equal(moa_gguf_arr_str(moa_gguf_find(g, "words"), 1).n, 2);
    moa_gguf_close(g);
    moa_gguf_put_tensor(o, "w", &t); /* twice: the old file stays */
    assert_int_equal(moa_gguf_write(o, path, &err), MOA_EINVAL);
    assert_non_null(strstr(err.text, "'w' put twice"));
    assert_int_equal(moa_gguf_open(&g, path, &err), 0);
    moa_gguf_close(g);
    moa_gguf_out_free(o);
    o = moa_gguf_out_new();
    t.stride[0] = 4; /* not contiguous */
    moa_gguf_put_tensor(o, "w", &t);
    moa_gguf_put_u32(o, "n", 2); /* errors are sticky */
    assert_int_equal(moa_gguf_write(o, path, &err), MOA_EINVAL);
    moa_gguf_out_free(o);
    unlink(path);
}

/* A tensor made piece by piece on a disk that is full in its middle: it is not made to its end, the next is not begun, nothing stays. */
typedef struct maker { int pieces, tensors; bool cancel; } maker;

static int make_pieces(void *ctx, int i, const moa_tensor *t, struct moa_writer *w, moa_err *err) {
    static const char piece[1 << 16];
    maker *m = ctx;
    (void)i;
    m->tensors++;
    for (size_t at = 0; at < moa_tensor_bytes(t); at += sizeof piece, m->pieces++) {
        if (m->cancel && m->pieces == 3) return moa_fail(err, MOA_ECANCELED, "stopped");
        MOA_TRY(moa_writer_add(w, piece, sizeof piece));
    }
    return 0;
}

static void full_disk(void **state) {
    (void)state;
    char path[256];
    const moa_tensor big = moa_view(MOA_F32, NULL, 1, (int64_t[]){8 << 18}); /* 8 MiB */
    struct rlimit old, low;
    moa_err err = {0};
    snprintf(path, sizeof path, "%s/moa-test-%d-full.gguf", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (int)getpid());
    for (int cancel = 0; cancel < 2; cancel++) {
        maker m = {.cancel = cancel};
        moa_gguf_out *o = moa_gguf_out_new();
        moa_gguf_put_later(o, "one", &big);
        moa_gguf_put_later(o, "two", &big);
        void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
        low = (struct rlimit){1 << 20, old.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
        const int rc = moa_gguf_write_with(o, path, make_pieces, &m, &err);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        signal(SIGXFSZ, before);
        assert_int_equal(rc, cancel ? MOA_ECANCELED : MOA_EIO);
        assert_non_null(strstr(err.text, cancel ? "stopped" : path));
        assert_int_equal(m.tensors, 1);
        assert_true(m.pieces <= 17); /* of 128 */
        assert_int_equal(access(path, F_OK), -1);
        moa_gguf_out_free(o);
    }
}

static void no_file(void **state) {
    (void)state;
    moa_gguf *g;
    moa_err err = {0};
    assert_int_equal(moa_gguf_open(&g, "no/such/file.gguf", &err), MOA_ENOTFOUND);
    assert_int_equal(moa_gguf_open(&g, "/tmp", &err), MOA_EINVAL);
    assert_null(g);
    moa_gguf_close(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged), cmocka_unit_test(key_limit), cmocka_unit_test(reads), cmocka_unit_test(truncated), cmocka_unit_test(rewrites_exactly),
        cmocka_unit_test(rewrites_published), cmocka_unit_test(writes), cmocka_unit_test(full_disk), cmocka_unit_test(no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
