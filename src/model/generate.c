/* generate.c - the calls of a generator: its life, its thread, its mailbox, moa_generate. What it does with requests: engine.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/generate.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "model/engine.h"
#include "model/kv.h"

#include <stdlib.h>
#include <string.h>

enum { STACK = 2 << 20 }; /* bytes of a generator's thread */

/* ---- generator ---- */

static void usual(moa_gen_cfg *c) {
    if (c->stall_s <= 0) c->stall_s = 0.05;
    if (c->age_s <= 0) c->age_s = 5;
    if (c->drafts == 0 || c->drafts > MOA_DRAFT_MAX) c->drafts = MOA_DRAFT_MAX;
    if (c->max_waiting <= 0) c->max_waiting = 1024;
}

static int init(moa_generator *g, const moa_model *m, moa_session_cfg c, moa_err *err) {
    g->m = m;
    g->n_vocab = moa_tokenizer_n_vocab(m->tok); /* rows that pad the embedding are no tokens */
    g->n_batch = c.n_batch;
    g->n_live = c.n_seq = c.n_seq < c.n_batch ? c.n_seq : c.n_batch;
    usual(&g->cfg);
    g->hit[0] = 0.3f, g->hit[1] = 0.7f;
    g->plain.keep = 0.97, g->reading.keep = 0.9;
    g->session_cfg = c;
    MOA_TRY(moa_session_new(&g->s, m, &c, err));
    MOA_TRY(moa_prefix_init(&g->cache, g->s, 0, err));
    moa_session_interrupt(g->s, moa_engine_useless, g);
    g->row = calloc((size_t)g->n_batch, sizeof *g->row);
    g->run = calloc((size_t)g->n_live, sizeof(moa_job *));
    g->spare = calloc((size_t)g->n_live, sizeof(moa_sampler *));
    return g->row && g->run && g->spare ? 0 : moa_fail(err, MOA_ENOMEM, "generator: no memory");
}

int moa_generator_new(moa_generator **out, const moa_model *m, const moa_session_cfg *cfg, moa_err *err) {
    moa_session_cfg c = cfg ? *cfg : moa_session_defaults();
    if (!m->tok) {
        moa_fail(err, MOA_EUNSUPPORTED, "%s: the model has no tokenizer, so it cannot generate text", m->path ? m->path : "model");
        return moa_hint(err, MOA_EUNSUPPORTED, "use a file with tokenizer.ggml.* keys");
    }
    if (!c.n_seq) c.n_seq = 32;
    if (!c.n_batch) c.n_batch = 256;
    if (c.n_seq < 0 || c.n_seq > 1 << 15) return moa_fail(err, MOA_EINVAL, "generator: n_seq = %d, expected 0 to %d", c.n_seq, 1 << 15);
    moa_generator *g = calloc(1, sizeof *g);
    if (!g) return moa_fail(err, MOA_ENOMEM, "generator: no memory");
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->wake, NULL);
    const int rc = init(g, m, c, err);
    if (rc < 0) {
        moa_generator_free(g);
        return rc;
    }
    *out = g;
    return 0;
}

int moa_generator_set(moa_generator *g, const moa_gen_cfg *cfg, moa_err *err) {
    MOA_TRY(moa_generator_stop(g, err));
    g->cfg = *cfg;
    usual(&g->cfg);
    moa_prefix_deinit(&g->cache);
    return moa_prefix_init(&g->cache, g->s, cfg->cache_bytes, err);
}

int moa_generator_draft(moa_generator *g, const moa_model *small, moa_err *err) {
    moa_drafter *d = NULL;
    MOA_TRY(moa_generator_stop(g, err));
    if (small) MOA_TRY(moa_drafter_new(&d, small, g->m, &g->session_cfg, g->n_live, err));
    moa_drafter_free(g->drafter);
    g->drafter = d;
    return 0;
}

