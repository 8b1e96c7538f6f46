/* paths.c - from a MODEL argument to a file. A name that is a file is that file; anything else is looked for, with and
 * without ".gguf", in $MOA_MODELS, ./models, the models beside the program, the installed ones and the user's data folder, in this
 * order: what is nearer to the user wins. A model in parts has the name before "-00001-of-..."; a folder with a config.json is a model
 * too. The error names every place that was tried.
 * SPDX-License-Identifier: Apache-2.0 */
#include "adapt/adapt.h"
#include "base/buf.h"
#include "base/err.h"
#include "cli/cli.h"
#include "cli/models.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MOA_DATADIR
#define MOA_DATADIR "/usr/local/share/moa"
#endif
#define BUNDLED "moa-tiny"

static bool is_file(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* The user's data folder, as the XDG base directory specification has it. False: neither it nor a home is known. */
static bool data_dir(char out[4096]) {
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    int n = -1;
    if (data && *data == '/') n = snprintf(out, 4096, "%s/moa/models", data);
    else if (home && *home) n = snprintf(out, 4096, "%s/.local/share/moa/models", home);
    return n > 0 && n < 4096;
}

/* Folder `path`, where the program stands: beside the build folder, or in the tree it was installed into or moved to. */
static bool own_dir(char out[4096], const char *path) {
    char exe[3800];
    struct stat st;
    const ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0) return false;
    exe[n] = 0;
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(exe, '/');
        if (!slash) return false;
        *slash = 0;
    }
    return snprintf(out, 4096, "%s/%s", exe, path) < 4096 && stat(out, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool same_dir(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

int moa_cli_model_dirs(char dir[][4096], int max) {
    const char *env = getenv("MOA_MODELS");
    char all[6][4096];
    int n_all = 0, n = 0;
    if (env && *env) snprintf(all[n_all++], 4096, "%s", env);
    snprintf(all[n_all++], 4096, "models");
    if (own_dir(all[n_all], "models")) n_all++;
    if (own_dir(all[n_all], "share/moa/models")) n_all++;
    snprintf(all[n_all++], 4096, "%s/models", MOA_DATADIR);
    if (data_dir(all[n_all])) n_all++;
    for (int i = 0; i < n_all && n < max; i++) { /* one folder under two names is one */
        bool seen = false;
        for (int k = 0; k < n && !seen; k++) seen = same_dir(dir[k], all[i]);
        if (!seen) memcpy(dir[n++], all[i], sizeof all[i]);
    }
    return n;
}

int moa_cli_pull_dir(char out[4096], moa_err *err) {
    const char *env = getenv("MOA_MODELS");
    if (env && *env) {
        if (snprintf(out, 4096, "%s", env) < 4096) return 0;
        return moa_fail(err, MOA_ELIMIT, "MOA_MODELS: a path longer than 4095 bytes");
    }
    if (data_dir(out)) return 0;
    moa_fail(err, MOA_ENOTFOUND, "no folder for models: neither MOA_MODELS nor XDG_DATA_HOME nor HOME names one");
    return moa_hint(err, MOA_ENOTFOUND, "MOA_MODELS=/path/to/models moa ...");
}

static bool try_path(char *out, size_t n, const char *dir, const char *name, const char *ext) {
    int len = dir ? snprintf(out, n, "%s/%s%s", dir, name, ext) : snprintf(out, n, "%s%s", name, ext);
    return len > 0 && (size_t)len < n && is_file(out);
}

/* The first part of a model in parts, whatever their number. */
static bool try_parts(char *out, size_t n, const char *dir, const char *name) {
    char pattern[4096];
    glob_t g;
    if (strpbrk(name, "*?[\\") || (dir && strpbrk(dir, "*?[\\"))) return false;
    if (snprintf(pattern, sizeof pattern, "%s%s%s-00001-of-[0-9][0-9][0-9][0-9][0-9].gguf", dir ? dir : "", dir ? "/" : "", name) >= (int)sizeof pattern) return false;
    if (glob(pattern, 0, NULL, &g)) return false;
    const bool found = strlen(g.gl_pathv[0]) < n && is_file(g.gl_pathv[0]);
    if (found) memcpy(out, g.gl_pathv[0], strlen(g.gl_pathv[0]) + 1);
    globfree(&g);
    return found;
}

/* A folder that holds a model: the path is the folder's. */
static bool try_folder(char *out, size_t n, const char *dir, const char *name) {
    const size_t k = (dir ? strlen(dir) + 1 : 0) + strlen(name);
    if (!try_path(out, n, dir, name, "/config.json")) return false;
    out[k] = 0;
    return true;
}

static bool try_all(char *out, size_t n, const char *dir, const char *name) {
    return try_path(out, n, dir, name, "") || try_folder(out, n, dir, name) || try_path(out, n, dir, name, ".gguf") || try_parts(out, n, dir, name);
}

/* A bare name, such as moa models shows, is that of something in the working folder and of an installed model: say which one it is now. */
static void note_hidden(const char *here, const char *name, char dir[][4096], int n_dir) {
    struct stat a, b;
    char other[4096];
    if (strchr(name, '/') || stat(here, &a) < 0) return;
    for (int i = 0; i < n_dir; i++) {
        if (!try_all(other, sizeof other, dir[i], name) || stat(other, &b) < 0 || (a.st_dev == b.st_dev && a.st_ino == b.st_ino)) continue;
        fprintf(stderr, "note: ./%s is taken, not the model %s\n", here, other);
        return;
    }
}

int moa_cli_model_path(char *out, size_t n, const char *arg, moa_err *err) {
    char name[4096], dir[8][4096];
    const int len = snprintf(name, sizeof name, "%s", arg ? arg : BUNDLED);
    if (!len) return moa_fail(err, MOA_EUSAGE, "the model's name is empty");
    if (len >= (int)sizeof name) return moa_fail(err, MOA_EUSAGE, "the model's name is longer than %zu bytes", sizeof name - 1);
    for (int i = len - 1; i > 0 && name[i] == '/'; i--) name[i] = 0; /* FOLDER/ as a shell completes it */
    const int n_dir = name[0] == '/' || name[0] == '.' ? 0 : moa_cli_model_dirs(dir, 8);
    if (arg && try_all(out, n, NULL, name)) {
        note_hidden(out, name, dir, n_dir);
        return 0;
    }
    for (int i = 0; i < n_dir; i++)
        if (try_all(out, n, dir[i], name)) return 0;
    struct stat st;
    if (arg && moa_adapter_is(arg)) {
        const int rc = moa_fail(err, MOA_EUSAGE, "'%s' is an adapter, not a model", arg);
        return moa_hint(err, rc, "name the model it was made for, and the adapter with --adapter %s", arg);
    }
    if (arg && stat(arg, &st) == 0) {
        int rc = moa_fail(err, MOA_ENOTFOUND, "'%s' is %s, not a model", arg, S_ISDIR(st.st_mode) ? "a folder without a config.json" : "no plain file");
        return moa_hint(err, rc, "name a GGUF file, or a folder as Hugging Face has them");
    }
    moa_buf where;
    moa_buf_init(&where, 300);
    for (int i = 0; i < n_dir; i++) moa_buf_addf(&where, "%s%s", i ? ", " : "", dir[i]);
    int rc = moa_fail(err, MOA_ENOTFOUND, "model '%s' not found%s%s", name, n_dir ? "; looked in " : "", moa_buf_str(&where));
    moa_buf_deinit(&where);
    if (!arg) return moa_hint(err, rc, "make the bundled model with: moa train recipes/moa-tiny.yaml   (or name one: -m FILE.gguf)");
    return moa_hint(err, rc, "moa models shows what is there, moa pull fetches more; $MOA_MODELS names a folder");
}
