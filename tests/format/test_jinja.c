/* test_jinja.c - the interpreter against recorded and live output of the real Jinja2, against its limits, and
 * the words of its errors.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/jinja.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { NOW = 1700000000, MAX_FILE = 64 << 20 };

static char *render(const char *text, const json_t *vars, const moa_jinja_limits *lim, moa_err *err) {
    moa_jinja *t;
    char *out = NULL;
    *err = (moa_err){0};
    if (moa_jinja_parse(&t, text, strlen(text), "t", err) < 0) return NULL;
    moa_jinja_limits now = lim ? *lim : (moa_jinja_limits){0};
    now.now = NOW;
    size_t len = 0;
    int rc = moa_jinja_render(&out, &len, t, vars, &now, err);
    assert_int_equal(rc < 0, out == NULL);
    assert_int_equal(rc, err->code);
    if (out) assert_int_equal(len, strlen(out));
    moa_jinja_free(t);
    return out;
}

/* Lines {"template", "vars", "expected"}: how many agree, printing those that do not. */
static int agree(const char *text, size_t n, const char *name, int *total) {
    moa_jsonl r;
    json_t *v;
    moa_err err;
    int ok = 0, rc;
    *total = 0;
    moa_jsonl_text(&r, text, n, name);
    while ((rc = moa_jsonl_next(&v, &r, &err)) == 1) {
        const char *want = json_string_value(json_object_get(v, "expected"));
        char *got = render(json_string_value(json_object_get(v, "template")), json_object_get(v, "vars"), NULL, &err);
        bool same = want ? got && !strcmp(got, want) : !got;
        ++*total;
        ok += same;
        if (!same) print_message("%s:%zu: got      %s\n  expected %s\n", name, r.line, got ? got : err.text, want ? want : "(an error)");
        free(got);
        json_decref(v);
    }
    if (rc < 0) fail_msg("%s", err.text);
    return ok;
}

static void golden(void **state) {
    (void)state;
    moa_err err;
    char *text;
    size_t n;
    if (moa_read_file(&text, &n, "tests/golden/jinja.jsonl", MAX_FILE, &err) < 0) fail_msg("%s", err.text);
    int total, ok = agree(text, n, "golden", &total);
    print_message("golden: %d of %d agree with Jinja2 3.1\n", ok, total);
    assert_true(total > 90);
    assert_int_equal(ok, total);
    free(text);
}

static const char *shared(void) {
    const char *dir = getenv("MOA_SHARED");
    return dir && *dir ? dir : "../shared";
}

/* What a shell command prints; NULL when it fails. */
static char *output_of(const char *cmd, size_t *n) {
    moa_buf b;
    moa_buf_init(&b, MAX_FILE);
    FILE *f = popen(cmd, "r");
    if (!f) return NULL;
    char part[65536];
    for (size_t k; (k = fread(part, 1, sizeof part, f)) > 0;) moa_buf_add(&b, part, k);
    int rc = pclose(f);
    *n = b.len;
    char *s = moa_buf_take(&b);
    if (rc == 0 && *n > 0) return s;
    free(s);
    return NULL;
}

static void shared_cases(void **state) {
    (void)state;
    char cmd[1024];
    size_t n;
    snprintf(cmd, sizeof cmd, "xz -dc '%s/data/packs/jinja_cases.jsonl.xz' 2>/dev/null", shared());
    char *text = output_of(cmd, &n);
    if (!text) {
        print_message("skip: no data/packs/jinja_cases.jsonl.xz under %s (set MOA_SHARED)\n", shared());
        skip();
    }
    int total, ok = agree(text, n, "jinja_cases", &total);
    print_message("jinja_cases: %d of %d agree\n", ok, total);
    assert_int_equal(ok, total);
    free(text);
}

/* ---- against the real Jinja2 ---- */

static void add_case(moa_buf *cases, const char *template, json_t *vars) {
    json_t *o = json_pack("{s:s, s:O}", "template", template, "vars", vars);
    moa_json_add(cases, o);
    moa_buf_adds(cases, "\n");
    json_decref(o);
}

