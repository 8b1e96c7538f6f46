/* program.c - see program.h. SPDX-License-Identifier: Apache-2.0 */
#include "support/program.h"

#include "support/tinymodel.h"

#include <fcntl.h>
#include <glob.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

char program_dir[64], out[1 << 20], err_text[1 << 16];

static char model[256];

int program_setup(void **state) {
    (void)state;
    snprintf(program_dir, sizeof program_dir, "/tmp/moa-test-XXXXXX");
    setenv("MOA_MODELS", "", 1);
    setenv("OMP_NUM_THREADS", "1", 1);
    if (!mkdtemp(program_dir)) return -1;
    char cache[sizeof program_dir + 8]; /* measured limits are the tests' own */
    snprintf(cache, sizeof cache, "%s/cache", program_dir);
    return setenv("XDG_CACHE_HOME", cache, 1);
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

const char *program_folder(void) {
    static char path[96];
    moa_err err = {0};
    if (!path[0] && snprintf(path, sizeof path, "%s/model", program_dir) > 0 && tinymodel_write_folder(path, program_model(), &err) < 0) fail_msg("%s", err.text);
    return path;
}

const char *program_lora(void) {
    static char path[96];
    moa_err err = {0};
    if (!path[0] && snprintf(path, sizeof path, "%s/lora", program_dir) > 0 && tinymodel_write_lora(path, 1, &err) < 0) fail_msg("%s", err.text);
    return path;
}

static const char *meaning(char letter) {
    switch (letter) {
    case 'M': return program_model();
    case 'F': return program_folder();
    case 'A': return program_lora();
    case 'D': return program_dir;
    default: return NULL;
    }
}

/* The shell's command line: before, the program, its redirections, ARGS with their letters replaced. */
static void command_line(char *cmd, size_t size, const char *before, const char *redirect, const char *args) {
    int n = snprintf(cmd, size, "%s'%s' </dev/null %s ", before, getenv("MOA"), redirect);
    for (const char *p = args; *p; p++) {
        const char *put = p[0] == '%' ? meaning(p[1]) : NULL;
        n += put ? snprintf(cmd + n, size - (size_t)n, "%s", put) : snprintf(cmd + n, size - (size_t)n, "%c", *p);
        if (put) p++;
        assert_true(n < (int)size);
    }
}

static int result(int status) {
    slurp(out, sizeof out, path_of(".out"));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int moa(const char *args) {
    char cmd[8192], redirect[256];
    snprintf(redirect, sizeof redirect, ">%s/.out 2>%s/.err", program_dir, program_dir);
    command_line(cmd, sizeof cmd, "", redirect, args);
    const int status = system(cmd);
    slurp(err_text, sizeof err_text, path_of(".err"));
    return result(status);
}

int moa_limited(int kib, const char *args) {
    struct rlimit old, low;
    program_model(), program_folder(), program_lora(); /* not under the limit */
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low = (struct rlimit){(rlim_t)kib << 10, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    const int rc = moa(args);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    return rc;
}

/* ---- a call that is interrupted ---- */

static struct { pid_t pid; int master, slave; } begun;

void moa_begin(const char *args) {
    char cmd[8192], redirect[256];
    snprintf(redirect, sizeof redirect, ">%s/.out", program_dir);
    command_line(cmd, sizeof cmd, "exec ", redirect, args);
    begun.master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(begun.master >= 0 && grantpt(begun.master) == 0 && unlockpt(begun.master) == 0);
    begun.slave = open(ptsname(begun.master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(begun.slave >= 0 && tcflow(begun.slave, TCOOFF) == 0);
    fflush(NULL);
    begun.pid = fork();
    if (begun.pid == 0) {
        dup2(begun.slave, STDERR_FILENO);
        execl("/bin/sh", "sh", "-c", cmd, (char *)NULL);
        _exit(127);
    }
    assert_true(begun.pid > 0);
}

/* Has it a handler for SIGINT? As the kernel tells: a mask of the caught signals. The shell, which it was a moment ago, has one too. */
static bool listens(void) {
    char path[64], text[4096];
    struct stat it, program;
    snprintf(path, sizeof path, "/proc/%d/exe", (int)begun.pid);
    if (stat(path, &it) < 0 || stat(getenv("MOA"), &program) < 0 || it.st_dev != program.st_dev || it.st_ino != program.st_ino) return false;
    snprintf(path, sizeof path, "/proc/%d/status", (int)begun.pid);
    slurp(text, sizeof text, path);
    const char *mask = strstr(text, "SigCgt:");
    return mask && strtoull(mask + 7, NULL, 16) >> (SIGINT - 1) & 1;
}

int moa_interrupt(void) {
    int status = 0;
    size_t n = 0;
    for (int i = 0; !listens(); i++) {
        if (i > 30000 || waitpid(begun.pid, &status, WNOHANG) != 0) fail_msg("the program never listened to Ctrl-C");
        usleep(1000);
    }
    kill(begun.pid, SIGINT);
    tcflow(begun.slave, TCOON);
    fcntl(begun.master, F_SETFL, O_NONBLOCK);
    for (bool ended = false;;) { /* what it still says is read while it goes on, and once more when it has ended */
        const ssize_t k = read(begun.master, err_text + n, sizeof err_text - 1 - n);
        if (k > 0) n += (size_t)k;
        else if (ended) break;
        else if (!(ended = waitpid(begun.pid, &status, WNOHANG) == begun.pid)) usleep(1000);
    }
    err_text[n] = 0;
    close(begun.slave);
    close(begun.master);
    return result(status);
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

int files_like(const char *pattern) {
    glob_t g = {0};
    const int n = glob(path_of(pattern), 0, NULL, &g) == 0 ? (int)g.gl_pathc : 0;
    globfree(&g);
    return n;
}

bool same_bytes(const char *a, const char *b) {
    FILE *f = fopen(a, "r"), *g = fopen(b, "r");
    int c;
    if (!f || !g) fail_msg("%s cannot be read", f ? b : a);
    while ((c = fgetc(f)) == fgetc(g) && c != EOF) {}
    const bool same = c == EOF && feof(g);
    fclose(f);
    fclose(g);
    return same;
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
