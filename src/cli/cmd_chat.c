/* cmd_chat.c - moa chat: a conversation. Every turn runs the whole mix over the history; only the final answers enter it
 * (as in MoA's own chat). Ctrl-C stops an answer, Ctrl-D leaves.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "cli/live.h"
#include "cli/mixopt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_ADAPTER = 64, O_QUIET = MIXO_COUNT };
static const moa_opt opts[] = {
    MOA_MIX_OPTS,
    MOA_ROW_QUIET,
    MOA_ROWS_END,
};
static const char commands_text[] = "  /mix NAME[:KEY=VALUE,...]  answer with another mix\n"
                                    "  /model MODEL               use another model\n"
                                    "  /adapter FILE[:SCALE] ...  use these LoRAs instead of others; /adapter none: without\n"
                                    "  /reset                     forget the conversation\n"
                                    "  /help                      this list\n"
                                    "  /quit, Ctrl-D              leave;  Ctrl-C stops an answer\n";

static int run(int argc, char **argv);
const moa_command moa_command_chat = {
    .name = "chat", .usage = "[-m MODEL] [--mix NAME]", .help = "talk with a mix of models", .more = commands_text, .opts = opts, .run = run};

typedef struct chat {
    moa_mix_spec spec;
    moa_pool *pool;
    moa_mix_options open;           /* how models are opened from now on */
    char *model;                    /* of /model or -m; NULL: bundled */
    char *adapter_text;             /* of /adapter; open.adapter points into it */
    const char *adapter[MAX_ADAPTER];
    moa_message *msg;  /* contents are owned */
    int n_msg;
    const char *system;
    uint64_t seed;     /* moves on with each turn, so that asking again gives another answer */
    bool quiet;
    bool failed;       /* the last turn did */
} chat;

static void forget(chat *c, int keep) {
    while (c->n_msg > keep) free((char *)c->msg[--c->n_msg].content);
}

static int say(chat *c, const char *role, const char *text, moa_err *err) {
    moa_message *m = realloc(c->msg, (size_t)(c->n_msg + 1) * sizeof *m);
    if (m) c->msg = m;
    char *own = strdup(text);
    if (!m || !own) {
        free(own);
        return moa_fail(err, MOA_ENOMEM, "the conversation");
    }
    c->msg[c->n_msg++] = (moa_message){role, own};
    return 0;
}

static int start(chat *c, moa_err *err) {
    forget(c, 0);
    return c->system ? say(c, "system", c->system, err) : 0;
}

static int turn(chat *c, const char *text, moa_err *err) {
    int before = c->n_msg;
    MOA_TRY(say(c, "user", text, err));
    moa_run *r;
    int rc = moa_run_new(&r, &c->spec.cfg, c->msg, c->n_msg, c->seed++, err);
    if (rc >= 0) {
        moa_live_cfg lc = {.quiet = c->quiet, .stream_answer = true};
        moa_live *live = moa_live_new(&lc);
        rc = moa_run_execute(r, moa_live_event, live, err);
        bool shown = moa_live_end(live, r);
        moa_live_free(live);
        const char *a = moa_run_answer(r);
        if (rc >= 0 && !shown) {
            moa_term_write(stdout, a, strlen(a));
            fputs("\n", stdout);
        }
        if (rc >= 0) rc = say(c, "assistant", a, err);
        if (rc >= 0) moa_live_notes(&lc, r);
        moa_run_free(r);
    }
    if (rc < 0) forget(c, before); /* a turn without an answer is no part of the conversation */
    return rc;
}

static int set_mix(chat *c, const char *text, moa_err *err) {
    moa_mix_spec s = {0};
    MOA_TRY(moa_mix_spec_parse(&s, text, err));
    int rc = moa_mix_spec_bind(&s, c->pool, c->model, err);
    if (rc < 0) {
        moa_mix_spec_deinit(&s);
        return rc;
    }
    moa_mix_spec_deinit(&c->spec);
    c->spec = s;
    c->spec.cfg.proposer = c->spec.bound; /* points into the struct it lives in */
    return 0;
}

static int set_model(chat *c, const char *name, moa_err *err) {
    moa_backend *b;
    if (c->spec.n_proposer_name) return moa_fail(err, MOA_EINVAL, "%s names its own models; /mix names others", c->spec.label);
    MOA_TRY(moa_pool_get(&b, c->pool, name, err));
    char *own = strdup(name);
    if (!own) return moa_fail(err, MOA_ENOMEM, "a model's name");
    free(c->model);
    c->model = own;
    c->spec.bound[0] = b;
    return 0;
}

/* All models that are open change, or none does; those opened later take the same. */
static int set_adapters(chat *c, const char *arg, moa_err *err) {
    const char *list[MAX_ADAPTER];
    char *text = strdup(arg), *save = NULL;
    int n = 0;
    if (!text) return moa_fail(err, MOA_ENOMEM, "names of adapters");
    for (char *t = strtok_r(text, " ", &save); t && n < MAX_ADAPTER; t = strtok_r(NULL, " ", &save)) list[n++] = t;
    if (n == 1 && !strcmp(list[0], "none")) n = 0;
    const int rc = moa_pool_adapt(c->pool, list, n, c->open.n_threads, err);
    if (rc < 0) {
        free(text);
        return rc;
    }
    free(c->adapter_text);
    c->adapter_text = text;
    memcpy(c->adapter, list, (size_t)n * sizeof *list);
    c->open.adapter = c->adapter;
    c->open.n_adapter = n;
    return 0;
}

