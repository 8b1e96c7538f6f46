/* backend.c - the registry of backends, and what is the same for all of them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/backend.h"

#include "agent/inbox.h"

#include <stdlib.h>

#define BACKEND(x) extern const moa_backend_ops moa_backend_ops_##x;
#include "agent/backends.def"
#undef BACKEND

static const moa_backend_ops *const table[] = {
#define BACKEND(x) &moa_backend_ops_##x,
#include "agent/backends.def"
#undef BACKEND
};

const moa_backend_ops *const *moa_backends(int *n) {
    *n = (int)(sizeof table / sizeof *table);
    return table;
}

void moa_backend_close(moa_backend *b) {
    if (b) b->ops->close(b);
}

int moa_backend_ctx_hint(moa_err *err, int rc, const moa_backend *b, int64_t n, const char *first) {
    if (n < b->n_ctx_most && b->n_ctx < b->n_ctx_most)
        return moa_hint(err, rc, "%s, or allow a longer context: --ctx N, the model reads up to %d tokens", first, b->n_ctx_most);
    return moa_hint(err, rc, "%s; %s reads no more than %d tokens", first, b->id, b->n_ctx_most ? b->n_ctx_most : b->n_ctx);
}

void moa_backend_stir(moa_backend *b) {
    if (b->ops->stir) b->ops->stir(b);
}

moa_call moa_call_again(const moa_call *c) {
    return (moa_call){.msg = c->msg, .n_msg = c->n_msg, .prefix = c->prefix, .goes_on = c->goes_on, .sampling = c->sampling, .max_tokens = c->max_tokens, .grammar = c->grammar, .extra = c->extra, .log = c->log, .scope = c->scope, .sample = c->sample,
                      .priority = c->priority};
}

void moa_call_fail(moa_call *c, const moa_err *err) {
    c->rc = err->code;
    c->err = *err;
    c->on_end(c);
}

/* ---- calls that somebody waits for ---- */

typedef struct waiter { moa_inbox box; pthread_mutex_t lock; pthread_cond_t heard; bool any; } waiter;

static void wake(void *ctx, double at) {
    waiter *w = ctx;
    (void)at;
    pthread_mutex_lock(&w->lock);
    w->any = true;
    pthread_cond_signal(&w->heard);
    pthread_mutex_unlock(&w->lock);
}

static void wait_for_news(waiter *w) {
    pthread_mutex_lock(&w->lock);
    while (!w->any) pthread_cond_wait(&w->heard, &w->lock);
    w->any = false;
    pthread_mutex_unlock(&w->lock);
}

static void cancel_all(moa_backend *b, moa_letter *l, int n) {
    for (int i = 0; i < n; i++) atomic_store(&l[i].call.cancel, true);
    moa_backend_stir(b);
}

static bool run_all(waiter *w, moa_backend *b, moa_letter *l, moa_call *call, int n, moa_gen_cb cb, void *ctx) {
    moa_buf text;
    bool ended, canceled = false;
    moa_buf_init(&text, 1 << 28);
    for (int left = n; left;) {
        wait_for_news(w);
        for (moa_letter *t; (t = moa_inbox_read(&w->box, &text, &ended));) {
            bool go = !cb || canceled || !text.len || cb(ctx, t->about, moa_buf_str(&text), text.len);
            if (ended) {
                moa_call *c = &call[t->about];
                c->res = t->call.res, c->rc = t->call.rc, c->err = t->call.err, c->share_s = t->call.share_s;
                left--;
                if (go && cb && !canceled) go = cb(ctx, t->about, NULL, 0);
            }
            if (!go && !canceled) cancel_all(b, l, n), canceled = true;
        }
    }
    moa_buf_deinit(&text);
    return canceled;
}

int moa_backend_complete(moa_backend *b, moa_call *call, int n, moa_gen_cb cb, void *ctx, moa_err *err) {
    waiter w = {.any = false};
    moa_letter *l = calloc((size_t)n + 1, sizeof *l);
    moa_call **start = calloc((size_t)n + 1, sizeof(moa_call *));
    if (!l || !start) {
        free(l);
        free(start);
        return moa_fail(err, MOA_ENOMEM, "%d calls", n);
    }
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.heard, NULL);
    moa_inbox_init(&w.box, wake, &w);
    for (int i = 0; i < n; i++) {
        l[i].call = moa_call_again(&call[i]);
        moa_letter_init(&l[i], &w.box, i);
        start[i] = &l[i].call;
    }
    b->ops->start(b, start, n);
    const bool canceled = run_all(&w, b, l, call, n, cb, ctx);
    moa_inbox_deinit(&w.box);
    pthread_cond_destroy(&w.heard);
    pthread_mutex_destroy(&w.lock);
    free(start);
    free(l);
    return canceled ? moa_fail(err, MOA_ECANCELED, "canceled") : 0;
}
