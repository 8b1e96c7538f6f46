/* grammar_machine.c - running a grammar over bytes: positions, continuations, steps; each kept once.
 *
 * After each byte the machine is in a set of items (state, continuation). Calls of one rule at one place share one
 * continuation, the set of all frames that wait for it (the graph-structured stack of GLL parsers, Scott and Johnstone 2010;
 * sharing by rule after Afroozeh and Izmaylova 2015). So a grammar with exponentially many readings costs what one with few
 * costs, and nothing is lost: what follows a rule does not depend on who called it. A call in last place adds its caller's
 * frames instead of one more, so lists written by right recursion stay flat.
 *
 * Frames refer only to older continuations, since left recursion is refused: equal sets get equal numbers, positions are
 * comparable, and a step that was taken once is one lookup. When memory is full, what no live sequence needs is forgotten.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "format/grammar_impl.h"

#include <stdlib.h>
#include <string.h>

enum {
    POSITIONS = 1 << 14, CONTINUATIONS = 1 << 15, ITEMS = 1 << 20, FRAMES = 1 << 20,
    MIN_COLUMNS = (POSITIONS + CONTINUATIONS) / POSITIONS, /* of the step table, which serves for the marks of a collection */
    WIDE = 1 << 16 /* items of one position while it is worked out, and calls */
};

/* Scratch of one step. A continuation below 0 is rule -1 - cont, called in this step and not yet numbered. */
typedef struct waiting { int32_t rule, to, cont, next; } waiting; /* to -1: the frames of cont itself */
struct moa_closure {
    moa_item item[WIDE]; int n_item;
    waiting call[WIDE]; int n_call;
    struct seen { int32_t tag, a, b; uint32_t stamp; } seen[4 * WIDE]; uint32_t now; /* what was added in this step */
    int32_t *first;    /* [n_rule] calls of a rule; -1 */
    int32_t *number;   /* [n_rule] its continuation */
    uint8_t *wanted;   /* [n_rule] */
    int32_t *called; int n_called; /* [n_rule] rules that were called */
    uint64_t sorted[WIDE]; int n_sorted;
    bool accept, failed;
};

static int64_t key_of(int32_t state, int32_t cont) { return (int64_t)((uint64_t)(uint32_t)state << 32 | (uint32_t)cont); }

/* ---- sorted sets of 64-bit keys ---- */

static void sift(uint64_t *v, int n, int i) {
    const uint64_t x = v[i];
    for (int k; (k = 2 * i + 1) < n; i = k) {
        if (k + 1 < n && v[k + 1] > v[k]) k++;
        if (v[k] <= x) break;
        v[i] = v[k];
    }
    v[i] = x;
}

/* In place: qsort may ask for memory. */
static int sort_unique(uint64_t *v, int n) {
    for (int i = n / 2 - 1; i >= 0; i--) sift(v, n, i);
    for (int i = n - 1; i > 0; i--) {
        const uint64_t x = v[0];
        v[0] = v[i], v[i] = x;
        sift(v, i, 0);
    }
    int m = 0;
    for (int i = 0; i < n; i++)
        if (!m || v[m - 1] != v[i]) v[m++] = v[i];
    return m;
}

static int32_t add_dist(int64_t a, int64_t b) { return (int32_t)(a + b < MOA_GRAMMAR_FAR ? a + b : MOA_GRAMMAR_FAR - 1); }

/* ---- tables: equal sets, equal numbers ---- */

static bool same_items(const moa_item *a, const uint64_t *key, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if ((uint64_t)key_of(a[i].state, a[i].cont) != key[i]) return false;
    return true;
}

static void copy_items(moa_item *a, const uint64_t *key, int n) {
    for (int i = 0; i < n; i++) a[i] = (moa_item){(int32_t)(key[i] >> 32), (int32_t)(uint32_t)key[i]};
}

