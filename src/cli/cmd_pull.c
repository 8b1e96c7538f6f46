/* cmd_pull.c - moa pull URL | hf:OWNER/REPO[:FILE or TAG][@REV]: a model into the models folder.
 * SPDX-License-Identifier: Apache-2.0 */
#include "adapt/adapt.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/live.h"
#include "cli/models.h"
#include "fetch/pull.h"
#include "format/hf.h"
#include "model/model.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { O_NAME, O_SHA, O_HEADER, O_LIST, O_FORCE, O_RETRIES, O_STALL, O_QUIET, O_JSON };
static const moa_opt opts[] = {
    {"--name", NULL, MOA_OPT_STR, "NAME", "its name in the models folder (default: the file's or the repository's)", 0, 0},
    {"--sha256", NULL, MOA_OPT_STR, "HEX", "refuse the file unless this is its checksum", 0, 0},
    {"--header", "-H", MOA_OPT_STRS, "'NAME: VALUE'", "send this to the server that is named, not to where it redirects", 0, 0},
    {"--list", NULL, MOA_OPT_FLAG, NULL, "show the models of a repository and fetch nothing", 0, 0},
    {"--force", NULL, MOA_OPT_FLAG, NULL, "replace a file of this name that came from elsewhere", 0, 0},
    {"--retries", NULL, MOA_OPT_INT, "N", "failed attempts in a row before giving up (default 8)", 0, 1000},
    {"--stall", NULL, MOA_OPT_INT, "S", "seconds without a byte that count as a failure (default 30)", 1, 3600},
    MOA_ROW_QUIET,
    MOA_ROW_JSON(" when it is done"),
    MOA_ROWS_END,
};
enum { N_OPT = sizeof opts / sizeof *opts };

static int run(int argc, char **argv);
const moa_command moa_command_pull = {
    .name = "pull", .usage = "URL | hf:OWNER/REPO[:FILE or TAG][@REVISION]", .help = "fetch a model: resumed, checked, put in place when whole",
    .more = "  moa pull hf:OWNER/REPO:Q4_K_M       the GGUF of that type (all its parts where it is split)\n"
            "  moa pull 'hf:OWNER/REPO:*Q5_K_M*'   a pattern with * and ? of its name\n"
            "  moa pull hf:OWNER/REPO              the only GGUF, else the list to choose from; without GGUF the safetensors folder\n"
            "  moa pull hf:OWNER/REPO:safetensors  the folder, though there are GGUF files\n"
            "  moa pull https://HOST/FILE.gguf     any server\n\n"
            "The models folder is $MOA_MODELS, else $XDG_DATA_HOME/moa/models, else ~/.local/share/moa/models; moa models lists it.\n"
            "Ctrl-C keeps what has come: the same command goes on from there.\n"
            "Environment: HF_TOKEN (for the hub alone), HF_ENDPOINT (a mirror of it), https_proxy, http_proxy, no_proxy,\n"
            "CURL_CA_BUNDLE or SSL_CERT_FILE (further authorities for https).",
    .opts = opts, .run = run,
};

/* A line break in a header would be a second header. */
static bool header_ok(const char *s) {
    const char *colon = strchr(s, ':');
    for (const char *p = s; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7F) return false;
    return colon && colon > s && !memchr(s, ' ', (size_t)(colon - s)) && strlen(s) < 4000;
}

static int read_env(moa_pull_cfg *cfg, char *endpoint, size_t n, moa_err *err) {
    const char *token = getenv("HF_TOKEN"), *hub = getenv("HF_ENDPOINT");
    if (token && *token) {
        for (const char *s = token; *s; s++)
            if (*s <= 0x20 || *s == 0x7F) return moa_fail(err, MOA_EUSAGE, "HF_TOKEN holds a space or a control character");
        if (strlen(token) > 4000) return moa_fail(err, MOA_EUSAGE, "HF_TOKEN is longer than 4000 bytes");
        cfg->token = token;
    }
    if (!hub || !*hub) return 0;
    if ((strncmp(hub, "https://", 8) && strncmp(hub, "http://", 7)) || strlen(hub) >= n || strpbrk(hub, " ?#"))
        return moa_fail(err, MOA_EUSAGE, "HF_ENDPOINT '%.100s': expected http(s)://HOST", hub);
    snprintf(endpoint, n, "%s", hub);
    for (size_t k = strlen(endpoint); k && endpoint[k - 1] == '/'; k--) endpoint[k - 1] = 0;
    cfg->endpoint = endpoint;
    return 0;
}

/* ---- what is shown ---- */

