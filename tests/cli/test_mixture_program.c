/* test_mixture_program.c - moa run and moa eval at their edges: mixes that cannot be, models that are missing, task files with bad
 * lines, what does not fit the context, readers that leave early, standard files that are closed, a kill in the middle.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/program.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_wrong_mixes(void **state) {
    (void)state;
    need_program();
    static const program_case cases[] = {
        {"run -m %M --mix moa:n=1 --proposer %M --proposer %M x", 2, "n 1, but 2 proposers"},
        {"run -m /nowhere/x.gguf --mix self-moa-seq:window=3,repeat=3 x", 2, "repeat 3 does not leave"}, /* before a model is looked for */
        {"run -m %M --mix self-moa:n=2,n=3 x", 2, "n is given twice"},
        {"run -m %M --mix self-moa:n=2, x", 2, "'' is not KEY=VALUE"},
        {"run -m %M --mix vote:window=3 x", 2, "mix vote has no parameter window"},
        {"run -m %M --mix vote:temperature=hot x", 2, "expected a number from 0 to 5"},
        {"run -m %M --mix vote --aggregator %M x", 2, "mix vote has no aggregator"},
        {"run --mix moa --proposer %M --proposer /nowhere/b.gguf x", 1, "/nowhere/b.gguf"},
        {"run --mix moa --proposer %M --aggregator no-such-model x", 1, "no-such-model"},
        {"eval microworld -m %M --mix single --mix moa:proposers=%M+/nowhere/b.gguf", 1, "/nowhere/b.gguf"},
        {"eval microworld -m %M --mix moa:n=1,proposers=%M+%M", 2, "n 1, but 2 proposers"},
    };
    moa_expect_errors(cases, sizeof cases / sizeof *cases);
}

static void test_task_files(void **state) {
    (void)state;
    need_program();
    static const struct { const char *text, *says; } bad[] = {
        {"{\"question\":\"a?\",\"answer\":\"b\"}\nnot JSON\n", "tasks:2:"},
        {"{\"question\":\"a?\",\"answer\":\"b\"}\n\n{\"question\":\"a?\",\"answer\":4}\n", "tasks:3: expected an object with the strings"},
        {"{\"question\":\"a?\"}\n", "tasks:1: "},
        {"{\"question\":\"a?\",\"answer\":\" \"}\n", "tasks:1: the answer ' ' is empty"},
        {"\n\n", "tasks: no items"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_file("tasks", bad[i].text);
        moa_expect(1, "eval %D/tasks -m %M");
        if (!strstr(err_text, bad[i].says)) fail_msg("no '%s' in %s", bad[i].says, err_text);
        assert_string_equal(out, "");
    }
    put_file("tasks", "{\"question\":\"1 + 1?\",\"answer\":\"2\",\"family\":\"a\"}\n{\"question\":\"2 + 1?\",\"answer\":\"3\",\"family\":\"a\"}\n"
                      "{\"question\":\"4 + 1?\",\"answer\":\"5\",\"family\":\"b\"}\n");
    for (int n = 0; n < 2; n++) { /* all; one of each family */
        moa_expect(0, n ? "eval %D/tasks -m %M -n 1 --mix single --max-tokens 4 --json -q" : "eval %D/tasks -m %M --mix single --max-tokens 4 --json -q");
        assert_string_equal(err_text, "");
        json_t *v = parsed();
        assert_int_equal(json_array_size(json_object_get(v, "tasks")), 3); /* the file, then its families */
        assert_int_equal(integer(json_array_get(json_object_get(v, "results"), 0), "n"), n ? 2 : 3);
        json_decref(v);
    }
}

/* The question stays whole, the drafts give way; where not even their beginnings fit the drafts vote. Both are said, in both forms. */
static void test_context(void **state) {
    (void)state;
    need_program();
    static const struct { const char *n, *says; } cases[] = {{"6", "agg: "}, {"12", "took p"}};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(moaf("run -m %%M --ctx 150 -n %s --max-tokens 30 'What is 2 + 2?'", cases[i].n), 0);
        if (!strstr(err_text, i ? "the context of" : "references shortened to") || !strstr(err_text, cases[i].says)) fail_msg("%s", err_text);
        assert_int_equal(moaf("run -m %%M --ctx 150 -n %s --max-tokens 30 -q --json 'What is 2 + 2?'", cases[i].n), 0);
        json_t *v = parsed(), *notes = json_object_get(v, "notes"), *last = json_array_get(notes, json_array_size(notes) - 1);
        assert_string_equal(string(last, "node"), "agg");
        if (!strstr(string(last, "note"), i ? "took p" : "references shortened to")) fail_msg("%s", string(last, "note"));
        assert_true(strlen(string(v, "answer")) > 0);
        json_decref(v);
    }
}

/* In a conversation too, and once. */
static void test_chat_notes(void **state) {
    (void)state;
    need_program();
    put_file("lines", "What is 2 + 2?\n");
    assert_int_equal(moa("chat -m %M --ctx 150 -n 6 --max-tokens 30 <%D/lines"), 0);
    const char *note = strstr(err_text, "references shortened to");
    if (!note || strstr(note + 1, "references shortened to")) fail_msg("%s", err_text);
}

