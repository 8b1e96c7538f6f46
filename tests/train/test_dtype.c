/* test_dtype.c - dtype: bf16 on a CPU without bf16 products: the run says so once and trains in f32, to the same bits as dtype:
 * f32. A program of its own, since oneDNN reads its limit from the environment once.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/training.h"
#include "tensor/dense.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Two stages by one optimiser; dtype: "" or a key with its comma. */
static train_probe run(const char *name, const char *optimizer, const char *dtype) {
    char text[1024];
    train_probe p = {0};
    snprintf(text, sizeof text,
             TRAIN_HEAD "stages:\n - {name: a, steps: 2, batch_tokens: 512, seq_len: 128, optimizer: %s, %s " TRAIN_DATA "}\n"
                        " - {name: b, steps: 2, batch_tokens: 512, seq_len: 128, optimizer: %s, %s " TRAIN_DATA "}\n",
             optimizer, dtype, optimizer, dtype);
    train_ok(name, text, false, &p);
    return p;
}

static void test_without_bf16(void **state) {
    (void)state;
    assert_false(moa_dense_has_bf16());
    static const char *const optimizers[] = {"adamw", "muon"};
    for (int i = 0; i < 2; i++) {
        const train_probe half = run(i ? "half1" : "half0", optimizers[i], ""), full = run(i ? "full1" : "full0", optimizers[i], "dtype: f32,");
        assert_int_equal(half.f32_notes, 1); /* not once a stage */
        assert_non_null(strstr(half.f32_note, "this CPU has no bf16 products"));
        assert_non_null(strstr(half.f32_note, "in f32"));
        assert_int_equal(full.f32_notes, 0);
        assert_true(half.first == full.first && half.last == full.last);
    }
}

int main(void) {
    setenv("ONEDNN_MAX_CPU_ISA", "AVX2", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_without_bf16)};
    return cmocka_run_group_tests(tests, train_setup, train_teardown);
}