static int show_choices(FILE *f, const moa_ref *ref, const moa_hub_repo *r, moa_err *err) {
    moa_hub_model *m;
    int n;
    char size[24];
    MOA_TRY(moa_hub_models(&m, &n, r, err));
    fprintf(f, "hf:%s/%s at %.12s\n", ref->owner, ref->repo, r->commit);
    for (int i = 0; i < n; i++) {
        moa_cli_bytes(size, m[i].bytes);
        fprintf(f, "  %9s  %s", size, r->file[m[i].first].path);
        if (m[i].n_part > 1) fprintf(f, "  (%d parts)", m[i].n_part);
        fprintf(f, "%s\n", m[i].extra ? "  (no model by itself)" : "");
    }
    free(m);
    int64_t bytes = 0;
    int weights = 0;
    for (int i = 0; i < r->n_file; i++)
        if (!strchr(r->file[i].path, '/') && moa_ref_ends(r->file[i].path, ".safetensors")) weights++, bytes += r->file[i].size > 0 ? r->file[i].size : 0;
    moa_cli_bytes(size, bytes);
    if (weights) fprintf(f, "  %9s  safetensors  (%d file%s)\n", size, weights, weights == 1 ? "" : "s");
    if (r->n_refused) fprintf(f, "  and %d that %s\n", r->n_refused, r->n_refused == 1 ? "has a name that cannot be kept here" : "have names that cannot be kept here");
    if (!n && !weights) fprintf(f, "  neither GGUF nor safetensors\n");
    return 0;
}

static int list(FILE *f, const moa_ref *ref, const moa_pull_cfg *cfg, moa_err *err) {
    moa_hub_repo r;
    MOA_TRY(moa_pull_list(&r, ref, cfg, err));
    const int rc = show_choices(f, ref, &r, err);
    moa_hub_free(&r);
    return rc;
}

static void put(moa_buf *b, const char *before, const char *s) {
    moa_buf_adds(b, before);
    moa_json_add_str(b, s, strlen(s));
}

static int show_json(const moa_pulled *p, double seconds, moa_err *err) {
    moa_buf b;
    int64_t bytes = 0;
    moa_buf_init(&b, 16 << 20);
    put(&b, "{\"name\":", p->name);
    put(&b, ",\"path\":", p->path);
    put(&b, ",\"source\":", p->source);
    put(&b, ",\"revision\":", p->revision);
    moa_buf_adds(&b, ",\"files\":[");
    for (int i = 0; i < p->n_file; i++) {
        const moa_downloaded *d = &p->file[i].done;
        put(&b, i ? ",{\"file\":" : "{\"file\":", p->file[i].file);
        put(&b, ",\"url\":", p->file[i].url);
        moa_buf_addf(&b, ",\"bytes\":%lld,\"sha256\":\"%s\",\"checked\":%s,\"was_there\":%s,\"resumed_from\":%lld,\"failures\":%d}", (long long)d->size,
                     d->sha256, d->checked ? "true" : "false", d->was_there ? "true" : "false", (long long)d->resumed_from, d->failures);
        bytes += d->size;
    }
    moa_buf_addf(&b, "],\"bytes\":%lld,\"seconds\":%.3f}", (long long)bytes, seconds);
    const int rc = b.failed ? moa_fail(err, b.failed, "the result is too long") : 0;
    if (rc == 0) puts(moa_buf_str(&b));
    moa_buf_deinit(&b);
    return rc;
}

/* What can be done with it now; what cannot is better known before it is tried. */
static void show_use(const moa_pulled *p) {
    moa_gguf *g;
    moa_str arch = {0};
    moa_err why = {0};
    if (moa_adapter_is(p->path)) {
        printf("use it:  moa run -m ITS_BASE --adapter %s \"...\"\n", p->path);
        return;
    }
    if (moa_gguf_open_any(&g, p->path, MOA_HF_HEAD, &why) < 0) {
        printf("moa cannot open it: %s\n", why.text);
        return;
    }
    const moa_arch *a = moa_gguf_str(&arch, g, "general.architecture", "", &why) < 0 ? NULL : moa_arch_find(arch.p, arch.n);
    if (a) printf(a->encoder ? "embed with it:  moa embed %s \"...\"\n" : "run it:  moa run -m %s \"...\"\n", p->name);
    else moa_fail(&why, MOA_EUNSUPPORTED, "moa does not run it: its architecture is '%.*s' (moa list archs)", (int)(arch.n < 64 ? arch.n : 64), arch.n ? arch.p : ""), puts(why.text);
    moa_gguf_close(g);
}

