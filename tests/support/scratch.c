/* scratch.c - see scratch.h. SPDX-License-Identifier: Apache-2.0 */
#include "support/scratch.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char dir[PATH_MAX / 4];

int scratch_setup(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%.200s/moa-test-XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(dir) ? 0 : -1;
}

int scratch_teardown(void **state) {
    (void)state;
    char cmd[PATH_MAX];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", dir);
    return system(cmd) == 0 ? 0 : -1;
}

const char *scratch_dir(void) { return dir; }

const char *scratch_path(const char *name, const char *ending) {
    static char out[4][PATH_MAX];
    static int turn;
    char *p = out[turn++ % 4];
    snprintf(p, PATH_MAX, "%s/%s%s", dir, name, ending);
    return p;
}

const char *python_with(const char *module) {
    static const char *const names[] = {"python3", "/usr/bin/python3"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char cmd[128];
        snprintf(cmd, sizeof cmd, "%s -c 'import %s' >/dev/null 2>&1", names[i], module);
        if (system(cmd) == 0) return names[i];
    }
    return NULL;
}

void run_numpy(const char *args, ...) {
    const char *python = python_with("numpy");
    char cmd[PATH_MAX];
    va_list ap;
    if (!python) {
        printf("skip: no python3 with numpy (apt-get install python3-numpy)\n");
        skip();
    }
    int n = snprintf(cmd, sizeof cmd, "PYTHONDONTWRITEBYTECODE=1 OPENBLAS_NUM_THREADS=1 %s ", python);
    va_start(ap, args);
    n += vsnprintf(cmd + n, sizeof cmd - (size_t)n, args, ap);
    va_end(ap);
    assert_true(n < (int)sizeof cmd);
    if (system(cmd) != 0) fail_msg("%s failed", cmd);
}
