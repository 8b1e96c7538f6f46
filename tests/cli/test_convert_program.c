/* test_convert_program.c - a Hugging Face folder by every command that takes a model, as it is and as the GGUF file that moa convert
 * makes of it: the same bytes as those of the file that the folder was made from.
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

/* What a command says of the folder and of the converted file is what it says of the model. */
static void same_three(const char *fmt) {
    static const char *const form[] = {"%M", "%F", "%D/out.gguf"};
    static char first[sizeof out];
    for (int i = 0; i < 3; i++) {
        char args[1024];
        const char *at = strstr(fmt, "MODEL");
        snprintf(args, sizeof args, "%.*s%s%s", (int)(at - fmt), fmt, form[i], at + 5);
        moa_expect(0, args);
        if (i == 0) snprintf(first, sizeof first, "%s", out);
        else assert_string_equal(out, first);
    }
    assert_true(strlen(first) > 0);
}

static void test_same(void **state) {
    (void)state;
    need_program();
    moa_expect(0, "convert %F %D/out.gguf");
    assert_non_null(strstr(out, "out.gguf: llama, "));
    assert_string_equal(err_text, "");
    put_file("text", "Tom has 12 apples.\n  Anna <|im_end|> sells 1234 of them.\n");
    same_three("tokenize MODEL --special <%D/text");
    same_three("tokenize MODEL --pieces <%D/text");
    same_three("run -q -m MODEL --mix vote:n=2 --max-tokens 20 'What is 2 + 2?'");
    same_three("perplexity MODEL %D/text --exact");
    moa_expect(0, "logits %M --tokens '1 2 3 40 77' -o %D/a");
    moa_expect(0, "logits %F --tokens '1 2 3 40 77' -o %D/b");
    moa_expect(0, "logits %D/out.gguf --tokens '1 2 3 40 77' -o %D/c");
    assert_true(same_bytes(path_of("a"), path_of("b")) && same_bytes(path_of("a"), path_of("c")));
    moa_expect(0, "info %F --json");
    json_t *j = parsed();
    assert_int_equal(integer(json_object_get(j, "hparams"), "n_vocab"), 384);
    assert_int_equal(integer(json_object_get(j, "hparams"), "n_ctx"), 512);
    json_decref(j);
    moa_expect(0, "quantize %F %D/q.gguf Q8_0 -q"); /* a folder is quantised without a step between */
    moa_expect(0, "quantize %D/out.gguf %D/q2.gguf Q8_0 -q");
    moa_expect(0, "logits %D/q.gguf --tokens '1 2 3 40 77' -o %D/b");
    moa_expect(0, "logits %D/q2.gguf --tokens '1 2 3 40 77' -o %D/c");
    assert_true(same_bytes(path_of("b"), path_of("c")));
    moa_expect(0, "convert %F/model.safetensors %D/out.gguf -q"); /* the weights' file names its folder; OUT is replaced */
    setenv("MOA_MODELS", program_dir, 1);
    moa_expect(0, "convert %F/config.json %D/other.gguf -q"); /* so does its description */
    assert_true(same_bytes(path_of("other.gguf"), path_of("out.gguf")));
    moa_expect(0, "info %F/");
    assert_null(strstr(out, "//"));
    assert_null(strstr(out, "model/\n"));
    moa_expect(0, "convert model %D/named.gguf"); /* by its name in the models folder, as moa pull leaves it */
    setenv("MOA_MODELS", "", 1);
    assert_true(same_bytes(path_of("named.gguf"), path_of("out.gguf")));
}

static void test_types(void **state) {
    (void)state;
    need_program();
    static const struct { const char *name; double bits; } type[] = {{"F32", 32}, {"BF16", 16}, {"F16", 16}, {"Q8_0", 8.5}};
    for (size_t i = 0; i < sizeof type / sizeof *type; i++) {
        if (moaf("convert %s %s --type %s", program_folder(), path_of("t.gguf"), type[i].name) != 0) fail_msg("%s", err_text);
        long long weights = 0;
        double mb = 0;
        if (sscanf(strstr(out, "llama, "), "llama, %lld weights, %lf MB", &weights, &mb) != 2) fail_msg("%s", out);
        /* Vectors stay F32, and keys and the vocabulary take some kB. */
        const double expected = (double)weights * type[i].bits / 8;
        if (!(mb * 1e6 > expected && mb * 1e6 < expected + 40e3)) fail_msg("%s: %g MB for %lld weights", type[i].name, mb, weights);
        moa_expect(0, "run -q -m %D/t.gguf --mix single --max-tokens 4 hello");
    }
}

