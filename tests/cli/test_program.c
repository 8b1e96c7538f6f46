/* test_program.c - the built program as scripts use it: exit codes, what goes to stdout, JSON keys that others rely on,
 * resume of an evaluation. The program is $MOA, the model a small one (support/program.h).
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "moa.h"
#include "support/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_exit_codes(void **state) {
    (void)state;
    need_program();
    static const program_case cases[] = {
        {"", 2, "usage"},
        {"rnu", 2, "did you mean 'moa run'"},
        {"run", 2, "empty"},
        {"run --mix slef-moa x", 2, "did you mean 'self-moa'"},
        {"run --mxi vote x", 2, "--mix"},
        {"run -n 0 x", 2, "from 1 to 256"},
        {"run -n four x", 2, "whole number"},
        {"run -n0 x", 2, "from 1 to 256"},
        {"run --mix single -n 3 -m %M x", 2, "no parameter n"},
        {"run --mix self-moa --proposer a --proposer b -m %M x", 2, "one proposer"},
        {"run -m /nowhere/x.gguf x", 1, "/nowhere/x.gguf"},
        {"run -m /tmp x", 1, "'/tmp' is a folder"},
        {"run -m /dev/null x", 1, "no plain file"},
        {"run -m %M ' '", 2, "the prompt is empty"},
        {"run -m %M --draft nowhere.gguf x", 1, "nowhere"},
        {"run --kv q4_0 x", 2, "f32, f16, bf16 or q8_0"},
        {"run --ctx 0 x", 2, "whole number from 16 to 268435456"},
        {"run --seed -1 x", 2, "from 0 to 9200000000000000000"},
        {"run --seed 99999999999999999999 x", 2, "from 0 to 9200000000000000000"},
        {"run --ctx 20 -m %M 'What is two and two and two and two and two and two?'", 1, "--ctx N"},
        {"run -m no-such-model x", 1, "looked in"},
        {"eval", 2, "tasks"},
        {"eval no-such-file.jsonl -m %M", 1, "no-such-file"},
        {"eval microworld --mix nothing -m %M", 2, "unknown mix"},
        {"eval microworld --mix single --mix vote --mix single -m %M", 2, "--mix single is given twice"},
        {"eval microworld/arithmetik -m %M", 1, "did you mean microworld/arithmetic"},
        {"eval mikroworld -m %M", 1, "moa list tasks"},
        {"eval microworld -n 0 -m %M", 2, "from 1 to 15625"},
        {"eval microworld --seed -1 -m %M", 2, "from 0 to"},
        {"eval microworld -m %M --plot /nowhere/x.svg", 1, "/nowhere/x.svg: cannot create"},
        {"quantize %M %M Q8_0", 2, "same file"},
        {"bench", 2, "missing"},
        {"bench sped -m %M", 2, "did you mean speed"},
        {"list mixs", 2, "did you mean mixes"},
        {"-m %M hello", 2, "options come after the command"},
        {"eval microworld -m %M --journal ''", 2, "name is empty"},
        {"eval microworld -m %M --table ''", 2, "is empty"},
        {"run -m %M - </tmp", 1, "standard input: cannot read"},
        {"chat extra", 2, "unexpected"},
    };
    moa_expect_errors(cases, sizeof cases / sizeof *cases);
    assert_int_equal(moa("--version"), 0);
    assert_string_equal(out, "moa " MOA_VERSION "\n");
    assert_int_equal(moa("--help"), 0);
    /* Every command that --help lists has its own help. */
    char list[8192], name[32], *save = NULL;
    snprintf(list, sizeof list, "%s", strstr(out, "commands:\n") + 10);
    int n = 0;
    for (char *l = strtok_r(list, "\n", &save); l && l[0] == ' '; l = strtok_r(NULL, "\n", &save), n++) {
        assert_int_equal(sscanf(l, "%31s", name), 1);
        if (moaf("%s --help", name) != 0 || !strstr(out, name)) fail_msg("moa %s --help", name);
    }
    assert_true(n >= 5);
}

