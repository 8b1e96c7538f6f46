/* test_machine_program.c - moa bench machine, moa bench kernels with shares of the limits and --tune, moa explain, and what every command does with the
 * file they keep: a made-up one that chooses the slowest kernels changes no bit of any answer, and no fault of it stops a program.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static void test_machine(void **state) {
    (void)state;
    need_program();
    assert_int_equal(moa("bench machine --json"), 0);
    json_t *v = parsed(), *read = json_object_get(v, "read"), *peak = json_object_get(v, "peak");
    assert_true(json_array_size(read) > 0 && number(json_array_get(read, 0), "gb_per_s") > 0);
    for (size_t i = 0; i < json_array_size(peak); i++) assert_true(number(json_array_get(peak, i), "gflop_per_s") > 0);
    json_decref(v);
    assert_int_equal(files_like("cache/moa/machine.json"), 1);
    assert_int_equal(files_like("cache/moa/*"), 1); /* nothing half written beside it */
}

static void test_kernels(void **state) {
    (void)state;
    need_program();
    assert_int_equal(moa("bench kernels gemm_q8_q4_0 -r 1 --json"), 0);
    json_t *v = parsed(), *list = json_object_get(v, "kernels");
    assert_true(json_array_size(list) >= 3);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *k = json_array_get(list, i);
        assert_true(number(k, "gb_per_s") > 0 && number(k, "memory_gb_per_s") > 0 && number(k, "share_of_limit") > 0 && number(k, "share_of_limit") < 3);
        assert_true(!strcmp(string(k, "limit"), "reads") || strstr(string(k, "kernel"), strchr(string(k, "limit"), '_')));
    }
    json_decref(v);
    assert_int_equal(moa("bench kernels --tune --json"), 0);
    v = parsed(), list = json_object_get(v, "chosen");
    assert_true(json_array_size(list) % 4 == 0);
    for (size_t i = 0; i < json_array_size(list); i++) assert_true(number(json_array_get(list, i), "x_faster") >= 1);
    json_decref(v);
    char kept[1 << 16];
    slurp(kept, sizeof kept, path_of("cache/moa/machine.json"));
    assert_non_null(strstr(kept, "\"gemm_q8_q4_0\": [["));
    moa_expect(0, "bench machine"); /* keeps what was chosen */
    assert_non_null(strstr(out, "GB/s with 1 thread"));
    slurp(kept, sizeof kept, path_of("cache/moa/machine.json"));
    assert_non_null(strstr(kept, "\"gemm_q8_q4_0\": [["));
    const program_case wrong[] = {{"bench speed --tune -m %M", 2, "belongs to moa bench kernels"}, {"bench kernels --tune gemm", 2, "too many"},
                                  {"bench judge %M@nobody -m %M", 1, ".nobody.gguf"}};
    moa_expect_errors(wrong, 3);
}

/* Every shape at every size ran whole (the bench fails where a node was not asked); a server without a model named is wrong use. */
static void test_agents(void **state) {
    (void)state;
    need_program();
    moa_expect(0, "bench agents -r 1 --json");
    json_t *v = parsed(), *list = json_object_get(v, "graphs");
    assert_int_equal(json_array_size(list), 9);
    for (size_t i = 0; i < 9; i++) assert_true(number(json_array_get(list, i), "all_us") > 0);
    json_decref(v);
    const program_case wrong[] = {{"bench agents http://127.0.0.1:1/v1", 2, "-m MODEL says it"}};
    moa_expect_errors(wrong, 1);
}

/* A judge without sense: what it says cannot be read, and that is counted as wrong. */
static void test_judge(void **state) {
    (void)state;
    moa_expect(0, "bench judge -m %M -r 1 --json");
    assert_non_null(strstr(out, "{\"ask\":\"end\",\"right\":0.0000,\"low\":0.0000,\"high\":0.0000,\"guessing\":1.0000,\"questions\":6}"));
}

/* Text and logits of the small model in int8, on one instruction set, go to files of that name. */
static void answer(const char *name) {
    if (moaf("run -q --mix self-moa -n 3 --max-tokens 12 -m %%D/q8.gguf 'What is two and two?' >%%D/%s.txt", name) != 0) fail_msg("%s", err_text);
    if (moaf("logits %%D/q8.gguf --fast --tokens '1 5 9 2 6 4 3 8 7 1 2 3 4 5 6 7 8 9 1' -o %%D/%s.f32", name) != 0) fail_msg("%s", err_text);
    if (moaf("logits %%D/q8.gguf --fast -b 1 --tokens '1 5 9' -o %%D/%s-1.f32", name) != 0) fail_msg("%s", err_text);
}

static void same_answer(const char *name) {
    static const char *const ending[] = {".txt", ".f32", "-1.f32"};
    char a[64], b[64];
    answer(name);
    for (int i = 0; i < 3; i++) {
        snprintf(a, sizeof a, "usual%s", ending[i]), snprintf(b, sizeof b, "%s%s", name, ending[i]);
        if (!same_bytes(path_of(a), path_of(b))) fail_msg("%s differs", b);
    }
}