/* Reasoning beside the content and in it, calls of tools (arguments as an object and as text) with their answers, several calls at
 * once, contents in parts, nothing at all: with and without a list of tools. */
static const char *const DIALOGUES[] = {
    "[{'role':'user','content':'2+2?'},{'role':'assistant','reasoning_content':'Two and two.','content':'4'},{'role':'user','content':'And 3?'}]",
    "[{'role':'system','content':'Be brief.'},{'role':'user','content':'2+2?'},{'role':'assistant','content':'<think>\\nTwo.\\n</think>\\n\\n4'},{'role':'user','content':'ok'}]",
    "[{'role':'user','content':'Weather in \u00c9vian?'},{'role':'assistant','content':'','reasoning_content':'Ask.','tool_calls':[{'id':'call12345','type':'function',"
    "'function':{'name':'weather','arguments':{'city':'\u00c9vian','days':2,'fine':true,'x':null}}}]},{'role':'tool','tool_call_id':'call12345','name':'weather','content':'{\"t\": 21.5}'}]",
    "[{'role':'system','content':'S'},{'role':'user','content':'Both?'},{'role':'assistant','content':null,'tool_calls':[{'id':'abcdefgh1','type':'function','function':{'name':'a','arguments':'{\"k\": 1}'}},"
    "{'id':'abcdefgh2','type':'function','function':{'name':'b','arguments':'{}'}}]},{'role':'tool','tool_call_id':'abcdefgh1','content':'one'},{'role':'tool','tool_call_id':'abcdefgh2','content':'two'},"
    "{'role':'assistant','content':'Done.'},{'role':'user','content':'Thanks'}]",
    "[{'role':'user','content':[{'type':'text','text':'in parts'},{'type':'text','text':' of two'}]}]",
    "[{'role':'user','content':'a'},{'role':'user','content':'b'}]",
    "[{'role':'assistant','content':'first'}]",
    "[]",
};
static const char TOOLS[] = "[{'type':'function','function':{'name':'weather','description':'The weather <now> & then','parameters':{'type':'object','properties':{'city':{'type':'string',"
                            "'description':'a town'},'days':{'type':'integer','enum':[1,2]}},'required':['city']}}}]";

static json_t *quoted(const char *s) {
    char *t = strdup(s);
    json_error_t e;
    for (char *p = t; p && *p; p++)
        if (*p == '\'') *p = '"';
        else if (*p == '"') *p = '\'';
    json_t *v = json_loads(t, 0, &e);
    if (!v) fail_msg("%s: %s", s, e.text);
    free(t);
    return v;
}

static void add_dialogues(moa_buf *cases, const char *text) {
    for (size_t i = 0; i < sizeof DIALOGUES / sizeof *DIALOGUES; i++)
        for (int tools = 0; tools < 2; tools++) {
            json_t *vars = json_pack("{s:o, s:o, s:s, s:s, s:b}", "messages", quoted(DIALOGUES[i]), "tools", tools ? quoted(TOOLS) : json_null(), "bos_token", "<s>",
                                     "eos_token", "</s>", "add_generation_prompt", i % 2 == 0);
            add_case(cases, text, vars);
            json_decref(vars);
        }
}

/* Each published template with each message list, with and without settings that templates ask for. */
static void add_published(moa_buf *cases, const char *dir) {
    static const char *const lists[] = {"simple", "system", "tool_use"};
    DIR *d = opendir(dir);
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));) {
        char path[2048], *text;
        size_t n;
        if (!strstr(e->d_name, ".jinja")) continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (moa_read_file(&text, &n, path, MAX_FILE, NULL) < 0) continue;
        for (int i = 0; i < 3; i++) {
            json_t *vars;
            snprintf(path, sizeof path, "%s/%s.json", dir, lists[i]);
            if (moa_json_read(&vars, path, MAX_FILE, NULL) < 0) continue;
            add_case(cases, text, vars);
            json_object_set_new(vars, "enable_thinking", json_true());
            if (!json_object_get(vars, "tools")) json_object_set_new(vars, "tools", json_null());
            add_case(cases, text, vars);
            json_object_set_new(vars, "enable_thinking", json_false());
            json_object_set_new(vars, "add_generation_prompt", json_false());
            add_case(cases, text, vars);
            json_decref(vars);
        }
        add_dialogues(cases, text);
        free(text);
    }
    closedir(d);
}

