/* pull.c - see pull.h. SPDX-License-Identifier: Apache-2.0 */
#include "fetch/pull.h"

#include "base/err.h"
#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FILES_MAX = 2000 }; /* of one model */

typedef struct item { char url[MOA_REF_URL_MAX], file[MOA_REF_PATH_MAX]; int64_t size; char sha256[MOA_SHA256_HEX]; } item;
typedef struct plan {
    item *item; int n;
    bool folder;
    char name[MOA_REF_NAME_MAX], source[1024], commit[65];
    bool no_choice;
} plan;

moa_pull_cfg moa_pull_defaults(void) {
    return (moa_pull_cfg){.endpoint = MOA_HUB_ENDPOINT, .retries = 8, .connect_s = 20, .stall_s = 30, .backoff_s = 1};
}

static moa_http_cfg http_cfg(const moa_ref *ref, const moa_pull_cfg *cfg) {
    return (moa_http_cfg){.origin = ref->hub ? cfg->endpoint : ref->url, .header = cfg->header, .n_header = cfg->n_header,
                          .token = ref->hub ? cfg->token : NULL, .connect_s = cfg->connect_s, .stall_s = cfg->stall_s};
}

/* Waiting for the network is time that passes for the watcher. */
static bool tick(void *ctx) {
    const moa_fetch_event e = {.kind = MOA_FETCH_TICK, .total = -1};
    return moa_fetch_tell(ctx, &e);
}

/* ---- the plan ---- */

/* Name of a file in the models folder, given its own name: `name` (where the user gave one) takes the place of the stem. A file alone is
 * a GGUF file, whatever its URL is called: only so it is looked at, listed and found. */
static int local_name(char out[MOA_REF_NAME_MAX], const char *own, const char *name, moa_err *err) {
    size_t stem;
    int i, n, len;
    if (name && moa_ref_split(own, &stem, &i, &n)) len = snprintf(out, MOA_REF_NAME_MAX, "%s%s", name, own + stem);
    else len = snprintf(out, MOA_REF_NAME_MAX, "%s%s", name ? name : own, moa_ref_ends(name ? name : own, ".gguf") ? "" : ".gguf");
    if (len < MOA_REF_NAME_MAX && moa_ref_name_ok(out)) return 0;
    moa_fail(err, MOA_EUSAGE, "'%.200s' is no name for a file in the models folder", out);
    return moa_hint(err, MOA_EUSAGE, "--name NAME, of letters, digits and ._+=,@()-");
}

static int plan_items(plan *p, int n, moa_err *err) {
    p->item = calloc((size_t)(n ? n : 1), sizeof *p->item);
    return p->item ? 0 : moa_fail(err, MOA_ENOMEM, "no memory for a list of files");
}

/* The URL of part i of n, made of that of another part; false: the number does not stand in it as it does in the name. */
static bool part_url(item *it, const char *url, const char *name, size_t stem, int i, int n) {
    char own[40];
    const size_t path = strcspn(url, "?#"), k = strlen(name + stem);
    if (path < k || memcmp(url + path - k, name + stem, k)) return false;
    snprintf(own, sizeof own, "-%05d-of-%05d", i, n);
    return snprintf(it->url, sizeof it->url, "%.*s%s%s", (int)(path - k), url, own, url + path - 5) < (int)sizeof it->url;
}

