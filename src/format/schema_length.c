/* schema_length.c - a pattern together with minLength or maxLength: the strings that match both.
 *
 * A pattern's expression becomes an automaton over characters (Thompson, 1968), which then runs beside a counter: a node is a state
 * and the number of characters so far, up to the most that matters. That is exact, and as large as both together.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/schema_impl.h"

#include <stdlib.h>

enum { MAX_STATE = 1 << 14, MAX_NODE = 1 << 18, MAX_STEP = 1 << 21, MAX_TABLE = 1 << 24, WORK = 16 /* nodes that cost as much as a schema */ };

typedef struct steps { moa_rx_step *v; uint32_t n, cap; int failed; } steps;

static void connect(steps *s, uint32_t from, uint32_t to, uint32_t x) {
    if (s->n == s->cap && !s->failed) {
        const uint32_t cap = s->cap ? s->cap * 2 : 256;
        moa_rx_step *p = cap <= MAX_STEP ? realloc(s->v, cap * sizeof *p) : NULL;
        if (p) s->v = p, s->cap = cap;
        else s->failed = cap <= MAX_STEP ? MOA_ENOMEM : MOA_ELIMIT;
    }
    if (!s->failed) s->v[s->n++] = (moa_rx_step){from, to, x};
}

/* ---- the pattern as an automaton: state 0 is its beginning ---- */

typedef struct chart { const moa_rules *r; steps s; uint32_t n_state; } chart;

static uint32_t state(chart *c) {
    if (c->n_state == MAX_STATE && !c->s.failed) c->s.failed = MOA_ELIMIT;
    return c->s.failed ? 0 : c->n_state++;
}

static uint32_t draw(chart *c, uint32_t x, uint32_t from, int depth);

static uint32_t draw_repeat(chart *c, const moa_rx *n, uint32_t from, int depth) {
    uint32_t at = from;
    for (uint32_t i = 0; i < n->min && !c->s.failed; i++) at = draw(c, n->at, at, depth);
    const uint32_t end = state(c);
    connect(&c->s, at, end, 0);
    if (n->max == UINT32_MAX) {
        connect(&c->s, draw(c, n->at, end, depth), end, 0);
        return end;
    }
    for (uint32_t i = n->min; i < n->max && !c->s.failed; i++) {
        at = draw(c, n->at, at, depth);
        connect(&c->s, at, end, 0);
    }
    return end;
}

/* From `from` along x; returns where x ends. */
static uint32_t draw(chart *c, uint32_t x, uint32_t from, int depth) {
    const moa_rx n = c->r->x[x];
    uint32_t at = from;
    if (depth > 4 * MOA_RX_DEPTH && !c->s.failed) c->s.failed = MOA_ELIMIT;
    if (c->s.failed) return 0;
    if (n.unit) {
        at = state(c);
        connect(&c->s, from, at, x);
        return at;
    }
    switch (n.kind) {
    case MOA_RX_SEQ:
        for (uint32_t i = 0; i < n.n; i++) at = draw(c, c->r->child[n.at + i], at, depth + 1);
        return at;
    case MOA_RX_ALT:
        at = state(c);
        for (uint32_t i = 0; i < n.n; i++) connect(&c->s, draw(c, c->r->child[n.at + i], from, depth + 1), at, 0);
        return at;
    case MOA_RX_REPEAT: return draw_repeat(c, &n, from, depth + 1);
    case MOA_RX_CALL: return draw(c, c->r->rule[n.at].body, from, depth + 1); /* a long sequence became a rule */
    default: return from;
    }
}

/* ---- beside the counter ---- */

typedef struct product {
    uint32_t least, most, width; /* the counter goes from 0 to width - 1; where there is no most it stays there */
    uint32_t *node;              /* [n_state * width] 0: not reached */
    uint32_t *reached, n;        /* state * width + count, of the nodes from 2 on; 0 and 1 are beginning and end */
    steps s;
} product;