/* Nobody reads what is printed: files that were asked for are there all the same, and nothing is printed into others. */
static void test_closed_files(void **state) {
    (void)state;
    need_program();
    char cmd[1024];
    put_file("tasks", "{\"question\":\"1 + 1?\",\"answer\":\"2\"}\n");
    snprintf(cmd, sizeof cmd, "'%s' eval %s/tasks -m %s --mix single --mix vote --max-tokens 4 --table %s/early.md --plot %s/early.svg 2>/dev/null | true",
             getenv("MOA"), program_dir, program_model(), program_dir, program_dir);
    assert_int_equal(system(cmd), 0);
    slurp(out, sizeof out, path_of("early.md"));
    assert_non_null(strstr(out, "| vote |"));
    slurp(out, sizeof out, path_of("early.svg"));
    assert_non_null(strstr(out, "</svg>"));
    assert_int_equal(moa("run --mix single --max-tokens 2 -q -m %M hello >&-"), 1);
    assert_non_null(strstr(err_text, "standard output could not be written"));
    assert_int_equal(moa("run --mix single --max-tokens 2 -m %M hello 2>&-"), 0);
    assert_true(strlen(out) > 0);
    assert_int_equal(moa("run --mix single --max-tokens 2 -q -m %M <&-"), 1);
    assert_non_null(strstr(err_text, "standard input"));
    for (int i = 0; i < 2; i++) { /* the journal is the first file that is opened to be written */
        assert_int_equal(moa("eval %D/tasks -m %M --mix single --max-tokens 4 --journal %D/calls >&- 2>&-"), 1);
        slurp(out, sizeof out, path_of("calls"));
        assert_memory_equal(out, "{\"key\":\"", 8);
        assert_ptr_equal(strchr(out, '\n'), out + strlen(out) - 1);
    }
}

static int lines_of(const char *name) {
    FILE *f = fopen(path_of(name), "r");
    int n = 0, c;
    while (f && (c = fgetc(f)) != EOF) n += c == '\n';
    if (f) fclose(f);
    return n;
}

static pid_t begin_eval(const char *journal) {
    fflush(NULL);
    const pid_t pid = fork();
    if (pid) return pid;
    const int nul = open("/dev/null", O_WRONLY);
    dup2(nul, 1);
    dup2(nul, 2);
    execl(getenv("MOA"), "moa", "eval", path_of("many"), "-m", program_model(), "--mix", "single", "--mix", "self-moa:n=3", "--max-tokens", "12",
          "--journal", journal, (char *)NULL);
    _exit(127);
}

/* Killed in the middle of writing calls down, however that leaves the journal: the same command goes on, what was computed is found
 * again, and the results are those of an evaluation that nobody killed. */
static void test_kill(void **state) {
    (void)state;
    need_program();
    static const char args[] = "eval %D/many -m %M --mix single --mix self-moa:n=3 --max-tokens 12 --json";
    char journal[128], cmd[512];
    int computed, found, before = 0;
    FILE *f = fopen(path_of("many"), "w");
    assert_non_null(f);
    for (int i = 0; i < 300; i++) fprintf(f, "{\"question\":\"What is %d + 1?\",\"answer\":\"%d\"}\n", i, i + 1);
    fclose(f);
    snprintf(journal, sizeof journal, "%s", path_of("killed"));
    program_model();
    for (int round = 1; round <= 2; round++) {
        const pid_t pid = begin_eval(journal);
        for (int i = 0; i < 60000 && lines_of("killed") < before + 40; i++) {
            usleep(1000);
            if (waitpid(pid, NULL, WNOHANG) == pid) fail_msg("the evaluation ended early");
        }
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_true(lines_of("killed") >= before + 40);
        before = lines_of("killed");
    }
    snprintf(cmd, sizeof cmd, "%s --journal %s", args, journal);
    assert_int_equal(moa(cmd), 0);
    const char *count = strstr(err_text, " computed, ");
    assert_non_null(count);
    while (count > err_text && count[-1] != '\n') count--;
    assert_int_equal(sscanf(count, "%d calls computed, %d found", &computed, &found), 2);
    assert_int_equal(computed + found, 300 * (1 + 3 + 1)); /* single's draft is self-moa's first: once computed, once found */
    assert_true(computed <= 300 * 4 - before && found >= before);
    json_t *a = parsed();
    assert_int_equal(moa(args), 0);
    json_t *b = parsed(), *resumed = json_object_get(a, "results"), *straight = json_object_get(b, "results");
    static const char *const keys[] = {"n", "correct", "failed", "calls", "prompt_tokens", "completion_tokens"};
    for (size_t m = 0; m < 2; m++)
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
            assert_int_equal(integer(json_array_get(resumed, m), keys[k]), integer(json_array_get(straight, m), keys[k]));
    json_decref(a);
    json_decref(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_mixes), cmocka_unit_test(test_task_files), cmocka_unit_test(test_context), cmocka_unit_test(test_chat_notes), cmocka_unit_test(test_closed_files), cmocka_unit_test(test_kill),
    };
    return cmocka_run_group_tests(tests, program_setup, program_teardown);
}
