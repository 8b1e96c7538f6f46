/* recorded.c - recorded replies as a backend: what strategies do with real text, without a real model.
 *
 * The question is the last user turn; it must be word for word what the reader of the recording's file makes of it, so prompts that a strategy writes itself
 * (an aggregator's, a judge's) have no recorded reply and fail: nothing is made up. Sample numbers come from the executor (moa_call.sample): the n
 * samples of a run are n different replies, in a drawn order, while there are as many, and another run of the same question begins at another one.
 * Tokens: nobody's tokenizer is known, so bytes are counted, four to a token, rounded up. Replies take no time.
 * backends.def: BACKEND(recorded)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/backend/recorded.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/nearest.h"
#include "base/rng.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_MODEL = 64, MAX_FILE = 1 << 28 };
typedef struct reply { uint64_t question; int model, order; char *text; } reply;
typedef struct named { uint64_t name, question; } named;
struct moa_recorded {
    char *model[MAX_MODEL]; int n_model;
    reply *reply; int n, cap; bool sorted;
    named *id; int n_id; /* of the tasks */
};

static uint64_t key_of(const char *s) { return moa_hash64(s, strlen(s), 0); }

int moa_recorded_new(moa_recorded **out, const moa_taskset *tasks, moa_err *err) {
    const int n = tasks ? moa_taskset_count(tasks) : 0;
    moa_recorded *r = *out = calloc(1, sizeof *r);
    if (r) r->id = calloc((size_t)n + 1, sizeof *r->id);
    if (!r || !r->id) {
        moa_recorded_free(r);
        *out = NULL;
        return moa_fail(err, MOA_ENOMEM, "recorded replies");
    }
    for (int i = 0; i < n; i++) {
        const moa_item *it = moa_taskset_item(tasks, i);
        if (it->name.len) r->id[r->n_id++] = (named){key_of(moa_buf_str(&it->name)), key_of(moa_buf_str(&it->question))};
    }
    return 0;
}

void moa_recorded_free(moa_recorded *r) {
    if (!r) return;
    for (int i = 0; i < r->n_model; i++) free(r->model[i]);
    for (int i = 0; i < r->n; i++) free(r->reply[i].text);
    free(r->reply);
    free(r->id);
    free(r);
}

int moa_recorded_count(const moa_recorded *r) { return r->n; }
const char *moa_recorded_model(const moa_recorded *r, int i) { return i >= 0 && i < r->n_model ? r->model[i] : NULL; }

/* ---- adding ---- */

static int model_of(moa_recorded *r, const char *name, bool add, moa_err *err) {
    for (int i = 0; i < r->n_model; i++)
        if (!strcmp(r->model[i], name)) return i;
    if (!add) {
        const char *near = moa_nearest(name, (const char *const *)r->model, r->n_model);
        moa_buf all;
        moa_buf_init(&all, 400);
        for (int i = 0; i < r->n_model; i++) moa_buf_addf(&all, "%s%s", i ? ", " : "", r->model[i]);
        const int rc = moa_fail(err, MOA_ENOTFOUND, "no replies of a model '%s' are recorded; there are those of %s", name, moa_buf_str(&all));
        moa_buf_deinit(&all);
        return near ? moa_hint(err, rc, "did you mean %s?", near) : rc;
    }
    if (r->n_model == MAX_MODEL) return moa_fail(err, MOA_ELIMIT, "replies of more than %d models", MAX_MODEL);
    if (!(r->model[r->n_model] = strdup(name))) return moa_fail(err, MOA_ENOMEM, "a model's name");
    return r->n_model++;
}

static int add_reply(moa_recorded *r, const char *model, uint64_t question, const char *text, moa_err *err) {
    const int m = model_of(r, model, true, err);
    MOA_TRY(m);
    if (r->n == r->cap) {
        const int cap = r->cap ? 2 * r->cap : 1024;
        reply *v = realloc(r->reply, (size_t)cap * sizeof *v);
        if (!v) return moa_fail(err, MOA_ENOMEM, "%d recorded replies", cap);
        r->reply = v, r->cap = cap;
    }
    char *copy = strdup(text);
    if (!copy) return moa_fail(err, MOA_ENOMEM, "a recorded reply");
    r->reply[r->n] = (reply){question, m, r->n, copy};
    r->n++;
    r->sorted = false;
    return 0;
}