/* A python3 that has jinja2: the first one in PATH, or Debian's. NULL: none. */
static const char *python(void) {
    static const char *const names[] = {"python3", "/usr/bin/python3"};
    char cmd[128];
    for (int i = 0; i < 2; i++) {
        snprintf(cmd, sizeof cmd, "%s -c 'import jinja2' 2>/dev/null", names[i]);
        if (system(cmd) == 0) return names[i];
    }
    return NULL;
}

/* What Jinja2 itself makes of the cases, a JSON line for each. */
static char *ask(const char *py, const char *cases, size_t n_cases, size_t *n) {
    char in[] = "/tmp/moa-jinja-XXXXXX", cmd[256];
    const int fd = mkstemp(in);
    assert_true(fd >= 0 && write(fd, cases, n_cases) == (ssize_t)n_cases);
    close(fd);
    snprintf(cmd, sizeof cmd, "JINJA_REF_NOW=%d %s tests/format/jinja_ref.py < %s", NOW, py, in);
    char *answers = output_of(cmd, n);
    unlink(in);
    assert_non_null(answers);
    return answers;
}

/* What was recorded is what the Jinja2 of this machine prints. */
static void golden_is_jinja2(void **state) {
    (void)state;
    moa_err err;
    char *text;
    size_t n, n_answer;
    const char *py = python();
    if (!py) {
        print_message("skip: no python3 with jinja2 (apt-get install python3-jinja2)\n");
        skip();
    }
    if (moa_read_file(&text, &n, "tests/golden/jinja.jsonl", MAX_FILE, &err) < 0) fail_msg("%s", err.text);
    char *answers = ask(py, text, n, &n_answer);
    moa_jsonl q, a;
    json_t *c, *now;
    int total = 0;
    moa_jsonl_text(&q, text, n, "golden");
    moa_jsonl_text(&a, answers, n_answer, "answers");
    while (moa_jsonl_next(&c, &q, &err) == 1) {
        assert_int_equal(moa_jsonl_next(&now, &a, &err), 1);
        const char *was = json_string_value(json_object_get(c, "expected")), *is = json_string_value(json_object_get(now, "text"));
        if (was ? !is || strcmp(was, is) != 0 : is != NULL) fail_msg("golden:%zu: recorded %s, Jinja2 here prints %s", q.line, was ? was : "(an error)", is ? is : "(an error)");
        json_decref(c), json_decref(now);
        total++;
    }
    print_message("golden: all %d lines are what the Jinja2 here prints\n", total);
    assert_true(total > 90);
    free(answers), free(text);
}

static void published_templates(void **state) {
    (void)state;
    char dir[1024];
    size_t n, line = 0;
    moa_buf cases;
    moa_err err;
    moa_buf_init(&cases, MAX_FILE);
    snprintf(dir, sizeof dir, "%s/data/templates", shared());
    add_published(&cases, dir);
    const char *py = cases.len ? python() : NULL;
    if (!py) {
        print_message("skip: %s\n", cases.len ? "no python3 with jinja2 (apt-get install python3-jinja2)" : "no data/templates under MOA_SHARED");
        moa_buf_deinit(&cases);
        skip();
    }
    char *answers = ask(py, cases.data, cases.len, &n);
    moa_jsonl q, a;
    json_t *c, *want;
    int ok = 0, total = 0, refused = 0;
    moa_jsonl_text(&q, cases.data, cases.len, "cases");
    moa_jsonl_text(&a, answers, n, "answers");
    while (moa_jsonl_next(&c, &q, &err) == 1 && moa_jsonl_next(&want, &a, &err) == 1) {
        const char *text = json_string_value(json_object_get(want, "text"));
        char *got = render(json_string_value(json_object_get(c, "template")), json_object_get(c, "vars"), NULL, &err);
        bool same = text ? got && !strcmp(got, text) : !got;
        line++, total++, ok += same, refused += !text;
        if (!same) print_message("case %zu: got %.300s\n  expected %.300s\n", line, got ? got : err.text, text ? text : "(an error)");
        free(got);
        json_decref(c), json_decref(want);
    }
    print_message("published templates: %d of %d agree with the real Jinja2 (%d of them are refused by both)\n", ok, total, refused);
    assert_true(total > 0);
    assert_int_equal(ok, total);
    free(answers);
    moa_buf_deinit(&cases);
}