static void test_worst_choice(void **state) {
    (void)state;
    need_program();
    assert_int_equal(moa("quantize %M %D/q8.gguf Q8_0"), 0);
    moa_expect(0, "bench kernels --tune");
    char kept[1 << 16], worst[1 << 16];
    slurp(kept, sizeof kept, path_of("cache/moa/machine.json"));
    answer("usual");
    char *kernels = strstr(kept, "\"kernels\"");
    assert_non_null(kernels);
    snprintf(worst, sizeof worst, "%.*s\"kernels\": {\"gemm_q8_q8_0\": [[\"ref\"], [\"ref\"], [\"ref\"], [\"ref\"]]}}", (int)(kernels - kept), kept);
    put_file("cache/moa/machine.json", worst);
    same_answer("worst");
    put_file("cache/moa/machine.json", "{\"moa\": 3");
    same_answer("garbage");
    assert_int_equal(remove(path_of("cache/moa/machine.json")), 0);
    same_answer("none");
    put_file("cache/moa/machine.json", kept);
    same_answer("again");
}

static void test_explain(void **state) {
    (void)state;
    need_program();
    moa_expect(0, "quantize %M %D/q8.gguf Q8_0");
    for (int measure = 0; measure < 2; measure++) {
        if (moaf("explain %%D/q8.gguf -t 1 --json%s", measure ? " --measure --repack off" : " --repack on") != 0) fail_msg("%s", err_text);
        json_t *v = parsed(), *list = json_object_get(v, "decode");
        assert_int_equal(json_array_size(list), 6);
        assert_true(number(v, "read_gbps") > 0 && integer(v, "threads") == 1 && integer(v, "context") == 507);
        assert_true((number(v, "packed_bytes") > 0) == !measure);
        for (size_t i = 0; i < 7; i++) {
            const json_t *p = i < 6 ? json_array_get(list, i) : json_object_get(v, "prefill");
            assert_true(number(p, "tps") > 0 && number(p, "read_limit_s") > 0 && number(p, "work_limit_s") > 0);
            assert_int_equal(json_object_get(p, "measured_tps") != NULL, measure);
            if (measure) assert_true(number(p, "predicted_over_measured") > 0 && strlen(string(p, "gap")) > 0);
        }
        json_decref(v);
    }
    moa_expect(0, "explain %M -t 1 --measure");
    assert_true(strstr(out, "largest gap") && strstr(out, "prefill 512"));
    const program_case wrong[] = {{"explain /dev/null", 1, "no plain file"}, {"explain %M -t 0", 2, "from 1"}, {"explain %M --repack never", 1, "repack 'never'"}};
    moa_expect_errors(wrong, 3);
}

/* Of weights that are packed, and of those that are not. */
static void test_speed(void **state) {
    (void)state;
    need_program();
    for (int off = 0; off < 2; off++) {
        if (moaf("bench speed -m %%D/q8.gguf -t 1 -r 1 decode:16 --json --repack %s", off ? "off" : "on") != 0) fail_msg("%s", err_text);
        json_t *v = parsed();
        assert_true((number(v, "packed_mb") > 0) == !off);
        json_decref(v);
    }
    moa_expect(0, "bench load -m %D/q8.gguf -t 1 -r 1 --repack off");
    assert_int_equal(moa("bench stall -m %D/q8.gguf -t 1 -r 2 100 --json"), 0);
    json_t *v = parsed();
    assert_true(number(v, "gaps") > 0 && number(v, "gap_ms") > 0 && number(v, "read_beside_tps") > 0 && number(v, "step_ms") < 1e4 && integer(v, "prompt_tokens") == 100);
    json_decref(v);
}

static void test_verify(void **state) {
    (void)state;
    need_program();
    assert_int_equal(moa("verify %D/q8.gguf --quick -t 1 --json"), 0);
    json_t *v = parsed(), *checks = json_object_get(v, "checks");
    assert_true(json_is_true(json_object_get(v, "exact")) && integer(v, "done") == integer(v, "planned") && integer(v, "done") == (long long)json_array_size(checks) && integer(v, "done") > 10);
    json_decref(v);
    assert_string_equal(err_text, ""); /* progress is for terminals */
    const program_case wrong[] = {{"verify %M --seconds 0.001", 1, "no check was done in 0.001 s"}, {"verify %M --seconds 0", 2, "from 0.001"}};
    moa_expect_errors(wrong, 2);
}

static void test_faults(void **state) {
    (void)state;
    need_program();
    char cache[4096];
    snprintf(cache, sizeof cache, "%s", getenv("XDG_CACHE_HOME"));
    setenv("XDG_CACHE_HOME", "/dev/null", 1); /* no folder can be made there, not even by root */
    moa_expect(0, "bench machine");
    assert_true(strstr(err_text, "/dev/null") && strstr(out, "GB/s"));
    assert_int_equal(moa("bench kernels --tune"), 1); /* asked for, and not possible */
    assert_non_null(strstr(err_text, "/dev/null"));
    setenv("XDG_CACHE_HOME", cache, 1);
    put_file("cache/moa/machine.json", "{\"moa\": \"9.9\"}");
    moa_expect(0, "bench kernels axpy -r 1");
    assert_true(strstr(err_text, "measured with moa '9.9'") && strstr(out, "axpy"));
    moa_expect(0, "bench kernels axpy -r 1");
    assert_string_equal(err_text, "");
    setenv("XDG_CACHE_HOME", "/dev/null", 1); /* measured each time */
    moa_expect(0, "explain %M -t 1");
    assert_true(strstr(err_text, "/dev/null") && strstr(out, "decode 32"));
    setenv("XDG_CACHE_HOME", cache, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_agents), cmocka_unit_test(test_judge), cmocka_unit_test(test_machine), cmocka_unit_test(test_kernels), cmocka_unit_test(test_worst_choice), cmocka_unit_test(test_explain), cmocka_unit_test(test_speed), cmocka_unit_test(test_verify), cmocka_unit_test(test_faults)};
    return cmocka_run_group_tests(tests, program_setup, program_teardown);
}