static int plan_url(plan *p, const moa_ref *ref, const moa_pull_cfg *cfg, moa_err *err) {
    char own[MOA_REF_NAME_MAX], file[MOA_REF_NAME_MAX];
    size_t stem = 0;
    int i, n = 1;
    if (cfg->name && moa_ref_url_name(own, ref->url, NULL) < 0) snprintf(own, sizeof own, "x");
    else if (!cfg->name) MOA_TRY(moa_ref_url_name(own, ref->url, err));
    const bool split = moa_ref_split(own, &stem, &i, &n);
    if (split && n > 1 && cfg->sha256) return moa_fail(err, MOA_EUSAGE, "--sha256 is of one file, and '%s' is one of %d", own, n);
    if (n > FILES_MAX) return moa_fail(err, MOA_ELIMIT, "'%s' says there are %d parts, at most %d are fetched", own, n, FILES_MAX);
    MOA_TRY(plan_items(p, n, err));
    for (int k = 1; k <= n; k++) {
        item *it = &p->item[p->n++];
        char part[MOA_REF_NAME_MAX + 32];
        it->size = -1;
        snprintf(it->url, sizeof it->url, "%s", ref->url);
        snprintf(part, sizeof part, "%s", own);
        if (split) {
            snprintf(part + stem, sizeof part - stem, "-%05d-of-%05d%s", k, n, own + strlen(own) - 5);
            if (!part_url(it, ref->url, own, stem, k, n)) return moa_fail(err, MOA_EUSAGE, "the URLs of the other %d parts cannot be made from this one", n - 1);
        }
        MOA_TRY(local_name(file, part, cfg->name, err));
        snprintf(it->file, sizeof it->file, "%s", file);
        if (cfg->sha256) snprintf(it->sha256, sizeof it->sha256, "%s", cfg->sha256);
    }
    moa_ref_show(p->source, sizeof p->source, ref->url);
    return 0;
}

static int plan_file(plan *p, const moa_ref *ref, const moa_pull_cfg *cfg, const moa_hub_file *f, const char *folder, moa_err *err) {
    item *it = &p->item[p->n];
    char file[MOA_REF_NAME_MAX];
    const char *slash = strrchr(f->path, '/'), *own = slash ? slash + 1 : f->path;
    MOA_TRY(moa_hub_url(it->url, cfg->endpoint, ref, p->commit, f->path, err));
    int len;
    if (folder) {
        len = snprintf(it->file, sizeof it->file, "%s/%s", folder, f->path);
    } else {
        MOA_TRY(local_name(file, own, cfg->name, err));
        len = snprintf(it->file, sizeof it->file, "%s", file);
    }
    if (len >= (int)sizeof it->file) return moa_fail(err, MOA_ELIMIT, "%s: its path in the models folder is too long", f->path);
    it->size = f->size;
    memcpy(it->sha256, f->sha256, sizeof it->sha256);
    if (cfg->sha256 && it->sha256[0] && strcmp(cfg->sha256, it->sha256))
        return moa_fail(err, MOA_EFORMAT, "%s: the hub says its checksum is %s, expected %s", f->path, it->sha256, cfg->sha256);
    if (cfg->sha256) snprintf(it->sha256, sizeof it->sha256, "%s", cfg->sha256);
    p->n++;
    return 0;
}

static int plan_hub(plan *p, const moa_ref *ref, const moa_pull_cfg *cfg, const moa_hub_repo *r, moa_err *err) {
    moa_hub_pick pick;
    const char *folder = cfg->name ? cfg->name : ref->repo;
    int rc = moa_hub_choose(&pick, r, ref->what, err);
    if (rc < 0) return p->no_choice = true, rc;
    p->folder = pick.folder;
    snprintf(p->commit, sizeof p->commit, "%s", r->commit);
    snprintf(p->source, sizeof p->source, "hf:%s/%s", ref->owner, ref->repo);
    if (pick.folder && !moa_ref_name_ok(folder)) rc = moa_fail(err, MOA_EUSAGE, "'%.200s' is no name for a folder of models", folder);
    if (rc >= 0 && pick.n_file > 1 && cfg->sha256) rc = moa_fail(err, MOA_EUSAGE, "--sha256 is of one file, and these are %d", pick.n_file);
    if (rc >= 0 && pick.n_file > FILES_MAX) rc = moa_fail(err, MOA_ELIMIT, "%d files, at most %d are fetched for one model", pick.n_file, FILES_MAX);
    if (rc >= 0) rc = plan_items(p, pick.n_file, err);
    for (int i = 0; rc >= 0 && i < pick.n_file; i++) rc = plan_file(p, ref, cfg, &r->file[pick.file[i]], pick.folder ? folder : NULL, err);
    free(pick.file);
    return rc;
}

