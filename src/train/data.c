/* data.c - the sources of a stage and the drawing among them.
 *
 * Document i: a stream of random numbers seeded by (seed, stage, i) draws the source by weight, then the source draws
 * family, level and item, or chunk, or candidates. Task items come from the train split only.
 * SPDX-License-Identifier: Apache-2.0 */
#include "train/data.h"

#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "train/samples.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DRAWS_MAX = 256, FILE_MAX = 1 << 30 };

typedef struct source {
    const moa_recipe_data *cfg;
    const moa_family **family; /* [n_family] */
    int n_family;
    moa_ids text;              /* a text file, tokenised */
    json_t **chat;             /* [n_chat] messages arrays of a .jsonl file; of preferences two a line, chosen and rejected */
    int64_t n_chat, cap_chat;
    int64_t first_pair;        /* of the stage's pairs; the others follow */
    moa_samples *samples;
} source;

struct moa_data {
    const moa_recipe_stage *stage;
    uint64_t seed;
    source *src; /* [n_src] */
    int n_src;
    double weight;
    moa_render render;
    moa_item item;
    moa_buf prompt, reply;
    moa_doc second;            /* rejected */
    int64_t dropped, n_pair;
};

void moa_samples_path(char *out, size_t n, const char *dir, const char *name) { snprintf(out, n, "%s/samples-%s.jsonl", dir, name); }

/* ---- families ---- */
static int find_families(const moa_family ***out, int *n, const char *name, moa_err *err) {
    int total;
    const moa_family *const *all = moa_families(&total);
    bool every = !strcmp(name, "all"), talk = !strcmp(name, "talk") && !moa_family_find("talk");
    *n = 0;
    *out = calloc((size_t)total + 1, sizeof **out);
    if (!*out) return moa_fail(err, MOA_ENOMEM, "no memory for families");
    for (int i = 0; i < total; i++)
        if (every ? all[i]->scored : talk ? !all[i]->scored : !strcmp(all[i]->name, name)) (*out)[(*n)++] = all[i];
    if (*n) return 0;
    free(*out);
    *out = NULL;
    return moa_fail(err, MOA_ENOTFOUND, "family '%s' has no members", name);
}

static int draw_item(moa_item *it, const moa_family *const *f, int n_family, const moa_recipe_data *cfg, uint64_t seed, uint64_t index,
                     moa_rng *rng, moa_err *err) {
    const moa_family *fam = f[moa_rng_below(rng, (uint32_t)n_family)];
    int level = cfg->levels_count ? cfg->levels[moa_rng_below(rng, cfg->levels_count)] : 0;
    if (level > fam->n_level) level = fam->n_level;
    return moa_item_make(it, fam, MOA_TRAIN, seed, index, level, err);
}

static uint64_t stage_seed(const moa_recipe *r, int stage) { return moa_mix64((uint64_t)r->seed * 0x9e3779b97f4a7c15ull + (uint64_t)stage + 1); }

static int pick(const moa_recipe_data *d, unsigned n, double total, moa_rng *rng) {
    double x = moa_rng_f64(rng) * total;
    int last = 0;
    for (unsigned i = 0; i < n; i++) {
        if (!(d[i].weight > 0)) continue;
        last = (int)i;
        if ((x -= d[i].weight) < 0) break;
    }
    return last;
}

static double weight_sum(const moa_recipe_stage *s) {
    double w = 0;
    for (unsigned i = 0; i < s->data_count; i++) w += s->data[i].weight;
    return w;
}

int moa_data_item(moa_item *it, const moa_recipe *r, int stage, uint64_t index, moa_err *err) {
    const moa_recipe_stage *s = &r->stages[stage];
    moa_rng rng;
    moa_rng_seed2(&rng, stage_seed(r, stage), index);
    const moa_recipe_data *d = &s->data[pick(s->data, s->data_count, weight_sum(s), &rng)];
    const moa_family **f;
    int n;
    MOA_TRY(find_families(&f, &n, d->family, err));
    int rc = draw_item(it, f, n, d, stage_seed(r, stage), index, &rng, err);
    free(f);
    return rc;
}

