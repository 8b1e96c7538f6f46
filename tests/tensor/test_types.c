/* test_types.c - views, counts, the type registry, half precision against exact arithmetic over all values.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/tensor.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static void registry(void **state) {
    (void)state;
    int n;
    const moa_type *const *t = moa_types(&n);
    assert_true(n >= 20);
    for (int i = 0; i < n; i++) {
        assert_ptr_equal(moa_type_get(t[i]->id), t[i]);
        assert_ptr_equal(moa_type_find(t[i]->name), t[i]);
        assert_non_null(t[i]->dequantize);
        assert_true(strlen(t[i]->help) > 0 && t[i]->bytes > 0);
        assert_true(t[i]->block == 1 || (t[i]->block >= 32 && 256 % t[i]->block == 0)); /* a block ends where 256 do */
        assert_int_equal(t[i]->unpack != NULL, t[i]->block > 1);
        assert_true(t[i]->block == 1 || t[i]->run == 16 || t[i]->run == 32);
        assert_int_equal(moa_row_bytes(t[i]->id, 512), 512 / t[i]->block * t[i]->bytes);
        for (int j = 0; j < i; j++) assert_true(t[j]->id != t[i]->id);
    }
    assert_ptr_equal(moa_type_find("q4_k"), moa_type_get(MOA_Q4_K));
    assert_null(moa_type_find("Q9_9"));
    assert_null(moa_type_get((moa_dtype)5)); /* a number that GGUF gave up */
}

static void views(void **state) {
    (void)state;
    float x[24];
    moa_tensor t = moa_view3(MOA_F32, x, 2, 3, 4);
    assert_int_equal(moa_tensor_count(&t), 24);
    assert_int_equal(moa_tensor_bytes(&t), 96);
    assert_int_equal(moa_rows(&t), 6);
    assert_int_equal(moa_cols(&t), 4);
    assert_int_equal(t.stride[0], 48);
    assert_int_equal(t.stride[1], 16);
    assert_int_equal(t.stride[2], 4);
    assert_true(moa_tensor_contiguous(&t));
    t.stride[1] = 20;
    assert_false(moa_tensor_contiguous(&t));
    t = moa_view2(MOA_Q4_K, x, 5, 512);
    assert_int_equal(moa_tensor_bytes(&t), 5 * 2 * 144);
    assert_int_equal(t.stride[0], 288);
    assert_true(moa_tensor_contiguous(&t));
    t = moa_view1(MOA_F16, x, 0);
    assert_int_equal(moa_tensor_bytes(&t), 0);
    assert_true(moa_tensor_contiguous(&t));
}

static double exact_half(uint16_t h) {
    const int e = (h >> 10) & 31, m = h & 1023;
    const double v = e == 0 ? ldexp(m, -24) : ldexp(1024 + m, e - 25);
    return h & 0x8000 ? -v : v;
}

static void half_precision(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) { /* every half there is */
        const float f = moa_f16_to_f32((uint16_t)h);
        const bool special = ((h >> 10) & 31) == 31;
        if (special && (h & 1023))
            assert_true(isnan(f) && isnan(moa_f16_to_f32(moa_f32_to_f16(f))));
        else if (special)
            assert_true(isinf(f) && (f < 0) == (h >= 0x8000));
        else
            assert_true((double)f == exact_half((uint16_t)h) && !!signbit(f) == (h >= 0x8000));
        if (!isnan(f)) assert_int_equal(moa_f32_to_f16(f), h);
    }
    for (uint16_t h = 0; h < 0x7bff; h++) { /* between neighbours: nearest, ties to even */
        const double a = exact_half(h), b = exact_half((uint16_t)(h + 1)), mid = (a + b) / 2;
        assert_int_equal(moa_f32_to_f16((float)mid), h + (h & 1));
        assert_int_equal(moa_f32_to_f16(nextafterf((float)mid, 0)), h);
        assert_int_equal(moa_f32_to_f16(nextafterf((float)mid, 1e9f)), h + 1);
    }
    assert_int_equal(moa_f32_to_f16(65519.99f), 0x7bff);
    assert_int_equal(moa_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(moa_f32_to_f16(-1e30f), 0xfc00);
    assert_int_equal(moa_f32_to_f16(0x1p-25f), 0);
    assert_int_equal(moa_f32_to_f16(-0x1.000002p-25f), 0x8001);
}

static void bf16(void **state) {
    (void)state;
    assert_int_equal(moa_f32_to_bf16(1.0f), 0x3f80);
    assert_int_equal(moa_f32_to_bf16(1.00390625f), 0x3f80); /* tie: to even */
    assert_int_equal(moa_f32_to_bf16(1.01171875f), 0x3f82); /* tie: to even, upwards */
    assert_int_equal(moa_f32_to_bf16(1.00390637f), 0x3f81);
    assert_true(isnan(moa_bf16_to_f32(moa_f32_to_bf16(NAN))));
    assert_true(moa_bf16_to_f32(moa_f32_to_bf16(-INFINITY)) == -INFINITY);
    for (uint32_t h = 0; h < 65536; h++) {
        const float f = moa_bf16_to_f32((uint16_t)h);
        if (!isnan(f)) assert_int_equal(moa_f32_to_bf16(f), h);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(registry), cmocka_unit_test(views), cmocka_unit_test(half_precision),
                                       cmocka_unit_test(bf16)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