static int32_t intern_cont(moa_machine *m, const uint64_t *key, int n) {
    const uint64_t h = moa_hash64(key, (uint64_t)n * sizeof *key, 2), mask = (uint64_t)m->cap_cont * 2 - 1;
    uint64_t i = h & mask;
    for (int32_t s; (s = m->cont_slot[i]) != 0; i = (i + 1) & mask) {
        const moa_cont *c = &m->cont[s - 1];
        if (c->hash == h && c->n == (uint32_t)n && same_items(m->frame + c->at, key, c->n)) return s - 1;
    }
    if (m->n_cont == m->cap_cont || (uint32_t)n > m->cap_frame - m->n_frame) return MOA_MACHINE_FULL;
    moa_cont *c = &m->cont[m->n_cont];
    *c = (moa_cont){.at = m->n_frame, .n = (uint32_t)n, .hash = h, .dist = MOA_GRAMMAR_FAR - 1};
    copy_items(m->frame + c->at, key, n);
    for (int k = 0; k < n; k++) {
        const moa_item f = m->frame[c->at + (uint32_t)k];
        const int32_t d = f.state < 0 ? 0 : add_dist(m->g->dist[f.state], m->cont[f.cont].dist);
        if (d < c->dist) c->dist = d;
    }
    m->n_frame += (uint32_t)n;
    m->cont_slot[i] = m->n_cont + 1;
    return m->n_cont++;
}

static int32_t intern_pos(moa_machine *m, const uint64_t *key, int n, bool accept) {
    const uint64_t h = moa_hash64(key, (uint64_t)n * sizeof *key, accept ? 4 : 3), mask = (uint64_t)m->cap_pos * 2 - 1;
    uint64_t i = h & mask;
    for (int32_t s; (s = m->pos_slot[i]) != 0; i = (i + 1) & mask) {
        const moa_pos *p = &m->pos[s - 1];
        if (p->hash == h && p->n == (uint32_t)n && p->accept == accept && same_items(m->item + p->at, key, p->n)) return s - 1;
    }
    if (m->n_pos == m->cap_pos || (uint32_t)n > m->cap_item - m->n_item) return MOA_MACHINE_FULL;
    moa_pos *p = &m->pos[m->n_pos];
    *p = (moa_pos){.at = m->n_item, .n = (uint32_t)n, .hash = h, .accept = accept, .dist = accept ? 0 : MOA_GRAMMAR_FAR - 1};
    copy_items(m->item + p->at, key, n);
    for (int k = 0; k < n; k++) {
        const moa_item f = m->item[p->at + (uint32_t)k];
        const int32_t d = add_dist(m->g->dist[f.state], m->cont[f.cont].dist);
        if (d < p->dist) p->dist = d;
    }
    m->n_item += (uint32_t)n;
    memset(m->next + (size_t)m->n_pos * (size_t)m->g->n_class, 0xFF, (size_t)m->g->n_class * sizeof *m->next);
    m->pos_slot[i] = m->n_pos + 1;
    return m->n_pos++;
}

/* ---- the closure of a set of items ---- */

static void begin(moa_machine *m) {
    struct moa_closure *c = m->c;
    if (++c->now == 0) memset(c->seen, 0, sizeof c->seen), c->now = 1;
    for (int i = 0; i < c->n_called; i++) c->first[c->called[i]] = -1, c->wanted[c->called[i]] = 0;
    c->n_item = c->n_call = c->n_called = 0;
    c->accept = c->failed = false;
}

/* True the first time that (tag, a, b) comes in this step. */
static bool fresh(struct moa_closure *c, int32_t tag, int32_t a, int32_t b) {
    const uint64_t mask = 4 * WIDE - 1;
    for (uint64_t i = moa_mix64((uint64_t)key_of(a, b) + moa_mix64((uint64_t)(uint32_t)tag));; i++) {
        struct seen *s = &c->seen[i & mask];
        if (s->stamp != c->now) {
            *s = (struct seen){tag, a, b, c->now};
            return true;
        }
        if (s->tag == tag && s->a == a && s->b == b) return false;
    }
}

static void add_item(struct moa_closure *c, int32_t state, int32_t cont) {
    if (c->failed || !fresh(c, -2, state, cont)) return;
    if (c->n_item == WIDE) c->failed = true;
    else c->item[c->n_item++] = (moa_item){state, cont};
}

/* cont's frames go on: their rule has ended. */
static void pop(moa_machine *m, int32_t cont) {
    for (uint32_t i = 0; i < m->cont[cont].n; i++) {
        const moa_item f = m->frame[m->cont[cont].at + i];
        if (f.state < 0) m->c->accept = true;
        else add_item(m->c, f.state, f.cont);
    }
}

