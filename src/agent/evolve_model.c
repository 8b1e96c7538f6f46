/* evolve_model.c - models that write mutations. A call that fails, or a reply without a program, is a mutation that came to nothing.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/backend.h"
#include "agent/evolve.h"

#include <string.h>

enum { SHOWN = 12, MAX_PROMPT = 1 << 16 };

static void prompt(moa_buf *b, const moa_model_mutator *m, const char *parent, double fitness) {
    moa_buf_adds(b, "A short program reads the variable x and prints one number. Wanted:\n");
    for (int i = 0; i < m->n_example && i < SHOWN; i++) moa_buf_addf(b, "x = %lld: %lld\n", m->example[i].x, m->example[i].y);
    moa_buf_addf(b, "\nThis one meets %.0f %% of it:\n```\n%s\n```\nWrite a better one, in the same language (print, + - * // %%, if, while, brackets), between lines ```.", 100 * fitness, parent);
}

/* The text of the last code fence; all of it where there is none. */
static void program_in(const char **s, size_t *n) {
    const char *open = NULL, *close = NULL;
    for (const char *p = *s; (p = memmem(p, (size_t)(*s + *n - p), "```", 3)); p += 3) open = close, close = p;
    if (open) {
        const char *from = memchr(open, '\n', (size_t)(close - open));
        if (from) *n = (size_t)(close - from) - 1, *s = from + 1;
    }
    while (*n && strchr(" \r\n\t", (*s)[*n - 1])) --*n;
    while (*n && strchr("\r\n", **s)) ++*s, --*n;
}

static int mutate(moa_buf *child, const moa_mutator *mutator, const char *parent, double fitness, moa_rng *r, moa_err *err) {
    moa_model_mutator *m = mutator->ctx;
    moa_buf text;
    moa_buf_init(&text, MAX_PROMPT);
    prompt(&text, m, parent, fitness);
    const moa_message msg = {"user", moa_buf_str(&text)};
    moa_call c = {.msg = &msg, .n_msg = 1, .sampling = moa_sampling_defaults(), .max_tokens = m->max_tokens, .sample = (int)moa_rng_below(r, 1u << 30)};
    c.sampling.seed = (uint64_t)c.sample;
    const int rc = text.failed ? moa_fail(err, text.failed, "the examples are too long") : moa_backend_complete(m->backend, &c, 1, NULL, NULL, err);
    if (rc >= 0 && c.rc >= 0) {
        const char *s = c.res.text;
        size_t n = c.res.text_len;
        program_in(&s, &n);
        if (n < MOA_EVOLVE_PROGRAM && !memchr(s, 0, n)) moa_buf_add(child, s, n);
        m->tokens += c.res.n_ids;
    }
    moa_gen_res_deinit(&c.res);
    moa_buf_deinit(&text);
    return rc;
}

moa_mutator moa_mutator_model(moa_model_mutator *m) { return (moa_mutator){m->backend->id, "a model", mutate, m}; }