static void end_thread(moa_generator *g) {
    if (!g->threaded) return;
    pthread_mutex_lock(&g->lock);
    g->quit = true;
    pthread_cond_signal(&g->wake);
    pthread_mutex_unlock(&g->lock);
    pthread_join(g->thread, NULL);
    g->threaded = g->quit = false;
}

int moa_generator_stop(moa_generator *g, moa_err *err) {
    pthread_mutex_lock(&g->lock);
    const bool busy = g->n_alive > 0;
    pthread_mutex_unlock(&g->lock);
    if (busy) return moa_fail(err, MOA_EINVAL, "generator: it is at work, so it cannot be set");
    end_thread(g);
    return 0;
}

void moa_generator_free(moa_generator *g) {
    if (!g) return;
    end_thread(g);
    moa_constraints_deinit(&g->grammars);
    if (g->cache.s) moa_prefix_deinit(&g->cache);
    moa_session_free(g->s);
    moa_drafter_free(g->drafter);
    for (int i = 0; i < g->n_spare; i++) moa_sampler_free(g->spare[i]);
    pthread_mutex_destroy(&g->lock);
    pthread_cond_destroy(&g->wake);
    free(g->spare);
    free(g->run);
    free(g->wait);
    free(g->row);
    free(g);
}

moa_session *moa_generator_session(moa_generator *g) { return g->s; }
const moa_prefix_cache *moa_generator_cache(const moa_generator *g) { return &g->cache; }

void moa_gen_res_deinit(moa_gen_res *r) {
    if (!r) return;
    free(r->text);
    free(r->ids);
    *r = (moa_gen_res){0};
}

/* ---- the thread ---- */

/* What was submitted joins those that wait; what finds no memory there fails alone. */
static void open_mail(moa_generator *g, moa_job *mail) {
    for (moa_job *j = mail, *next; j; j = next) {
        next = j->next;
        j->next = NULL;
        if (moa_engine_add(g, j, &j->res.err) < 0) moa_engine_refuse(g, j);
    }
}

static moa_job *take_mail(moa_generator *g, bool may_sleep, bool *quit) {
    const moa_kv *kv = moa_session_kv(g->s);
    pthread_mutex_lock(&g->lock);
    g->load = g->count;
    g->load.kv_room = (int64_t)kv->n_block * MOA_KV_BLOCK;
    g->load.kv_tokens = g->load.kv_room - (int64_t)kv->store[0].n_spare * MOA_KV_BLOCK;
    g->load.n_running = g->n_run;
    g->load.n_waiting = g->n_open;
    while (may_sleep && !g->mail && !g->quit) pthread_cond_wait(&g->wake, &g->lock);
    moa_job *mail = g->mail;
    g->mail = NULL;
    *quit = g->quit;
    pthread_mutex_unlock(&g->lock);
    return mail;
}

/* Turns are given in the order in which they are asked for: with a plain lock the generator that had the last one would take the next. */
static struct { pthread_mutex_t lock; pthread_cond_t over; uint64_t asked, served; } turns = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};

static void take_turn(moa_generator *g) {
    pthread_mutex_lock(&turns.lock);
    for (const uint64_t mine = turns.asked++; mine != turns.served;) pthread_cond_wait(&turns.over, &turns.lock);
    pthread_mutex_unlock(&turns.lock);
    moa_engine_turn(g);
    pthread_mutex_lock(&turns.lock);
    turns.served++;
    if (turns.asked != turns.served) pthread_cond_broadcast(&turns.over);
    pthread_mutex_unlock(&turns.lock);
}

static void *live(void *arg) {
    moa_generator *g = arg;
    bool quit = false;
    while (!quit) {
        open_mail(g, take_mail(g, moa_engine_idle(g), &quit));
        if (!quit && !moa_engine_idle(g)) take_turn(g);
    }
    moa_engine_cancel_all(g);
    return NULL;
}