static int list(moa_hub_repo *out, moa_http *h, const moa_ref *ref, const moa_pull_cfg *cfg, moa_err *err) {
    moa_retry retry;
    moa_retry_init(&retry, cfg->retries, cfg->backoff_s);
    return moa_hub_list(out, h, cfg->endpoint, ref, &retry, &cfg->watch, err);
}

static int make_plan(plan *p, moa_http *h, const moa_ref *ref, const moa_pull_cfg *cfg, moa_err *err) {
    moa_hub_repo r;
    if (ref->hub) {
        MOA_TRY(list(&r, h, ref, cfg, err));
        const int rc = plan_hub(p, ref, cfg, &r, err);
        moa_hub_free(&r);
        if (rc < 0) return rc;
    } else {
        MOA_TRY(plan_url(p, ref, cfg, err));
    }
    moa_store_name(p->name, p->item[0].file);
    return 0;
}

/* ---- doing it ---- */

static int64_t size_of(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0 && S_ISREG(st.st_mode) ? st.st_size : -1;
}

static int paths(char *target, char *part, size_t n, const char *folder, const char *file, moa_err *err) {
    if (snprintf(target, n, "%s/%s", folder, file) >= (int)n || !moa_store_part(part, n, folder, file))
        return moa_fail(err, MOA_ELIMIT, "%s: the path is too long", folder);
    return 0;
}

/* One model of this name, whether file or folder; and room for all of it before the first byte. */
static int check_folder(const plan *p, const moa_pull_cfg *cfg, moa_err *err) {
    char path[4096], part[4096];
    struct stat st;
    int64_t need = 0;
    snprintf(path, sizeof path, p->folder ? "%s/%s.gguf" : "%s/%s", cfg->folder, p->name);
    if (stat(path, &st) == 0 && (p->folder || S_ISDIR(st.st_mode))) {
        moa_fail(err, MOA_EIO, "%s: is there already, and would have the same name", path);
        return moa_hint(err, MOA_EIO, "--name NAME puts the new one beside it");
    }
    for (int i = 0; i < p->n; i++) {
        MOA_TRY(paths(path, part, sizeof path, cfg->folder, p->item[i].file, err));
        const int64_t size = p->item[i].size, here = size_of(path), begun = size_of(part);
        if (size < 0 || here == size) continue;
        need += size - (begun > 0 && begun < size ? begun : 0);
        if (need > INT64_MAX / 4) return moa_fail(err, MOA_EFORMAT, "the sizes of the files add up to more than any disk holds");
    }
    const int64_t have = moa_disk_free(cfg->folder);
    if (have < 0 || need <= have) return 0;
    moa_fail(err, MOA_EIO, "%s: needs %.1f MB, and %s has %.1f MB free", p->name, (double)need / 1e6, cfg->folder, (double)have / 1e6);
    return moa_hint(err, MOA_EIO, "moa models shows what is there, moa models rm NAME makes room; MOA_MODELS names another folder");
}

static int fetch_one(struct moa_pulled_file *out, const plan *p, int i, moa_http *h, const moa_pull_cfg *cfg, const moa_origin *was, moa_err *err) {
    char target[4096], part[4096], dir[4096];
    const item *it = &p->item[i];
    const bool known = !strcmp(was->source, p->source);
    const moa_origin_file *f = known ? moa_origin_find(was, it->file) : NULL;
    MOA_TRY(paths(target, part, sizeof target, cfg->folder, it->file, err));
    snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(target, '/') - target), target);
    MOA_TRY(moa_mkdirs(dir, err));
    snprintf(out->file, sizeof out->file, "%s", it->file);
    moa_ref_show(out->url, sizeof out->url, it->url);
    const int64_t here = f ? size_of(target) : -1;
    /* Noted as fetched from here, with the checksum (or, for small files, from the commit) that is wanted: it is not read again. */
    if (f && here >= 0 && here == f->size && (it->size < 0 || here == it->size) &&
        (it->sha256[0] ? !strcmp(f->sha256, it->sha256) : p->commit[0] && !strcmp(p->commit, was->revision))) {
        out->done = (moa_downloaded){.size = here, .was_there = true};
        memcpy(out->done.sha256, f->sha256, sizeof f->sha256);
        memcpy(out->done.etag, f->etag, sizeof f->etag);
        const moa_fetch_event e = {.kind = MOA_FETCH_END, .name = it->file, .file = i, .n_file = p->n, .done = here, .total = here};
        return moa_fetch_tell(&cfg->watch, &e) ? 0 : moa_fail(err, MOA_ECANCELED, "stopped");
    }
    const moa_download d = {
        .url = it->url, .target = target, .part = part, .name = it->file, .file = i, .n_file = p->n, .size = it->size, .sha256 = it->sha256,
        .replace = cfg->replace || f, .have_sha256 = f && here == f->size ? f->sha256 : NULL, .have_etag = f && here == f->size ? f->etag : NULL,
        .retries = cfg->retries, .backoff_s = cfg->backoff_s, .watch = &cfg->watch,
    };
    return moa_download_run(&out->done, h, &d, err);
}