/* ---- errors and limits ---- */

static void refuses(const char *text, int code, const char *words, const moa_jinja_limits *lim) {
    moa_err err;
    json_t *vars = json_object();
    char *out = render(text, vars, lim, &err);
    json_decref(vars);
    if (out) fail_msg("'%.60s' gave '%.60s', expected an error", text, out);
    if (err.code != code || !strstr(err.text, words)) fail_msg("'%.60s': error %d '%s', expected %d '%s'", text, err.code, err.text, code, words);
}

static void errors_say_where(void **state) {
    (void)state;
    refuses("a\n{{ x.y }}", MOA_EINVAL, "t:2: 'x' is undefined", NULL);
    refuses("{{ {'a': 1}.b.c }}", MOA_EINVAL, "t:1: 'dict' has no attribute 'b'", NULL);
    refuses("\n\n{% if %}", MOA_EFORMAT, "t:3: got %}, expected an expression", NULL);
    refuses("{% for x in y %}\n\n", MOA_EFORMAT, "ends before 'endfor'", NULL);
    refuses("{{ 'a", MOA_EFORMAT, "without its closing quote", NULL);
    refuses("{{ a", MOA_EFORMAT, "without its }}", NULL);
    refuses("{# a", MOA_EFORMAT, "without its #}", NULL);
    refuses("{% raw %}", MOA_EFORMAT, "without its endraw", NULL);
    refuses("{{ (1] }}", MOA_EFORMAT, "closing bracket", NULL);
    refuses("{{ 1 $ 2 }}", MOA_EFORMAT, "no expression can hold", NULL);
    refuses("{{ 99999999999999999999 }}", MOA_EFORMAT, "64 bits", NULL);
    refuses("{% nonsense %}", MOA_EFORMAT, "got 'nonsense', expected a statement", NULL);
    refuses("{% break %}", MOA_EFORMAT, "only inside of a for", NULL);
    refuses("{% include 'x' %}", MOA_EUNSUPPORTED, "may not", NULL);
    refuses("{{ 1|nope }}", MOA_EUNSUPPORTED, "no filter named 'nope'", NULL);
    refuses("{{ 1 is nope }}", MOA_EUNSUPPORTED, "no test named 'nope'", NULL);
    refuses("{{ 1 + 'a' }}", MOA_EINVAL, "'int' + 'str' is not possible (~ joins", NULL);
    refuses("{{ '%d' % 'abc' }}", MOA_EINVAL, "a number is needed, got 'str'", NULL);
    refuses("{{ 1 / 0 }}", MOA_EINVAL, "division by zero", NULL);
    refuses("{{ 'a' < 1 }}", MOA_EINVAL, "'str' and 'int' have no order", NULL);
    refuses("{% set a, b = [1] %}", MOA_EINVAL, "1 values to unpack, expected 2", NULL);
    refuses("{% set d = {} %}{% set d.x = 1 %}", MOA_EINVAL, "only a namespace", NULL);
    refuses("{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", MOA_EINVAL, "'m' takes 1 arguments, got 2", NULL);
    refuses("{{ nope() }}", MOA_EINVAL, "'nope' is undefined", NULL);
    refuses("{{ raise_exception('roles must alternate') }}", MOA_EINVAL, "refuses this conversation: roles must alternate", NULL);
    refuses("{{ {[1]: 2} }}", MOA_EINVAL, "cannot be the key", NULL);
    refuses("{{ x|tojson }}", MOA_EINVAL, "'x' is undefined", NULL);
    refuses("{{ '{2}'.format(1, 2) }}", MOA_EINVAL, "no value number 2", NULL);
    refuses("{{ '{-5}'.format(1, 2) }}", MOA_EINVAL, "no value named '-5'", NULL);
    refuses("{{ 9223372036854775807|round(-19) }}", MOA_ELIMIT, "64 bits", NULL);
    refuses("{{ '{:d}'.format(1.5) }}", MOA_EINVAL, "'d' needs an integer, got 'float'", NULL);
    refuses("{{ {'a': 1}|urlencode }}", MOA_EUNSUPPORTED, "only text", NULL);
}