/* ---- files ---- */
static int check_messages(const json_t *m, const char *path, size_t line, moa_err *err) {
    size_t n = json_array_size(m);
    bool said = false;
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(m, i);
        const char *role = json_string_value(json_object_get(o, "role"));
        if (!role || !json_is_string(json_object_get(o, "content"))) n = 0;
        else if (!strcmp(role, "assistant")) said = true;
    }
    if (n == 0 || n > 1024 || !said)
        return moa_fail(err, MOA_EFORMAT, "%s:%zu: expected {\"messages\": [{\"role\", \"content\"}, ...]} with an assistant's turn", path, line);
    return 0;
}

/* Takes m over. */
static int add_chat(source *s, json_t *m, const char *path, size_t line, moa_err *err) {
    int rc = check_messages(m, path, line, err);
    if (rc == 0 && s->n_chat == s->cap_chat) {
        const int64_t cap = s->cap_chat ? s->cap_chat * 2 : 256;
        json_t **p = realloc(s->chat, (size_t)cap * sizeof *p);
        if (p) s->chat = p, s->cap_chat = cap;
        else rc = moa_fail(err, MOA_ENOMEM, "%s: no memory", path);
    }
    if (rc < 0) json_decref(m);
    else s->chat[s->n_chat++] = m;
    return rc;
}

/* prompt and reply as one conversation; each is a list of messages, or a text. NULL: neither. */
static json_t *joined(const json_t *prompt, const json_t *reply) {
    json_t *a = json_is_array(prompt) ? json_copy((json_t *)(uintptr_t)prompt) : json_is_string(prompt) ? json_pack("[{s:s, s:O}]", "role", "user", "content", prompt) : NULL;
    if (a && json_is_array(reply) ? json_array_extend(a, (json_t *)(uintptr_t)reply) == 0 :
        a && json_is_string(reply) && json_array_append_new(a, json_pack("{s:s, s:O}", "role", "assistant", "content", reply)) == 0) return a;
    json_decref(a);
    return NULL;
}

static int load_pairs(source *s, const char *path, moa_err *err) {
    moa_jsonl r;
    int rc;
    MOA_TRY(moa_jsonl_open(&r, path, FILE_MAX, err));
    for (json_t *o; (rc = moa_jsonl_next(&o, &r, err)) > 0;) {
        static const char *const key[2] = {"chosen", "rejected"};
        for (int i = 0; i < 2 && rc >= 0; i++) {
            json_t *m = joined(json_object_get(o, "prompt"), json_object_get(o, key[i]));
            rc = m ? add_chat(s, m, path, r.line, err)
                   : moa_fail(err, MOA_EFORMAT, "%s:%zu: expected {\"prompt\", \"chosen\", \"rejected\"}, each a text or a list of messages; \"prompt\" with \"%s\" is none", path, r.line, key[i]);
        }
        json_decref(o);
        if (rc < 0) break;
    }
    moa_jsonl_close(&r);
    if (rc == 0 && s->n_chat == 0) rc = moa_fail(err, MOA_EFORMAT, "%s: no preferences in it", path);
    return rc;
}

static int load_chat(source *s, const char *path, moa_err *err) {
    moa_jsonl r;
    int rc;
    MOA_TRY(moa_jsonl_open(&r, path, FILE_MAX, err));
    for (json_t *o; (rc = moa_jsonl_next(&o, &r, err)) > 0;) {
        rc = add_chat(s, json_incref(json_object_get(o, "messages")), path, r.line, err);
        json_decref(o);
        if (rc < 0) break;
    }
    moa_jsonl_close(&r);
    if (rc == 0 && s->n_chat == 0) rc = moa_fail(err, MOA_EFORMAT, "%s: no conversations in it", path);
    return rc;
}

static void chat_free(source *s) {
    for (int64_t i = 0; i < s->n_chat; i++) json_decref(s->chat[i]);
    free(s->chat);
}

static int load_text(source *s, moa_data *d, const char *path, moa_err *err) {
    char *text;
    size_t n;
    MOA_TRY(moa_read_file(&text, &n, path, FILE_MAX, err));
    int rc = moa_tokenize(&s->text, d->render.tok, text, n, 0, err);
    free(text);
    if (rc == 0 && s->text.n < 2) rc = moa_fail(err, MOA_EFORMAT, "%s: too short to learn from", path);
    return rc;
}