/* Two that start it at the same time start it once. */
int moa_generator_start(moa_generator *g, moa_err *err) {
    pthread_attr_t a;
    int e = 0;
    pthread_mutex_lock(&g->lock);
    if (!g->threaded) {
        pthread_attr_init(&a);
        pthread_attr_setstacksize(&a, STACK);
        e = pthread_create(&g->thread, &a, live, g);
        pthread_attr_destroy(&a);
        g->threaded = e == 0;
    }
    pthread_mutex_unlock(&g->lock);
    return e ? moa_fail(err, MOA_ENOMEM, "generator: too little memory for a thread, or too many threads: %s", strerror(e)) : 0;
}

/* most: how many may wait; 0: any number. */
static int post(moa_generator *g, moa_job *j, int most, moa_err *err) {
    int rc = 0;
    pthread_mutex_lock(&g->lock);
    if (most && g->n_open >= most) {
        rc = moa_fail(err, MOA_ELIMIT, "generator: %d requests wait, no more are taken", g->n_open);
        moa_hint(err, rc, "try again later, or raise max_waiting");
    } else {
        *(g->mail ? &g->mail_end->next : &g->mail) = j;
        g->mail_end = j;
        g->n_open++;
        g->n_alive++;
        pthread_cond_signal(&g->wake);
    }
    pthread_mutex_unlock(&g->lock);
    return rc;
}

int moa_gen_submit(moa_generator *g, const moa_gen_req *q, const moa_gen_sink *sink, moa_err *err) {
    moa_job *j;
    pthread_mutex_lock(&g->lock);
    const bool threaded = g->threaded;
    const long long number = ++g->n_submitted;
    pthread_mutex_unlock(&g->lock);
    if (!threaded) return moa_fail(err, MOA_EINVAL, "generator: submit before moa_generator_start");
    MOA_TRY(moa_job_new(&j, g->m, moa_session_max_len(g->s), q, sink, number, err));
    const int rc = post(g, j, g->cfg.max_waiting, err);
    if (rc < 0) moa_job_free(j);
    return rc;
}

moa_gen_load moa_generator_load(moa_generator *g) {
    pthread_mutex_lock(&g->lock);
    moa_gen_load l = g->load;
    pthread_mutex_unlock(&g->lock);
    return l;
}

/* ---- a call ---- */

typedef struct member { struct call *call; int i; } member;

/* Without a thread sinks call back at once. With one they leave what they heard, and the calling thread passes it on. */
typedef struct call {
    moa_gen_res *res;
    moa_gen_cb cb;
    void *ctx;
    int n, n_left;               /* n_left: ends not passed on yet */
    _Atomic bool canceled;
    pthread_mutex_t lock;
    pthread_cond_t heard;
    struct news { moa_buf text; bool any, end; } *news; /* [n]; NULL without a thread */
    bool any;
} call;

static void pass_on(call *c, int i, const char *text, size_t n) {
    if (c->cb && !atomic_load(&c->canceled) && !c->cb(c->ctx, i, text, n)) atomic_store(&c->canceled, true);
}

static bool on_text(void *ctx, const char *text, size_t n) {
    const member *m = ctx;
    pass_on(m->call, m->i, text, n);
    return true; /* what cancels is a flag of the whole call */
}

static void on_end(void *ctx, moa_gen_res *res) {
    const member *m = ctx;
    m->call->res[m->i] = *res;
    m->call->n_left--;
    if (res->why != MOA_STOP_CANCELED) pass_on(m->call, m->i, NULL, 0);
}

static bool leave_text(void *ctx, const char *text, size_t n) {
    const member *m = ctx;
    call *c = m->call;
    pthread_mutex_lock(&c->lock);
    const bool kept = moa_buf_add(&c->news[m->i].text, text, n) >= 0; /* a hole in a text is worse than its end */
    c->news[m->i].any = c->any = true;
    pthread_cond_signal(&c->heard);
    pthread_mutex_unlock(&c->lock);
    return kept;
}