static void test_run_json(void **state) {
    (void)state;
    need_program();
    assert_int_equal(moa("run -m %M --max-tokens 12 -n 3 --json 'What is 2 + 2?'"), 0);
    json_t *v = parsed(), *calls = json_object_get(v, "calls"), *usage = json_object_get(v, "usage");
    assert_string_equal(string(v, "mix"), "self-moa");
    assert_int_equal(json_array_size(calls), 4);
    long long prompt = 0, completion = 0;
    for (size_t i = 0; i < 4; i++) {
        json_t *c = json_array_get(calls, i);
        assert_string_equal(string(c, "role"), i < 3 ? "proposer" : "aggregator");
        assert_string_equal(string(c, "node"), i == 0 ? "p1" : i == 1 ? "p2" : i == 2 ? "p3" : "agg");
        assert_string_equal(string(c, "model"), string(v, "model"));
        prompt += integer(c, "prompt_tokens");
        completion += integer(c, "completion_tokens");
        assert_true(integer(c, "completion_tokens") <= 12);
        assert_true(number(c, "first_token_seconds") > 0 && number(c, "seconds") >= number(c, "first_token_seconds"));
    }
    assert_string_equal(string(v, "answer"), string(json_array_get(calls, 3), "text"));
    assert_int_equal(integer(usage, "prompt_tokens"), prompt);
    assert_int_equal(integer(usage, "completion_tokens"), completion);
    assert_int_equal(integer(usage, "total_tokens"), prompt + completion);
    assert_true(integer(usage, "reused_prefix_tokens") > 0);
    assert_true(number(v, "seconds") > 0);
    char answer[4096], plain[4096];
    snprintf(answer, sizeof answer, "%s\n", string(v, "answer"));
    json_decref(v);
    /* The same question again, as text: the answer alone is on stdout, bit for bit; --quiet empties stderr. */
    assert_int_equal(moa("run -m %M --max-tokens 12 -n 3 -q What is 2 + '2?'"), 0);
    if (!strstr(answer, "\xEF\xBF\xBD")) assert_string_equal(out, answer); /* JSON replaces bytes that are not UTF-8 */
    assert_string_equal(err_text, "");
    snprintf(plain, sizeof plain, "%.4000s", out);
    assert_int_equal(moa("run -m %M --max-tokens 12 -n 3 What is 2 + '2?'"), 0);
    assert_string_equal(out, plain);
    assert_non_null(strstr(err_text, "p3:"));
    assert_null(strstr(err_text, "\x1b")); /* no terminal, no control sequences */
}

static void test_lists(void **state) {
    (void)state;
    need_program();
    static const char *const kinds[] = {"mixes", "strategies", "routers", "combiners", "archs", "types", "kernels", "ops", "optimizers", "tasks"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        assert_int_equal(moaf("list %s", kinds[i]), 0);
        if (strlen(out) < 20) fail_msg("moa list %s is empty", kinds[i]);
    }
    assert_int_equal(moa("list types"), 0);
    const char *q8 = strstr(out, "Q8_0"), *q2 = strstr(out, "Q2_K");
    assert_non_null(q8);
    assert_non_null(q2);
    assert_memory_equal(strstr(q8, "read"), "read, write", 11); /* moa quantize points here */
}