static void call(moa_machine *m, moa_call_edge e, int32_t cont) {
    struct moa_closure *c = m->c;
    const int32_t to = m->g->end[e.to] == 2 ? -1 : e.to;
    if (c->failed) return;
    if (m->g->dist[m->g->start[e.rule]] == 0) add_item(c, e.to, cont); /* it may be empty */
    if (!fresh(c, e.rule, to, cont)) return;
    if (c->n_call == WIDE) {
        c->failed = true;
        return;
    }
    if (c->first[e.rule] < 0) {
        c->called[c->n_called++] = e.rule;
        add_item(c, m->g->start[e.rule], -1 - e.rule);
    }
    c->call[c->n_call] = (waiting){e.rule, to, cont, c->first[e.rule]};
    c->first[e.rule] = c->n_call++;
}

static void close_items(moa_machine *m) {
    const moa_grammar *g = m->g;
    struct moa_closure *c = m->c;
    for (int k = 0; k < c->n_item && !c->failed; k++) {
        const moa_item x = c->item[k];
        for (uint32_t i = g->skip_at[x.state]; i < g->skip_at[x.state + 1]; i++) add_item(c, g->skip[i], x.cont);
        for (uint32_t i = g->call_at[x.state]; i < g->call_at[x.state + 1]; i++) call(m, g->call[i], x.cont);
        /* The end of a rule that began in this step: it was empty, and call() went on behind it. */
        if (g->end[x.state] && x.cont >= 0) pop(m, x.cont);
    }
}

/* Called rules in order of rank, so that callers come first. */
static void sort_called(struct moa_closure *c, const int32_t *rank) {
    for (int i = 0; i < c->n_called; i++) c->sorted[i] = (uint64_t)(uint32_t)rank[c->called[i]] << 32 | (uint32_t)c->called[i];
    const int n = sort_unique(c->sorted, c->n_called);
    for (int i = 0; i < n; i++) c->called[i] = (int32_t)(uint32_t)c->sorted[i];
}

static int32_t number_call(moa_machine *m, int32_t rule) {
    struct moa_closure *c = m->c;
    int n = 0;
    for (int32_t k = c->first[rule]; k >= 0; k = c->call[k].next) {
        const waiting *w = &c->call[k];
        const int32_t cont = w->cont >= 0 ? w->cont : c->number[-1 - w->cont];
        const moa_cont *up = &m->cont[cont];
        const int32_t more = w->to >= 0 ? 1 : (int32_t)up->n;
        if (n + more > WIDE) return MOA_MACHINE_WIDE;
        if (w->to >= 0) c->sorted[n++] = (uint64_t)key_of(w->to, cont);
        else for (uint32_t i = 0; i < up->n; i++) c->sorted[n++] = (uint64_t)key_of(m->frame[up->at + i].state, m->frame[up->at + i].cont);
    }
    return intern_cont(m, c->sorted, sort_unique(c->sorted, n));
}

static bool reads(const moa_grammar *g, int32_t state) { return g->byte_at[state] < g->byte_at[state + 1]; }

/* Numbers for the rules of this step that an item, or another such rule, goes on after. */
static int32_t number_calls(moa_machine *m) {
    struct moa_closure *c = m->c;
    if (c->n_called > WIDE) return MOA_MACHINE_WIDE;
    sort_called(c, m->g->rank);
    for (int i = 0; i < c->n_item; i++)
        if (c->item[i].cont < 0 && reads(m->g, c->item[i].state)) c->wanted[-1 - c->item[i].cont] = 1;
    for (int i = c->n_called - 1; i >= 0; i--)
        for (int32_t k = c->wanted[c->called[i]] ? c->first[c->called[i]] : -1; k >= 0; k = c->call[k].next)
            if (c->call[k].cont < 0) c->wanted[-1 - c->call[k].cont] = 1;
    for (int i = 0; i < c->n_called; i++) {
        if (!c->wanted[c->called[i]]) continue;
        const int32_t cont = number_call(m, c->called[i]);
        if (cont < 0) return cont;
        c->number[c->called[i]] = cont;
    }
    return 0;
}

/* The position of the items that were added. */
static int32_t finish(moa_machine *m) {
    struct moa_closure *c = m->c;
    close_items(m);
    if (c->failed) return MOA_MACHINE_WIDE;
    const int32_t rc = number_calls(m);
    if (rc < 0) return rc;
    int n = 0;
    for (int i = 0; i < c->n_item; i++) {
        const moa_item x = c->item[i];
        if (reads(m->g, x.state)) c->sorted[n++] = (uint64_t)key_of(x.state, x.cont >= 0 ? x.cont : c->number[-1 - x.cont]);
    }
    return intern_pos(m, c->sorted, sort_unique(c->sorted, n), c->accept);
}