static bool planned(const plan *p, const char *file) {
    for (int i = 0; i < p->n; i++)
        if (!strcmp(p->item[i].file, file)) return true;
    return false;
}

/* Files that an earlier pull noted: those from here, and those from elsewhere that this one may replace. */
static bool ours(const plan *p, const moa_pull_cfg *cfg, const moa_origin *was) { return cfg->replace || !strcmp(was->source, p->source); }

/* What an earlier pull noted of files whose turn has not come: they stay known. Of another commit or source they are files to
 * replace, not to keep, so that their size is forgotten. */
static void note_rest(moa_origin *o, const plan *p, int n, const moa_pull_cfg *cfg, const moa_origin *was) {
    const bool same = !strcmp(was->source, p->source) && !strcmp(was->revision, p->commit);
    for (int k = 0; ours(p, cfg, was) && k < was->n_file; k++) {
        const moa_origin_file *f = &was->file[k];
        bool done = false;
        for (int i = 0; i < n && !done; i++) done = !strcmp(p->item[i].file, f->name);
        if (done || (n == p->n && !planned(p, f->name))) continue;
        o->file[o->n_file] = *f;
        if (!same) o->file[o->n_file].size = -1;
        o->n_file++;
    }
}

/* Written after every file, so that a pull that was stopped between two files finds the first ones noted. */
static int note(const moa_pulled *out, const plan *p, int n, const moa_pull_cfg *cfg, const moa_origin *was, moa_err *err) {
    moa_origin o = {.n_file = n};
    const time_t now = time(NULL);
    struct tm tm;
    o.file = calloc((size_t)n + (size_t)was->n_file, sizeof *o.file);
    if (!o.file) return moa_fail(err, MOA_ENOMEM, "no memory for the note of where it came from");
    for (int i = 0; i < n; i++) {
        const struct moa_pulled_file *f = &out->file[i];
        snprintf(o.file[i].name, sizeof o.file[i].name, "%s", f->file);
        memcpy(o.file[i].sha256, f->done.sha256, sizeof f->done.sha256);
        memcpy(o.file[i].etag, f->done.etag, sizeof f->done.etag);
        o.file[i].size = f->done.size;
    }
    note_rest(&o, p, n, cfg, was);
    snprintf(o.source, sizeof o.source, "%s", p->source);
    snprintf(o.revision, sizeof o.revision, "%s", p->commit);
    if (gmtime_r(&now, &tm)) strftime(o.date, sizeof o.date, "%Y-%m-%dT%H:%M:%SZ", &tm);
    const int rc = moa_origin_write(&o, cfg->folder, p->name, err);
    moa_origin_free(&o);
    return rc;
}

/* Files of the folder that an earlier commit (with --force: another repository) had and this one has not: a shard, an index or a
 * tokenizer that stays behind would be read with the new ones. Only what a pull has noted is taken away. */
