/* constrain.c - see constrain.h. SPDX-License-Identifier: Apache-2.0 */
#include "model/constrain.h"
#include "base/err.h"

#include <stdlib.h>

void moa_constraints_deinit(moa_constraints *c) {
    for (int i = 0; i < c->n; i++) moa_matcher_free(c->v[i].m);
    free(c->v);
    moa_token_tree_free(c->tree);
    *c = (moa_constraints){0};
}

static struct moa_constraint *find(moa_constraints *c, uint64_t id) {
    for (int i = 0; i < c->n; i++)
        if (c->v[i].id == id) return &c->v[i];
    return NULL;
}

/* Of the matchers that nobody uses, the one not used for longest; NULL when fewer than MOA_CONSTRAINTS are idle. */
static struct moa_constraint *oldest_idle(moa_constraints *c) {
    struct moa_constraint *old = NULL;
    int idle = 0;
    for (int i = 0; i < c->n; i++) {
        if (c->v[i].users) continue;
        idle++;
        if (!old || c->v[i].used < old->used) old = &c->v[i];
    }
    return idle < MOA_CONSTRAINTS ? NULL : old;
}

static int add(struct moa_constraint **out, moa_constraints *c, const moa_tokenizer *tok, const moa_grammar *g, moa_err *err) {
    if (!c->tree) MOA_TRY(moa_token_tree_new(&c->tree, tok, err));
    moa_matcher *m;
    MOA_TRY(moa_matcher_new(&m, g, c->tree, err));
    struct moa_constraint *k = oldest_idle(c);
    if (k) {
        moa_matcher_free(k->m);
    } else {
        if (c->n == c->cap) {
            const int cap = c->cap ? c->cap * 2 : 8;
            struct moa_constraint *v = realloc(c->v, (size_t)cap * sizeof *v);
            if (!v) return moa_matcher_free(m), moa_fail(err, MOA_ENOMEM, "no memory for %d grammars", cap);
            c->v = v, c->cap = cap;
        }
        k = &c->v[c->n++];
    }
    *k = (struct moa_constraint){.m = m, .id = moa_grammar_id(g)};
    *out = k;
    return 0;
}

int moa_constraints_open(moa_matcher **m, int *state, moa_constraints *c, const moa_tokenizer *tok, const moa_grammar *g, moa_err *err) {
    struct moa_constraint *k = find(c, moa_grammar_id(g));
    if (!k) MOA_TRY(add(&k, c, tok, g, err));
    const int s = moa_matcher_open(k->m, err);
    if (s < 0) return s;
    k->users++;
    k->used = ++c->clock;
    *m = k->m;
    *state = s;
    return 0;
}

void moa_constraints_close(moa_constraints *c, moa_matcher *m, int state) {
    moa_matcher_close(m, state);
    for (int i = 0; i < c->n; i++) c->v[i].users -= c->v[i].m == m;
}
