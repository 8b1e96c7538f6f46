/* cmd_models.c - moa models: what is in the folders that are searched; rm and verify work on the folder of moa pull alone.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/live.h"
#include "cli/models.h"
#include "fetch/store.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { O_YES, O_JSON };
static const moa_opt opts[] = {
    {"--yes", "-y", MOA_OPT_FLAG, NULL, "rm: do not ask", 0, 0},
    MOA_ROW_JSON(": the list"),
    MOA_ROWS_END,
};
enum { N_OPT = sizeof opts / sizeof *opts };

static int run(int argc, char **argv);
const moa_command moa_command_models = {
    .name = "models", .usage = "[rm NAME | verify NAME] [--json]", .help = "list model files, remove one, read one against its checksums",
    .more = "  moa models              all models that -m NAME finds, where they came from, downloads that are not whole\n"
            "  moa models rm NAME      remove a model and what is begun of it from the folder of moa pull; nothing outside it is touched\n"
            "  moa models verify NAME  read the files again and compare them with the checksums noted when they were fetched",
    .opts = opts, .run = run,
};

/* ---- the list ---- */

static void put(moa_buf *b, const char *before, const char *s) {
    moa_buf_adds(b, before);
    moa_json_add_str(b, s, strlen(s));
}

static void put_row(moa_buf *b, const char *dir, const moa_stored *s, bool first) {
    char path[8192];
    snprintf(path, sizeof path, s->partial ? "%s/.pull/%s.part" : "%s/%s", dir, s->file);
    for (char *p = path + strlen(dir) + 7; s->partial && *p; p++)
        if (*p == '/') *p = '%';
    put(b, first ? "{\"name\":" : ",\n{\"name\":", s->name);
    put(b, ",\"path\":", path);
    moa_buf_addf(b, ",\"bytes\":%lld,\"files\":%d,\"partial\":%s", (long long)s->bytes, s->n_file, s->partial ? "true" : "false");
    if (s->partial && s->total >= 0) moa_buf_addf(b, ",\"total\":%lld", (long long)s->total);
    put(b, ",\"type\":", s->type);
    put(b, ",\"arch\":", s->arch);
    put(b, ",\"source\":", s->source);
    put(b, ",\"revision\":", s->revision);
    put(b, ",\"problem\":", s->problem);
    moa_buf_adds(b, "}");
}

static void show_row(const moa_stored *s, int width) {
    char bytes[24], total[24];
    moa_cli_bytes(bytes, s->bytes);
    moa_cli_bytes(total, s->total);
    printf("  %-*s  %9s", width, s->name, bytes);
    if (s->partial) printf(" of %s, not whole: %s  %s\n", total, s->file, s->source);
    else if (s->problem[0]) printf("  %s: %s\n", s->file, s->problem);
    else printf("  %-8s %-*s%s%s%.8s\n", s->type[0] ? s->type : "-", s->source[0] ? 11 : 0, s->arch[0] ? s->arch : "-", s->source,
                s->revision[0] ? " @ " : "", s->revision);
}

/* The folder, then a line for each model in it: FOLDER/NAME.gguf, or a folder FOLDER/NAME. */
static void show_dir(const char *dir, const moa_stored *s, int n) {
    int width = 0;
    for (int i = 0; i < n; i++) {
        const int k = (int)strlen(s[i].name);
        if (k > width) width = k < 40 ? k : 40;
    }
    if (n) printf("%s\n", dir);
    for (int i = 0; i < n; i++) show_row(&s[i], width);
}

static int list_dir(moa_buf *b, const char *dir, bool json, int *total, moa_err *err) {
    moa_stored *s;
    int n;
    MOA_TRY(moa_store_list(&s, &n, dir, err));
    for (int i = 0; json && i < n; i++) put_row(b, dir, &s[i], *total + i == 0);
    if (!json) show_dir(dir, s, n);
    *total += n;
    free(s);
    return 0;
}

int moa_cli_list_models(bool json, moa_err *err) {
    char dir[8][4096], pull[4096] = "";
    moa_buf b;
    moa_buf_init(&b, 64 << 20);
    int total = 0, rc = 0;
    const int n_dir = moa_cli_model_dirs(dir, 8);
    if (json) {
        if (moa_cli_pull_dir(pull, NULL) < 0) pull[0] = 0;
        put(&b, "{\"folder\":", pull);
        moa_buf_adds(&b, ",\"models\":[");
    }
    for (int i = 0; rc >= 0 && i < n_dir; i++) rc = list_dir(&b, dir[i], json, &total, err);
    if (json && rc >= 0) {
        moa_buf_adds(&b, "]}");
        rc = b.failed ? moa_fail(err, b.failed, "the list is too long") : 0;
        if (rc >= 0) puts(moa_buf_str(&b));
    }
    moa_buf_deinit(&b);
    if (json || rc < 0 || total) return rc;
    fputs("no models; looked in", stderr);
    for (int i = 0; i < n_dir; i++) fprintf(stderr, "%s %s", i ? "," : "", dir[i]);
    fputs("\n  hint: moa pull hf:OWNER/REPO fetches one; the bundled one is made with: moa train recipes/moa-tiny.yaml\n", stderr);
    return 0;
}

