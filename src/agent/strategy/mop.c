/* mop.c - MoP, a mixture of prompts (Wang et al., arXiv 2407.00256): the questions that a model has answered rightly fall into regions; each region has
 * demonstrations and an instruction of its own, and a question is asked with those of the nearest. One call an answer.
 *
 *     mop=demos           ask plainly; what was right is kept as a demonstration. Of all of them, every 25th, regions are made: k-means over vectors of words
 *                         (skills.h; the paper embeds), K of 2 to 10 with the greatest simplified silhouette, mean of (a - b) / (1 - b), with the cosines a
 *                         to the own center and b to the next; of each region the demonstrations nearest to the center
 *     mop=write           the model itself writes instructions: from five demonstrations of *other* regions (the paper's way, APE's prompt with words of
 *                         ours), drawn by the seed, it says what whoever gave these replies was told; four for each region are kept
 *     mop=instructions    ask with every instruction (and with none), among the demonstrations of the question's region; each counts right or wrong there
 *     mop=read            ask with the region's best, (right + 1) / (right + wrong + 2), and its demonstrations, as turns before the question
 * Instructions are those that are given (instructions=A|B|C) and those that were written. Without regions in the store a question is asked as it is.
 * strategies.def: STRATEGY(mop)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/skills.h"
#include "agent/strategy.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODE, DEMOS, INSTRUCTIONS, N_SETTING };
static const moa_setting settings[N_SETTING] = {
    [MODE] = {"mop", "read: use the regions in the store; demos, write, instructions: make them, in this order (needs known answers)", 0, 3, 0, true, "read|demos|write|instructions", false},
    [DEMOS] = {"demos", "demonstrations before a question", 0, 8, 2, true, NULL, false},
    [INSTRUCTIONS] = {"instructions", "instructions to choose from, A|B|C, seven at most", 0, 0, 0, false, NULL, true}};
enum { READ, COLLECT, WRITE, SEARCH };
enum { MAX_K = 10, MAX_DEMO = 8, MAX_GIVEN = 8, MAX_WRITTEN = 4, MAX_WORDING = MAX_GIVEN + MAX_WRITTEN, SHOWN = 5, WRITTEN_TOKENS = 50, MAX_BYTES = 2000, MOST_DEMOS = 1000, EVERY = 25 };

static const char DEMO[] = "mop/demo", REGION[] = "mop/region";

/* ---- what is in the store ---- */

static int recall_count(int *n, moa_run *r, const char *kind, int most, moa_err *err) {
    const char *value;
    MOA_TRY(moa_run_recall(&value, r, kind, "count", err));
    const long v = value ? strtol(value, NULL, 10) : 0;
    *n = v < 0 ? 0 : v > most ? most : (int)v;
    return 0;
}

static int keep_count(moa_run *r, const char *kind, int n, moa_err *err) {
    char text[16];
    snprintf(text, sizeof text, "%d", n);
    return moa_run_keep(r, kind, "count", text, err);
}

typedef struct demo { const char *question, *reply; } demo;

/* [["question", "reply"], ...]; what is none is left out. */
static int read_demos(demo *d, int most, moa_run *r, const char *text, moa_err *err) {
    json_t *list = text ? json_loads(text, 0, NULL) : NULL, *one;
    size_t i;
    int n = 0, rc = 0;
    json_array_foreach(list, i, one) {
        const char *q = json_string_value(json_array_get(one, 0)), *a = json_string_value(json_array_get(one, 1));
        if (!q || !a || n == most) continue;
        d[n].question = moa_arena_strndup(r->arena, q, strlen(q)), d[n].reply = moa_arena_strndup(r->arena, a, strlen(a));
        if (!d[n].question || !d[n].reply) rc = moa_fail(err, MOA_ENOMEM, "demonstrations");
        n++;
    }
    json_decref(list);
    return rc < 0 ? rc : n;
}

static int keep_demos(moa_run *r, const char *kind, const char *key, const demo *d, int n, moa_err *err) {
    json_t *list = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(list, json_pack("[o, o]", moa_json_str(d[i].question, strlen(d[i].question)), moa_json_str(d[i].reply, strlen(d[i].reply))));
    char *text = json_dumps(list, JSON_COMPACT);
    const int rc = text ? moa_run_keep(r, kind, key, text, err) : moa_fail(err, MOA_ENOMEM, "demonstrations");
    free(text);
    json_decref(list);
    return rc;
}

