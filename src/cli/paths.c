/* paths.c - from a MODEL argument to a file. A name that is a file is that file; anything else is looked for, with and
 * without ".gguf", in $MOA_MODELS, ./models, the installed models and the user's cache, in this order: what is nearer
 * to the user wins. The error names every place that was tried.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/err.h"
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#ifndef MOA_DATADIR
#define MOA_DATADIR "/usr/local/share/moa"
#endif
#define BUNDLED "moa-tiny"

static bool is_file(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

int moa_cli_model_dirs(char dir[][4096], int max) {
    const char *env = getenv("MOA_MODELS"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = 0;
    if (env && *env && n < max) snprintf(dir[n++], 4096, "%s", env);
    if (n < max) snprintf(dir[n++], 4096, "models");
    if (n < max) snprintf(dir[n++], 4096, "%s/models", MOA_DATADIR);
    if (cache && *cache && n < max) snprintf(dir[n++], 4096, "%s/moa/models", cache);
    else if (home && *home && n < max) snprintf(dir[n++], 4096, "%s/.cache/moa/models", home);
    return n;
}

static bool try_path(char *out, size_t n, const char *dir, const char *name, const char *ext) {
    int len = dir ? snprintf(out, n, "%s/%s%s", dir, name, ext) : snprintf(out, n, "%s%s", name, ext);
    return len > 0 && (size_t)len < n && is_file(out);
}

int moa_cli_model_path(char *out, size_t n, const char *arg, moa_err *err) {
    const char *name = arg ? arg : BUNDLED;
    if (!*name) return moa_fail(err, MOA_EUSAGE, "the model's name is empty");
    if (arg && (try_path(out, n, NULL, name, "") || try_path(out, n, NULL, name, ".gguf"))) return 0;
    char dir[8][4096];
    int n_dir = name[0] == '/' || name[0] == '.' ? 0 : moa_cli_model_dirs(dir, 8);
    for (int i = 0; i < n_dir; i++)
        if (try_path(out, n, dir[i], name, "") || try_path(out, n, dir[i], name, ".gguf")) return 0;
    moa_buf where;
    moa_buf_init(&where, 300);
    for (int i = 0; i < n_dir; i++) moa_buf_addf(&where, "%s%s", i ? ", " : "", dir[i]);
    int rc = moa_fail(err, MOA_ENOTFOUND, "model '%s' not found%s%s", name, n_dir ? "; looked in " : "", moa_buf_str(&where));
    moa_buf_deinit(&where);
    if (!arg) return moa_hint(err, rc, "make the bundled model with: moa train recipes/moa-tiny.yaml   (or name one: -m FILE.gguf)");
    return moa_hint(err, rc, "moa list models shows what is there; $MOA_MODELS adds a folder");
}