/* ---- steps ---- */

int32_t moa_machine_start(moa_machine *m) {
    begin(m);
    add_item(m->c, m->g->start[0], 0);
    /* The root's continuation is the end of the text, older than everything: it may end, and be called again, like any rule. */
    return finish(m);
}

int32_t moa_machine_step_slow(moa_machine *m, int32_t pos, int cls) {
    const moa_grammar *g = m->g;
    const moa_pos p = m->pos[pos];
    const uint8_t b = g->sample[cls];
    begin(m);
    for (uint32_t i = 0; i < p.n; i++) {
        const moa_item x = m->item[p.at + i];
        for (uint32_t k = g->byte_at[x.state]; k < g->byte_at[x.state + 1]; k++)
            if (g->byte[k].lo <= b && b <= g->byte[k].hi) add_item(m->c, g->byte[k].to, x.cont);
    }
    const int32_t to = finish(m);
    if (to >= 0) m->next[(size_t)pos * (size_t)g->n_class + (size_t)cls] = to;
    return to;
}

int32_t moa_machine_pop(moa_machine *m, int32_t cont) {
    begin(m);
    pop(m, cont);
    return finish(m);
}

int32_t moa_machine_head(moa_machine *m, int32_t pos, int32_t cont) {
    const moa_pos p = m->pos[pos];
    int n = 0;
    for (uint32_t i = 0; i < p.n; i++)
        if (m->item[p.at + i].cont == cont) m->c->sorted[n++] = (uint64_t)key_of(m->item[p.at + i].state, 0);
    return intern_pos(m, m->c->sorted, n, false); /* sorted by state already */
}

/* ---- memory ---- */

int moa_machine_init(moa_machine *m, const moa_grammar *g, moa_err *err) {
    *m = (moa_machine){.g = g, .cap_pos = POSITIONS, .cap_cont = CONTINUATIONS, .cap_item = ITEMS, .cap_frame = FRAMES};
    const size_t n_rule = (size_t)g->n_rule;
    m->pos = malloc(POSITIONS * sizeof *m->pos);
    m->cont = malloc(CONTINUATIONS * sizeof *m->cont);
    m->item = malloc(ITEMS * sizeof *m->item);
    m->frame = malloc(FRAMES * sizeof *m->frame);
    m->pos_slot = calloc(2 * POSITIONS, sizeof *m->pos_slot);
    m->cont_slot = calloc(2 * CONTINUATIONS, sizeof *m->cont_slot);
    m->next = malloc((size_t)POSITIONS * (size_t)(g->n_class > MIN_COLUMNS ? g->n_class : MIN_COLUMNS) * sizeof *m->next);
    struct moa_closure *c = m->c = calloc(1, sizeof *m->c);
    if (c) {
        c->first = malloc(n_rule * sizeof *c->first);
        c->number = malloc(n_rule * sizeof *c->number);
        c->wanted = calloc(n_rule, 1);
        c->called = malloc(n_rule * sizeof *c->called);
    }
    if (!m->pos || !m->cont || !m->item || !m->frame || !m->pos_slot || !m->cont_slot || !m->next || !c || !c->first || !c->number ||
        !c->wanted || !c->called)
        return moa_machine_deinit(m), moa_fail(err, MOA_ENOMEM, "no memory to run a grammar");
    memset(c->first, 0xFF, n_rule * sizeof *c->first);
    moa_machine_collect(m, NULL, 0, NULL);
    return 0;
}

void moa_machine_deinit(moa_machine *m) {
    free(m->pos), free(m->cont), free(m->item), free(m->frame), free(m->pos_slot), free(m->cont_slot), free(m->next);
    if (m->c) free(m->c->first), free(m->c->number), free(m->c->wanted), free(m->c->called);
    free(m->c);
    *m = (moa_machine){0};
}

