/* test_opt.c - the option parser that all commands share. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const moa_opt opts[] = {
    {"--mix", NULL, MOA_OPT_STR, "NAME", "", 0, 0},      {"--count", "-n", MOA_OPT_INT, "N", "", 1, 100},
    {"--heat", NULL, MOA_OPT_FLOAT, "T", "", 0, 5},      {"--quiet", "-q", MOA_OPT_FLAG, NULL, "", 0, 0},
    {"--proposer", NULL, MOA_OPT_STRS, "M", "", 0, 0},   {NULL, NULL, 0, NULL, NULL, 0, 0},
};
static int nothing(int argc, char **argv) { (void)argc, (void)argv; return 0; }
static const moa_command cmd = {.name = "test", .usage = "[X]", .help = "h", .opts = opts, .run = nothing};
static moa_optval v[6];
static const char *pos[3];
static int n_pos;

static int parse(const char *line) {
    static char buf[512];
    char *argv[32], *save = NULL;
    int argc = 0;
    snprintf(buf, sizeof buf, "test %s", line);
    for (char *t = strtok_r(buf, " ", &save); t; t = strtok_r(NULL, " ", &save)) argv[argc++] = t;
    return moa_opt_parse(&cmd, argc, argv, v, pos, 3, &n_pos);
}

static void test_forms(void **state) {
    (void)state;
    assert_int_equal(parse("--mix=a=b -n 7 -q x --heat 0.5 - --proposer p1 --proposer=p2 -- --mix"), 0);
    assert_string_equal(v[0].s, "a=b");
    assert_int_equal(v[1].i, 7);
    assert_true(v[2].f == 0.5);
    assert_true(v[3].set);
    assert_int_equal(v[4].n_list, 2);
    assert_string_equal(v[4].list[1], "p2");
    assert_int_equal(n_pos, 3);
    assert_string_equal(pos[1], "-");
    assert_string_equal(pos[2], "--mix");
    assert_int_equal(parse("-n7"), 0);
    assert_int_equal(v[1].i, 7);
    assert_int_equal(parse(""), 0);
    assert_false(v[0].set || v[1].set || v[2].set || v[3].set || v[4].set);
}

static void test_wrong_use(void **state) {
    (void)state;
    static const char *const bad[] = {"-n 0", "-n 101", "-n 4x", "-n", "-n 99999999999999999999", "--heat nan", "--heat inf", "--heat x", "--heat -1",
                                      "--quiet=1", "--mixx a", "-z", "--mix", "a b c d", "-n="};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (parse(bad[i]) != -1) fail_msg("'%s' was taken", bad[i]);
    assert_int_equal(parse("--help"), 1);
    assert_int_equal(parse("-h"), 1);
}

static void test_model_path(void **state) {
    (void)state;
    char dir[] = "/tmp/moa-test-XXXXXX", file[64], out[4096];
    moa_err err = {0};
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/tiny.gguf", dir);
    fclose(fopen(file, "w"));
    setenv("MOA_MODELS", dir, 1);
    assert_int_equal(moa_cli_model_path(out, sizeof out, "tiny", &err), 0);
    assert_string_equal(out, file);
    assert_int_equal(moa_cli_model_path(out, sizeof out, "tiny.gguf", &err), 0);
    assert_int_equal(moa_cli_model_path(out, sizeof out, file, &err), 0);
    assert_int_equal(moa_cli_model_path(out, sizeof out, "tinier", &err), MOA_ENOTFOUND);
    assert_non_null(strstr(err.text, dir)); /* says where it looked */
    assert_int_equal(moa_cli_model_path(out, sizeof out, "", &err), MOA_EUSAGE);
    char small[8];
    assert_int_equal(moa_cli_model_path(small, sizeof small, "tiny", &err), MOA_ENOTFOUND);
    unsetenv("MOA_MODELS");
    unlink(file);
    rmdir(dir);
}

static void touch(const char *name) {
    FILE *f = fopen(name, "w");
    assert_non_null(f);
    fclose(f);
}