/* ---- regions, made of all demonstrations ---- */

static double silhouette(const moa_skill *s, const int *group, int n, const moa_skill *center, int k) {
    double sum = 0;
    for (int i = 0; i < n; i++) {
        double b = -1;
        for (int c = 0; c < k; c++) {
            const double cosine = c == group[i] ? -1 : moa_skill_cosine(&s[i], &center[c]);
            if (cosine > b) b = cosine;
        }
        if (b < 1) sum += (moa_skill_cosine(&s[i], &center[group[i]]) - b) / (1 - b);
    }
    return sum / n;
}

static void written_key(char key[48], int region, int i) { snprintf(key, 48, "%d/written/%d", region, i); }

static int keep_region(moa_run *r, int c, const moa_skill *center, const demo *d, const moa_skill *s, const int *group, int n, moa_err *err) {
    char key[32], text[MOA_SKILL_TEXT];
    demo near[MAX_DEMO];
    int m = 0, taken[MAX_DEMO];
    for (; m < MAX_DEMO; m++) { /* the nearest that is not taken yet */
        double at = -2;
        taken[m] = -1;
        for (int i = 0; i < n; i++) {
            bool free = group[i] == c;
            for (int k = 0; k < m; k++) free = free && taken[k] != i;
            const double cosine = free ? moa_skill_cosine(&s[i], center) : -2;
            if (cosine > at) at = cosine, taken[m] = i;
        }
        if (taken[m] < 0) break;
        near[m] = d[taken[m]];
    }
    for (int i = 0; i < MAX_WORDING; i++) { /* what was counted, and written, was another region's */
        char of[48];
        snprintf(of, sizeof of, "%d/instruction/%d", c, i);
        MOA_TRY(moa_run_keep(r, REGION, of, "0 0", err));
        written_key(of, c, i);
        if (i < MAX_WRITTEN) MOA_TRY(moa_run_keep(r, REGION, of, "", err));
    }
    snprintf(key, sizeof key, "%d/center", c);
    moa_skill_write(text, center);
    MOA_TRY(moa_run_keep(r, REGION, key, text, err));
    snprintf(key, sizeof key, "%d/demos", c);
    return keep_demos(r, REGION, key, near, m, err);
}

static int make_regions(moa_run *r, int n, moa_err *err) {
    demo *d = moa_arena_calloc(r->arena, (size_t)n * sizeof *d);
    moa_skill *s = moa_arena_calloc(r->arena, (size_t)n * sizeof *s), center[MAX_K], best[MAX_K];
    int *group = moa_arena_alloc(r->arena, (size_t)n * sizeof *group), k_best = 0, m = 0;
    double most = -2;
    if (!d || !s || !group) return moa_fail(err, MOA_ENOMEM, "%d demonstrations", n);
    for (int i = 0; i < n; i++) {
        char key[16];
        const char *value;
        snprintf(key, sizeof key, "%d", i + 1);
        MOA_TRY(moa_run_recall(&value, r, DEMO, key, err));
        const int got = read_demos(&d[m], 1, r, value, err);
        if (got < 0) return got;
        if (got) MOA_TRY(moa_skill_of(&s[m], r->arena, d[m].question, err));
        m += got;
    }
    for (int k = 2; k <= MAX_K && k < m; k++) {
        if (moa_skill_groups(center, group, s, m, k, 1, err) < -1) return err ? err->code : MOA_ENOMEM;
        const double v = silhouette(s, group, m, center, k);
        if (v > most) most = v, k_best = k, memcpy(best, center, sizeof best);
    }
    double cosine;
    for (int i = 0; i < m && k_best; i++) group[i] = moa_skill_nearest(&s[i], best, k_best, &cosine);
    for (int c = 0; c < k_best; c++) MOA_TRY(keep_region(r, c, &best[c], d, s, group, m, err));
    return keep_count(r, REGION, k_best, err);
}

/* ---- a question ---- */

typedef struct place { int region; demo d[MAX_DEMO]; int n; } place;      /* r->own; region -1: there are none */
typedef struct wording { const char *text; int number; } wording;         /* own of a call's node */

