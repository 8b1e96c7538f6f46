/* judge.c - strategies that judge: the calls that rate, compare and choose, and what their replies come to.
 *
 * A judge's reply decides among texts that are paid for already, so nothing here fails a run: what cannot be read counts as the lowest rating,
 * as a draw, as no choice, and whoever asked goes on. Scores of language models are coarse, so ties are common: they go to the candidate
 * that its own model finds most probable. SPDX-License-Identifier: Apache-2.0 */
#include "agent/strategy.h"

#include "agent/fit.h"
#include "agent/parse.h"
#include "agent/screen.h"
#include "base/buf.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_PROMPT = 64 << 20 };
#define TOP 10.0

int moa_panel_of(moa_panel *p, moa_run *r, moa_agent_node *n, moa_err *err) {
    const size_t room = (size_t)n->n_in + 1;
    bool *drop = moa_arena_alloc(r->arena, room * sizeof *drop);
    int k = 0;
    *p = (moa_panel){.id = moa_arena_alloc(r->arena, room * sizeof *p->id), .text = moa_arena_alloc(r->arena, room * sizeof *p->text)};
    if (!drop || !p->id || !p->text) return moa_fail(err, MOA_ENOMEM, "candidates of %s", n->name);
    for (int i = 0; i < n->n_in; i++) {
        const moa_agent_node *s = &r->node[n->in[i]];
        if (s->state == MOA_NODE_DONE && !strcmp(s->role, "proposer")) p->id[p->n++] = n->in[i];
    }
    moa_agent_node some = {.name = n->name, .in = p->id, .n_in = p->n};
    MOA_TRY(moa_screen(drop, r, &some, false, err));
    if (some.note && !n->n_read) moa_node_note(r, n, "%s", some.note); /* once, however often it asks */
    n->n_read = some.n_read, n->n_dropped = some.n_dropped;
    for (int i = 0; i < p->n; i++)
        if (!drop[i]) p->id[k++] = p->id[i];
    p->n = k;
    for (int i = 0; i < k; i++) p->text[i] = moa_node_reply(&r->node[p->id[i]]);
    return 0;
}

int moa_panel_again(moa_panel *p, moa_run *r, const moa_agent_node *n, moa_err *err) {
    const size_t room = (size_t)n->n_in + 1;
    *p = (moa_panel){.id = moa_arena_alloc(r->arena, room * sizeof *p->id), .text = moa_arena_alloc(r->arena, room * sizeof *p->text)};
    if (!p->id || !p->text) return moa_fail(err, MOA_ENOMEM, "candidates of %s", n->name);
    for (int i = 0; i < n->n_in; i++) {
        const moa_agent_node *s = &r->node[n->in[i]];
        if (s->state != MOA_NODE_DONE || strcmp(s->role, "proposer") != 0) continue;
        p->id[p->n] = n->in[i];
        p->text[p->n++] = moa_node_reply(s);
    }
    return 0;
}

/* ---- the prompt ---- */

typedef struct question { moa_judging ask; int k; } question;

static int set_prompt(moa_run *r, moa_agent_node *n, const char *const *cand, int n_cand, const void *ctx, moa_err *err) {
    const question *q = ctx;
    moa_buf b;
    moa_buf_init(&b, MAX_PROMPT);
    int rc = moa_judge_prompt(&b, q->ask, moa_question(r), cand, n_cand, q->k, SIZE_MAX);
    rc = rc < 0 ? moa_fail(err, rc, "the candidates of %s do not fit %d MiB", n->name, MAX_PROMPT >> 20) : moa_compose_ask(r, n, q->ask == MOA_JUDGE_REVISE ? r->cfg->aggregate_system : NULL, moa_buf_str(&b), err);
    moa_buf_deinit(&b);
    return rc;
}

int moa_compose_judge(moa_run *r, moa_agent_node *n, moa_judging ask, const char *const *cand, int n_cand, int k, moa_err *err) {
    const question q = {ask, k};
    const moa_fitting f = {"candidates", set_prompt, &q};
    return moa_fit(r, n, &f, cand, n_cand, err);
}

/* ---- what is said ---- */