static void leave_end(void *ctx, moa_gen_res *res) {
    const member *m = ctx;
    call *c = m->call;
    pthread_mutex_lock(&c->lock);
    c->res[m->i] = *res;
    c->news[m->i].end = c->any = true;
    pthread_cond_signal(&c->heard);
    pthread_mutex_unlock(&c->lock);
}

static void read_news(call *c, moa_buf *text) {
    pthread_mutex_lock(&c->lock);
    while (!c->any) pthread_cond_wait(&c->heard, &c->lock);
    c->any = false;
    for (int i = 0; i < c->n; i++) {
        struct news *w = &c->news[i];
        if (!w->any && !w->end) continue;
        const moa_buf was = *text;
        const bool any = w->any, end = w->end;
        *text = w->text;
        w->text = was;
        moa_buf_clear(&w->text);
        w->any = w->end = false;
        pthread_mutex_unlock(&c->lock);
        if (any) pass_on(c, i, moa_buf_str(text), text->len);
        if (end) c->n_left--;
        if (end && c->res[i].why != MOA_STOP_CANCELED) pass_on(c, i, NULL, 0);
        pthread_mutex_lock(&c->lock);
    }
    pthread_mutex_unlock(&c->lock);
}

/* Beside others: hand over all, then pass on what is heard. */
static void wait_for_all(moa_generator *g, call *c, moa_job **job) {
    moa_buf text;
    moa_buf_init(&text, 1 << 30);
    for (int i = 0; i < c->n; i++) post(g, job[i], 0, NULL);
    while (c->n_left) read_news(c, &text);
    moa_buf_deinit(&text);
}

static void run_to_the_end(moa_generator *g, call *c, moa_job **job) {
    for (int i = 0; i < c->n; i++) {
        g->n_open++;
        g->n_alive++;
        job[i]->next = NULL;
        open_mail(g, job[i]);
    }
    while (c->n_left) moa_engine_turn(g);
}

static int call_init(call *c, moa_generator *g, int n, moa_err *err) {
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->heard, NULL);
    if (!g->threaded) return 0;
    if (!(c->news = calloc((size_t)n, sizeof *c->news))) return moa_fail(err, MOA_ENOMEM, "generate: no memory for %d requests", n);
    for (int i = 0; i < n; i++) moa_buf_init(&c->news[i].text, 1 << 30);
    return 0;
}

static void call_deinit(call *c) {
    for (int i = 0; c->news && i < c->n; i++) moa_buf_deinit(&c->news[i].text);
    free(c->news);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->heard);
}

int moa_generate(moa_generator *g, moa_gen_res *res, const moa_gen_req *req, int n, moa_gen_cb cb, void *ctx, moa_err *err) {
    call c = {.res = res, .cb = cb, .ctx = ctx, .n = n, .n_left = n};
    for (int i = 0; i < n; i++) res[i] = (moa_gen_res){.n_prompt = req[i].n_prompt, .why = MOA_STOP_CANCELED};
    if (n < 1) return 0;
    moa_job **job = calloc((size_t)n, sizeof *job);
    member *m = calloc((size_t)n, sizeof *m);
    int rc = job && m ? call_init(&c, g, n, err) : moa_fail(err, MOA_ENOMEM, "generate: no memory for %d requests", n), made = 0;
    for (; made < n && rc >= 0; made++) {
        m[made] = (member){&c, made};
        const moa_gen_sink sink = {g->threaded ? leave_text : on_text, g->threaded ? leave_end : on_end, &m[made]};
        rc = moa_job_new(&job[made], g->m, moa_session_max_len(g->s), &req[made], &sink, made, err);
        if (rc < 0) break;
        job[made]->call = &c.canceled;
    }
    if (rc < 0) while (made > 0) moa_job_free(job[--made]);
    else (g->threaded ? wait_for_all : run_to_the_end)(g, &c, job);
    call_deinit(&c);
    free(job);
    free(m);
    if (rc < 0) return rc;
    return atomic_load(&c.canceled) ? moa_fail(err, MOA_ECANCELED, "generation was canceled") : 0;
}