static int find_place(place *p, moa_run *r, moa_err *err) {
    moa_skill s, center[MAX_K];
    int k, n = 0;
    char key[32];
    const char *value;
    double cosine;
    p->region = -1;
    MOA_TRY(recall_count(&k, r, REGION, MAX_K, err));
    MOA_TRY(moa_skill_of(&s, r->arena, moa_question(r), err));
    for (; n < k; n++) {
        snprintf(key, sizeof key, "%d/center", n);
        MOA_TRY(moa_run_recall(&value, r, REGION, key, err));
        if (!moa_skill_read(&center[n], value)) break;
    }
    if (n) p->region = moa_skill_nearest(&s, center, n, &cosine);
    if (!n) return 0;
    snprintf(key, sizeof key, "%d/demos", p->region);
    MOA_TRY(moa_run_recall(&value, r, REGION, key, err));
    p->n = read_demos(p->d, (int)r->cfg->arg[DEMOS], r, value, err);
    return p->n < 0 ? p->n : 0;
}

/* The number-th of the given ones, from 1. NULL: there are not so many. */
static const char *given(moa_run *r, int number) {
    const char *p = r->cfg->word[INSTRUCTIONS];
    for (int i = 1; p && *p; i++) {
        const size_t n = strcspn(p, "|");
        if (i == number) return moa_arena_strndup(r->arena, p, n);
        p += n + (p[n] == '|');
    }
    return NULL;
}

/* *text: the number-th wording: 0 is none, then those that are given, from MAX_GIVEN on those that were written for the region. NULL: there is no such one. */
static int wording_of(const char **text, moa_run *r, int region, int number, moa_err *err) {
    char key[48];
    *text = number ? NULL : "";
    if (number < MAX_GIVEN) return number ? *text = given(r, number), 0 : 0;
    written_key(key, region, number - MAX_GIVEN);
    MOA_TRY(moa_run_recall(text, r, REGION, key, err));
    if (*text && !**text) *text = NULL; /* emptied when regions were made anew */
    return 0;
}
static int counts_of(double *right, double *wrong, moa_run *r, int region, int number, char key[48], moa_err *err) {
    const char *value;
    snprintf(key, 48, "%d/instruction/%d", region, number);
    MOA_TRY(moa_run_recall(&value, r, REGION, key, err));
    if (!value || sscanf(value, "%lf %lf", right, wrong) != 2 || !(*right >= 0 && *right < 1e12 && *wrong >= 0 && *wrong < 1e12)) *right = *wrong = 0;
    return 0;
}

/* System, demonstrations as turns, then the conversation; as many demonstrations as the context holds beside the reply. */
static int compose(moa_run *r, moa_agent_node *n, moa_err *err) {
    const place *p = r->own;
    const wording *w = n->own;
    MOA_TRY(moa_compose_ask(r, n, w->text, NULL, err));
    moa_message *plain = n->msg, *m = moa_arena_alloc(r->arena, (size_t)(n->n_msg + 2 * p->n) * sizeof *m);
    const int n_plain = n->n_msg, system = !strcmp(plain[0].role, "system");
    if (!m) return moa_fail(err, MOA_ENOMEM, "demonstrations");
    for (int d = p->n; d > 0; d--) {
        int k = 0;
        if (system) m[k++] = plain[0];
        for (int i = 0; i < d; i++) m[k++] = (moa_message){"user", p->d[i].question}, m[k++] = (moa_message){"assistant", p->d[i].reply};
        for (int i = system; i < n_plain; i++) m[k++] = plain[i];
        const int64_t tokens = n->backend->n_ctx > 0 ? moa_run_measure(r, n->backend, m, k, n->extra, err) : 0;
        if (tokens < 0) return (int)tokens;
        if (n->backend->n_ctx > 0 && tokens + n->max_tokens > n->backend->n_ctx) continue;
        n->msg = m, n->n_msg = k;
        if (d < p->n) moa_node_note(r, n, "the context holds %d of %d demonstrations", d, p->n);
        return 0;
    }
    if (p->n) moa_node_note(r, n, "the context holds none of %d demonstrations", p->n);
    return 0;
}

static int ask(moa_run *r, int number, const char *text, moa_err *err) {
    int id;
    char prefix[24];
    snprintf(prefix, sizeof prefix, "p%d.", number);
    MOA_TRY(moa_add_proposers(&id, r, r->cfg, prefix, 1, NULL, 0, err));
    wording *w = moa_arena_alloc(r->arena, sizeof *w);
    if (!w) return moa_fail(err, MOA_ENOMEM, "an instruction");
    *w = (wording){text, number};
    r->node[id].own = w, r->node[id].compose = compose;
    return id;
}

/* ---- instructions by the model itself ---- */