static void show_text(const moa_pulled *p) {
    int64_t bytes = 0;
    int checked = 0, there = 0;
    char size[24];
    for (int i = 0; i < p->n_file; i++) {
        bytes += p->file[i].done.size;
        checked += p->file[i].done.checked && !p->file[i].done.was_there;
        there += p->file[i].done.was_there;
    }
    moa_cli_bytes(size, bytes);
    printf("%s: %s", p->path, size);
    if (p->n_file > 1) printf(", %d files", p->n_file);
    const int came = p->n_file - there;
    if (there && came) printf(", %d of them %s here already", there, there == 1 ? "was" : "were");
    if (!came) printf(", was here already");
    else if (checked == came) printf(", checksum%s right", came > 1 ? "s" : "");
    else if (checked) printf(", %d checksum%s right, none published for the rest", checked, checked > 1 ? "s" : "");
    else if (p->n_file == 1) printf(", no checksum published (its own: sha256 %.16s...)", p->file[0].done.sha256);
    else printf(", no checksums published");
    printf("\n");
    show_use(p);
}

/* ---- the command ---- */

static int pull(const moa_ref *ref, const moa_pull_cfg *cfg, moa_pull_view *view, bool json, moa_err *err) {
    moa_pulled p;
    char done[24], total[24];
    const double from = moa_now();
    int rc = moa_pull(&p, ref, cfg, err);
    moa_pull_view_end(view);
    if (rc >= 0) {
        if (json) rc = show_json(&p, moa_now() - from, err);
        else show_text(&p);
        moa_pulled_free(&p);
        return rc;
    }
    if (rc == MOA_ECANCELED) {
        moa_cli_bytes(done, view->done);
        moa_cli_bytes(total, view->total);
        moa_fail(err, rc, "stopped%s%s%s%s%s", view->done > 0 ? ", " : "", view->done > 0 ? done : "", view->done > 0 && view->total > 0 ? " of " : "",
                 view->done > 0 && view->total > 0 ? total : "", view->done > 0 ? " are kept" : "");
        return moa_hint(err, rc, "the same command goes on from there; moa models rm NAME takes it away");
    }
    moa_err ignored;
    if (p.no_choice) list(stderr, ref, cfg, &ignored); /* several models and no word which: the list is the answer */
    return rc;
}

static int work(const char *what, const moa_optval *v, moa_err *err) {
    moa_ref ref;
    moa_pull_cfg cfg = moa_pull_defaults();
    moa_pull_view view;
    char folder[4096], endpoint[1024], sum[MOA_SHA256_HEX];
    MOA_TRY(moa_cli_pull_dir(folder, err));
    MOA_TRY(read_env(&cfg, endpoint, sizeof endpoint, err));
    MOA_TRY(moa_ref_parse(&ref, what, cfg.endpoint, err));
    if (v[O_SHA].set && !moa_sha256_parse(sum, v[O_SHA].s)) return moa_fail(err, MOA_EUSAGE, "--sha256 '%.80s': expected 64 hex digits", v[O_SHA].s);
    for (int i = 0; i < v[O_HEADER].n_list; i++)
        if (!header_ok(v[O_HEADER].list[i])) return moa_fail(err, MOA_EUSAGE, "--header %d: expected 'NAME: VALUE' in one line", i + 1);
    moa_pull_view_init(&view, v[O_QUIET].set);
    cfg.folder = folder;
    cfg.name = v[O_NAME].s;
    cfg.sha256 = v[O_SHA].set ? sum : NULL;
    cfg.header = v[O_HEADER].list, cfg.n_header = v[O_HEADER].n_list;
    cfg.replace = v[O_FORCE].set;
    if (v[O_RETRIES].set) cfg.retries = (int)v[O_RETRIES].i;
    if (v[O_STALL].set) cfg.stall_s = (int)v[O_STALL].i;
    cfg.watch = (moa_fetch_watch){.fn = moa_pull_view_event, .ctx = &view};
    moa_interrupt_catch();
    signal(SIGPIPE, SIG_IGN); /* a server that hangs up in the middle of TLS is an error of that transfer, not the end */
    return v[O_LIST].set ? list(stdout, &ref, &cfg, err) : pull(&ref, &cfg, &view, v[O_JSON].set, err);
}

static int run(int argc, char **argv) {
    moa_optval v[N_OPT];
    const char *what = NULL;
    int n_pos;
    const int rc = moa_opt_parse(&moa_command_pull, argc, argv, v, &what, 1, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    if (!n_pos) return moa_cli_usage(&moa_command_pull, "what to pull is missing");
    moa_err err = {0};
    return work(what, v, &err) < 0 ? moa_cli_fail(&err) : 0;
}
