/* shelf.c - see shelf.h. One thread opens, serves and closes; calls are queued by any thread and end in the threads of the models.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/backend/shelf.h"

#include "agent/backend/prompt.h"
#include "base/clock.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SETTLE_S 0.02 /* without a new call, before a model is opened */

typedef struct book book;
typedef struct relay { moa_call call; moa_call *outer; book *of; struct relay *next, **at; } relay; /* call: what the open model has */
struct book {
    moa_backend base;
    moa_shelf *shelf;
    char *name, *id;
    moa_model *face; moa_prompter *prompter; /* of a local model: header and tokenizer, which measure prompts while the model is closed; NULL */
    moa_backend *real;                       /* NULL: closed */
    moa_call *waiting, **waiting_end; int n_waiting;
    relay *running; int n_running;
    int loads;
    bool last, busy;                         /* busy: being opened or closed */
    int64_t used;                            /* when it was served last: the shelf's count of servings */
    book *next;
};
struct moa_shelf {
    pthread_mutex_t lock; pthread_cond_t news; pthread_t thread;
    bool threaded, stop;
    moa_open_fn open; void *ctx; const char *vars;
    int n_resident, n_open, loads, most;
    int64_t turn;
    double heard;                            /* when the last call came */
    book *first;
};

/* ---- calls ---- */

static void on_text(moa_call *inner, const char *text, size_t n) {
    moa_call *c = ((relay *)inner)->outer;
    c->on_text(c, text, n);
}
static void on_thought(moa_call *inner, const char *text, size_t n) {
    moa_call *c = ((relay *)inner)->outer;
    if (c->on_thought) c->on_thought(c, text, n);
}
static void on_end(moa_call *inner) {
    relay *t = (relay *)inner;
    moa_call *c = t->outer;
    moa_shelf *s = t->of->shelf;
    c->res = inner->res, c->rc = inner->rc, c->err = inner->err, c->share_s = inner->share_s, c->found = inner->found;
    pthread_mutex_lock(&s->lock);
    *t->at = t->next;
    if (t->next) t->next->at = t->at;
    t->of->n_running--;
    pthread_mutex_unlock(&s->lock);
    free(t);
    c->on_end(c); /* first: what it leads to may be a call of the same model */
    pthread_mutex_lock(&s->lock);
    s->heard = moa_now();
    pthread_cond_broadcast(&s->news);
    pthread_mutex_unlock(&s->lock);
}

static void start(moa_backend *base, moa_call *const *call, int n) {
    book *b = (book *)base;
    moa_shelf *s = b->shelf;
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < n; i++) {
        call[i]->next = NULL;
        *b->waiting_end = call[i];
        b->waiting_end = &call[i]->next;
    }
    b->n_waiting += n;
    s->heard = moa_now();
    pthread_cond_broadcast(&s->news);
    pthread_mutex_unlock(&s->lock);
}

static void fail_all(moa_call *c, const moa_err *err) {
    for (moa_call *next; c; c = next) {
        next = c->next;
        moa_call_fail(c, err);
    }
}

static moa_call *take_waiting(book *b, int *n) {
    moa_call *first = b->waiting;
    *n = b->n_waiting;
    b->waiting = NULL, b->waiting_end = &b->waiting, b->n_waiting = 0;
    return first;
}

static void stir(moa_backend *base) {
    book *b = (book *)base;
    moa_call *gone = NULL;
    moa_err err;
    pthread_mutex_lock(&b->shelf->lock);
    b->waiting_end = &b->waiting;
    for (moa_call *c = b->waiting, *next; c; c = next) {
        next = c->next;
        if (atomic_load(&c->cancel)) c->next = gone, gone = c, b->n_waiting--;
        else *b->waiting_end = c, b->waiting_end = &c->next;
    }
    *b->waiting_end = NULL;
    for (relay *t = b->running; t; t = t->next)
        if (atomic_load(&t->outer->cancel)) atomic_store(&t->call.cancel, true);
    moa_backend *real = b->running ? b->real : NULL;
    b->n_running += real != NULL; /* so that it stays open meanwhile */
    pthread_mutex_unlock(&b->shelf->lock);
    if (real) moa_backend_stir(real);
    if (real) {
        pthread_mutex_lock(&b->shelf->lock);
        b->n_running--;
        pthread_cond_broadcast(&b->shelf->news);
        pthread_mutex_unlock(&b->shelf->lock);
    }
    moa_fail(&err, MOA_ECANCELED, "canceled");
    fail_all(gone, &err);
}

