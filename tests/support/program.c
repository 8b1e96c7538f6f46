/* program.c - see program.h. SPDX-License-Identifier: Apache-2.0 */
#include "support/program.h"

#include "support/tinymodel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

char program_dir[64], out[1 << 20], err_text[1 << 16];

static char model[256];

int program_setup(void **state) {
    (void)state;
    snprintf(program_dir, sizeof program_dir, "/tmp/moa-test-XXXXXX");
    setenv("MOA_MODELS", "", 1);
    setenv("OMP_NUM_THREADS", "1", 1);
    return mkdtemp(program_dir) ? 0 : -1;
}

int program_teardown(void **state) {
    (void)state;
    char cmd[128];
    if (model[0]) unlink(model);
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", program_dir);
    return system(cmd);
}

void need_program(void) {
    if (getenv("MOA") && access(getenv("MOA"), X_OK) == 0) return;
    printf("skip: $MOA does not name the built program\n");
    skip();
}

const char *program_model(void) {
    moa_err err = {0};
    if (!model[0] && tinymodel_write(model, sizeof model, 3, &err) < 0) fail_msg("%s", err.text);
    return model;
}

int moa(const char *args) {
    char cmd[8192];
    int n = snprintf(cmd, sizeof cmd, "'%s' </dev/null >%s 2>%s ", getenv("MOA"), path_of(".out"), path_of(".err"));
    for (const char *p = args; *p; p++) {
        const char *put = p[0] != '%' ? NULL : p[1] == 'M' ? program_model() : p[1] == 'D' ? program_dir : NULL;
        n += put ? snprintf(cmd + n, sizeof cmd - (size_t)n, "%s", put) : snprintf(cmd + n, sizeof cmd - (size_t)n, "%c", *p);
        if (put) p++;
        assert_true(n < (int)sizeof cmd);
    }
    const int rc = system(cmd);
    slurp(out, sizeof out, path_of(".out"));
    slurp(err_text, sizeof err_text, path_of(".err"));
    return WIFEXITED(rc) ? WEXITSTATUS(rc) : -1;
}

int moaf(const char *fmt, ...) {
    char args[4096];
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(args, sizeof args, fmt, ap);
    va_end(ap);
    assert_true(n >= 0 && n < (int)sizeof args);
    return moa(args);
}

void moa_expect(int rc, const char *args) {
    const int got = moa(args);
    if (got != rc) fail_msg("moa %s: exit code %d, expected %d\n%.4000s%.4000s", args, got, rc, out, err_text);
}

void moa_expect_errors(const program_case *cases, int n) {
    for (int i = 0; i < n; i++) {
        moa_expect(cases[i].rc, cases[i].args);
        if (!strstr(err_text, cases[i].says)) fail_msg("moa %s: no '%s' in\n%s", cases[i].args, cases[i].says, err_text);
        if (out[0]) fail_msg("moa %s: wrote to stdout: %s", cases[i].args, out);
    }
}

const char *path_of(const char *name) {
    static char path[4][256];
    static int i;
    i = (i + 1) % 4;
    snprintf(path[i], sizeof path[i], "%s/%s", program_dir, name);
    return path[i];
}

void put_file(const char *name, const char *text) {
    FILE *f = fopen(path_of(name), "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

void slurp(char *text, int n, const char *path) {
    FILE *f = fopen(path, "r");
    text[f ? fread(text, 1, (size_t)n - 1, f) : 0] = 0;
    if (f) fclose(f);
}

json_t *parsed(void) {
    json_error_t e;
    json_t *v = json_loads(out, 0, &e);
    if (!v) fail_msg("not JSON: %s\n%.300s", e.text, out);
    return v;
}

long long integer(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    if (!json_is_integer(v)) fail_msg("%s is no integer", key);
    return json_integer_value(v);
}

double number(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    if (!json_is_number(v)) fail_msg("%s is no number", key);
    return json_number_value(v);
}

const char *string(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    if (!json_is_string(v)) fail_msg("%s is no string", key);
    return json_string_value(v);
}