/* ---- opening ---- */
static int open_source(source *s, moa_data *d, const moa_recipe_data *cfg, const char *dir, moa_err *err) {
    s->cfg = cfg;
    if (cfg->family) return find_families(&s->family, &s->n_family, cfg->family, err);
    if (cfg->file && d->stage->loss == MOA_LOSS_DPO) {
        s->first_pair = d->n_pair;
        MOA_TRY(load_pairs(s, cfg->file, err));
        d->n_pair += s->n_chat / 2;
        return d->n_pair < INT32_MAX ? 0 : moa_fail(err, MOA_ELIMIT, "%s: too many preferences", cfg->file);
    }
    if (cfg->file) return moa_recipe_is_jsonl(cfg->file) ? load_chat(s, cfg->file, err) : load_text(s, d, cfg->file, err);
    char path[4200];
    const char *given = moa_recipe_source_path(cfg);
    if (given) snprintf(path, sizeof path, "%s", given);
    else moa_samples_path(path, sizeof path, dir, cfg->aggregate);
    return moa_samples_load(&s->samples, path, err);
}

int moa_data_open(moa_data **out, const moa_recipe *r, int stage, const moa_tokenizer *tok, const moa_chat_template *chat,
                  const char *dir, moa_err *err) {
    *out = NULL;
    const moa_recipe_stage *st = &r->stages[stage];
    moa_data *d = calloc(1, sizeof *d);
    if (!d) return moa_fail(err, MOA_ENOMEM, "no memory for the data");
    d->stage = st;
    d->seed = stage_seed(r, stage);
    d->weight = weight_sum(st);
    moa_item_init(&d->item);
    moa_buf_init(&d->prompt, 1 << 24);
    moa_buf_init(&d->reply, 1 << 24);
    d->src = calloc(st->data_count, sizeof *d->src);
    int rc = d->src ? moa_render_init(&d->render, tok, chat, err) : moa_fail(err, MOA_ENOMEM, "no memory for the data");
    for (unsigned i = 0; rc == 0 && i < st->data_count; i++) {
        d->n_src++;
        rc = open_source(&d->src[i], d, &st->data[i], dir, err);
        if (rc < 0) rc = moa_wrap(err, rc, "%s:%d", r->path, st->data[i].line);
    }
    if (rc < 0) {
        moa_data_close(d);
        return rc;
    }
    *out = d;
    return 0;
}

void moa_data_close(moa_data *d) {
    if (!d) return;
    for (int i = 0; i < d->n_src; i++) {
        free(d->src[i].family);
        moa_ids_deinit(&d->src[i].text);
        chat_free(&d->src[i]);
        moa_samples_free(d->src[i].samples);
    }
    free(d->src);
    moa_render_deinit(&d->render);
    moa_item_deinit(&d->item);
    moa_buf_deinit(&d->prompt);
    moa_buf_deinit(&d->reply);
    moa_doc_deinit(&d->second);
    free(d);
}

int64_t moa_data_dropped(const moa_data *d) { return d->dropped; }

/* ---- one document ---- */
static int two_turns(moa_doc *doc, moa_data *d, const char *user, const char *assistant, moa_err *err) {
    const moa_message m[] = {{"user", user}, {"assistant", assistant}};
    return moa_render_conversation(doc, &d->render, m, 2, err);
}

static int draw_turn(moa_message m[2], moa_data *d, const source *s, uint64_t index, moa_rng *rng, moa_err *err) {
    MOA_TRY(draw_item(&d->item, s->family, s->n_family, s->cfg, d->seed, index, rng, err));
    m[0] = (moa_message){"user", strdup(moa_buf_str(&d->item.question))};
    m[1] = (moa_message){"assistant", strdup(moa_buf_str(&d->item.solution))};
    return m[0].content && m[1].content ? 0 : moa_fail(err, MOA_ENOMEM, "no memory for a conversation");
}

static void free_turns(moa_message *m, int n) {
    for (int i = 0; i < n; i++) free((char *)(uintptr_t)m[i].content);
}

