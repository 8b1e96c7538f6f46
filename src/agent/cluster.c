/* cluster.c - which replies say the same, and which of them speaks for the rest.
 *
 * Two replies agree when their answers do (moa_answer_extract: what follows "Answer:", canonical). A reply without an
 * answer says nothing to count; only when no reply has one, whole texts are compared.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/strategy.h"

#include "agent/alike.h"
#include "agent/screen.h"
#include "base/buf.h"
#include "task/task.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_KEY = 1 << 20 };

/* Spaces folded, trimmed, ASCII in lower case; of an endless text its first MiB, since a reply of 10 MB must not stop the count of the others. */
static void fold_text(moa_buf *out, const char *s, size_t n) {
    bool gap = false;
    for (size_t i = 0; i < n && out->len + 2 < MAX_KEY; i++) {
        char c = (char)tolower((unsigned char)s[i]);
        if (isspace((unsigned char)c)) {
            gap = out->len > 0;
            continue;
        }
        if (gap) moa_buf_add(out, " ", 1);
        gap = false;
        moa_buf_add(out, &c, 1);
    }
}

/* key[i] = what ballot i is compared by, or NULL. */
static int make_keys(char **key, bool *by_text, const moa_ballot *b, int n) {
    *by_text = true;
    for (int pass = 0; pass < 2 && *by_text; pass++)
        for (int i = 0; i < n; i++) {
            if (b[i].absent) continue;
            moa_buf k;
            moa_buf_init(&k, MAX_KEY);
            bool has = pass == 1 || moa_answer_extract(&k, b[i].text, b[i].n);
            const size_t skip = pass == 1 ? moa_aggregate_preface(b[i].text, b[i].n) : 0;
            if (pass == 1) fold_text(&k, b[i].text + skip, b[i].n - skip);
            else if (has) *by_text = false;
            int failed = k.failed;
            key[i] = has && !failed ? moa_buf_take(&k) : NULL;
            moa_buf_deinit(&k);
            if (failed || (has && !key[i])) return failed ? failed : MOA_ENOMEM;
        }
    return 0;
}

static void count(moa_vote *v, int *cluster, int *size, char *const *key, const moa_ballot *b, int n) {
    for (int i = 0; i < n; i++) {
        cluster[i] = -1;
        if (!key[i]) continue;
        v->n_vote++;
        for (int j = 0; j < i && cluster[i] < 0; j++)
            if (key[j] && !strcmp(key[i], key[j])) cluster[i] = cluster[j];
        if (cluster[i] < 0) cluster[i] = v->n_cluster++;
        size[cluster[i]]++;
    }
    int best = -1;
    for (int c = 0; c < v->n_cluster; c++) /* clusters are numbered by first appearance: a strict > breaks ties */
        if (best < 0 || size[c] > size[best]) best = c;
    v->size = best < 0 ? 0 : size[best];
    for (int i = 0; i < n; i++)
        if (best >= 0 && cluster[i] == best && (v->winner < 0 || b[i].sum_logprob > b[v->winner].sum_logprob)) v->winner = i;
}

int moa_vote_count(moa_vote *out, int *cluster, const moa_ballot *b, int n, moa_err *err) {
    *out = (moa_vote){.winner = -1};
    char **key = calloc((size_t)n + 1, sizeof *key);
    int *tmp = calloc(2 * (size_t)n + 2, sizeof *tmp), rc = key && tmp ? 0 : MOA_ENOMEM;
    if (rc >= 0) rc = make_keys(key, &out->by_text, b, n);
    if (rc >= 0) count(out, cluster ? cluster : tmp, tmp + n, key, b, n);
    for (int i = 0; key && i < n; i++) free(key[i]);
    free(key);
    free(tmp);
    return rc < 0 ? moa_fail(err, rc, "counting %d replies", n) : 0;
}

/* Each reply joins the first cluster whose first member is alike. */
static int join_alike(int *leader, moa_run *r, const int *in, int n, moa_err *err) {
    double *cos = moa_arena_alloc(r->arena, ((size_t)n * (size_t)n + 1) * sizeof *cos);
    if (!cos) return moa_fail(err, MOA_ENOMEM, "%d replies compared", n);
    MOA_TRY(moa_alike(cos, r, in, n, err));
    for (int i = 0; i < n; i++) {
        leader[i] = i;
        for (int j = 0; j < i && leader[i] == i; j++)
            if (leader[j] == j && cos[i * n + j] >= r->cfg->alike) leader[i] = j;
    }
    return 0;
}