typedef struct adding { moa_recorded *r; const char *model; uint64_t question; int objects; } adding;

static int on_reply(void *ctx, const char *model, const char *text, moa_err *err) {
    const adding *a = ctx;
    return add_reply(a->r, a->model ? a->model : model, a->question, text, err);
}

static int by_id(uint64_t *question, const moa_recorded *r, const char *id, const char *where, moa_err *err) {
    const uint64_t k = key_of(id);
    for (int i = 0; i < r->n_id; i++)
        if (r->id[i].name == k) return *question = r->id[i].question, 1;
    return r->n_id ? 0 : moa_fail(err, MOA_EINVAL, "%s: replies to the question with the id '%.40s', but the questions of the tasks have no ids", where, id);
}

/* A reply, or a list of them. */
static int add_value(adding *a, const json_t *v, const char *model, const char *where, moa_err *err) {
    if (json_is_string(v)) return add_reply(a->r, model, a->question, json_string_value(v), err);
    for (size_t i = 0; i < json_array_size(v); i++) {
        const char *s = json_string_value(json_array_get(v, i));
        if (!s) return moa_fail(err, MOA_EFORMAT, "%s: reply %zu is no string", where, i);
        MOA_TRY(add_reply(a->r, model, a->question, s, err));
    }
    return json_array_size(v) ? 0 : moa_fail(err, MOA_EFORMAT, "%s: expected a reply or a list of them", where);
}

/* {id: replies}: ids that the tasks do not ask for (they may be a part of them) are passed over. */
static int add_by_ids(adding *a, const json_t *o, const char *where, moa_err *err) {
    const char *id;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)o, id, v) {
        const int known = by_id(&a->question, a->r, id, where, err);
        MOA_TRY(known);
        if (known) MOA_TRY(add_value(a, v, a->model ? a->model : "recorded", where, err));
    }
    return 0;
}

static int add_object(void *ctx, const json_t *o, const char *where, moa_err *err) {
    adding *a = ctx;
    const moa_task_format *f = moa_task_format_of(o);
    const char *question = moa_member(o, "question"), *id = moa_member(o, "id"), *model = moa_member(o, "model");
    a->objects++;
    if (f->replies) {
        moa_item it;
        const char *group;
        moa_item_init(&it);
        int rc = f->read(&it, &group, o, where, err);
        a->question = key_of(moa_buf_str(&it.question));
        moa_item_deinit(&it);
        return rc < 0 ? rc : f->replies(o, on_reply, a, err);
    }
    if (!json_is_object(o) || (json_object_get(o, "replies") && !question && !id))
        return moa_fail(err, MOA_EFORMAT, "%s: expected an object with \"model\", \"question\" or \"id\", and \"replies\"", where);
    if (!json_object_get(o, "replies")) return add_by_ids(a, o, where, err);
    if (question) a->question = key_of(question);
    const int known = question ? 1 : by_id(&a->question, a->r, id, where, err);
    return known > 0 ? add_value(a, json_object_get(o, "replies"), a->model ? a->model : model ? model : "recorded", where, err) : known;
}

int moa_recorded_add(moa_recorded *r, const char *spec, moa_err *err) {
    const char *eq = strchr(spec, '='), *slash = strchr(spec, '/');
    const bool has = eq && eq != spec && (!slash || eq < slash);
    char *model = has ? strndup(spec, (size_t)(eq - spec)) : NULL;
    const char *path = has ? eq + 1 : spec;
    const int before = r->n;
    adding a = {.r = r, .model = model};
    if (has && !model) return moa_fail(err, MOA_ENOMEM, "recorded replies");
    int rc = moa_task_objects(path, add_object, &a, err);
    if (rc >= 0 && r->n == before) {
        rc = moa_fail(err, MOA_EFORMAT, "%s: %d object%s, and no reply to a question of the tasks", path, a.objects, a.objects == 1 ? "" : "s");
        moa_hint(err, rc, "formats that hold replies are solutions and alpacaeval; others: {\"model\", \"question\" or \"id\", \"replies\": [...]}, or {id: [replies]}");
    }
    free(model);
    return rc;
}

/* ---- the backend ---- */

typedef struct backend { moa_backend base; const moa_recorded *r; int model; } backend;

