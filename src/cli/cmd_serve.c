/* cmd_serve.c - moa serve: an OpenAI-compatible server whose models are mixtures.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "cli/mixopt.h"
#include "serve/catalog.h"
#include "serve/server.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { O_MODEL, O_CONFIG, O_HOST, O_PORT, O_KEY, O_ORIGIN, O_RUNNING, O_QUEUE, O_BODY, O_DRAIN, O_BEAT, O_CTX, O_THREADS, O_ADAPTER, O_TEMPLATE, O_KV, O_REPACK, O_DRAFT, O_JOURNAL, O_REDACT, O_QUIET };
static const moa_opt opts[] = {
    {"--model", "-m", MOA_OPT_STRS, "MODEL", "a model to serve; several: -m A -m B (default: the bundled one)", 0, 0},
    {"--config", NULL, MOA_OPT_STR, "FILE", "models and mixes to serve: moa.yaml (docs/serve.md); SIGHUP reads it again", 0, 0},
    {"--host", NULL, MOA_OPT_STR, "HOST", "address to listen on (default 127.0.0.1: this machine alone)", 0, 0},
    {"--port", "-p", MOA_OPT_INT, "N", "port (default 8080; 0: one that is free)", 0, 65535},
    {"--api-key", NULL, MOA_OPT_STRS, "KEY", "only who sends it may ask (also: $MOA_API_KEY)", 0, 0},
    {"--cors-origin", NULL, MOA_OPT_STRS, "ORIGIN", "web pages of this origin may ask, beside those of this machine; '*': all", 0, 0},
    {"--max-running", NULL, MOA_OPT_INT, "N", "requests at work at a time (default 1024)", 1, 10000},
    {"--max-queue", NULL, MOA_OPT_INT, "N", "requests that may wait for them; more get 429 (default 512)", 1, 1000000},
    {"--max-body", NULL, MOA_OPT_INT, "MIB", "longest body of a request (default 32)", 1, 1024},
    {"--drain", NULL, MOA_OPT_INT, "S", "seconds that running requests get after SIGTERM (default 30)", 1, 86400},
    {"--heartbeat", NULL, MOA_OPT_INT, "S", "seconds of silence before a stream gets a comment line (default 15)", 1, 3600},
    MOA_ROW_CTX,
    MOA_ROW_THREADS,
    MOA_ROW_ADAPTER,
    MOA_ROW_TEMPLATE,
    MOA_ROW_KV,
    MOA_ROW_REPACK,
    MOA_ROW_DRAFT,
    {"--journal", NULL, MOA_OPT_STR, "FILE", "write down every request and call (JSON lines): a killed server goes on from it, moa replay checks it", 0, 0},
    {"--journal-redact", NULL, MOA_OPT_FLAG, NULL, "lengths and hashes there in place of texts; nothing goes on from such a file", 0, 0},
    {"--quiet", "-q", MOA_OPT_FLAG, NULL, "no line a request on stderr", 0, 0},
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_serve = {
    .name = "serve", .usage = "[-m MODEL] [--port N] [--host HOST]", .help = "an OpenAI-compatible server whose models are mixtures",
    .more = "examples:\n"
            "  moa serve &\n"
            "  curl -s localhost:8080/v1/chat/completions -H 'Content-Type: application/json' \\\n"
            "       -d '{\"model\": \"self-moa\", \"messages\": [{\"role\": \"user\", \"content\": \"What is 17 + 25?\"}]}'\n"
            "Every model is an id, and so is every mix (moa list mixes). The first SIGTERM or Ctrl-C lets running requests end, the second stops.",
    .opts = opts, .run = run};

static moa_server *stopping;

static void on_signal(int sig) {
    if (sig == SIGHUP) moa_server_reload(stopping);
    else moa_server_stop(stopping);
}

static void catch_signals(moa_server *s) {
    static const int caught[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction a;
    memset(&a, 0, sizeof a);
    if (s) stopping = s;
    a.sa_handler = s ? on_signal : SIG_DFL;
    a.sa_flags = SA_RESTART;
    for (size_t i = 0; i < sizeof caught / sizeof *caught; i++) sigaction(caught[i], &a, NULL);
    stopping = s; /* behind the handlers where they are taken off */
    signal(SIGPIPE, SIG_IGN);
}