static void show_adapters(const chat *c) {
    for (int i = 0; i < c->open.n_adapter; i++) fprintf(stderr, "%s%s", i ? " " : "", c->open.adapter[i]);
    fputs(c->open.n_adapter ? "\n" : "no adapters\n", stderr);
}

/* 1: leave. */
static int command(chat *c, char *line, moa_err *err) {
    char *arg = line + strcspn(line, " ");
    if (*arg) *arg++ = 0;
    arg += strspn(arg, " ");
    if (!strcmp(line, "/quit") || !strcmp(line, "/exit")) return 1;
    if (!strcmp(line, "/help")) return fputs(commands_text, stderr), 0;
    if (!strcmp(line, "/reset")) return start(c, err);
    if (!strcmp(line, "/mix") && *arg) return set_mix(c, arg, err);
    if (!strcmp(line, "/model") && *arg) return set_model(c, arg, err);
    if (!strcmp(line, "/adapter") && *arg) return set_adapters(c, arg, err);
    if (!strcmp(line, "/adapter")) return show_adapters(c), 0;
    if (!strcmp(line, "/mix") || !strcmp(line, "/model")) return fprintf(stderr, "%s with %s\n", c->spec.label, c->spec.cfg.proposer[0]->id), 0;
    return moa_fail(err, MOA_EINVAL, "unknown command %s (/help lists them)", line);
}

static int talk(chat *c, moa_err *err) {
    bool tty = isatty(STDIN_FILENO);
    char *line = NULL;
    size_t cap = 0;
    int rc = start(c, err);
    if (tty && rc >= 0) fprintf(stderr, "%s with %s. /help lists commands, Ctrl-D leaves.\n", c->spec.label, c->spec.cfg.proposer[0]->id);
    while (rc == 0) {
        if (tty) fputs("> ", stderr);
        moa_interrupt_clear();
        errno = 0;
        fflush(stdout); /* who talks to it through pipes waits for the answer */
        ssize_t n = getline(&line, &cap, stdin);
        if (n < 0 && errno == EINTR) {
            clearerr(stdin);
            fputs("\n", stderr);
            continue;
        }
        if (n < 0) break;
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) line[--n] = 0;
        if (strspn(line, " \t") == (size_t)n) continue;
        moa_err e = {0};
        int done = strlen(line) < (size_t)n ? moa_fail(&e, MOA_EINVAL, "the line holds a zero byte: not text")
                   : line[0] == '/'         ? command(c, line, &e)
                                            : turn(c, line, &e);
        if (done > 0) break;
        c->failed = done < 0;
        if (done == MOA_ECANCELED) fputs("(stopped; this turn is forgotten)\n", stderr);
        else if (done < 0) moa_cli_fail(&e);
        if (done == MOA_ELIMIT && c->n_msg > (c->system != NULL)) fputs("  /reset forgets what was said before\n", stderr);
    }
    if (tty && rc >= 0) fputs("\n", stderr);
    free(line);
    if (tty) c->failed = false; /* a script wants to know that its last turn failed, a user has seen it */
    return rc;
}

static int run(int argc, char **argv) {
    moa_optval v[sizeof opts / sizeof *opts];
    int n_pos, rc = moa_opt_parse(&moa_command_chat, argc, argv, v, NULL, 0, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    moa_err err = {0};
    chat c = {.open = moa_cli_models(&v[MIXO_THREADS], &v[MIXO_CTX], &v[MIXO_ADAPTER], &v[MIXO_TEMPLATE], &v[MIXO_KV], &v[MIXO_REPACK], &v[MIXO_DRAFT]), .system = v[MIXO_SYSTEM].s, .quiet = v[O_QUIET].set, .seed = v[MIXO_SEED].set ? (uint64_t)v[MIXO_SEED].i : 1};
    if (v[MIXO_MODEL].set && !(c.model = strdup(v[MIXO_MODEL].s))) rc = moa_fail(&err, MOA_ENOMEM, "the model's name");
    if (rc >= 0) rc = moa_mixopt_spec(&c.spec, v, "self-moa", &err);
    if (rc >= 0) rc = moa_mixopt_pool(&c.pool, v, &c.open, &err);
    if (rc >= 0) rc = moa_mix_spec_bind(&c.spec, c.pool, c.model, &err);
    if (rc >= 0) {
        moa_interrupt_catch();
        rc = talk(&c, &err);
    }
    forget(&c, 0);
    free(c.msg);
    free(c.model);
    free(c.adapter_text);
    moa_mix_spec_deinit(&c.spec);
    moa_pool_free(c.pool);
    return rc < 0 ? moa_cli_fail(&err) : c.failed;
}