static int drop_old(const plan *p, const moa_pull_cfg *cfg, const moa_origin *was, moa_err *err) {
    char path[4096];
    const size_t n = strlen(p->name);
    for (int k = 0; p->folder && ours(p, cfg, was) && k < was->n_file; k++) {
        const char *file = was->file[k].name;
        if (planned(p, file) || strncmp(file, p->name, n) || file[n] != '/') continue;
        if (snprintf(path, sizeof path, "%s/%s", cfg->folder, file) >= (int)sizeof path || unlink(path) < 0) continue;
        const moa_fetch_event e = {.kind = MOA_FETCH_NOTE, .name = file, .n_file = p->n, .total = -1, .text = "is no longer in the repository; removed"};
        if (!moa_fetch_tell(&cfg->watch, &e)) return moa_fail(err, MOA_ECANCELED, "stopped");
    }
    return 0;
}

static int fetch_all(moa_pulled *out, const plan *p, moa_http *h, const moa_pull_cfg *cfg, moa_err *err) {
    char dir[4096];
    moa_origin was;
    if (snprintf(dir, sizeof dir, "%s/.pull", cfg->folder) >= (int)sizeof dir) return moa_fail(err, MOA_ELIMIT, "%s: the path is too long", cfg->folder);
    if (moa_mkdirs(dir, err) < 0) return moa_hint(err, MOA_EIO, "MOA_MODELS names another folder for models");
    MOA_TRY(check_folder(p, cfg, err));
    if (snprintf(out->path, sizeof out->path, "%s/%s", cfg->folder, p->folder ? p->name : p->item[0].file) >= (int)sizeof out->path)
        return moa_fail(err, MOA_ELIMIT, "%s: the path is too long", cfg->folder);
    if (moa_origin_read(&was, cfg->folder, p->name, NULL) < 0) was = (moa_origin){0}; /* unreadable: as if nothing were known */
    int rc = 0;
    for (int i = 0; rc >= 0 && i < p->n; i++) {
        rc = fetch_one(&out->file[i], p, i, h, cfg, &was, err);
        if (rc >= 0 && i + 1 == p->n) rc = drop_old(p, cfg, &was, err);
        if (rc >= 0) rc = note(out, p, i + 1, cfg, &was, err);
    }
    moa_origin_free(&was);
    out->n_file = p->n;
    return rc;
}

int moa_pull(moa_pulled *out, const moa_ref *ref, const moa_pull_cfg *cfg, moa_err *err) {
    moa_http_cfg hc = http_cfg(ref, cfg);
    moa_fetch_watch watch = cfg->watch;
    moa_http *h;
    plan p = {0};
    *out = (moa_pulled){0};
    hc.tick = tick, hc.ctx = &watch;
    MOA_TRY(moa_http_open(&h, &hc, err));
    int rc = make_plan(&p, h, ref, cfg, err);
    if (rc >= 0) {
        memcpy(out->name, p.name, sizeof out->name);
        memcpy(out->source, p.source, sizeof out->source);
        memcpy(out->revision, p.commit, sizeof out->revision);
        out->file = calloc((size_t)p.n, sizeof *out->file);
        rc = out->file ? fetch_all(out, &p, h, cfg, err) : moa_fail(err, MOA_ENOMEM, "no memory for a list of files");
    }
    free(p.item);
    moa_http_close(h);
    if (rc < 0) moa_pulled_free(out);
    out->no_choice = p.no_choice;
    return rc < 0 ? rc : 0;
}

void moa_pulled_free(moa_pulled *p) {
    free(p->file);
    *p = (moa_pulled){0};
}

int moa_pull_list(moa_hub_repo *out, const moa_ref *ref, const moa_pull_cfg *cfg, moa_err *err) {
    moa_http_cfg hc = http_cfg(ref, cfg);
    moa_fetch_watch watch = cfg->watch;
    moa_http *h;
    *out = (moa_hub_repo){0};
    if (!ref->hub) return moa_fail(err, MOA_EUSAGE, "only a repository of a hub (hf:OWNER/REPO) has a list");
    hc.tick = tick, hc.ctx = &watch;
    MOA_TRY(moa_http_open(&h, &hc, err));
    const int rc = list(out, h, ref, cfg, err);
    moa_http_close(h);
    return rc;
}