static void limits_hold(void **state) {
    (void)state;
    const moa_jinja_limits few = {.steps = 2000000}; /* the same as the default, sooner */
    refuses("{% for i in range(5000) %}{% for j in '0123456789' * 500 %}{{ i }}{% endfor %}{% endfor %}", MOA_ELIMIT, "limit", NULL);
    refuses("{% macro f(n) %}{% if n %}{% set _ = f(n - 1) %}{% set _ = f(n - 1) %}{% endif %}{% endmacro %}{{ f(40) }}", MOA_ELIMIT, "limit", &few);
    refuses("{% for i in range(1000) %}{{ i }}{% endfor %}", MOA_ELIMIT, "limit of steps", &(moa_jinja_limits){.steps = 500});
    refuses("{{ range(1000001) }}", MOA_ELIMIT, "a range of more than", NULL);
    refuses("{{ 'abcdefgh' * 1000000000 }}", MOA_ELIMIT, "memory limit", NULL);
    /* work that is not a node counts too: hashing a tuple of 2^40 leaves, stripping, ordering and comparing long strings */
    refuses("{% set ns = namespace(t=()) %}{% for i in range(40) %}{% set ns.t = (ns.t, ns.t) %}{% endfor %}{% set d = {ns.t: 1} %}", MOA_ELIMIT,
            "limit of steps", &(moa_jinja_limits){.steps = 100000});
    refuses("{{ ('a' * 1000000).strip('b' * 100000 ~ 'a') }}", MOA_ELIMIT, "limit of steps", &few);
    refuses("{{ ('a' * 1000000)|trim('b' * 100000 ~ 'a') }}", MOA_ELIMIT, "limit of steps", &few);
    refuses("{{ (['x' * 1000000] * 2000)|sort(case_sensitive=true)|length }}", MOA_ELIMIT, "limit of steps", &few);
    refuses("{% set s = 'x' * 1000000 %}{% for i in range(1000) %}{{ s.startswith(s) }}{% endfor %}", MOA_ELIMIT, "limit of steps", &few);
    refuses("{% set ns = namespace(s='x' * 1000) %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}", MOA_ELIMIT, "limit", &few);
    refuses("{{ 'x' * 100 }}", MOA_ELIMIT, "prints more than 99 bytes", &(moa_jinja_limits){.output = 99});
    refuses("{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}", MOA_ELIMIT, "levels deep", NULL);
    refuses("{% set l = [1] %}{% set _ = l.append(l) %}{{ l }}", MOA_ELIMIT, "nested more than", NULL);
    refuses("{% set l = [1] %}{% set _ = l.append(l) %}{{ l|tojson }}", MOA_ELIMIT, "nested more than", NULL);
    refuses("{% set l = [1] %}{% set m = [1] %}{% set _ = l.append(m) %}{% set _ = m.append(l) %}{{ l == m }}", MOA_ELIMIT, "nested more than", NULL);
    refuses("{{ 9223372036854775807 + 1 }}", MOA_ELIMIT, "64 bits", NULL);
    refuses("{{ 10 ** 30 }}", MOA_ELIMIT, "64 bits", NULL);
    refuses("{{ 'a'.center(1000000) }}", MOA_ELIMIT, "100000", NULL);
    refuses("{{ '%1000000d' % 1 }}", MOA_ELIMIT, "100000", NULL);
}