/* What the call says on stderr, with its path in out. */
static void said(char text[512], char out[4096], const char *name) {
    moa_err err = {0};
    FILE *f = tmpfile();
    const int old = dup(2);
    assert_true(f && old >= 0 && dup2(fileno(f), 2) == 2);
    const int rc = moa_cli_model_path(out, 4096, name, &err);
    dup2(old, 2);
    close(old);
    rewind(f);
    text[fread(text, 1, 511, f)] = 0;
    fclose(f);
    assert_int_equal(rc, 0);
}

/* What lies in the working folder goes first, and a model of the same name that it hides is named. A slash at the end is no part of a name. */
static void test_hidden_model(void **state) {
    (void)state;
    char dir[] = "/tmp/moa-test-XXXXXX", here[256], text[512], out[4096];
    assert_non_null(getcwd(here, sizeof here));
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chdir(dir), 0);
    mkdir("store", 0700), mkdir("store/both", 0700), mkdir("both", 0700), mkdir("here", 0700), mkdir("store/there", 0700);
    touch("store/both/config.json"), touch("both/config.json"), touch("here/config.json"), touch("store/there/config.json");
    setenv("MOA_MODELS", "store", 1);
    said(text, out, "both");
    assert_string_equal(out, "both");
    assert_string_equal(text, "note: ./both is taken, not the model store/both\n");
    said(text, out, "both/");
    assert_string_equal(out, "both");
    said(text, out, "here//");
    assert_string_equal(out, "here");
    assert_string_equal(text, "");
    said(text, out, "./both"); /* said with a path: no doubt */
    assert_string_equal(text, "");
    said(text, out, "there");
    assert_string_equal(out, "store/there");
    assert_string_equal(text, "");
    setenv("MOA_MODELS", ".", 1); /* the working folder is that of the models */
    said(text, out, "both");
    assert_string_equal(text, "");
    unsetenv("MOA_MODELS");
    assert_int_equal(chdir(here), 0);
    snprintf(text, sizeof text, "rm -rf '%s'", dir);
    assert_int_equal(system(text), 0);
}

/* A file that is written may be no part of what is read. */
static void test_two_files(void **state) {
    (void)state;
    char dir[] = "/tmp/moa-test-XXXXXX", here[256], away[64];
    assert_non_null(getcwd(here, sizeof here));
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chdir(dir), 0);
    mkdir("hf", 0700), mkdir("sub", 0700);
    static const char *const names[] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf", "n-00002-of-00003.gguf",
                                        "sub/m-00002-of-00003.gguf", "a.gguf", "hf/config.json", "hf/model.safetensors", "hf/old.gguf", "model.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) touch(names[i]);
    static const struct { const char *in, *out; bool fine; } cases[] = {
        {"a.gguf", "./a.gguf", false}, {"a.gguf", "b.gguf", true}, {"b.gguf", "b.gguf", true},
        {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", false}, {"m-00001-of-00003.gguf", "sub/../m-00003-of-00003.gguf", false},
        {"./m-00001-of-00003.gguf", "n-00002-of-00003.gguf", true}, {"m-00001-of-00003.gguf", "sub/m-00002-of-00003.gguf", true},
        {"hf", "hf/model.safetensors", false}, {"hf", "hf/config.json", false}, {"hf", "hf/old.gguf", true}, {"hf", "hf/new", true},
        {"hf", "model.safetensors", true}, {"hf/model.safetensors", "hf/config.json", false}, {"sub", "sub/m-00002-of-00003.gguf", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        moa_err err = {0};
        const int rc = moa_cli_two_files(cases[i].in, cases[i].out, &err);
        if (rc != (cases[i].fine ? 0 : MOA_EUSAGE)) fail_msg("%s to %s: %d %s", cases[i].in, cases[i].out, rc, err.text);
        if (rc) assert_non_null(strstr(err.text, "would be overwritten"));
    }
    assert_int_equal(chdir(here), 0);
    snprintf(away, sizeof away, "rm -rf '%s'", dir);
    assert_int_equal(system(away), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms), cmocka_unit_test(test_wrong_use), cmocka_unit_test(test_model_path),
                                       cmocka_unit_test(test_hidden_model), cmocka_unit_test(test_two_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
