/* cmd_run.c - moa run: one question, one answer. Progress on stderr, the answer on stdout, nothing else there.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/json.h"
#include "cli/constraint.h"
#include "cli/live.h"
#include "cli/mixopt.h"
#include "cli/runjson.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_INPUT = 16 << 20, O_GRAMMAR = MIXO_COUNT, O_SCHEMA, O_JSON, O_QUIET };
static const moa_opt opts[] = {
    MOA_MIX_OPTS,
    MOA_CONSTRAINT_OPTS,
    MOA_ROW_JSON(": answer, every call, usage"),
    MOA_ROW_QUIET,
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_run = {
    .name = "run",
    .usage = "[-m MODEL] [--mix NAME] [--json] PROMPT",
    .help = "answer one question with a mix of models",
    .more = "PROMPT \"-\", or none with input from a pipe: the question is read from standard input.\n"
            "examples:\n"
            "  moa run \"What is 17 + 25?\"\n"
            "  moa run --mix vote -n 10 \"What is 17 + 25?\"\n"
            "  moa run --json-schema order.json \"Two pizzas for Tom.\"\n"
            "  moa run --server http://127.0.0.1:8080/v1 --mix vote -n 10 \"What is 17 + 25?\"\n"
            "  moa run --mix moa --proposer a.gguf --proposer b.gguf --aggregator b.gguf - < question.txt",
    .opts = opts,
    .run = run,
};

/* The prompt: the arguments with spaces between them, or standard input. */
static int read_prompt(moa_buf *b, const char *const *pos, int n_pos, moa_err *err) {
    if (n_pos == 0 || (n_pos == 1 && !strcmp(pos[0], "-"))) {
        char *text;
        size_t len;
        MOA_TRY(moa_read_file(&text, &len, "-", MAX_INPUT, err));
        moa_buf_add(b, text, len);
        free(text);
        while (b->len && (b->data[b->len - 1] == '\n' || b->data[b->len - 1] == '\r')) b->data[--b->len] = 0;
    }
    for (int i = 0; i < n_pos && !(n_pos == 1 && !strcmp(pos[0], "-")); i++) moa_buf_addf(b, "%s%s", i ? " " : "", pos[i]);
    if (b->failed) return moa_fail(err, b->failed, "the prompt is over %d MiB", MAX_INPUT >> 20);
    if (memchr(moa_buf_str(b), 0, b->len)) return moa_fail(err, MOA_EUSAGE, "the prompt holds a zero byte: not text");
    return strspn(moa_buf_str(b), " \t\r\n") < b->len ? 0 : moa_fail(err, MOA_EUSAGE, "the prompt is empty");
}

static void print_answer(const moa_run *r, bool shown) {
    const char *a = moa_run_answer(r);
    if (shown) return;
    if (isatty(STDOUT_FILENO)) moa_term_write(stdout, a, strlen(a));
    else fputs(a, stdout);
    fputs("\n", stdout);
}

static void print_cost(const moa_run *r) {
    const moa_usage *u = &r->usage;
    bool color = moa_term_color(stderr);
    fprintf(stderr, "%s%d call%s, %lld tokens written, %lld of %lld prompt tokens reused, %.2f s%s\n", color ? "\x1b[2m" : "", u->calls,
            u->calls == 1 ? "" : "s", (long long)u->completion_tokens, (long long)u->reused_prefix_tokens, (long long)u->prompt_tokens,
            r->seconds, color ? "\x1b[0m" : "");
}

static int ask(const moa_mix_spec *s, const moa_optval *v, const char *prompt, moa_err *err) {
    bool json = v[O_JSON].set, quiet = v[O_QUIET].set;
    moa_message msg[2] = {{"system", v[MIXO_SYSTEM].s}, {"user", prompt}};
    int skip = v[MIXO_SYSTEM].set ? 0 : 1;
    moa_run *r;
    MOA_TRY(moa_run_new(&r, &s->cfg, msg + skip, 2 - skip, v[MIXO_SEED].set ? (uint64_t)v[MIXO_SEED].i : 1, err));
    moa_interrupt_catch();
    moa_live_cfg lc = {.quiet = quiet, .stream_answer = !json};
    moa_live *live = moa_live_new(&lc);
    int rc = moa_run_execute(r, moa_live_event, live, err);
    bool shown = moa_live_end(live, r);
    moa_live_free(live);
    if (rc >= 0) moa_live_notes(&lc, r);
    if (rc >= 0 && json) rc = moa_run_print_json(stdout, r, s->label, err);
    else if (rc >= 0) print_answer(r, shown);
    if (rc >= 0 && !json && !quiet && isatty(STDERR_FILENO)) print_cost(r);
    moa_run_free(r);
    return rc;
}

static int run(int argc, char **argv) {
    moa_optval v[sizeof opts / sizeof *opts];
    const char *pos[256] = {0};
    int n_pos, rc = moa_opt_parse(&moa_command_run, argc, argv, v, pos, 256, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    if (n_pos == 0 && isatty(STDIN_FILENO)) return moa_cli_usage(&moa_command_run, "the prompt is missing");
    moa_err err = {0};
    moa_buf prompt;
    moa_buf_init(&prompt, MAX_INPUT);
    moa_mix_spec s = {0};
    moa_pool *pool = NULL;
    moa_mix_options models = moa_cli_models(&v[MIXO_THREADS], &v[MIXO_CTX], &v[MIXO_ADAPTER], &v[MIXO_TEMPLATE], &v[MIXO_KV], &v[MIXO_REPACK], &v[MIXO_DRAFT]);
    rc = moa_mixopt_spec(&s, v, "self-moa", &err);
    moa_grammar *grammar = NULL;
    if (rc >= 0) rc = moa_cli_constraint(&grammar, &v[O_GRAMMAR], &v[O_SCHEMA], &err);
    s.cfg.propose_grammar = s.cfg.aggregate_grammar = grammar;
    json_t *schema = NULL; /* models of a server know no grammars */
    if (rc >= 0 && v[MIXO_SERVER].set && v[O_SCHEMA].set) rc = moa_json_read(&schema, v[O_SCHEMA].s, MAX_INPUT, &err);
    const moa_call_extra extra = {.schema = schema};
    if (schema) s.cfg.propose_extra = s.cfg.aggregate_extra = &extra;
    if (rc >= 0) rc = read_prompt(&prompt, pos, n_pos, &err);
    if (rc >= 0) rc = moa_mixopt_pool(&pool, v, &models, &err);
    if (rc >= 0) rc = moa_mix_spec_bind(&s, pool, v[MIXO_MODEL].s, &err);
    if (rc >= 0) rc = ask(&s, v, moa_buf_str(&prompt), &err);
    moa_mix_spec_deinit(&s);
    moa_grammar_free(grammar);
    json_decref(schema);
    moa_pool_free(pool);
    moa_buf_deinit(&prompt);
    return rc < 0 ? moa_cli_fail(&err) : 0;
}