int moa_cluster(moa_vote *out, int *cluster, moa_run *r, const int *in, int n, moa_err *err) {
    const size_t room = (size_t)n + 1;
    moa_ballot *b = moa_arena_calloc(r->arena, room * sizeof *b);
    int *leader = moa_arena_calloc(r->arena, room * sizeof *leader), *size = moa_arena_calloc(r->arena, room * sizeof *size);
    char **key = moa_arena_calloc(r->arena, room * sizeof *key);
    if (!b || !leader || !size || !key) return moa_fail(err, MOA_ENOMEM, "%d ballots", n);
    for (int i = 0; i < n; i++) {
        const moa_agent_node *s = &r->node[in[i]];
        b[i] = (moa_ballot){.text = s->text, .n = s->text_len, .sum_logprob = s->sum_logprob, .absent = s->state != MOA_NODE_DONE};
    }
    if (r->cfg->same == MOA_SAME_ANSWER) return moa_vote_count(out, cluster, b, n, err);
    *out = (moa_vote){.winner = -1, .by_text = true};
    for (int i = 0; i < n; i++) leader[i] = i;
    if (r->cfg->same == MOA_SAME_EMBEDDING) MOA_TRY(join_alike(leader, r, in, n, err));
    for (int i = 0; i < n; i++) {
        const moa_agent_node *s = &r->node[in[leader[i]]];
        moa_buf k;
        if (b[i].absent) continue;
        moa_buf_init(&k, MAX_KEY);
        if (r->cfg->same == MOA_SAME_TEXT) fold_text(&k, moa_node_reply(s), strlen(moa_node_reply(s)));
        else moa_buf_addf(&k, "%d", leader[i]);
        key[i] = k.failed ? NULL : moa_arena_strndup(r->arena, moa_buf_str(&k), k.len);
        moa_buf_deinit(&k);
        if (!key[i]) return moa_fail(err, MOA_ENOMEM, "%d replies", n);
    }
    count(out, cluster, size, key, b, n);
    return 0;
}

static bool has_answer(const moa_agent_node *n) {
    moa_buf a;
    moa_buf_init(&a, MOA_ANSWER_MAX);
    const bool has = n->text && moa_answer_extract(&a, n->text, n->text_len);
    moa_buf_deinit(&a);
    return has;
}

const char *moa_refuse_merge(const moa_run *r, const moa_agent_node *n) {
    static const char *const lost = "its reply has no answer";
    const char *said = moa_node_reply(n);
    const bool has = has_answer(n), lists = n->text && moa_aggregate_preface(n->text, n->text_len) > 0;
    if (!has && !said[strspn(said, " \t\r\n")]) return lost;
    if (r->cfg->aggregate_acts) return NULL; /* a call of a tool has no answer line */
    int done = 0, with = 0;
    for (int i = 0; i < n->n_in; i++) {
        const moa_agent_node *s = &r->node[n->in[i]];
        if (s->state != MOA_NODE_DONE) continue;
        done++;
        with += has_answer(s);
    }
    if (has) return lists && done && !with ? "its reply lists answers, and those it read have none" : NULL;
    return 2 * with > done ? lost : NULL;
}

int moa_reduce_vote(moa_run *r, moa_agent_node *n, moa_err *err) {
    const size_t room = (size_t)n->n_in + 1;
    int *cluster = moa_arena_alloc(r->arena, room * sizeof *cluster), *of = moa_arena_alloc(r->arena, room * sizeof *of), *in = moa_arena_alloc(r->arena, room * sizeof *in), m = 0;
    bool *drop = moa_arena_alloc(r->arena, room * sizeof *drop);
    moa_vote_told *told = moa_arena_alloc(r->arena, sizeof *told);
    if (!cluster || !of || !in || !drop || !told) return moa_fail(err, MOA_ENOMEM, "no memory for %d ballots", n->n_in);
    moa_vote v;
    MOA_TRY(moa_screen(drop, r, n, false, err));
    for (int i = 0; i < n->n_in; i++)
        if (!drop[i]) in[m++] = n->in[i];
    MOA_TRY(moa_cluster(&v, of, r, in, m, err));
    for (int i = 0, k = 0; i < n->n_in; i++) cluster[i] = drop[i] ? -1 : of[k++];
    for (int i = 0, k = v.winner; i < n->n_in && v.winner >= 0; i++) { /* its place among all */
        if (drop[i] || k-- > 0) continue;
        v.winner = i;
        break;
    }
    if (v.winner < 0) return moa_fail(err, MOA_EINVAL, "%s: no reply to choose from", n->name);
    const moa_agent_node *w = &r->node[n->in[v.winner]];
    moa_node_note(r, n, "took %s: %d of %d %s", w->name, v.size, v.n_vote, v.by_text ? "replies are alike" : "answers agree");
    *told = (moa_vote_told){v, cluster};
    n->vote = told;
    n->said = n->text;
    moa_take_text(r, n, n->in[v.winner]);
    return 0;
}