static int order(const void *x, const void *y) {
    const reply *a = x, *b = y;
    if (a->model != b->model) return a->model < b->model ? -1 : 1;
    if (a->question != b->question) return a->question < b->question ? -1 : 1;
    /* Files often list equal replies side by side; then neighbours would agree more than samples do. So their order is drawn, once for all runs. */
    const uint64_t x_at = moa_mix64(a->question + (uint64_t)a->order), y_at = moa_mix64(b->question + (uint64_t)b->order);
    return (x_at > y_at) - (x_at < y_at);
}

static const reply *find(const backend *b, const char *question, int *n) {
    const uint64_t key = key_of(question);
    const reply *v = b->r->reply;
    int lo = 0, hi = b->r->n;
    while (lo < hi) {
        const int mid = lo + (hi - lo) / 2;
        if (v[mid].model < b->model || (v[mid].model == b->model && v[mid].question < key)) lo = mid + 1;
        else hi = mid;
    }
    for (*n = 0; lo + *n < b->r->n && v[lo + *n].model == b->model && v[lo + *n].question == key; ++*n) {}
    return v + lo;
}

static int64_t tokens(size_t bytes) { return (int64_t)(bytes + 3) / 4; }

static int64_t measure(moa_backend *b, const moa_message *msg, int n_msg, const moa_call_extra *x, moa_err *err) {
    int64_t n = 0;
    (void)b, (void)x, (void)err;
    for (int i = 0; i < n_msg; i++) n += tokens(strlen(msg[i].content));
    return n;
}

static void answer(const backend *b, moa_call *c) {
    int n = 0;
    moa_err err = {0};
    const char *question = c->n_msg ? c->msg[c->n_msg - 1].content : "";
    const reply *v = find(b, question, &n);
    if (!n) {
        moa_fail(&err, MOA_ENOTFOUND, "%s: no reply to '%.60s%s' is recorded", b->base.id, question, strlen(question) > 60 ? "..." : "");
        moa_hint(&err, err.code, "recorded replies answer the questions of their file alone: mixes that choose among them work, those that write prompts of their own do not");
        moa_call_fail(c, &err);
        return;
    }
    const char *text = v[(unsigned)c->sample % (unsigned)n].text;
    c->res.text = strdup(text);
    if (!c->res.text) {
        moa_fail(&err, MOA_ENOMEM, "a recorded reply");
        moa_call_fail(c, &err);
        return;
    }
    c->res.text_len = strlen(text);
    c->res.n_prompt = measure(NULL, c->msg, c->n_msg, NULL, NULL);
    c->res.n_ids = (int)tokens(c->res.text_len);
    c->res.why = MOA_STOP_EOS;
    c->on_text(c, text, c->res.text_len);
    if (atomic_load(&c->cancel)) c->res.why = MOA_STOP_CANCELED;
    c->on_end(c);
}

static void start(moa_backend *b, moa_call *const *call, int n) {
    for (int i = 0; i < n; i++) answer((backend *)b, call[i]);
}

static void close_recorded(moa_backend *b) { free(b); }

const moa_backend_ops moa_backend_ops_recorded = {.name = "recorded", .help = "replies that models once gave, from a file", .start = start, .close = close_recorded, .measure = measure};

int moa_backend_recorded_open(moa_backend **out, moa_recorded *r, const char *model, moa_err *err) {
    *out = NULL;
    if (!r->n_model) return moa_fail(err, MOA_EINVAL, "no replies are recorded");
    const int m = model ? model_of(r, model, false, err) : 0;
    MOA_TRY(m);
    if (!r->sorted) qsort(r->reply, (size_t)r->n, sizeof *r->reply, order);
    r->sorted = true;
    backend *b = calloc(1, sizeof *b);
    if (!b) return moa_fail(err, MOA_ENOMEM, "recorded model %s", r->model[m]);
    uint64_t print = key_of(r->model[m]);
    for (int i = 0; i < r->n; i++)
        if (r->reply[i].model == m) print = moa_hash64(r->reply[i].text, strlen(r->reply[i].text) + 1, print);
    *b = (backend){.base = {.ops = &moa_backend_ops_recorded, .id = r->model[m], .fingerprint = print ? print : 1}, .r = r, .model = m};
    *out = &b->base;
    return 0;
}
