/* test_unfinished_program.c - work that does not come to its end: Ctrl-C and a disk that is full. What was there before is whole, no
 * half file lies beside it, what was paid for is kept or told, and the message says how to go on.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int setup(void **state) {
    if (program_setup(state) < 0) return -1;
    FILE *f = fopen(path_of("text"), "w");
    for (int i = 0; f && i < 200; i++) fprintf(f, "Tom has %d apples and buys %d more, so that he has %d apples. Anna has %d pens.\n", i, 2 * i, 3 * i, i + 7);
    return !f || fclose(f) ? -1 : 0;
}

static void assert_says(const char *what) {
    if (!strstr(err_text, what)) fail_msg("no '%s' in:\n%s", what, err_text);
}

/* ---- Ctrl-C ---- */

static void test_quantize(void **state) {
    (void)state;
    need_program();
    put_file("q.gguf", "what was there");
    moa_begin("quantize %M %D/q.gguf Q8_0");
    assert_int_equal(moa_interrupt(), 1);
    assert_says("stopped");
    assert_string_equal(out, "");
    char text[64];
    slurp(text, sizeof text, path_of("q.gguf"));
    assert_string_equal(text, "what was there");
    assert_int_equal(files_like("q.gguf*"), 1);
}

static void test_convert(void **state) {
    (void)state;
    need_program();
    moa_begin("convert %F %D/c.gguf");
    assert_int_equal(moa_interrupt(), 1);
    assert_says("stopped");
    assert_string_equal(out, "");
    assert_int_equal(files_like("c.gguf*"), 0);
}

static void test_perplexity(void **state) {
    (void)state;
    need_program();
    moa_expect(0, "quantize %M %D/small.gguf Q4_0 -q");
    moa_begin("perplexity %D/small.gguf %D/text --ctx 64 --against %M");
    assert_int_equal(moa_interrupt(), 1);
    assert_string_equal(out, ""); /* a part is no result */
    int done = 0, all = 0;
    const char *at = strstr(err_text, "stopped after");
    if (!at || sscanf(at, "stopped after %d of %d chunks: perplexity", &done, &all) != 2) fail_msg("%s", err_text);
    assert_true(done >= 1 && done < all);
    assert_says("KL divergence");
    assert_says("so far");
}

/* The file is written when the measuring begins: where that fails it stays, and the message tells how to measure it. */
static void test_quantize_text(void **state) {
    (void)state;
    need_program();
    moa_expect(1, "quantize %M %D/t.gguf Q4_0 -q --text %D/text --ctx 100000");
    assert_says("t.gguf is written and whole; moa perplexity");
    moa_expect(0, "run -q -m %D/t.gguf --mix single --max-tokens 2 hello");
    moa_expect(1, "quantize %M %D/t2.gguf Q4_0 --text /nowhere.txt"); /* known before the work */
    assert_says("/nowhere.txt");
    assert_int_equal(files_like("t2.gguf*"), 0);
}

static void test_imatrix(void **state) {
    (void)state;
    need_program();
    moa_begin("imatrix %M %D/text -o %D/part.gguf --ctx 64 --chunks 12");
    assert_int_equal(moa_interrupt(), 1);
    assert_says("the same command goes on");
    assert_int_equal(files_like("part.gguf*"), 1);
    moa_expect(0, "imatrix %M %D/text -o %D/part.gguf --ctx 64 --chunks 12");
    assert_says("goes on after chunk 1");
    assert_non_null(strstr(out, "12 chunks of 64 tokens"));
}

/* ---- a full disk ---- */

static void assert_no_room(int kib, const char *args, const char *file) {
    char pattern[64];
    const int rc = moa_limited(kib, args);
    if (rc != 1) fail_msg("moa %s with %d KiB: exit code %d, expected 1\n%s", args, kib, rc, err_text);
    assert_says(file);
    assert_says("cannot write");
    assert_string_equal(out, "");
    snprintf(pattern, sizeof pattern, "%s*", file);
    assert_int_equal(files_like(pattern), 0);
}

static void test_full_disk(void **state) {
    (void)state;
    need_program();
    static const int kib[] = {1, 8, 60}; /* in the header, in the vocabulary, in the weights */
    for (size_t i = 0; i < sizeof kib / sizeof *kib; i++) {
        assert_no_room(kib[i], "quantize %M %D/full.gguf Q8_0 -q", "full.gguf");
        assert_no_room(kib[i], "quantize %M %D/full.gguf F32 -q", "full.gguf");
        assert_no_room(kib[i], "convert %F %D/full.gguf", "full.gguf");
    }
    for (int i = 1; i <= 2; i++) {
        assert_no_room(i, "adapter export %A %D/full.gguf -m %M", "full.gguf");
        assert_no_room(i, "imatrix %M %D/text -o %D/full.im --ctx 64 --chunks 2", "full.im");
        assert_no_room(i, "logits %M --tokens '1 2' -o %D/full.f32", "full.f32");
    }
    assert_int_equal(moa_limited(1, "adapter export %A %D/full-lora -m %M"), 1);
    assert_says("full-lora/adapter_model.safetensors: cannot write");
    moa_expect(1, "info %D/full-lora"); /* without weights it is no adapter */
    assert_int_equal(files_like("full-lora/*.tmp.*"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_quantize), cmocka_unit_test(test_convert), cmocka_unit_test(test_perplexity),
                                       cmocka_unit_test(test_quantize_text), cmocka_unit_test(test_imatrix), cmocka_unit_test(test_full_disk)};
    return cmocka_run_group_tests(tests, setup, program_teardown);
}
