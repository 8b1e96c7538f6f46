/* test_quantize_program.c - quantize, imatrix and perplexity as scripts use them: exit codes, notes, JSON keys, a collection
 * that is continued.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/program.h"

#include <stdio.h>
#include <string.h>

static int setup(void **state) {
    if (program_setup(state) < 0) return -1;
    FILE *f = fopen(path_of("text"), "w");
    for (int i = 0; f && i < 40; i++) fprintf(f, "Tom has %d apples and buys %d more, so that he has %d apples. Anna has %d pens.\n", i, 2 * i, 3 * i, i + 7);
    return !f || fclose(f) ? -1 : 0;
}

static void quantize_and_measure(void **state) {
    (void)state;
    need_program();
    moa_expect(0, "quantize %M %D/q.gguf Q4_K_M --text %D/text --ctx 64 --chunks 3 --json");
    assert_non_null(strstr(err_text, "Q5_0 instead of Q4_K")); /* its rows have 64 weights */
    json_t *j = parsed();
    assert_string_equal(string(j, "type"), "Q4_K_M");
    assert_true(number(j, "bytes_out") < 0.3 * number(j, "bytes_in"));
    assert_true(json_array_size(json_object_get(j, "fallbacks")) >= 1);
    const json_t *p = json_object_get(j, "against_source"), *kl = json_object_get(p, "kl");
    assert_true(number(p, "chunks") == 3 && number(p, "tokens") == 3 * 31);
    assert_true(number(kl, "mean") > 0 && number(kl, "mean") < 1 && number(kl, "p99") >= number(kl, "median"));
    assert_true(number(p, "reference_perplexity") > 1);
    json_decref(j);
    /* The same by the command of its own, with the same numbers. */
    char first[64], *at = strstr(out, "\"mean\":");
    snprintf(first, sizeof first, "%.20s", at);
    moa_expect(0, "perplexity %D/q.gguf %D/text --against %M --ctx 64 --chunks 3 --json");
    assert_non_null(strstr(out, first));
    moa_expect(0, "perplexity %M %D/text --against %M --ctx 64 --chunks 2 --json");
    j = parsed();
    assert_true(number(json_object_get(json_object_get(j, "result"), "kl"), "mean") == 0 && number(json_object_get(j, "result"), "same_top") == 1);
    json_decref(j);
    moa_expect(0, "perplexity %M %D/text --chunks 1 --ctx 64");
    assert_non_null(strstr(out, "perplexity"));
    assert_null(strstr(out, "KL"));
}

static void importance(void **state) {
    (void)state;
    need_program();
    moa_expect(0, "imatrix %M %D/text -o %D/im.gguf --ctx 64 --chunks 2");
    assert_non_null(strstr(out, "2 chunks of 64 tokens"));
    moa_expect(0, "imatrix %M %D/text -o %D/im.gguf --ctx 64 --chunks 4"); /* goes on */
    assert_non_null(strstr(err_text, "goes on after chunk 2"));
    assert_non_null(strstr(out, "4 chunks of 64 tokens"));
    moa_expect(1, "imatrix %M %D/text -o %D/im.gguf --ctx 32");
    assert_non_null(strstr(err_text, "chunks of 64 tokens, not 32"));
    moa_expect(0, "imatrix %M %D/text -o %D/im.dat --ctx 64 --chunks 2");
    moa_expect(0, "quantize %M %D/q.gguf Q4_0 --imatrix %D/im.gguf");
    moa_expect(0, "quantize %M %D/q.gguf IQ4_NL --imatrix %D/im.dat");
    moa_expect(0, "info %D/q.gguf");
    assert_non_null(strstr(out, "quantize.imatrix.chunks_count"));
    assert_non_null(strstr(out, "IQ4_NL"));
}

