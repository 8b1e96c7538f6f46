/* test_file.c - mapping odd files; the writer keeps the old file on abort, crash and a full disk.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];

static int setup(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/moa-file-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static const char *in_dir(const char *name) {
    static char path[4][256];
    static int i;
    snprintf(path[i = (i + 1) % 4], sizeof path[0], "%s/%s", dir, name);
    return path[i];
}

static int n_files(void) {
    DIR *d = opendir(dir);
    int n = -2; /* . and .. */
    while (readdir(d)) n++;
    closedir(d);
    return n;
}

static int teardown(void **state) {
    (void)state;
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", dir);
    return system(cmd);
}

static void put(const char *path, const char *text) {
    moa_writer *w;
    assert_int_equal(moa_writer_open(&w, path, NULL), 0);
    assert_int_equal(moa_writer_add(w, text, strlen(text)), 0);
    assert_int_equal(moa_writer_pos(w), strlen(text));
    assert_int_equal(moa_writer_commit(w, NULL), 0);
}

static void holds(const char *path, const char *text) {
    moa_map m;
    assert_int_equal(moa_map_open(&m, path, NULL), 0);
    assert_int_equal(m.size, strlen(text));
    assert_memory_equal(m.data, text, m.size);
    moa_map_close(&m);
}

static void maps(void **state) {
    (void)state;
    moa_map m;
    moa_err e;
    assert_int_equal(moa_map_open(&m, in_dir("absent"), &e), MOA_ENOTFOUND);
    assert_non_null(strstr(e.text, "absent: cannot open: No such file"));
    assert_int_equal(moa_map_open(&m, dir, &e), MOA_EINVAL);
    assert_non_null(strstr(e.text, "not a regular file"));
    assert_int_equal(mkfifo(in_dir("pipe"), 0600), 0);
    assert_int_equal(moa_map_open(&m, in_dir("pipe"), &e), MOA_EINVAL); /* and does not wait for a writer */
    put(in_dir("empty"), "");
    assert_int_equal(moa_map_open(&m, in_dir("empty"), &e), 0);
    assert_null(m.data);
    assert_int_equal(m.size, 0);
    moa_map_close(&m);
    moa_map_close(&m); /* twice is harmless */
    put(in_dir("text"), "hello");
    holds(in_dir("text"), "hello");
}

static void reads(void **state) {
    (void)state;
    char *s;
    size_t n;
    moa_err e;
    put(in_dir("text"), "hello");
    assert_int_equal(moa_read_file(&s, &n, in_dir("text"), 5, &e), 0);
    assert_string_equal(s, "hello");
    assert_int_equal(n, 5);
    free(s);
    assert_int_equal(moa_read_file(&s, &n, in_dir("text"), 4, &e), MOA_ELIMIT);
    assert_null(s);
    assert_int_equal(moa_read_file(&s, &n, in_dir("absent"), 4, &e), MOA_ENOTFOUND);
    assert_int_equal(moa_read_file(&s, &n, dir, 4, &e), MOA_EIO);
    put(in_dir("empty"), "");
    assert_int_equal(moa_read_file(&s, NULL, in_dir("empty"), 0, &e), 0);
    assert_string_equal(s, "");
    free(s);
}

static void abort_keeps_the_old_file(void **state) {
    (void)state;
    moa_writer *w;
    moa_err e;
    const char *path = in_dir("model");
    put(path, "old");
    assert_int_equal(moa_writer_open(&w, path, &e), 0);
    moa_writer_add(w, "new", 3);
    holds(path, "old");
    moa_writer_abort(w);
    moa_writer_abort(NULL);
    holds(path, "old");
    assert_int_equal(n_files(), 1);
    put(path, "new and longer");
    holds(path, "new and longer");
    assert_int_equal(n_files(), 1);
    assert_int_equal(moa_writer_open(&w, in_dir("no/such/folder"), &e), MOA_ENOTFOUND);
    assert_null(w);
    static const char *const odd[] = {"/dev/null", NULL}; /* NULL: a folder */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(moa_writer_open(&w, odd[i] ? odd[i] : dir, &e), MOA_EIO);
        assert_null(w);
        assert_non_null(strstr(e.text, "not a regular file"));
    }
}

static void large_files_come_out_whole(void **state) {
    (void)state;
    static unsigned char part[100003];
    moa_writer *w;
    moa_map m;
    size_t total = 0, n = 1;
    for (size_t i = 0; i < sizeof part; i++) part[i] = (unsigned char)(i * 7 % 251);
    assert_int_equal(moa_writer_open(&w, in_dir("big"), NULL), 0);
    for (; n < sizeof part; total += n, n = n * 2 + 1) assert_int_equal(moa_writer_add(w, part, n), 0);
    assert_int_equal(moa_writer_pos(w), total);
    assert_int_equal(moa_writer_commit(w, NULL), 0);
    assert_int_equal(moa_map_open(&m, in_dir("big"), NULL), 0);
    assert_int_equal(m.size, total);
    size_t at = 0;
    for (n = 1; n < sizeof part; at += n, n = n * 2 + 1) assert_memory_equal(m.data + at, part, n);
    moa_map_close(&m);
}