static char *repeat(const char *s, int n) {
    moa_buf b;
    moa_buf_init(&b, MAX_FILE);
    for (int i = 0; i < n; i++) moa_buf_adds(&b, s);
    char *t = moa_buf_take(&b);
    assert_non_null(t);
    return t;
}

/* Names are looked for among names: many of both, many times, must count. */
static void many_names_cost_steps(void **state) {
    (void)state;
    moa_buf b, m;
    moa_buf_init(&b, MAX_FILE), moa_buf_init(&m, MAX_FILE);
    moa_buf_adds(&b, "{{ range(1000000)|map('indent'"), moa_buf_adds(&m, "{% macro m(");
    for (int i = 0; i < 10000; i++) moa_buf_addf(&m, "%sp%d", i ? ", " : "", i);
    moa_buf_adds(&m, ") %}{{ kwargs|length }}{% endmacro %}{% for i in range(1000) %}{{ m(");
    for (int i = 0; i < 10000; i++) moa_buf_addf(&b, ", a%d=1", i), moa_buf_addf(&m, "%sa%d=1", i ? ", " : "", i);
    moa_buf_adds(&b, ")|list|length }}"), moa_buf_adds(&m, ") }}{% endfor %}");
    refuses(moa_buf_str(&b), MOA_ELIMIT, "limit of steps", &(moa_jinja_limits){.steps = 1000000});
    refuses(moa_buf_str(&m), MOA_ELIMIT, "limit of steps", &(moa_jinja_limits){.steps = 4000000});
    moa_buf_deinit(&b), moa_buf_deinit(&m);
}

static void deep_nesting_is_an_error(void **state) {
    (void)state;
    static const char *const open[] = {"{{ (", "{{ [", "{{ not ", "{{ -", "{% if 1 %}", "{{ 1 if 1 else ", "{{ a(", "{{ {1:"};
    for (size_t i = 0; i < sizeof open / sizeof *open; i++) {
        char *rest = repeat(open[i] + (open[i][1] == '{' ? 3 : 0), 20000);
        moa_buf b;
        moa_buf_init(&b, MAX_FILE);
        moa_buf_adds(&b, open[i][1] == '{' ? "{{ " : "");
        moa_buf_adds(&b, rest);
        moa_err err;
        moa_jinja *t = NULL;
        assert_true(moa_jinja_parse(&t, b.data, b.len, "t", &err) < 0);
        assert_null(t);
        moa_buf_deinit(&b);
        free(rest);
    }
    /* long but not deep is fine, up to the evaluator's own limit */
    char *sum = repeat("1 + ", 700), text[4096];
    snprintf(text, sizeof text, "{{ %s1 }}", sum);
    moa_err err;
    json_t *vars = json_object();
    char *out = render(text, vars, NULL, &err);
    assert_string_equal(out, "701");
    free(out), free(sum);
    json_decref(vars);
}

static void any_bytes(void **state) {
    (void)state;
    moa_jinja *t;
    moa_err err;
    char *out;
    size_t n;
    json_t *vars = json_object();
    static const char text[] = "a\0b\xff{{ '\xc3' ~ '\xff\0'|upper }}{{ '\xe2\x82'|length }}";
    assert_int_equal(moa_jinja_parse(&t, text, sizeof text - 1, "t", &err), 0);
    assert_int_equal(moa_jinja_render(&out, &n, t, vars, NULL, &err), 0);
    assert_int_equal(out[1], 0);
    assert_int_equal(out[n - 1], '2');
    free(out);
    moa_jinja_free(t);
    json_decref(vars);
    moa_jinja_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),      cmocka_unit_test(golden_is_jinja2),         cmocka_unit_test(shared_cases), cmocka_unit_test(published_templates), cmocka_unit_test(errors_say_where),
        cmocka_unit_test(limits_hold), cmocka_unit_test(many_names_cost_steps), cmocka_unit_test(deep_nesting_is_an_error), cmocka_unit_test(any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