/* The matrix changes what is written, in both of its forms alike; what it says nothing about is counted. */
static void importance_counts(void **state) {
    (void)state;
    need_program();
    static const char *const how[] = {"", "--imatrix %D/both.gguf", "--imatrix %D/both.dat"};
    moa_expect(0, "imatrix %M %D/text -o %D/both.gguf --ctx 64 --chunks 3");
    moa_expect(0, "imatrix %M %D/text -o %D/both.dat --ctx 64 --chunks 3 -q");
    assert_string_equal(err_text, "");
    for (int i = 0; i < 3; i++) {
        char args[512];
        snprintf(args, sizeof args, "quantize %%M %%D/w%d.gguf Q4_0 --json -t 1 %s", i, how[i]);
        moa_expect(0, args);
        json_t *j = parsed();
        assert_int_equal(integer(j, "without_importance"), i ? 1 : 0); /* of rows of the embedding no input is seen */
        assert_true((strstr(err_text, "token_embd") != NULL) == (i > 0));
        json_decref(j);
        snprintf(args, sizeof args, "logits %%D/w%d.gguf --tokens '3 4 5 6' -o %%D/l%d", i, i);
        moa_expect(0, args);
    }
    assert_false(same_bytes(path_of("l0"), path_of("l1")));
    assert_true(same_bytes(path_of("l1"), path_of("l2")));
}

static void wrong_use(void **state) {
    (void)state;
    need_program();
    put_file("empty", "");
    static const program_case cases[] = {
        {"quantize %M %D/q.gguf", 2, "IN, OUT and TYPE"},
        {"quantize %M %D/q.gguf Q9_K", 2, "Q4_K_M"},
        {"quantize %M %D/q.gguf iq2_xs", 2, "type IQ2_XS can be read, not written"},
        {"quantize %D/im.gguf %D/q.gguf Q8_0", 1, "general.type is 'imatrix', expected 'model'"},
        {"quantize %M '' Q8_0", 2, "empty"},
        {"quantize %F %F/model.safetensors Q8_0", 2, "is a file of the model"},
        {"quantize %F/config.json %F/model.safetensors Q8_0", 2, "is a file of the model"},
        {"quantize /nowhere.gguf %D/q.gguf Q8_0", 1, "/nowhere.gguf"},
        {"quantize %M /nowhere/x.gguf Q8_0", 1, "/nowhere/x.gguf"},
        {"quantize %M %D/q.gguf Q8_0 --imatrix %M", 1, "expected 'imatrix'"},
        {"quantize %M %D/q.gguf Q8_0 --imatrix /nowhere.gguf", 1, "/nowhere.gguf"},
        {"quantize %M %D/q.gguf Q8_0 --imatrix %D/text", 1, "expected an importance matrix"},
        {"quantize %M %D/q.gguf Q8_0 extra", 2, "unexpected argument 'extra'"},
        {"quantize %M %D/q.gguf Q8_0 -t 0", 2, "from 1 to 1024"},
        {"imatrix", 2, "MODEL and TEXT"},
        {"imatrix %M %D/text", 2, "-o FILE"},
        {"imatrix %M %D/text -o /nowhere/im.gguf", 1, "/nowhere/im.gguf"},
        {"imatrix %M %D/text -o %D/text", 1, "it would be overwritten"},
        {"imatrix %M %D/text -o ''", 2, "empty"},
        {"imatrix %M %D/empty -o %D/im2.gguf", 1, "tokens"},
        {"imatrix /nowhere.gguf %D/text -o %D/im2.gguf", 1, "/nowhere.gguf"},
        {"imatrix %M /nowhere.txt -o %D/im.gguf", 1, "/nowhere.txt"},
        {"perplexity %M", 2, "TEXT"},
        {"perplexity %M %D/empty", 1, "tokens"},
        {"perplexity %M /nowhere.txt", 1, "/nowhere.txt"},
        {"perplexity %M %D/text --chunks 0", 2, "from 1 to"},
        {"perplexity %M %D/text --ctx 100000", 1, "the model reads 512"},
        {"perplexity %M %D/text --against /nowhere.gguf", 1, "/nowhere.gguf"},
    };
    moa_expect_errors(cases, sizeof cases / sizeof *cases);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(quantize_and_measure), cmocka_unit_test(importance), cmocka_unit_test(importance_counts),
                                       cmocka_unit_test(wrong_use)};
    return cmocka_run_group_tests(tests, setup, program_teardown);
}