/* In a child, because the limit and the signal belong to the process. */
static int full_disk_child(const char *path) {
    static char part[200000];
    struct rlimit lim = {100000, 100000};
    moa_writer *w;
    moa_err e = {0};
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &lim) < 0) return 2;
    if (moa_writer_open(&w, path, &e) < 0) return 3;
    if (moa_writer_add(w, part, sizeof part) != MOA_EIO) return 4;
    if (moa_writer_add(w, part, 10) != MOA_EIO) return 5; /* sticky */
    if (moa_writer_commit(w, &e) != MOA_EIO) return 6;
    if (!strstr(e.text, "cannot write") || !strstr(e.hint, "make room")) return 7;
    if (moa_writer_open(&w, path, &e) < 0) return 8;
    for (int i = 0; i < 60; i++) moa_writer_add(w, part, 2000); /* fails in a later flush */
    return moa_writer_commit(w, &e) == MOA_EIO ? 0 : 9;
}

static void full_disk_keeps_the_old_file(void **state) {
    (void)state;
    const char *path = in_dir("model");
    put(path, "old");
    pid_t pid = fork();
    if (pid == 0) _exit(full_disk_child(path));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    holds(path, "old");
    assert_int_equal(n_files(), 1); /* no temporary file left */
}

/* A writer that was killed leaves its temporary file; the next writer of the same file clears it away, but not that of one at work, nor
 * what only looks like it. */
static void killed_writers_leave_nothing(void **state) {
    (void)state;
    moa_writer *w;
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        if (moa_writer_open(&w, in_dir("model"), NULL) == 0) moa_writer_add(w, "half", 4);
        if (write(ready[1], "x", 1) == 1) pause();
        _exit(1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(n_files(), 1);
    put(in_dir("model"), "by another");
    assert_int_equal(n_files(), 2); /* that one is still at work */
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    static const char *const kept[] = {"model.tmp.12x", "model.tmp.", "model.tmp", "model2.tmp.12", "other.tmp.12"};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) fclose(fopen(in_dir(kept[i]), "w"));
    assert_int_equal(n_files(), 7);
    put(in_dir("model"), "whole");
    assert_int_equal(n_files(), 6);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) assert_int_equal(access(in_dir(kept[i]), F_OK), 0);
    holds(in_dir("model"), "whole");
    close(ready[0]);
    close(ready[1]);
}

static void folders(void **state) {
    (void)state;
    moa_err e;
    struct stat st;
    assert_int_equal(moa_mkdirs(in_dir("a/b//c/"), &e), 0);
    assert_true(stat(in_dir("a/b/c"), &st) == 0 && S_ISDIR(st.st_mode));
    assert_int_equal(moa_mkdirs(in_dir("a/b/c"), &e), 0);
    assert_int_equal(moa_mkdirs("/", &e), 0);
    assert_int_equal(moa_mkdirs("", &e), MOA_EINVAL);
    put(in_dir("f"), "x");
    assert_int_equal(moa_mkdirs(in_dir("f"), &e), MOA_EIO);
    assert_non_null(strstr(e.text, "Not a directory"));
    assert_int_equal(moa_mkdirs(in_dir("f/g"), &e), MOA_EIO);
}

#define IN_DIR(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
/* Addresses of mapped files have names while they are mapped. */
static void names_of_maps(void **state) {
    (void)state;
    char path[] = "/tmp/moa-test-map-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, "some bytes", 10) == 10);
    close(fd);
    moa_map a, b, many[300];
    moa_err err;
    assert_int_equal(moa_map_open(&a, path, &err), 0);
    assert_int_equal(moa_map_open(&b, path, &err), 0);
    const uint8_t *was = a.data;
    assert_string_equal(moa_map_name(a.data), path);
    assert_string_equal(moa_map_name(b.data + 9), path);
    assert_null(moa_map_name(&a));
    moa_map_close(&a);
    assert_null(moa_map_name(was));
    assert_string_equal(moa_map_name(b.data), path);
    for (int i = 0; i < 300; i++) assert_int_equal(moa_map_open(&many[i], path, &err), 0); /* more than have names */
    for (int i = 0; i < 300; i++) moa_map_close(&many[i]);
    assert_string_equal(moa_map_name(b.data), path);
    moa_map_close(&b);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {IN_DIR(maps), IN_DIR(reads), IN_DIR(abort_keeps_the_old_file), IN_DIR(large_files_come_out_whole), IN_DIR(full_disk_keeps_the_old_file),
                                       IN_DIR(killed_writers_leave_nothing), IN_DIR(folders), cmocka_unit_test(names_of_maps)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