/* One conversation of 1 to cfg->turns items; fewer where they would not fit. One turn in three asks an earlier question of the
 * conversation once more and gets the same reply: what is to be learnt there is copying from far back. */
static int doc_family(moa_doc *doc, moa_data *d, const source *s, uint64_t index, moa_rng *rng, moa_err *err) {
    int turns = s->cfg->turns > 1 ? moa_rng_range(rng, 1, s->cfg->turns) : 1, rc = 0, n_own = 0;
    moa_message own[2 * MOA_TURNS_MAX] = {{0}}, m[2 * MOA_TURNS_MAX];
    for (int i = 0; i < turns && rc == 0; i++) {
        int from = i && moa_rng_below(rng, 3) == 0 ? (int)moa_rng_below(rng, (uint32_t)n_own) : n_own;
        if (from == n_own) rc = draw_turn(own + 2 * n_own++, d, s, index * MOA_TURNS_MAX + (uint64_t)i, rng, err);
        m[2 * i] = own[2 * from];
        m[2 * i + 1] = own[2 * from + 1];
    }
    for (; rc == 0 && turns > 0; turns--) {
        rc = moa_render_conversation(doc, &d->render, m, 2 * turns, err);
        if (doc->n <= d->stage->seq_len + 1) break;
    }
    free_turns(own, 2 * n_own);
    return rc;
}

static int doc_text(moa_doc *doc, moa_data *d, const source *s, moa_rng *rng, moa_err *err) {
    int64_t len = d->stage->seq_len + 1, room = s->text.n > len ? s->text.n - len : 0;
    int64_t at = room ? (int64_t)(moa_rng_f64(rng) * (double)(room + 1)) : 0;
    moa_doc_clear(doc);
    return moa_doc_add_ids(doc, s->text.v + at, s->text.n - at < len ? s->text.n - at : len, err);
}

static int render_chat(moa_doc *doc, moa_data *d, const json_t *m, moa_err *err) {
    size_t n = json_array_size(m);
    moa_message *msg = malloc(n * sizeof *msg);
    if (!msg) return moa_fail(err, MOA_ENOMEM, "no memory for a conversation");
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(m, i);
        msg[i] = (moa_message){json_string_value(json_object_get(o, "role")), json_string_value(json_object_get(o, "content"))};
    }
    int rc = moa_render_conversation(doc, &d->render, msg, (int)n, err);
    free(msg);
    return rc;
}

static int doc_chat(moa_doc *doc, moa_data *d, const source *s, moa_rng *rng, moa_err *err) {
    return render_chat(doc, d, s->chat[moa_rng_below(rng, (uint32_t)s->n_chat)], err);
}

/* After the last learned token nothing is predicted: it need not be computed. */
static void trim(moa_doc *doc) {
    while (doc->n && !doc->learn[doc->n - 1]) doc->n--;
}

/* Chosen and rejected one behind the other. Earlier turns of the assistant count on both sides, and cancel out. */
static int doc_pair(moa_doc *doc, moa_data *d, const source *s, int64_t k, moa_err *err) {
    MOA_TRY(render_chat(doc, d, s->chat[2 * k], err));
    MOA_TRY(render_chat(&d->second, d, s->chat[2 * k + 1], err));
    trim(doc);
    trim(&d->second);
    const int64_t split = doc->n;
    MOA_TRY(moa_doc_add_ids(doc, d->second.id, d->second.n, err));
    if (d->second.n) memcpy(doc->learn + split, d->second.learn, (size_t)d->second.n);
    doc->split = split;
    doc->pair = (int32_t)(s->first_pair + k + 1);
    return 0;
}

int64_t moa_data_pairs(const moa_data *d) { return d->n_pair; }

int moa_data_pair(moa_doc *doc, moa_data *d, int64_t k, moa_err *err) {
    int i = d->n_src - 1;
    while (i > 0 && d->src[i].first_pair > k) i--;
    return doc_pair(doc, d, &d->src[i], k - d->src[i].first_pair, err);
}

static const char *last_line(const char *s) {
    size_t n = strlen(s);
    while (n && s[n - 1] == '\n') n--;
    while (n && s[n - 1] != '\n') n--;
    return s + n;
}

