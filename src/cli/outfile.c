/* outfile.c - can the files that work will need in the end be read and written? Asked before it begins (cli.h).
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/file.h"
#include "cli/cli.h"
#include "format/hf.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int moa_cli_can_read(const char *path, moa_err *err) {
    if (!strcmp(path, "-") || access(path, R_OK) == 0) return 0;
    return moa_fail(err, errno == ENOENT ? MOA_ENOTFOUND : MOA_EIO, "%s: cannot open: %s", path, strerror(errno));
}

int moa_cli_can_write(const char *path, moa_err *err) {
    moa_writer *w;
    if (!*path) return moa_fail(err, MOA_EUSAGE, "the name of a file to write is empty");
    MOA_TRY(moa_writer_open(&w, path, err));
    moa_writer_abort(w);
    return 0;
}

static bool same_file(const char *a, const char *b) {
    struct stat x, y;
    return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Is `out` another part of the model whose first part is `in`? They have the length of their names in common. */
static bool is_part(const char *in, const char *out) {
    enum { TAIL = 20 }; /* -00001-of-00003.gguf */
    const size_t n = strlen(in);
    char part[4096];
    int no, count, end = 0;
    if (n <= TAIL || n >= sizeof part || sscanf(in + n - TAIL, "-%5d-of-%5d.gguf%n", &no, &count, &end) != 2 || end != TAIL) return false;
    memcpy(part, in, n + 1);
    for (int i = 1; i <= count; i++) {
        char number[16];
        snprintf(number, sizeof number, "-%05d", i);
        memcpy(part + n - TAIL, number, 6);
        if (same_file(part, out)) return true;
    }
    return false;
}

/* Is `out` a file of the model's folder `in`, or beside the file `in` of such a folder? */
static bool is_in_folder(const char *in, const char *out) {
    const char *slash = strrchr(out, '/'), *above = strrchr(in, '/');
    const size_t n = strlen(out);
    struct stat st;
    char dir[4096], folder[4096];
    if (!moa_hf_is(in) || stat(out, &st) != 0 || (n > 5 && strcmp(out + n - 5, ".gguf") == 0)) return false;
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - out) + 1 : 1, slash ? out : ".");
    if (stat(in, &st) == 0 && S_ISDIR(st.st_mode)) return same_file(in, dir);
    snprintf(folder, sizeof folder, "%.*s", above ? (int)(above - in) + 1 : 1, above ? in : ".");
    return same_file(folder, dir);
}

int moa_cli_two_files(const char *in, const char *out, moa_err *err) {
    if (same_file(in, out)) return moa_fail(err, MOA_EUSAGE, "%s and %s are the same file: it would be overwritten", in, out);
    if (!is_part(in, out) && !is_in_folder(in, out)) return 0;
    return moa_fail(err, MOA_EUSAGE, "%s is a file of the model %s: it would be overwritten", out, in);
}
