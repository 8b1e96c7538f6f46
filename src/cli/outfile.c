/* outfile.c - can the files that work will need in the end be read and written? Asked before it begins (cli.h).
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/file.h"
#include "cli/cli.h"

#include <errno.h>
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

int moa_cli_two_files(const char *in, const char *out, moa_err *err) {
    struct stat a, b;
    const bool same = !stat(in, &a) && !stat(out, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
    return same ? moa_fail(err, MOA_EUSAGE, "%s and %s are the same file: it would be overwritten", in, out) : 0;
}