int moa_answers_like(int *out, const moa_agent_node *judge, const moa_panel *p) {
    moa_buf said, one;
    int n = -1;
    moa_buf_init(&said, MOA_ANSWER_MAX);
    moa_buf_init(&one, MOA_ANSWER_MAX);
    if (judge->state == MOA_NODE_DONE && !judge->replaced && moa_answer_extract(&said, judge->text, judge->text_len))
        for (int i = n = 0; i < p->n; i++) {
            moa_buf_clear(&one);
            if (moa_answer_extract(&one, p->text[i], strlen(p->text[i])) && !strcmp(moa_buf_str(&one), moa_buf_str(&said))) out[n++] = i;
        }
    moa_buf_deinit(&said);
    moa_buf_deinit(&one);
    return n;
}

int moa_choice(int *out, bool *end, bool *answered, const moa_agent_node *judge, const moa_panel *p) {
    const char *v;
    size_t len;
    bool strange = false;
    *end = *answered = false;
    if (judge->state != MOA_NODE_DONE || judge->replaced) return 0;
    int n = moa_parse_choice(out, &strange, judge->text, judge->text_len, p->n);
    if (!moa_parse_yes(end, judge->text, judge->text_len, "end")) *end = false;
    if (strange) return 0;
    if (n > 0 || moa_parse_label(&v, &len, judge->text, judge->text_len, "choice")) return n;
    n = moa_answers_like(out, judge, p);
    *answered = n > 0;
    *end = n > 0 && 2 * n >= p->n;
    return n > 0 ? n : 0;
}

/* ---- ratings ---- */

static int compose_rating(moa_run *r, moa_agent_node *n, moa_err *err) {
    const char *text = moa_node_reply(&r->node[n->in[0]]);
    return moa_compose_judge(r, n, MOA_JUDGE_RATE, &text, 1, 0, err);
}

int moa_add_rating(moa_run *r, const moa_mix_cfg *c, const char *name, int of, moa_err *err) {
    return moa_add_judge(r, c, name, "judge", &of, 1, compose_rating, err);
}

double moa_rating(const moa_run *r, const moa_agent_node *n, bool doubt) {
    double s;
    if (n->state != MOA_NODE_DONE || n->replaced) return -1;
    if (!moa_parse_score(&s, n->text, n->text_len, TOP)) {
        const char *text = n->n_in == 1 ? moa_node_reply(&r->node[n->in[0]]) : NULL;
        int like;
        const int same = text ? moa_answers_like(&like, n, &(moa_panel){.text = &text, .n = 1}) : -1;
        return same < 0 ? -1 : same ? TOP : 0;
    }
    const double p = doubt && n->sum_logprob < 0 ? exp(n->sum_logprob) : 1;
    return p * s + (1 - p) * TOP / 2;
}

/* ---- comparisons ---- */

static int compose_comparison(moa_run *r, moa_agent_node *n, moa_err *err) {
    const char *const text[2] = {moa_node_reply(&r->node[n->in[0]]), moa_node_reply(&r->node[n->in[1]])};
    return moa_compose_judge(r, n, MOA_JUDGE_COMPARE, text, 2, 0, err);
}

int moa_add_comparison(int id[2], moa_run *r, const moa_mix_cfg *c, int a, int b, moa_err *err) {
    for (int turn = 0; turn < 2; turn++) {
        const int in[2] = {turn ? b : a, turn ? a : b};
        char name[120];
        snprintf(name, sizeof name, "%.40s>%.40s", r->node[in[0]].name, r->node[in[1]].name);
        id[turn] = moa_add_judge(r, c, name, "judge", in, 2, compose_comparison, err);
        if (id[turn] < 0) return id[turn];
        r->node[id[turn]].need = 2;
    }
    return 0;
}

int moa_preferred(const moa_run *r, const moa_agent_node *n) {
    int first, like[2];
    if (n->state != MOA_NODE_DONE || n->replaced) return -1;
    if (moa_parse_letter(&first, n->text, n->text_len, "better", "AB")) return first;
    const char *text[2] = {moa_node_reply(&r->node[n->in[0]]), moa_node_reply(&r->node[n->in[1]])};
    return moa_answers_like(like, n, &(moa_panel){.text = text, .n = 2}) == 1 ? like[0] : -1;
}

void moa_comparison(double *a, double *b, const moa_run *r, const int id[2]) {
    for (int turn = 0; turn < 2; turn++) {
        const int first = moa_preferred(r, &r->node[id[turn]]);
        if (first < 0) *a += 0.5, *b += 0.5;
        else *(first == turn ? a : b) += 1; /* in the second turn b is called A */
    }
}