/* ---- rm ---- */

static bool agreed(const moa_store_files *f, const char *folder, const char *name) {
    char bytes[24], line[16] = "";
    moa_cli_bytes(bytes, f->bytes);
    fprintf(stderr, "Remove %s (%s, %d file%s%s) from %s? [y/N] ", name, bytes, f->n_model, f->n_model == 1 ? "" : "s",
            f->n > f->n_model ? ", with what is noted and begun" : "", folder);
    fflush(stderr);
    return fgets(line, sizeof line, stdin) && (line[0] == 'y' || line[0] == 'Y');
}

static int rm(const char *name, bool yes, moa_err *err) {
    char folder[4096], bytes[24];
    moa_store_files f;
    size_t n = strlen(name);
    char stem[MOA_REF_NAME_MAX];
    MOA_TRY(moa_cli_pull_dir(folder, err));
    if (n > 5 && n < sizeof stem && moa_ref_ends(name, ".gguf")) moa_store_name(stem, name), name = stem; /* a file's name means its model */
    MOA_TRY(moa_store_find(&f, folder, name, err));
    int rc = 0;
    if (!yes && !isatty(STDIN_FILENO)) {
        moa_fail(err, MOA_EUSAGE, "%s: not removed: there is no terminal to ask on", name);
        rc = moa_hint(err, MOA_EUSAGE, "-y removes without asking");
    } else if (!yes && !agreed(&f, folder, name)) {
        rc = moa_fail(err, MOA_ECANCELED, "%s: not removed", name);
    }
    if (rc >= 0) rc = moa_store_remove(&f, folder, name, err);
    if (rc >= 0) {
        moa_cli_bytes(bytes, f.bytes);
        printf("removed %s: %s, %d file%s\n", name, bytes, f.n_model, f.n_model == 1 ? "" : "s");
    }
    moa_store_files_free(&f);
    return rc;
}

/* ---- verify ---- */

static bool carry_on(void *ctx, const moa_fetch_event *e) {
    (void)ctx, (void)e;
    return !moa_interrupted();
}

static int verify_file(const char *folder, const moa_origin_file *f, int *wrong, moa_err *err) {
    char path[4096], sum[MOA_SHA256_HEX];
    const moa_fetch_watch w = {.fn = carry_on};
    const moa_fetch_event like = {.name = f->name};
    if (snprintf(path, sizeof path, "%s/%s", folder, f->name) >= (int)sizeof path) return moa_fail(err, MOA_ELIMIT, "%s: the path is too long", folder);
    if (!f->sha256[0]) return printf("%s: no checksum is noted\n", f->name), 0;
    const int rc = moa_file_sum(sum, path, &like, &w, err);
    if (rc == MOA_ECANCELED) return rc;
    if (rc < 0) printf("%s: %s\n", f->name, err->text);
    else printf("%s: %s\n", f->name, !strcmp(sum, f->sha256) ? "right" : "WRONG: it is not what was fetched");
    *wrong += rc < 0 || strcmp(sum, f->sha256) != 0;
    return 0;
}

static int verify(const char *name, moa_err *err) {
    char folder[4096];
    moa_origin o;
    int wrong = 0, rc = 0;
    MOA_TRY(moa_cli_pull_dir(folder, err));
    rc = moa_origin_read(&o, folder, name, err);
    if (rc == MOA_ENOTFOUND) {
        moa_fail(err, rc, "%s: nothing is noted about it in %s", name, folder);
        return moa_hint(err, rc, "only what moa pull fetched can be verified");
    }
    if (rc < 0) return rc;
    moa_interrupt_catch();
    for (int i = 0; rc >= 0 && i < o.n_file; i++) rc = verify_file(folder, &o.file[i], &wrong, err);
    moa_origin_free(&o);
    if (rc < 0 || !wrong) return rc;
    moa_fail(err, MOA_EFORMAT, "%s: %d file%s not what was fetched", name, wrong, wrong == 1 ? " is" : "s are");
    return moa_hint(err, MOA_EFORMAT, "moa models rm %s, then pull it again", name);
}

static int run(int argc, char **argv) {
    moa_optval v[N_OPT];
    const char *pos[2] = {0};
    int n_pos, rc = moa_opt_parse(&moa_command_models, argc, argv, v, pos, 2, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    moa_err err = {0};
    if (n_pos == 0) return moa_cli_list_models(v[O_JSON].set, &err) < 0 ? moa_cli_fail(&err) : 0;
    const bool remove = !strcmp(pos[0], "rm");
    if (!remove && strcmp(pos[0], "verify")) return moa_cli_usage(&moa_command_models, "'%s': expected rm or verify", pos[0]);
    if (n_pos < 2) return moa_cli_usage(&moa_command_models, "%s: the model's name is missing", pos[0]);
    rc = remove ? rm(pos[1], v[O_YES].set, &err) : verify(pos[1], &err);
    return rc < 0 ? moa_cli_fail(&err) : 0;
}