/* Whatever is a registry can be listed: of every .def file of the tree there is a kind with a row for each of its lines. */
static void test_every_registry_is_listed(void **state) {
    (void)state;
    need_program();
    static const struct { const char *def, *kind; } other[] = {{"families", "tasks"}, {"quants", "types"}, {"about", NULL}, {"stories", NULL}, {"ui", NULL}};
    char path[256], name[64];
    int n = 0;
    FILE *f = popen("find src -name '*.def'", "r");
    for (; f && fgets(path, sizeof path, f); n++) {
        path[strcspn(path, "\n")] = 0;
        const char *base = strrchr(path, '/') + 1;
        snprintf(name, sizeof name, "%.*s", (int)strcspn(base, "."), base);
        const char *kind = name;
        for (size_t i = 0; i < sizeof other / sizeof *other; i++)
            if (!strcmp(other[i].def, name)) kind = other[i].kind;
        if (!kind) continue; /* parts of one family's file */
        if (moaf("list %s", kind) != 0) fail_msg("%s has no list: moa list %s", path, kind);
        int rows = 0, listed = 0;
        char line[512];
        FILE *def = fopen(path, "r");
        while (def && fgets(line, sizeof line, def)) {
            const size_t cap = strspn(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");
            rows += cap > 1 && line[cap] == '(';
        }
        fclose(def);
        for (const char *p = out; *p; p++) listed += *p == '\n';
        if (rows < 1 || (strcmp(kind, "tasks") && rows != listed)) fail_msg("%s has %d rows, moa list %s shows %d", path, rows, kind, listed);
    }
    pclose(f);
    assert_true(n > 10);
}

bool moa_guard_works(void);

/* Peak memory in bytes of `$MOA run` on the bundled model, whose JSON goes to out. */
static double run_peak(const char *file) {
    struct rusage use;
    int status = -1;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (freopen(path_of(".out"), "w", stdout) && freopen("/dev/null", "w", stderr))
            execl(getenv("MOA"), getenv("MOA"), "run", "-m", file, "--json", "-t", "1", "Tom has 12 apples and buys 9 more. How many apples has he?", NULL);
        _exit(127);
    }
    assert_true(pid > 0 && wait4(pid, &status, 0, &use) == pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    slurp(out, sizeof out, path_of(".out"));
    return (double)use.ru_maxrss * 1024;
}

/* The goal that docs/performance.md states: the model file, its KV, and 60 MB. */
/* ps, top and pkill know the program by its name, also after it started itself again with settings for its threads. */
static void test_process_name(void **state) {
    (void)state;
    need_program();
    static const char script[] = "f=%s/wait; mkfifo $f; \"$MOA\" run -q -m %s - <$f >/dev/null 2>&1 & p=$!; exec 3>$f; sleep 0.3; "
                                 "cat /proc/$p/comm >%s/name; kill $p";
    char cmd[1024], name[64];
    snprintf(cmd, sizeof cmd, script, program_dir, program_model(), program_dir);
    assert_int_equal(system(cmd), 0);
    slurp(name, sizeof name, path_of("name"));
    assert_string_equal(name, "moa\n");
}

static void test_peak_memory(void **state) {
    (void)state;
    need_program();
    static const char file[] = "models/moa-tiny.gguf";
    struct stat st;
    if (stat(file, &st) != 0) {
        printf("skip: %s is not here\n", file);
        skip();
    }
    if (!moa_guard_works()) {
        printf("skip: sanitizers keep memory of their own\n");
        skip();
    }
    const double peak = run_peak(file);
    json_t *run = parsed(), *usage = json_object_get(run, "usage");
    const double tokens = (double)(integer(usage, "total_tokens") - integer(usage, "reused_prefix_tokens"));
    assert_int_equal(moa("info models/moa-tiny.gguf --json"), 0);
    json_t *info = parsed();
    const double kv = tokens * (double)integer(info, "kv_bytes_per_token"), model_bytes = (double)st.st_size;
    printf("peak %.1f MB: model file %.1f MB, KV at most %.1f MB, the rest %.1f MB\n", peak / 1e6, model_bytes / 1e6, kv / 1e6, (peak - model_bytes - kv) / 1e6);
    assert_true(peak > model_bytes / 2); /* it is that program that was measured */
    assert_true(peak <= model_bytes + kv + 60e6);
    json_decref(run);
    json_decref(info);
}

static int lines(const char *path) {
    FILE *f = fopen(path, "r");
    int n = 0, c;
    while (f && (c = fgetc(f)) != EOF) n += c == '\n';
    if (f) fclose(f);
    return n;
}

/* Names and texts of a file go to the terminal as what they are worth: none of them may steer it. */
static void test_hostile_names(void **state) {
    (void)state;
    need_program();
    static const char n_tensor[8] = {0}, n_kv[8] = {3}, evil[] = "\x1b[2J\xc2\x9b";
    static const char *const keys[] = {"general.architecture", "general.type", evil};
    FILE *f = fopen(path_of("evil.gguf"), "wb");
    assert_non_null(f);
    fwrite("GGUF\3\0\0\0", 1, 8, f), fwrite(n_tensor, 1, 8, f), fwrite(n_kv, 1, 8, f);
    for (int i = 0; i < 3; i++) {
        const char k[8] = {(char)strlen(keys[i])}, v[8] = {(char)strlen(evil)};
        fwrite(k, 1, 8, f), fputs(keys[i], f), fwrite("\10\0\0\0", 1, 4, f), fwrite(v, 1, 8, f), fputs(evil, f);
    }
    for (int i = 0; i < 32; i++) fputc(0, f);
    assert_int_equal(fclose(f), 0);
    static const char *const calls[] = {"info %D/evil.gguf", "run -m %D/evil.gguf x", "tokenize %D/evil.gguf", "embed %D/evil.gguf x", "quantize %D/evil.gguf %D/o.gguf Q8_0",
                                        "models", "run -m '\x1b[2J' x", "pull '\x1b[2J'", "run '--\x1b[2J'", "list '\x1b[2J'", "'\x1b[2J'"};
    setenv("MOA_MODELS", program_dir, 1);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        moa(calls[i]);
        assert_true(out[0] || err_text[0]);
        if (strchr(out, 0x1b) || strchr(err_text, 0x1b) || strstr(out, "\xc2\x9b") || strstr(err_text, "\xc2\x9b")) fail_msg("%s: %s%s", calls[i], out, err_text);
    }
    setenv("MOA_MODELS", "", 1);
    assert_int_equal(remove(path_of("evil.gguf")), 0);
}