/* What to answer, given the candidates in the order shown. The first correct one is the rule that is easiest to learn:
 * where to copy from follows from which answers are right, and from nothing else. After the list of answers only the last
 * line follows: a small model that works the steps out again at the end of a long prompt makes new slips, and then
 * believes its slips more than its list (docs/self-moa.md). */
static const char *agg_chosen(const moa_sampled *it, const int *order, int k, moa_agg_target want) {
    bool last = want == MOA_AGG_ANSWER || want == MOA_AGG_LIST;
    for (int i = 0; i < k && want != MOA_AGG_SOLUTION; i++)
        if (it->correct[order[i]]) return last ? last_line(it->cand[order[i]]) : it->cand[order[i]];
    return last ? last_line(it->solution) : it->solution;
}

static int agg_doc(moa_doc *doc, moa_data *d, const moa_sampled *it, const int *order, int k, moa_agg_target want, moa_err *err) {
    const char *cand[MOA_CANDIDATES_MAX], *chosen = agg_chosen(it, order, k, want);
    for (int i = 0; i < k; i++) cand[i] = it->cand[order[i]];
    moa_buf_clear(&d->prompt);
    moa_buf_clear(&d->reply);
    int rc = moa_aggregate_prompt(&d->prompt, it->question, cand, k);
    if (rc == 0) rc = want == MOA_AGG_LIST ? moa_aggregate_reply(&d->reply, cand, k, chosen) : moa_buf_adds(&d->reply, chosen);
    if (rc < 0) return moa_fail(err, rc, "cannot build an aggregation of %d candidates", k);
    return two_turns(doc, d, moa_buf_str(&d->prompt), moa_buf_str(&d->reply), err);
}

/* What a judge is asked of those candidates, and what it should say. A critique to revise by is as a critic gives it: right in five of
 * six cases, so that what is learned is to weigh it, not to obey. */
static int judge_doc(moa_doc *doc, moa_data *d, const moa_sampled *it, const int *order, int k, moa_judging ask, moa_rng *rng, moa_err *err) {
    const char *cand[MOA_CANDIDATES_MAX + 1];
    unsigned char right[MOA_CANDIDATES_MAX], said[MOA_CANDIDATES_MAX];
    moa_buf critique;
    if (ask == MOA_JUDGE_RATE) k = 1;
    for (int i = 0; i < k; i++) {
        cand[i] = it->cand[order[i]];
        right[i] = it->correct[order[i]];
        said[i] = (moa_rng_below(rng, 6) == 0) != right[i];
    }
    const int most = k - 1 < 3 ? k - 1 : 3, chosen = most > 1 ? moa_rng_range(rng, 1, most) : 1;
    moa_buf_clear(&d->prompt);
    moa_buf_clear(&d->reply);
    moa_buf_init(&critique, 1 << 20);
    int rc = 0;
    if (ask == MOA_JUDGE_REVISE) {
        rc = moa_judge_reply(&critique, MOA_JUDGE_CRITIQUE, cand, said, k, it->solution);
        cand[k] = moa_buf_str(&critique) + moa_aggregate_preface(moa_buf_str(&critique), critique.len);
    }
    if (rc == 0) rc = moa_judge_prompt(&d->prompt, ask, it->question, cand, k + (ask == MOA_JUDGE_REVISE), chosen, MOA_CAND_MAX);
    if (rc == 0) rc = ask == MOA_JUDGE_REVISE ? moa_aggregate_reply(&d->reply, cand, k, agg_chosen(it, order, k, MOA_AGG_LIST))
                                            : moa_judge_reply(&d->reply, ask, cand, right, k, it->solution);
    moa_buf_deinit(&critique);
    if (rc < 0) return moa_fail(err, rc, "cannot build a judgement of %d candidates", k);
    return two_turns(doc, d, moa_buf_str(&d->prompt), moa_buf_str(&d->reply), err);
}

static bool any_correct(const moa_sampled *it, const int *order, int k) {
    for (int i = 0; i < k; i++)
        if (it->correct[order[i]]) return true;
    return false;
}

