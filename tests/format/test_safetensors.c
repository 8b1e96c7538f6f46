/* test_safetensors.c - the reader of .safetensors: what a good file gives, and that each way to break one is named.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "format/safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct bytes { uint8_t *p; size_t n; } bytes;

/* A file with this header and n_data bytes 0, 1, 2 ... The copy is exact, so that sanitizers see a byte too many. */
static bytes make(const char *head, size_t n_data) {
    const uint64_t n = strlen(head);
    bytes f = {malloc(8 + n + n_data + 1), 8 + n + n_data};
    assert_non_null(f.p);
    memcpy(f.p, &n, 8);
    memcpy(f.p + 8, head, n);
    for (size_t i = 0; i < n_data; i++) f.p[8 + n + i] = (uint8_t)i;
    return f;
}

static int open_it(moa_safetensors **s, const char *head, size_t n_data, moa_err *err, bytes *keep) {
    *keep = make(head, n_data);
    *err = (moa_err){0};
    return moa_safetensors_open_memory(s, keep->p, keep->n, "x.safetensors", err);
}

static void refused(const char *head, size_t n_data, int code, const char *text) {
    moa_safetensors *s;
    moa_err err;
    bytes keep;
    const int rc = open_it(&s, head, n_data, &err, &keep);
    if (rc != code || !strstr(err.text, text) || !strstr(err.text, "x.safetensors") || s)
        fail_msg("%.60s: got %d '%s', expected %d with '%s'", head, rc, err.text, code, text);
    free(keep.p);
}

static void test_reads(void **state) {
    (void)state;
    moa_safetensors *s;
    moa_err err;
    bytes keep;
    assert_int_equal(open_it(&s,
                             "{\"__metadata__\":{\"format\":\"pt\"},\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[8,20]},"
                             "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"none\":{\"dtype\":\"F16\",\"shape\":[0,7],"
                             "\"data_offsets\":[20,20]},\"one\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[20,21]}}   ",
                             21, &err, &keep), 0);
    assert_int_equal(moa_safetensors_n(s), 4);
    assert_string_equal(moa_safetensors_at(s, 0)->name, "a");
    assert_null(moa_safetensors_at(s, 4));
    assert_string_equal(moa_safetensors_meta(s, "format"), "pt");
    assert_null(moa_safetensors_meta(s, "other"));
    const moa_st_tensor *b = moa_safetensors_find(s, "b"), *one = moa_safetensors_find(s, "one");
    assert_int_equal(b->n_dim, 2);
    assert_int_equal(b->shape[1], 3);
    assert_int_equal(b->size, 12);
    assert_int_equal(b->data[0], 8);
    assert_int_equal(one->n_dim, 0);
    assert_int_equal(one->data[0], 20);
    assert_int_equal(moa_safetensors_find(s, "none")->size, 0);
    assert_null(moa_safetensors_find(s, "c"));
    moa_dtype type;
    assert_int_equal(moa_st_dtype(&type, s, b, &err), 0);
    assert_int_equal(type, MOA_BF16);
    assert_int_equal(moa_st_dtype(&type, s, one, &err), MOA_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "'one' has dtype U8"));
    float v[6];
    assert_int_equal(moa_st_floats(v, s, b, &err), 0);
    assert_true(v[1] == moa_bf16_to_f32(0x0b0a));
    moa_safetensors_close(s);
    free(keep.p);
}

#define T(dtype, shape, from, to) "\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]"

