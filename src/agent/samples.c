/* samples.c - n proposals of one layer, at once or in waves.
 *
 * In waves, a gate reads those that are there: where they agree (agree.h), or all have been asked, the strategy's tail is added behind them; else
 * the next wave and the next gate. Sample i draws by the same seed as without waves, so that it is the same text.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/agree.h"
#include "agent/strategy.h"

#include "base/rng.h"

#include <stdio.h>
#include <string.h>

typedef struct plan {
    const char *prefix;
    int n, asked;
    int *id;                /* [n] */
    moa_finish_fn finish;
} plan;

static int gate(moa_run *r, moa_agent_node *n, moa_err *err);

static const char *enough(moa_run *r, const moa_agent_node *n) {
    const plan *p = n->own;
    return moa_agree(r, p->id, p->asked, p->n);
}

static int add_wave(moa_run *r, plan *p, moa_err *err) {
    const moa_mix_cfg *c = r->cfg;
    const int end = p->asked + c->wave < p->n ? p->asked + c->wave : p->n;
    for (; p->asked < end; p->asked++) {
        char name[48];
        const uint64_t key[2] = {r->seed, (uint64_t)p->asked};
        snprintf(name, sizeof name, "%s%d", p->prefix, p->asked + 1);
        moa_agent_node node = moa_proposer(c, p->asked);
        node.name = name;
        node.seeded = true;
        node.sampling.seed = moa_hash64(key, sizeof key, 0);
        const int id = moa_run_add(r, &node, err);
        if (id < 0) return id;
        p->id[p->asked] = id;
    }
    char name[48];
    snprintf(name, sizeof name, "%sgate%d", p->prefix, p->asked);
    moa_agent_node node = {.name = name, .role = "gate", .in = p->id, .n_in = p->asked, .reduce = gate, .own = p, .grace_s = c->grace_s,
                           .enough = c->until == MOA_UNTIL_AGREE ? enough : NULL};
    const int id = moa_run_add(r, &node, err);
    if (id < 0) return id;
    r->answer = id;
    return 0;
}

static int gate(moa_run *r, moa_agent_node *n, moa_err *err) {
    plan *p = n->own;
    const char *why = n->enough ? n->enough(r, n) : NULL;
    int worked = 0;
    for (int i = 0; i < p->asked; i++) worked += r->node[p->id[i]].state == MOA_NODE_DONE;
    n->text = "", n->text_len = 0;
    if (p->asked < p->n && (!why || worked < r->cfg->need)) return add_wave(r, p, err);
    if (p->asked < p->n) {
        moa_node_note(r, n, "%s: %d not asked", why, p->n - p->asked);
        n->spared_like = p->id[0], n->n_spared = p->n - p->asked;
    }
    const int id = p->finish(r, p->id, p->asked, err);
    if (id < 0) return id;
    r->answer = id;
    return 0;
}

int moa_add_sampled(moa_run *r, const moa_mix_cfg *c, const char *prefix, int n, moa_finish_fn finish, moa_err *err) {
    plan *p = moa_arena_calloc(r->arena, sizeof *p);
    int *id = moa_arena_calloc(r->arena, (size_t)n * sizeof *id);
    if (!p || !id) return moa_fail(err, MOA_ENOMEM, "%d proposals", n);
    *p = (plan){.prefix = prefix, .n = n, .id = id, .finish = finish};
    if (c->wave && c->wave < n) return add_wave(r, p, err);
    MOA_TRY(moa_add_proposers(id, r, c, prefix, n, NULL, 0, err));
    const int last = finish(r, id, n, err);
    return last < 0 ? last : 0;
}