static int64_t measure(moa_backend *base, const moa_message *msg, int n_msg, const moa_call_extra *x, moa_err *err) {
    moa_ids ids = {0};
    const int rc = moa_prompter_call(&ids, ((book *)base)->prompter, msg, n_msg, x, err);
    const int64_t n = ids.n;
    moa_ids_deinit(&ids);
    return rc < 0 ? rc : n;
}

/* ---- the thread that serves ---- */

/* Lock held. Calls on their way begin together. */
static void serve(book *b) {
    moa_shelf *s = b->shelf;
    int n, m = 0;
    moa_call *c = take_waiting(b, &n), *unborn = NULL;
    moa_call **list = malloc((size_t)n * sizeof(moa_call *));
    for (moa_call *next; c; c = next) {
        next = c->next;
        relay *t = list ? calloc(1, sizeof *t) : NULL;
        if (!t) {
            c->next = unborn, unborn = c;
            continue;
        }
        t->call = moa_call_again(c);
        t->call.on_text = on_text, t->call.on_thought = on_thought, t->call.on_end = on_end;
        if (atomic_load(&c->cancel)) atomic_store(&t->call.cancel, true);
        t->outer = c, t->of = b, t->next = b->running, t->at = &b->running;
        if (t->next) t->next->at = &t->next;
        b->running = t;
        b->n_running++;
        list[m++] = &t->call;
    }
    b->used = ++s->turn;
    moa_backend *real = b->real;
    pthread_mutex_unlock(&s->lock);
    moa_err err;
    moa_fail(&err, MOA_ENOMEM, "calls of %s", b->id);
    fail_all(unborn, &err);
    if (m) real->ops->start(real, list, m);
    free(list);
    pthread_mutex_lock(&s->lock);
}

static void close_book(book *b) {
    moa_shelf *s = b->shelf;
    moa_backend *real = b->real;
    b->real = NULL;
    b->busy = true;
    pthread_mutex_unlock(&s->lock);
    moa_backend_close(real);
    pthread_mutex_lock(&s->lock);
    s->n_open--;
    b->busy = false;
    pthread_cond_broadcast(&s->news);
}

static void open_book(book *b) {
    moa_shelf *s = b->shelf;
    moa_err err = {0};
    moa_backend *real;
    s->n_open++;
    b->busy = true;
    pthread_mutex_unlock(&s->lock);
    const int rc = s->open(s->ctx, &real, b->name, &err);
    pthread_mutex_lock(&s->lock);
    b->busy = false;
    pthread_cond_broadcast(&s->news);
    if (rc >= 0) {
        b->real = real;
        b->loads++, s->loads++;
        if (s->n_open > s->most) s->most = s->n_open;
        return;
    }
    int n;
    moa_call *c = take_waiting(b, &n);
    s->n_open--;
    pthread_mutex_unlock(&s->lock);
    fail_all(c, &err);
    pthread_mutex_lock(&s->lock);
}

/* The closed book to open next; NULL: none wants it. */
static book *wanted(moa_shelf *s) {
    book *best = NULL;
    bool others = false;
    for (book *b = s->first; b; b = b->next) others = others || (!b->last && (b->n_waiting || b->n_running));
    for (book *b = s->first; b; b = b->next)
        if (!b->real && b->n_waiting && !(b->last && others) && (!best || b->n_waiting > best->n_waiting)) best = b;
    return best;
}

static book *idle(moa_shelf *s) {
    book *best = NULL;
    for (book *b = s->first; b; b = b->next)
        if (b->real && !b->busy && !b->n_waiting && !b->n_running && (!best || b->used < best->used)) best = b;
    return best;
}

static void wait_until(moa_shelf *s, double at) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    const double left = at - moa_now();
    if (left <= 0) return;
    t.tv_nsec += (long)(1e9 * left);
    while (t.tv_nsec >= 1000000000) t.tv_nsec -= 1000000000, t.tv_sec++;
    pthread_cond_timedwait(&s->news, &s->lock, &t);
}

/* One thing that can be done now; false: nothing. */
static bool one_thing(moa_shelf *s) {
    for (book *b = s->first; b; b = b->next)
        if (b->real && b->n_waiting) return serve(b), true;
    book *next = wanted(s);
    if (!next) return false;
    book *old = s->n_open < s->n_resident ? NULL : idle(s);
    if (!old && s->n_open >= s->n_resident) return false;
    if (moa_now() < s->heard + SETTLE_S) return wait_until(s, s->heard + SETTLE_S), true;
    if (old) close_book(old);
    else open_book(next);
    return true;
}