static void test_refuses(void **state) {
    (void)state;
    refused("", 0, MOA_EFORMAT, "does not begin with '{'");
    refused("[1]", 0, MOA_EFORMAT, "does not begin with '{'");
    refused("{", 0, MOA_EFORMAT, "not valid JSON");
    refused("{\"a\":{" T("F32", "[2]", "0", "8") "},\"a\":{" T("F32", "[2]", "0", "8") "}}", 8, MOA_EFORMAT, "a");
    refused("{\"a\":1}", 0, MOA_EFORMAT, "expected an object with dtype");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, MOA_EFORMAT, "two data_offsets");
    refused("{\"\":{" T("F32", "[1]", "0", "4") "}}", 4, MOA_EFORMAT, "empty name");
    refused("{\"a\\u001b[2J\":{" T("F32", "[1]", "0", "4") "}}", 4, MOA_EFORMAT, "the name of tensor 'a?[2J' holds control characters");
    refused("{\"a\":{" T("Q9", "[1]", "0", "4") "}}", 4, MOA_EUNSUPPORTED, "dtype 'Q9' is not known");
    refused("{\"a\":{" T("F32", "[3]", "0", "8") "}}", 8, MOA_EFORMAT, "span 8 bytes, dtype F32 and shape need 12");
    refused("{\"a\":{" T("F32", "[2]", "0", "16") "}}", 8, MOA_EFORMAT, "data_offsets 0 to 16, the data has 8");
    refused("{\"a\":{" T("F32", "[0]", "8", "4") "}}", 8, MOA_EFORMAT, "data_offsets 8 to 4");
    refused("{\"a\":{" T("F32", "[-1]", "0", "4") "}}", 4, MOA_EFORMAT, "not a number from 0");
    refused("{\"a\":{" T("F32", "[1.0]", "0", "4") "}}", 4, MOA_EFORMAT, "not a number from 0");
    refused("{\"a\":{" T("F32", "[4611686018427387904,4]", "0", "0") "}}", 0, MOA_EFORMAT, "more than 2^61");
    refused("{\"a\":{" T("F32", "[0,4611686018427387904,4611686018427387904]", "0", "0") "}}", 0, MOA_EFORMAT, "more than 2^61");
    refused("{\"a\":{" T("F4", "[3]", "0", "1") "}}", 1, MOA_EFORMAT, "a fraction of");
    refused("{\"a\":{" T("F32", "[1,1,1,1,1,1,1,1,1]", "0", "4") "}}", 4, MOA_EFORMAT, "9 dimensions");
    refused("{\"a\":{" T("F32", "[2]", "0", "8") "},\"b\":{" T("F32", "[2]", "4", "12") "}}", 12, MOA_EFORMAT, "'b' at offset 4 overlaps 'a', which ends at 8");
    refused("{\"a\":{" T("F32", "[1]", "0", "4") "},\"b\":{" T("F32", "[1]", "8", "12") "}}", 12, MOA_EFORMAT, "gap of 4 bytes before tensor 'b'");
    refused("{\"a\":{" T("F32", "[1]", "4", "8") "}}", 8, MOA_EFORMAT, "gap of 4 bytes before tensor 'a'");
    refused("{\"a\":{" T("F32", "[1]", "0", "4") "}}", 5, MOA_EFORMAT, "tensors end at 4, the data has 5");
    refused("{\"__metadata__\":{\"a\":1}}", 0, MOA_EFORMAT, "'a' is not a string");
    refused("{\"__metadata__\":[]}", 0, MOA_EFORMAT, "__metadata__ is not an object");
}

/* Nesting is bounded before anything recursive sees it. */
static void test_depth(void **state) {
    (void)state;
    char head[4200];
    memset(head, '[', sizeof head);
    memcpy(head, "{\"a\":", 5);
    head[sizeof head - 1] = 0;
    refused(head, 0, MOA_ELIMIT, "more than 256 nested");
}

static void test_lengths(void **state) {
    (void)state;
    moa_safetensors *s;
    moa_err err = {0};
    uint8_t f[16] = {7, 0, 0};
    assert_int_equal(moa_safetensors_open_memory(&s, f, 7, "short", &err), MOA_EFORMAT);
    assert_non_null(strstr(err.text, "7 bytes, expected 8"));
    f[0] = 9;
    assert_int_equal(moa_safetensors_open_memory(&s, f, 16, "short", &err), MOA_EFORMAT);
    assert_non_null(strstr(err.text, "header of 9 bytes, the file has 8 left"));
    memset(f, 255, 8);
    assert_int_equal(moa_safetensors_open_memory(&s, f, 16, "short", &err), MOA_EFORMAT);
    assert_non_null(strstr(err.text, "18446744073709551615"));
    assert_int_equal(moa_safetensors_open(&s, "no/such/file.safetensors", &err), MOA_ENOTFOUND);
    assert_int_equal(moa_safetensors_open(&s, "/tmp", &err), MOA_EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads), cmocka_unit_test(test_refuses), cmocka_unit_test(test_depth), cmocka_unit_test(test_lengths)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