static void test_wrong_use(void **state) {
    (void)state;
    need_program();
    static const program_case cases[] = {
        {"convert", 2, "FOLDER and OUT.gguf"},
        {"convert %F", 2, "FOLDER and OUT.gguf"},
        {"convert %F a b", 2, "unexpected argument 'b'"},
        {"convert %F %D/x.gguf --type Q99", 2, "cannot be written"},
        {"convert %F %D/x.gguf --type Q4_K_M", 2, "cannot be written"},
        {"convert %M %D/x.gguf", 2, "moa quantize"},
        {"convert /nowhere %D/x.gguf", 1, "'/nowhere' not found"},
        {"convert %D %D/x.gguf", 1, "without a config.json"},
        {"convert %F /nowhere/x.gguf", 1, "/nowhere/x.gguf"},
        {"convert %F %D", 1, "not a regular file"},
        {"convert %F %F/config.json/x", 1, "config.json/x"},
        {"convert %F/model.safetensors %F/model.safetensors", 2, "same file"},
        {"convert %F %F/model.safetensors", 2, "is a file of the model"},
        {"convert %F/ %F/tokenizer.json", 2, "is a file of the model"},
        {"convert %F ''", 2, "empty"},
    };
    moa_expect_errors(cases, sizeof cases / sizeof *cases);
    assert_int_equal(files_like("x.gguf*"), 0);
}

/* Weights without a tokenizer are converted, for who wants their logits; but not in silence. */
static void test_no_tokenizer(void **state) {
    (void)state;
    need_program();
    char cmd[256];
    snprintf(cmd, sizeof cmd, "cp -r '%s' '%s' && rm '%s/tokenizer.json'", program_folder(), path_of("mute"), path_of("mute"));
    assert_int_equal(system(cmd), 0);
    moa_expect(0, "convert %D/mute %D/mute.gguf");
    assert_non_null(strstr(err_text, "has no tokenizer"));
    moa_expect(0, "logits %D/mute.gguf --tokens '1 2'");
    moa_expect(1, "run -q -m %D/mute.gguf x");
    assert_non_null(strstr(err_text, "no tokenizer"));
}

/* What a folder lacks, or says wrongly, is named with its file. */
static void test_damaged(void **state) {
    (void)state;
    need_program();
    static const struct { const char *change, *says; } cases[] = {
        {"rm model.safetensors", "model.safetensors"},
        {"mv model.safetensors model-00001-of-00002.safetensors", "fetch model.safetensors.index.json"},
        {"sed -i 's/\"rms_norm_eps\"/\"rms_norm_sep\"/' config.json", "'rms_norm_eps' is missing"},
        {"sed -i 's/^{/{\"attention_bias\":true,/' config.json", "'attention_bias' is true, but tensor 'blk.0.attn_q.bias' is missing"},
        {"sed -i 's/^{/{\"mlp_bias\":true,/' config.json", "'blk.0.ffn_up.bias' is missing"},
        {"echo '{' >config.json", "config.json"},
        {"sed -i 's/\"hidden_size\":64/\"hidden_size\":65/' config.json", "config.json"},
        {"sed -i 's/\"vocab_size\":384/\"vocab_size\":385/' config.json", "385"},
        {"sed -i 's/llama/lama/' config.json", "lama"},
        {"truncate -s -1 model.safetensors", "model.safetensors"},
        {"sed -i 's/individual_digits/individual_letters/' tokenizer.json", "pre_tokenizer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char cmd[512];
        snprintf(cmd, sizeof cmd, "rm -rf '%s' && cp -r '%s' '%s' && cd '%s' && %s", path_of("bad"), program_folder(), path_of("bad"), path_of("bad"), cases[i].change);
        assert_int_equal(system(cmd), 0);
        const int rc = moa("convert %D/bad %D/x.gguf");
        if (rc != 1 || !strstr(err_text, cases[i].says)) fail_msg("%s: exit code %d, expected 1 and '%s' in: %s", cases[i].change, rc, cases[i].says, err_text);
        assert_int_equal(files_like("x.gguf*"), 0);
        assert_int_equal(moa("run -q -m %D/bad --mix single --max-tokens 2 hello"), 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same), cmocka_unit_test(test_types), cmocka_unit_test(test_wrong_use),
                                       cmocka_unit_test(test_no_tokenizer), cmocka_unit_test(test_damaged)};
    return cmocka_run_group_tests(tests, program_setup, program_teardown);
}