static void log_line(void *ctx, const moa_exchange *x, int status, double seconds) {
    (void)ctx;
    fprintf(stderr, "%s %d %s %s%s%s %.3f s\n", x->id, status, x->endpoint->path, x->what, x->what[0] ? " " : "", status == 499 ? "client left," : "", seconds);
}

static void say(void *ctx, const char *text) {
    (void)ctx;
    fprintf(stderr, "moa: %s\n", text);
}

static int reload(void *ctx, moa_catalog **out, const moa_catalog *was, moa_err *err) { return moa_catalog_open(out, ctx, was, err); }

static int serve(moa_server_cfg *cfg, moa_catalog_cfg *models, moa_err *err) {
    moa_catalog *c;
    moa_server *s = NULL;
    cfg->reload = models->file ? reload : NULL;
    cfg->say = say;
    cfg->ctx = models;
    models->journal = cfg->ledger->journal;
    MOA_TRY(moa_catalog_open(&c, models, NULL, err));
    int rc = moa_server_open(&s, cfg, c, err);
    if (rc < 0) {
        moa_catalog_unref(c);
        return rc;
    }
    catch_signals(s);
    const bool six = strchr(s->cfg.host, ':') != NULL;
    fprintf(stderr, "moa: serving %d ids at http://%s%s%s:%d/v1 (the first: %s)\n", c->n_row, six ? "[" : "", s->cfg.host, six ? "]" : "", s->port, c->row[0].id);
    if (!s->local && !cfg->n_key) fprintf(stderr, "moa: other machines can reach it, and nobody needs a key (--api-key)\n");
    rc = moa_server_run(s, err);
    catch_signals(NULL);
    moa_server_close(s);
    return rc;
}

static int run(int argc, char **argv) {
    moa_optval v[sizeof opts / sizeof *opts];
    const char *pos[1], *key[64];
    int n_pos, rc = moa_opt_parse(&moa_command_serve, argc, argv, v, pos, 0, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    moa_err err = {0};
    moa_mix_options o = moa_cli_models(&v[O_THREADS], &v[O_CTX], &v[O_ADAPTER], &v[O_TEMPLATE], &v[O_KV], &v[O_REPACK], &v[O_DRAFT]);
    moa_catalog_cfg models = {.model = v[O_MODEL].list, .n_model = v[O_MODEL].n_list, .path = moa_cli_model_path, .open = moa_cli_open_model, .options = &o, .file = v[O_CONFIG].s};
    moa_server_cfg cfg = {.host = v[O_HOST].s, .port = v[O_PORT].set ? (int)v[O_PORT].i : 8080, .key = key, .origin = v[O_ORIGIN].list, .n_origin = v[O_ORIGIN].n_list,
                          .max_body = (size_t)v[O_BODY].i << 20, .max_running = (int)v[O_RUNNING].i, .max_queue = (int)v[O_QUEUE].i, .beat_s = (int)v[O_BEAT].i,
                          .drain_s = (int)v[O_DRAIN].i, .log = v[O_QUIET].set ? NULL : log_line};
    for (int i = 0; i < v[O_KEY].n_list && i < 63; i++) key[cfg.n_key++] = v[O_KEY].list[i];
    if (getenv("MOA_API_KEY") && *getenv("MOA_API_KEY")) key[cfg.n_key++] = getenv("MOA_API_KEY");
    if (v[O_REDACT].set && !v[O_JOURNAL].set) return moa_cli_usage(&moa_command_serve, "--journal-redact needs --journal FILE");
    rc = moa_ledger_open(&cfg.ledger, v[O_JOURNAL].s, v[O_REDACT].set, &err);
    if (rc >= 0) rc = serve(&cfg, &models, &err);
    moa_ledger_close(cfg.ledger);
    return rc < 0 ? moa_cli_fail(&err) : 0;
}