static uint32_t node_of(product *p, uint32_t state_, uint32_t count) {
    uint32_t *v = &p->node[(size_t)state_ * p->width + count];
    if (*v) return *v;
    if (p->n == MAX_NODE) return p->s.failed = MOA_ELIMIT, 0;
    p->reached[p->n++] = state_ * p->width + count;
    return *v = p->n + 1;
}

/* at: [n_state + 1] where the steps from a state begin. True: some string gets to the end. */
static bool run(product *p, const chart *c, const uint32_t *at, uint32_t end) {
    bool any = false;
    connect(&p->s, 0, node_of(p, 0, 0), 0);
    for (uint32_t i = 0; i < p->n && !p->s.failed; i++) {
        const uint32_t q = p->reached[i] / p->width, count = p->reached[i] % p->width;
        if (q == end && count >= p->least) connect(&p->s, i + 2, 1, 0), any = true;
        for (uint32_t k = at[q]; k < at[q + 1]; k++) {
            const moa_rx_step e = c->s.v[k];
            const uint32_t next = count + (e.x != 0);
            if (next < p->width) connect(&p->s, i + 2, node_of(p, e.to, next), e.x);
            else if (p->most == UINT32_MAX) connect(&p->s, i + 2, node_of(p, e.to, count), e.x);
        }
    }
    return any;
}

static int by_from(const void *a, const void *b) {
    const moa_rx_step *x = a, *y = b;
    return x->from < y->from ? -1 : x->from > y->from;
}

static int count_through(uint32_t *x, moa_schema *s, const char *keyword, chart *c, uint32_t end, uint32_t least, uint32_t most) {
    product p = {.least = least, .most = most, .width = (most == UINT32_MAX ? least : most) + 1};
    uint32_t *at = calloc(c->n_state + 1, sizeof *at);
    p.node = calloc((size_t)c->n_state * p.width, sizeof *p.node);
    p.reached = malloc(MAX_NODE * sizeof *p.reached);
    if (!at || !p.node || !p.reached) p.s.failed = MOA_ENOMEM;
    bool any = false;
    if (!p.s.failed) {
        qsort(c->s.v, c->s.n, sizeof *c->s.v, by_from);
        for (uint32_t i = 0; i < c->s.n; i++) at[c->s.v[i].from + 1]++;
        for (uint32_t i = 0; i < c->n_state; i++) at[i + 1] += at[i];
        any = run(&p, c, at, end);
        if (any && !p.s.failed) *x = moa_rx_graph(&s->r, p.n + 2, p.s.v, p.s.n);
    }
    s->work += p.n / WORK;
    free(at), free(p.node), free(p.reached), free(p.s.v);
    if (p.s.failed == MOA_ELIMIT) return moa_schema_fail(s, MOA_EUNSUPPORTED, keyword, "together with such a pattern needs more than %d states", MAX_NODE);
    if (p.s.failed) return moa_schema_fail(s, p.s.failed, keyword, "no memory");
    return any ? 0 : moa_schema_fail(s, MOA_EFORMAT, keyword, "no string of that length matches the pattern");
}

int moa_schema_length(uint32_t *x, moa_schema *s, const char *keyword, uint32_t least, uint32_t most) {
    chart c = {.r = &s->r, .n_state = 1};
    MOA_TRY(moa_rules_check(&s->r, s->err));
    const uint32_t end = draw(&c, *x, 0, 0);
    const uint64_t width = (uint64_t)(most == UINT32_MAX ? least : most) + 1;
    int rc = 0;
    if (c.s.failed == MOA_ELIMIT || width * c.n_state > MAX_TABLE)
        rc = moa_schema_fail(s, MOA_EUNSUPPORTED, keyword, "together with a pattern of more than %d characters is not supported", c.s.failed ? MAX_STATE : (int)(MAX_TABLE / width));
    else if (c.s.failed) rc = moa_schema_fail(s, c.s.failed, keyword, "no memory");
    else rc = count_through(x, s, keyword, &c, end, least, most);
    free(c.s.v);
    return rc;
}
