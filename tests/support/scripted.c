/* scripted.c - see scripted.h. SPDX-License-Identifier: Apache-2.0 */
#include "support/scripted.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static int64_t words(const char *s) {
    int64_t n = 0;
    for (; *s; n++) {
        s += strspn(s, " \n");
        if (!*s) break;
        s += strcspn(s, " \n");
    }
    return n;
}

int64_t scripted_words(const moa_message *msg, int n_msg) {
    int64_t n = 0;
    for (int i = 0; i < n_msg; i++) n += words(msg[i].content);
    return n;
}

static int64_t measure(moa_backend *b, const moa_message *msg, int n_msg, const moa_call_extra *x, moa_err *err) {
    (void)b, (void)x, (void)err;
    return scripted_words(msg, n_msg);
}

static void start(moa_backend *base, moa_call *const *call, int n) {
    scripted *s = (scripted *)base;
    s->batches++;
    if (n > s->largest) s->largest = n;
    for (int i = 0; i < n; i++) {
        moa_call *c = call[i];
        moa_err err;
        char text[4096] = {0};
        if (s->dead) {
            moa_fail(&err, s->dead, "%s is dead", base->id);
            moa_call_fail(c, &err);
            continue;
        }
        for (int m = 0; m < c->n_msg; m++) moa_buf_addf(&s->log, "%s: %s\n", c->msg[m].role, c->msg[m].content);
        moa_buf_adds(&s->log, "---\n");
        c->rc = s->reply(s, s->calls++, c, text, sizeof text);
        c->res.n_prompt = scripted_words(c->msg, c->n_msg);
        if (c->rc < 0) {
            moa_fail(&c->err, c->rc, "the script says no");
            c->on_end(c);
            continue;
        }
        c->res.text = strdup(text);
        c->res.text_len = strlen(text);
        c->res.n_ids = (int)words(text);
        c->res.n_reused = c->res.n_prompt / 2;
        c->res.sum_logprob = s->logprob;
        c->res.why = s->why;
        c->on_text(c, text, strlen(text));
        if (atomic_load(&c->cancel)) c->res.why = MOA_STOP_CANCELED;
        c->on_end(c);
    }
}

static void no_close(moa_backend *b) { (void)b; }

void scripted_init(scripted *s, const char *id, scripted_fn reply) {
    static const moa_backend_ops ops = {.name = "scripted", .help = "", .start = start, .close = no_close, .measure = measure};
    *s = (scripted){.base = {.ops = &ops, .id = id, .fingerprint = 77}, .reply = reply};
    moa_buf_init(&s->log, 1 << 22);
}

void scripted_deinit(scripted *s) { moa_buf_deinit(&s->log); }