/* The models of the tree that the program stands in are found from any folder, wherever that tree was moved. */
static void test_moved_tree(void **state) {
    (void)state;
    need_program();
    char cmd[2048], was[512];
    snprintf(was, sizeof was, "%s", getenv("MOA"));
    snprintf(cmd, sizeof cmd, "cd '%s' && mkdir -p t/bin t/share/moa/models u/build u/models && cp '%s' t/share/moa/models/of-tree.gguf && cp '%s' u/models/of-build.gguf", program_dir,
             program_model(), program_model());
    assert_int_equal(system(cmd), 0);
    snprintf(cmd, sizeof cmd, "cp '%s' '%s/t/bin/moa' && cp '%s' '%s/u/build/moa'", was, program_dir, was, program_dir);
    assert_int_equal(system(cmd), 0);
    setenv("MOA", path_of("t/bin/moa"), 1);
    assert_int_equal(moa("info of-tree"), 0);
    assert_int_equal(moa("info of-build"), 1);
    setenv("MOA", path_of("u/build/moa"), 1);
    assert_int_equal(moa("info of-build"), 0);
    assert_int_equal(moa("models"), 0);
    assert_non_null(strstr(out, "of-build"));
    assert_null(strstr(strstr(out, "of-build") + 1, "of-build"));
    setenv("MOA", was, 1);
}

/* How soon the first text came is measured in every run, whatever a journal holds; the rest of a report is not. */
static void drop_first_text(char *report) {
    static const char key[] = ",\"first_text_p50\":";
    for (char *p = report; (p = strstr(p, key));) {
        const char *rest = p + sizeof key - 1 + strspn(p + sizeof key - 1, "0123456789.");
        memmove(p, rest, strlen(rest) + 1);
    }
}

static void test_eval(void **state) {
    (void)state;
    need_program();
    assert_int_equal(moa("microworld --json -n 20 --seed 2"), 0); /* a task file has answers alone */
    assert_non_null(strstr(out, "\"answer\":\""));
    assert_null(strstr(out, "\"answer\":\"\""));
    char tasks[96], args[512];
    snprintf(tasks, sizeof tasks, "%s/tasks.jsonl", program_dir);
    FILE *f = fopen(tasks, "w");
    for (int i = 0; i < 5; i++) fprintf(f, "{\"question\":\"What is %d + 1?\",\"answer\":\"%d\"}\n", i, i + 1);
    fclose(f);
    snprintf(args, sizeof args, "eval %s -m %%M --mix single --mix vote:n=3 --mix self-moa:n=3 --max-tokens 8 --seeds 2 --json --journal %%D/journal", tasks);
    assert_int_equal(moa(args), 0);
    json_t *v = parsed(), *results = json_object_get(v, "results");
    assert_int_equal(json_array_size(json_object_get(v, "tasks")), 1);
    assert_int_equal(json_array_size(results), 3);
    static const char *const mixes[] = {"single", "vote:n=3", "self-moa:n=3"};
    static const int calls[] = {10, 30, 40};
    for (size_t i = 0; i < 3; i++) {
        json_t *r = json_array_get(results, i);
        assert_string_equal(string(r, "mix"), mixes[i]);
        assert_string_equal(string(r, "task"), tasks);
        assert_int_equal(integer(r, "n"), 10);
        assert_int_equal(integer(r, "calls"), calls[i]);
        assert_true(integer(r, "completion_tokens") > 0);
        assert_true(number(r, "accuracy") == (double)integer(r, "correct") / 10);
        json_t *ci = json_object_get(r, "ci95");
        assert_int_equal(json_array_size(ci), 2);
        assert_true(json_number_value(json_array_get(ci, 0)) <= number(r, "accuracy"));
        assert_true(number(r, "seconds") > 0);
    }
    json_decref(v);
    /* Thirty samples and ten merges are forty calls at most, though the mixes ask for eighty. */
    int n = lines(path_of("journal"));
    assert_true(n <= 40 && n >= 30);
    char first[8192];
    snprintf(first, sizeof first, "%.8000s", out);
    assert_int_equal(moa(args), 0);
    assert_int_equal(lines(path_of("journal")), n); /* nothing is computed again */
    drop_first_text(first);
    drop_first_text(out);
    char *end = strstr(first, "\"wall_seconds\"");
    assert_non_null(end);
    assert_memory_equal(out, first, (size_t)(end - first));
}

