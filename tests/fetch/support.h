/* support.h - one server and one folder for the tests of downloads. SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FETCH_SUPPORT_H
#define TESTS_FETCH_SUPPORT_H

#include "base/file.h"
#include "fetch/download.h"
#include "support/httpd.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static httpd *server;
static char folder[64];

static int group_setup(void **state) {
    (void)state;
    /* A proxy of the machine must not see these requests. */
    static const char *const vars[] = {"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"};
    for (size_t i = 0; i < sizeof vars / sizeof *vars; i++) unsetenv(vars[i]);
    server = httpd_start();
    return server ? 0 : -1;
}

static int group_teardown(void **state) {
    (void)state;
    httpd_stop(server);
    return 0;
}

static int setup(void **state) {
    (void)state;
    httpd_clear(server);
    snprintf(folder, sizeof folder, "/tmp/moa-fetch-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", folder);
    return system(cmd);
}

static inline const char *in_folder(const char *name) {
    static char path[4][512];
    static int i;
    snprintf(path[i = (i + 1) % 4], sizeof path[0], "%s/%s", folder, name);
    return path[i];
}

static inline int64_t file_size(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size : -1;
}

/* The file holds exactly the content of a route. */
static inline void holds(const char *path, uint64_t seed, int64_t size) {
    moa_map m;
    uint8_t *want = malloc((size_t)size + 1);
    assert_non_null(want);
    httpd_content(want, seed, 0, size);
    assert_int_equal(moa_map_open(&m, path, NULL), 0);
    assert_int_equal(m.size, size);
    assert_memory_equal(m.data, want, (size_t)size);
    moa_map_close(&m);
    free(want);
}

static inline void write_file(const char *path, const void *p, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline int n_files(const char *path) {
    DIR *d = opendir(path);
    int n = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

#endif