/* Continuations that the marked positions reach: frames refer to lower numbers only, so one pass down marks, one up moves. */
static void move_conts(moa_machine *m, int32_t *moved) {
    for (int32_t k = m->n_cont - 1; k >= 0; k--)
        for (uint32_t i = 0; moved[k] && i < m->cont[k].n; i++)
            if (m->frame[m->cont[k].at + i].state >= 0) moved[m->frame[m->cont[k].at + i].cont] = 1;
    int32_t n = 0;
    uint32_t at = 0;
    for (int32_t k = 0; k < m->n_cont; k++) {
        if (!moved[k]) continue;
        const moa_cont c = m->cont[k];
        for (uint32_t i = 0; i < c.n; i++) {
            moa_item f = m->frame[c.at + i];
            if (f.state >= 0) f.cont = moved[f.cont];
            m->frame[at + i] = f;
        }
        m->cont[n] = (moa_cont){.at = at, .n = c.n, .dist = c.dist};
        at += c.n;
        moved[k] = n++;
    }
    m->n_cont = n, m->n_frame = at;
}

static void hash_again(moa_machine *m) {
    memset(m->cont_slot, 0, (size_t)m->cap_cont * 2 * sizeof *m->cont_slot);
    memset(m->pos_slot, 0, (size_t)m->cap_pos * 2 * sizeof *m->pos_slot);
    uint64_t *key = m->c->sorted;
    for (int32_t k = 0; k < m->n_cont; k++) {
        moa_cont *c = &m->cont[k];
        for (uint32_t i = 0; i < c->n; i++) key[i] = (uint64_t)key_of(m->frame[c->at + i].state, m->frame[c->at + i].cont);
        c->hash = moa_hash64(key, c->n * sizeof *key, 2);
        uint64_t i = c->hash, mask = (uint64_t)m->cap_cont * 2 - 1;
        while (m->cont_slot[i & mask]) i++;
        m->cont_slot[i & mask] = k + 1;
    }
    for (int32_t k = 0; k < m->n_pos; k++) {
        moa_pos *p = &m->pos[k];
        for (uint32_t i = 0; i < p->n; i++) key[i] = (uint64_t)key_of(m->item[p->at + i].state, m->item[p->at + i].cont);
        p->hash = moa_hash64(key, p->n * sizeof *key, p->accept ? 4 : 3);
        uint64_t i = p->hash, mask = (uint64_t)m->cap_pos * 2 - 1;
        while (m->pos_slot[i & mask]) i++;
        m->pos_slot[i & mask] = k + 1;
    }
}

void moa_machine_collect(moa_machine *m, int32_t *root, int n, int32_t *old) {
    if (!m->n_pos) { /* new: the dead position and the end of the text */
        m->frame[m->n_frame++] = (moa_item){-1, 0};
        m->cont[m->n_cont++] = (moa_cont){.n = 1};
        m->pos[m->n_pos++] = (moa_pos){.dist = MOA_GRAMMAR_FAR - 1};
    }
    /* The step table is about to be forgotten: its memory serves for the marks. */
    int32_t *pos_to = m->next, *cont_to = m->next + m->cap_pos;
    memset(pos_to, 0, (size_t)m->cap_pos * sizeof *pos_to);
    memset(cont_to, 0, (size_t)m->cap_cont * sizeof *cont_to);
    pos_to[0] = cont_to[0] = 1;
    for (int i = 0; i < n; i++) pos_to[root[i]] = 1;
    for (int32_t k = 0; k < m->n_pos; k++)
        for (uint32_t i = 0; pos_to[k] && i < m->pos[k].n; i++) cont_to[m->item[m->pos[k].at + i].cont] = 1;
    move_conts(m, cont_to);
    int32_t n_pos = 0;
    uint32_t at = 0;
    for (int32_t k = 0; k < m->n_pos; k++) {
        if (!pos_to[k]) {
            if (old) old[k] = -1;
            continue;
        }
        const moa_pos p = m->pos[k];
        for (uint32_t i = 0; i < p.n; i++) m->item[at + i] = (moa_item){m->item[p.at + i].state, cont_to[m->item[p.at + i].cont]};
        m->pos[n_pos] = (moa_pos){.at = at, .n = p.n, .dist = p.dist, .accept = p.accept};
        at += p.n;
        if (old) old[k] = n_pos;
        pos_to[k] = n_pos++;
    }
    m->n_pos = n_pos, m->n_item = at;
    for (int i = 0; i < n; i++) root[i] = pos_to[root[i]];
    hash_again(m);
    memset(m->next, 0xFF, (size_t)n_pos * (size_t)m->g->n_class * sizeof *m->next);
    memset(m->next, 0, (size_t)m->g->n_class * sizeof *m->next); /* dead stays dead */
}