int moa_add_drawn(moa_run *r, const moa_mix_cfg *c, moa_reduce_fn draw_up, moa_err *err) {
    int *id = moa_arena_alloc(r->arena, (size_t)c->n * sizeof *id);
    if (!id) return moa_fail(err, MOA_ENOMEM, "%d samples", c->n);
    MOA_TRY(moa_add_proposers(id, r, c, "p", c->n, NULL, 0, err));
    const int v = moa_add_vote(r, c, "vote", id, c->n, err);
    if (v < 0) return v;
    r->node[v].reduce = draw_up;
    r->answer = v;
    return v;
}

/* Who met whom: node->own of the node behind the comparisons, whose first inputs are the candidates. */
typedef struct meeting { int a, b, id[2]; } meeting; /* places in the panel; id[0] -1: equal texts */
typedef struct meetings { meeting *v; int n, n_cand; } meetings;

int moa_add_pairs(moa_run *r, const moa_panel *p, const char *name, moa_reduce_fn reduce, moa_err *err) {
    const int most = p->n * (p->n - 1) / 2;
    meetings *all = moa_arena_alloc(r->arena, sizeof *all);
    meeting *v = moa_arena_alloc(r->arena, (size_t)(most + 1) * sizeof *v);
    int *in = moa_arena_alloc(r->arena, (size_t)(p->n + 2 * most) * sizeof *in), n_in = p->n;
    if (!all || !v || !in) return moa_fail(err, MOA_ENOMEM, "comparisons of %d", p->n);
    *all = (meetings){v, 0, p->n};
    memcpy(in, p->id, (size_t)p->n * sizeof *in);
    for (int a = 0; a < p->n; a++)
        for (int b = a + 1; b < p->n; b++) {
            meeting *m = &v[all->n++];
            *m = (meeting){a, b, {-1, -1}};
            if (!strcmp(p->text[a], p->text[b])) continue;
            MOA_TRY(moa_add_comparison(m->id, r, r->cfg, p->id[a], p->id[b], err));
            in[n_in++] = m->id[0], in[n_in++] = m->id[1];
        }
    const moa_agent_node node = {.name = name, .role = "rank", .in = in, .n_in = n_in, .reduce = reduce, .own = all};
    const int id = moa_run_add(r, &node, err);
    if (id >= 0) r->answer = id;
    return id < 0 ? id : 0;
}

int moa_pairs_rank(moa_panel *p, double **points, int **order, moa_run *r, moa_agent_node *n, moa_err *err) {
    const meetings *all = n->own;
    *points = moa_arena_calloc(r->arena, (size_t)all->n_cand * sizeof **points);
    *order = moa_arena_alloc(r->arena, (size_t)all->n_cand * sizeof **order);
    if (!*points || !*order) return moa_fail(err, MOA_ENOMEM, "%d candidates", all->n_cand);
    MOA_TRY(moa_panel_again(p, r, n, err));
    for (int i = 0; i < all->n; i++) {
        const meeting *m = &all->v[i];
        double *a = &(*points)[m->a], *b = &(*points)[m->b];
        if (m->id[0] < 0) *a += 1, *b += 1;
        else moa_comparison(a, b, r, m->id);
    }
    moa_rank(*order, r, p, *points);
    return 0;
}

/* ---- the best of them ---- */

void moa_rank(int *order, const moa_run *r, const moa_panel *p, const double *points) {
    for (int i = 0; i < p->n; i++) {
        int at = i;
        for (; at > 0; at--) {
            const int j = order[at - 1];
            const double pi = points ? points[i] : 0, pj = points ? points[j] : 0;
            if (pj > pi || (!(pi > pj) && r->node[p->id[j]].sum_logprob >= r->node[p->id[i]].sum_logprob)) break;
            order[at] = j;
        }
        order[at] = i;
    }
}

void moa_take_text(moa_run *r, moa_agent_node *n, int from) {
    const char *text = moa_node_reply(&r->node[from]);
    n->text = (char *)(uintptr_t)text;
    n->text_len = strlen(text);
}

int moa_reduce_vote_rest(moa_run *r, moa_agent_node *n, moa_err *err) {
    n->in++, n->n_in--; /* what the vote read, and the trace says so */
    return moa_reduce_vote(r, n, err);
}