/* An item, its candidates in a drawn order, and how many of them are shown. Where the reply is to follow a correct candidate,
 * draws that show none are left out (after some tries taken as they are): no aggregator could have found it there. */
static const moa_sampled *agg_draw(int *order, int *k, const source *s, moa_rng *rng) {
    const moa_samples *a = s->samples;
    const moa_sampled *it = NULL;
    for (int draw = 0; draw < 16; draw++) {
        bool mixed = a->n_mixed && moa_rng_f64(rng) < s->cfg->mixed;
        it = &a->item[mixed ? a->mixed[moa_rng_below(rng, (uint32_t)a->n_mixed)] : moa_rng_below(rng, (uint32_t)a->n)];
        for (int i = 0; i < it->n; i++) order[i] = i;
        for (int i = it->n - 1; i > 0; i--) {
            int j = (int)moa_rng_below(rng, (uint32_t)i + 1), t = order[i];
            order[i] = order[j];
            order[j] = t;
        }
        *k = moa_rng_range(rng, s->cfg->k_min, s->cfg->k_max);
        if (*k > it->n) *k = it->n;
        if (s->cfg->target == MOA_AGG_COMPARE) *k = 2;
        if (s->cfg->target == MOA_AGG_COMPARE ? it->correct[order[0]] != it->correct[order[1]]
            : s->cfg->target == MOA_AGG_SOLUTION || s->cfg->target >= MOA_AGG_RATE || any_correct(it, order, *k)) break;
    }
    return it;
}

static int doc_aggregate(moa_doc *doc, moa_data *d, const source *s, moa_rng *rng, moa_err *err) {
    int order[MOA_CANDIDATES_MAX], k;
    const moa_sampled *it = agg_draw(order, &k, s, rng);
    int k_min = s->cfg->k_min < k ? s->cfg->k_min : k;
    for (;; k--) {
        if (s->cfg->target >= MOA_AGG_RATE) MOA_TRY(judge_doc(doc, d, it, order, k, (moa_judging)(s->cfg->target - MOA_AGG_RATE), rng, err));
        else MOA_TRY(agg_doc(doc, d, it, order, k, s->cfg->target, err));
        if (doc->n <= d->stage->seq_len + 1 || k <= k_min) return 0;
    }
}

int moa_data_doc(moa_doc *doc, moa_data *d, uint64_t index, moa_err *err) {
    moa_rng rng;
    moa_rng_seed2(&rng, d->seed, index);
    for (int draw = 0; draw < DRAWS_MAX; draw++) {
        const source *s = &d->src[pick(d->stage->data, d->stage->data_count, d->weight, &rng)];
        uint64_t number = index * DRAWS_MAX + (uint64_t)draw;
        int rc = s->family ? doc_family(doc, d, s, number, &rng, err)
                 : s->samples ? doc_aggregate(doc, d, s, &rng, err)
                 : d->n_pair  ? doc_pair(doc, d, s, moa_rng_below(&rng, (uint32_t)(s->n_chat / 2)), err)
                 : s->chat    ? doc_chat(doc, d, s, &rng, err)
                              : doc_text(doc, d, s, &rng, err);
        if (rc < 0) return moa_wrap(err, rc, "stage '%s', document %llu", d->stage->name, (unsigned long long)index);
        if (s->cfg->learn == MOA_LEARN_ALL) memset(doc->learn, 1, (size_t)doc->n);
        if (!doc->split) trim(doc);
        if (doc->n >= 2 && moa_doc_places(doc) <= d->stage->seq_len) return 0;
        d->dropped++;
    }
    moa_fail(err, MOA_ELIMIT, "stage '%s': %d documents in a row do not fit into seq_len %d", d->stage->name, DRAWS_MAX, d->stage->seq_len);
    return moa_hint(err, MOA_ELIMIT, "raise seq_len, or lower k_max of aggregates or the levels");
}

/* ---- texts for a tokenizer ---- */
typedef struct texts {
    int (*add)(void *ctx, const char *text, size_t n);
    void *ctx;
    moa_buf buf;
} texts;

static int add_turn_text(texts *t, const char *role, const char *text) {
    moa_buf_clear(&t->buf);
    moa_buf_addf(&t->buf, "%s\n%s\n", role, text);
    return t->buf.failed ? t->buf.failed : t->add(t->ctx, moa_buf_str(&t->buf), t->buf.len);
}