static void *work(void *arg) {
    moa_shelf *s = arg;
    pthread_mutex_lock(&s->lock);
    while (!s->stop)
        if (!one_thing(s) && !s->stop) pthread_cond_wait(&s->news, &s->lock);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- books ---- */

static void close_it(moa_backend *base) {
    book *b = (book *)base;
    moa_shelf *s = b->shelf;
    pthread_mutex_lock(&s->lock);
    while (b->busy) pthread_cond_wait(&s->news, &s->lock);
    for (book **at = &s->first; *at; at = &(*at)->next)
        if (*at == b) {
            *at = b->next;
            break;
        }
    if (b->real) close_book(b);
    pthread_mutex_unlock(&s->lock);
    moa_prompter_free(b->prompter);
    moa_model_close(b->face);
    free(b->name);
    free(b->id);
    free(b);
}

#define OPS .name = "shelf", .help = "a model that is opened when its calls come", .start = start, .stir = stir, .close = close_it
static const moa_backend_ops measured = {OPS, .measure = measure}, unmeasured = {OPS};

/* What it is: who asks for its name, its context or its prompts' tokens need not open it. */
static int look_at(book *b, moa_err *err) {
    moa_backend *real;
    MOA_TRY(b->shelf->open(b->shelf->ctx, &real, b->name, err));
    b->base = *real;
    b->base.ops = &unmeasured, b->base.inner = NULL, b->base.id = b->id = strdup(real->id);
    int rc = b->id ? 0 : moa_fail(err, MOA_ENOMEM, "a model's name");
    const moa_model *m = moa_backend_local_model(real);
    if (rc >= 0 && m) {
        b->base.ops = &measured;
        rc = moa_model_open(&b->face, m->path, err);
        if (rc >= 0) rc = moa_prompter_new(&b->prompter, b->face, err);
        if (rc >= 0) rc = moa_prompter_vars(b->prompter, b->shelf->vars, err);
    }
    moa_backend_close(real);
    return rc;
}

int moa_shelf_get(moa_backend **out, moa_shelf *s, const char *name, moa_err *err) {
    book *b = calloc(1, sizeof *b);
    if (!b || (name && !(b->name = strdup(name)))) {
        free(b);
        return moa_fail(err, MOA_ENOMEM, "a model of a shelf");
    }
    b->shelf = s, b->waiting_end = &b->waiting;
    const int rc = look_at(b, err);
    if (rc < 0) return close_it(&b->base), rc;
    pthread_mutex_lock(&s->lock);
    book **end = &s->first;
    while (*end) end = &(*end)->next;
    *end = b;
    pthread_mutex_unlock(&s->lock);
    *out = &b->base;
    return 0;
}

void moa_shelf_last(moa_backend *b) {
    b = moa_backend_plain(b);
    if (b->ops != &measured && b->ops != &unmeasured) return;
    book *k = (book *)b;
    pthread_mutex_lock(&k->shelf->lock);
    k->last = true;
    pthread_mutex_unlock(&k->shelf->lock);
}

moa_shelf_stats moa_shelf_count(moa_shelf *s) {
    pthread_mutex_lock(&s->lock);
    moa_shelf_stats st = {.loads = s->loads, .most = s->most};
    for (const book *b = s->first; b; b = b->next) st.models += b->loads > 0;
    pthread_mutex_unlock(&s->lock);
    return st;
}

int moa_shelf_new(moa_shelf **out, int n_resident, moa_open_fn open, void *ctx, const char *vars, moa_err *err) {
    moa_shelf *s = calloc(1, sizeof *s);
    if (!s) return moa_fail(err, MOA_ENOMEM, "a shelf");
    s->open = open, s->ctx = ctx, s->vars = vars, s->n_resident = n_resident > 0 ? n_resident : 1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->news, NULL);
    s->threaded = !pthread_create(&s->thread, NULL, work, s);
    if (!s->threaded) {
        moa_shelf_free(s);
        return moa_fail(err, MOA_ENOMEM, "a thread of a shelf");
    }
    *out = s;
    return 0;
}

void moa_shelf_free(moa_shelf *s) {
    if (!s) return;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_broadcast(&s->news);
    pthread_mutex_unlock(&s->lock);
    if (s->threaded) pthread_join(s->thread, NULL);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->news);
    free(s);
}