/* The last user turn becomes the demonstrations of other regions and what is wanted. */
static int compose_writer(moa_run *r, moa_agent_node *n, moa_err *err) {
    const place *p = r->own;
    demo d[MAX_K * MAX_DEMO];
    int k, m = 0;
    moa_rng g;
    moa_buf b;
    MOA_TRY(recall_count(&k, r, REGION, MAX_K, err));
    for (int c = 0; c < k; c++) {
        char key[32];
        const char *value;
        if (c == p->region) continue;
        snprintf(key, sizeof key, "%d/demos", c);
        MOA_TRY(moa_run_recall(&value, r, REGION, key, err));
        const int got = read_demos(d + m, MAX_DEMO, r, value, err);
        if (got < 0) return got;
        m += got;
    }
    moa_rng_seed2(&g, r->seed, 0x6d6f70);
    moa_buf_init(&b, 1 << 20);
    moa_buf_adds(&b, "Somebody was given one instruction, and then answered these questions as it says.\n");
    for (int i = 0; i < SHOWN && i < m; i++) {
        const int at = i + (int)moa_rng_below(&g, (uint32_t)(m - i));
        const demo one = d[at];
        d[at] = d[i];
        moa_buf_addf(&b, "\nQuestion: %s\nReply: %s\n", one.question, one.reply);
    }
    moa_buf_adds(&b, "\nWrite that instruction, in one sentence, and nothing else.");
    int rc = b.failed ? moa_fail(err, b.failed, "the demonstrations of other regions are too long") : moa_compose_ask(r, n, NULL, moa_buf_str(&b), err);
    moa_buf_deinit(&b);
    return rc;
}

static int add_writer(moa_run *r, moa_err *err) {
    int id;
    MOA_TRY(moa_add_proposers(&id, r, r->cfg, "write", 1, NULL, 0, err));
    moa_agent_node *n = &r->node[id];
    n->role = "writer", n->compose = compose_writer, n->max_tokens = WRITTEN_TOKENS < n->max_tokens ? WRITTEN_TOKENS : n->max_tokens;
    n->sampling.temperature = 0.9f; /* the paper's */
    return id;
}

/* Its first line, where it says something new, becomes the region's next instruction. */
static int keep_written(moa_run *r, const moa_agent_node *n, moa_err *err) {
    const place *p = r->own;
    char line[201], key[48];
    const char *s = moa_node_reply(n), *old;
    int m = 0;
    while (*s == ' ' || *s == '\n' || *s == '\r' || *s == '\t') s++;
    for (; *s && *s != '\n' && m < (int)sizeof line - 1; s++) line[m++] = (unsigned char)*s < ' ' || *s == '|' || *s == 0x7f ? ' ' : *s;
    for (; m > 0 && ((unsigned char)*s & 0xC0) == 0x80; s--) m--; /* cut between characters */
    while (m > 0 && line[m - 1] == ' ') m--;
    line[m] = 0;
    for (int i = 0; m && i < MAX_WRITTEN; i++) {
        written_key(key, p->region, i);
        MOA_TRY(moa_run_recall(&old, r, REGION, key, err));
        if (old && !strcmp(old, line)) return 0;
        if (!old || !*old) return moa_run_keep(r, REGION, key, line, err);
    }
    return 0;
}

static int best_wording(moa_run *r, int region, moa_err *err) {
    double best = -1, right, wrong;
    int number = 0;
    char key[48];
    for (int i = 0; i < MAX_WORDING; i++) {
        const char *text;
        MOA_TRY(wording_of(&text, r, region, i, err));
        if (!text) continue;
        MOA_TRY(counts_of(&right, &wrong, r, region, i, key, err));
        if ((right + 1) / (right + wrong + 2) > best) best = (right + 1) / (right + wrong + 2), number = i;
    }
    return number;
}