static void test_chat(void **state) {
    (void)state;
    need_program();
    FILE *f = fopen(path_of("lines"), "w");
    assert_non_null(f);
    fprintf(f, "hello\n  \na%cb\n/mix vote:n=2\n/mix nothing\n/mix single:proposers=%s\n/model x\n/reset\nlast\n", 0, program_model());
    fclose(f);
    assert_int_equal(moa("chat -q -m %M --max-tokens 6 -n 2 <%D/lines"), 0);
    assert_true(strlen(out) > 0);
    assert_non_null(strstr(err_text, "unknown mix 'nothing'"));
    assert_non_null(strstr(err_text, "zero byte"));
    assert_non_null(strstr(err_text, "names its own models"));
}

/* --ctx beyond what the model reads is said, and works with what there is. */
static void test_ctx(void **state) {
    (void)state;
    need_program();
    assert_int_equal(moa("run -q --mix single --max-tokens 2 --ctx 600 -m %M hello"), 0);
    assert_non_null(strstr(err_text, "reads no more than 512 tokens"));
    assert_int_equal(moa("run -q --mix single --max-tokens 2 --ctx 512 -m %M hello"), 0);
    assert_string_equal(err_text, "");
    assert_int_equal(moa("run --mix single --max-tokens 400 --ctx 64 -m %M hello"), 0);
    assert_non_null(strstr(err_text, "context of 64 tokens"));
}

static void test_bench_json(void **state) {
    (void)state;
    need_program();
    assert_int_equal(moa("bench speed -m %M -t 1 -r 1 --json"), 0);
    json_t *v = parsed(), *batch = json_object_get(v, "batch"), *mixed = json_object_get(v, "self_moa");
    assert_string_equal(string(v, "type"), "F32");
    assert_int_equal(integer(v, "threads"), 1);
    assert_true(strlen(string(v, "isa")) > 0 && strlen(string(v, "model")) > 0);
    static const char *const positive[] = {"prefill_tps", "decode_tps", "peak_rss_mb", "read_gbps"};
    for (int i = 0; i < 4; i++) assert_true(number(v, positive[i]) > 0);
    static const int n[] = {1, 2, 4, 6, 8, 16, 32};
    assert_int_equal(json_array_size(batch), 7);
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal(integer(json_array_get(batch, i), "n"), n[i]);
        assert_true(number(json_array_get(batch, i), "tps") > 0);
    }
    assert_true(number(mixed, "single_s") > 0 && number(mixed, "mixed_s") > number(mixed, "single_s") && number(mixed, "ratio") > 1);
    json_decref(v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exit_codes), cmocka_unit_test(test_run_json), cmocka_unit_test(test_lists), cmocka_unit_test(test_every_registry_is_listed), cmocka_unit_test(test_process_name), cmocka_unit_test(test_peak_memory), cmocka_unit_test(test_hostile_names), cmocka_unit_test(test_moved_tree),
        cmocka_unit_test(test_eval),       cmocka_unit_test(test_chat), cmocka_unit_test(test_ctx), cmocka_unit_test(test_bench_json),
    };
    return cmocka_run_group_tests(tests, program_setup, program_teardown);
}