static int item_texts(texts *t, const moa_item *it, bool aggregate, moa_err *err) {
    const char *sol = moa_buf_str(&it->solution);
    moa_buf p;
    moa_buf_init(&p, 1 << 20);
    int rc = aggregate ? moa_aggregate_prompt(&p, moa_buf_str(&it->question), &sol, 1) : moa_buf_adds(&p, moa_buf_str(&it->question));
    if (rc == 0) rc = add_turn_text(t, "user", moa_buf_str(&p));
    if (rc == 0) rc = add_turn_text(t, "assistant", sol);
    moa_buf_deinit(&p);
    return rc < 0 ? moa_fail(err, rc, "cannot collect texts for the tokenizer") : 0;
}

static int family_texts(texts *t, const moa_recipe *r, int stage, const moa_recipe_data *d, int items, moa_err *err) {
    const moa_family **f;
    int n, rc = 0;
    MOA_TRY(find_families(&f, &n, d->family, err));
    moa_item it;
    moa_item_init(&it);
    for (int i = 0; i < items && rc == 0; i++) {
        moa_rng rng;
        moa_rng_seed2(&rng, stage_seed(r, stage) ^ 0x746f6bu, (uint64_t)i);
        rc = draw_item(&it, f, n, d, stage_seed(r, stage), (uint64_t)i, &rng, err);
        if (rc == 0) rc = item_texts(t, &it, i % 32 == 0, err);
    }
    moa_item_deinit(&it);
    free(f);
    return rc;
}

/* What is said in the conversations, not the JSON around it. */
static int chat_texts(texts *t, const char *path, moa_stage_loss loss, moa_err *err) {
    source s = {0};
    int rc = loss == MOA_LOSS_DPO ? load_pairs(&s, path, err) : load_chat(&s, path, err);
    for (int64_t i = 0; i < s.n_chat && rc == 0; i++)
        for (size_t j = 0; j < json_array_size(s.chat[i]) && rc == 0; j++) {
            const json_t *o = json_array_get(s.chat[i], j);
            rc = add_turn_text(t, json_string_value(json_object_get(o, "role")), json_string_value(json_object_get(o, "content")));
            if (rc < 0) moa_fail(err, rc, "%s: cannot collect texts for the tokenizer", path);
        }
    chat_free(&s);
    return rc;
}

static int file_texts(texts *t, const char *path, moa_stage_loss loss, moa_err *err) {
    char *text;
    size_t n;
    if (moa_recipe_is_jsonl(path)) return chat_texts(t, path, loss, err);
    MOA_TRY(moa_read_file(&text, &n, path, FILE_MAX, err));
    int rc = t->add(t->ctx, text, n);
    free(text);
    return rc < 0 ? moa_fail(err, rc, "%s: cannot collect texts for the tokenizer", path) : 0;
}

int moa_data_texts(const moa_recipe *r, int items, int (*add)(void *ctx, const char *text, size_t n), void *ctx, moa_err *err) {
    texts t = {.add = add, .ctx = ctx};
    moa_buf_init(&t.buf, 1 << 24);
    double total = 0;
    for (unsigned i = 0; i < r->stages_count; i++)
        for (unsigned j = 0; j < r->stages[i].data_count; j++)
            if (r->stages[i].kind == MOA_STAGE_TRAIN && r->stages[i].data[j].family) total += r->stages[i].data[j].weight;
    int rc = 0;
    for (unsigned i = 0; i < r->stages_count && rc == 0; i++)
        for (unsigned j = 0; j < r->stages[i].data_count && rc == 0; j++) {
            const moa_recipe_data *d = &r->stages[i].data[j];
            if (r->stages[i].kind != MOA_STAGE_TRAIN || !(d->weight > 0)) continue;
            if (d->family) rc = family_texts(&t, r, (int)i, d, 1 + (int)(items * d->weight / total), err);
            else if (d->file) rc = file_texts(&t, d->file, r->stages[i].loss, err);
        }
    moa_buf_deinit(&t.buf);
    return rc;
}