static int route(moa_run *r, moa_agent_node *n, moa_err *err) {
    const int self = (int)(n - r->node), mode = (int)r->cfg->arg[MODE];
    int id[MAX_WORDING], k = 0, number = 0;
    place *p = moa_arena_calloc(r->arena, sizeof *p);
    if (!p) return moa_fail(err, MOA_ENOMEM, "a region");
    r->own = p, p->region = -1;
    if (mode != COLLECT) MOA_TRY(find_place(p, r, err));
    if (mode == SEARCH && p->region >= 0) {
        for (int i = 0; i < MAX_WORDING; i++) {
            const char *text;
            MOA_TRY(wording_of(&text, r, p->region, i, err));
            if (!text) continue;
            if ((id[k] = ask(r, i, text, err)) < 0) return id[k];
            k++;
        }
    } else {
        if (p->region >= 0 && (number = best_wording(r, p->region, err)) < 0) return number;
        const char *text;
        MOA_TRY(wording_of(&text, r, p->region, number, err));
        if ((id[k++] = ask(r, number, text ? text : "", err)) < 0) return id[0];
    }
    if (mode == WRITE && p->region >= 0) {
        const char *last;
        MOA_TRY(wording_of(&last, r, p->region, MAX_WORDING - 1, err));
        const int writer = last ? 0 : add_writer(r, err);
        if (writer < 0) return writer;
    }
    r->answer = id[0];
    const int vote = k > 1 ? moa_add_vote(r, r->cfg, "vote", id, k, err) : id[0];
    if (vote < 0) return vote;
    r->answer = vote;
    n = &r->node[self];
    if (p->region < 0) moa_node_note(r, n, mode == COLLECT ? "collects demonstrations" : "no regions in the store: asked as it is");
    else if (k > 1) moa_node_note(r, n, "region %d: %d instructions are tried", p->region, k);
    else moa_node_note(r, n, "region %d, instruction %d, %d demonstrations", p->region, number, p->n);
    n->text = moa_arena_strndup(r->arena, "", 0), n->text_len = 0;
    return n->text ? 0 : moa_fail(err, MOA_ENOMEM, "a region");
}

static int check(const moa_mix_cfg *c, moa_err *err) {
    int n = 0;
    for (const char *p = c->word[INSTRUCTIONS]; p && *p; n++) p += strcspn(p, "|"), p += *p == '|';
    return n < MAX_GIVEN ? 0 : moa_fail(err, MOA_EUSAGE, "mix mop: %d instructions, at most %d can be given", n, MAX_GIVEN - 1);
}

static int build(moa_run *r, const moa_mix_cfg *c, moa_err *err) {
    (void)c;
    const moa_agent_node node = {.name = "route", .role = "router", .reduce = route};
    const int id = moa_run_add(r, &node, err);
    r->answer = id;
    return id < 0 ? id : 0;
}

/* ---- after a question ---- */

static int keep_demo(moa_run *r, const char *reply, moa_err *err) {
    const demo d = {moa_question(r), reply};
    char key[16];
    int n;
    MOA_TRY(recall_count(&n, r, DEMO, MOST_DEMOS, err));
    if (n == MOST_DEMOS || strlen(d.question) > MAX_BYTES || strlen(reply) > MAX_BYTES) return 0;
    snprintf(key, sizeof key, "%d", ++n);
    MOA_TRY(keep_demos(r, DEMO, key, &d, 1, err));
    MOA_TRY(keep_count(r, DEMO, n, err));
    return n % EVERY ? 0 : make_regions(r, n, err);
}

static int learn(moa_run *r, moa_score_fn score, void *ctx, moa_err *err) {
    const place *p = r->own;
    const int mode = (int)r->cfg->arg[MODE];
    if (!score || !p || mode == READ) return 0;
    for (int i = 0; i < r->n_node; i++) {
        const moa_agent_node *n = &r->node[i];
        const wording *w = n->own;
        double right, wrong;
        char key[48], text[64];
        if (mode == WRITE && n->backend && !strcmp(n->role, "writer") && n->state == MOA_NODE_DONE && p->region >= 0) return keep_written(r, n, err);
        if (mode == WRITE || !n->backend || !w || n->state != MOA_NODE_DONE) continue;
        const bool good = score(ctx, n->text, n->text_len) >= 0.5;
        if (mode == COLLECT && good) return keep_demo(r, n->text, err);
        if (mode == COLLECT || p->region < 0) continue;
        MOA_TRY(counts_of(&right, &wrong, r, p->region, w->number, key, err));
        snprintf(text, sizeof text, "%.0f %.0f", right + good, wrong + !good);
        MOA_TRY(moa_run_keep(r, REGION, key, text, err));
    }
    return 0;
}

const moa_strategy moa_strategy_mop = {
    .name = "mop", .help = "one reply, asked for with the instruction and the demonstrations of the question's region", .temperature = 0,
    .has = MOA_LEARNS, .setting = settings, .n_setting = N_SETTING, .check = check, .build = build, .learn = learn};
