/* grammar_compile.c - rules -> one automaton a rule, over bytes.
 *
 * Thompson's construction with calls: an edge is a range of bytes, nothing, or a call of another rule. Characters become their
 * UTF-8 bytes, so a token that ends inside a character is a path like any other. Rules that are small and not recursive are
 * put in place where they are called, which keeps loops over them inside one automaton. What is repeated n times and is not
 * small becomes a rule of its own, so that ((x{1000}){1000}){1000} is three thousand edges rather than a billion.
 *
 * Then fewest bytes to the end, for all states at once (Knuth's generalisation of Dijkstra's algorithm to grammars, 1977). States
 * that cannot end are dropped: whatever is left alive while decoding can be finished. Last, left recursion: a
 * position's continuations would be their own continuations, so it is refused with the rules that make the circle.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "format/grammar_impl.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_STATE = 1 << 19, MAX_EDGE = 1 << 21,
    SMALL = 96,          /* states of a rule that is put in place */
    SMALL_COPIES = 1 << 16 /* states of a repetition that is written out */
};
enum { ON_BYTE, ON_CALL, ON_NOTHING };

typedef struct edge { int32_t from, to, what; uint8_t kind, lo, hi; } edge; /* what: rule */

typedef struct compiler {
    moa_rules *r;
    edge *e; int32_t n_e, cap_e;
    int32_t n_state;
    uint32_t *size;             /* [n_rule] states when put in place; UINT32_MAX: recursive, or not known yet */
    uint8_t *busy;              /* [n_rule] being measured */
    uint32_t *own; uint32_t n_own; /* [n_own] expressions that got a rule of their own: rule n_rule + i */
    uint32_t *own_of;           /* [n_x] index + 1 */
    uint32_t n_rule;            /* of r; those of own come after */
    uint32_t *queue; uint32_t n_queue; /* rules that are called, in order of discovery: number in the grammar */
    int32_t *number;            /* [n_rule + n_own] place in the queue, -1: not called */
    int32_t *first, *last;      /* [n_queue] states */
    uint32_t cap_all;           /* room of own, queue, number, first, last */
    int failed;
} compiler;

/* ---- how large an expression is, in states ---- */

static uint32_t capped(uint64_t n) { return n < MAX_STATE ? (uint32_t)n : UINT32_MAX; }

static uint32_t measure(compiler *c, uint32_t x, int depth);

static uint32_t measure_rule(compiler *c, uint32_t rule, int depth) {
    if (c->busy[rule] == 2) return c->size[rule];
    if (c->busy[rule] == 1 || depth > MOA_RX_DEPTH) return UINT32_MAX; /* recursive, or too far down to tell: called */
    c->busy[rule] = 1;
    c->size[rule] = measure(c, c->r->rule[rule].body, depth + 1);
    c->busy[rule] = 2;
    return c->size[rule];
}

static uint32_t measure(compiler *c, uint32_t x, int depth) {
    const moa_rx *n = &c->r->x[x];
    uint64_t sum = 0;
    if (depth > MOA_RX_DEPTH) return UINT32_MAX;
    switch (n->kind) {
    case MOA_RX_TEXT: return n->n;
    case MOA_RX_CLASS: return n->n && c->r->span[n->at + n->n - 1].hi > 127 ? 12 : 1;
    case MOA_RX_CALL: /* a step more, so that a chain of rules is not put in place without end */
        sum = measure_rule(c, n->at, depth);
        return sum == UINT32_MAX ? UINT32_MAX : capped(sum + 1);
    case MOA_RX_REPEAT:
        /* A loop without end stays in a rule of its own: all places where a string may stand then share its states (and so the
         * masks inside it). */
        sum = n->max == UINT32_MAX ? UINT32_MAX : measure(c, n->at, depth + 1);
        return sum == UINT32_MAX ? UINT32_MAX : capped((sum + 1) * n->max);
    case MOA_RX_SEQ:
    case MOA_RX_ALT:
        for (uint32_t i = 0; i < n->n; i++) {
            const uint32_t k = measure(c, c->r->child[n->at + i], depth + 1);
            if (k == UINT32_MAX) return k;
            sum += k + 1;
        }
        return capped(sum);
    case MOA_RX_GRAPH:
        for (uint32_t i = 0; i < n->n; i++) {
            const uint32_t k = measure(c, c->r->step[n->at + i].x, depth + 1);
            if (k == UINT32_MAX) return k;
            sum += k;
        }
        return capped(sum + n->min);
    }
    return 0;
}

/* ---- construction ---- */

static int32_t state(compiler *c) {
    if (c->n_state >= MAX_STATE && !c->failed) c->failed = MOA_ELIMIT;
    return c->failed ? 0 : c->n_state++;
}

static void connect(compiler *c, edge e) {
    if (c->n_e >= MAX_EDGE && !c->failed) c->failed = MOA_ELIMIT;
    if (c->n_e == c->cap_e && !c->failed) {
        const int32_t cap = c->cap_e ? c->cap_e * 2 : 1024;
        edge *v = realloc(c->e, (size_t)cap * sizeof *v);
        if (v) c->e = v, c->cap_e = cap;
        else c->failed = MOA_ENOMEM;
    }
    if (!c->failed) c->e[c->n_e++] = e;
}

static void connect_bytes(compiler *c, int32_t from, int lo, int hi, int32_t to) {
    connect(c, (edge){from, to, 0, ON_BYTE, (uint8_t)lo, (uint8_t)hi});
}

static void connect_nothing(compiler *c, int32_t from, int32_t to) {
    if (from != to) connect(c, (edge){from, to, 0, ON_NOTHING, 0, 0});
}

/* UTF-8 of the code points lo..hi, all of `len` bytes, from `from` to `to`. any[k]: a state from which any k continuation
 * bytes lead to `to`, made when wanted. */
static void put_utf8(compiler *c, int32_t from, uint32_t lo, uint32_t hi, int len, bool first, int32_t any[4]) {
    const uint32_t below = len > 1 ? 1u << (6 * (len - 1)) : 1; /* code points under one value of the leading byte */
    static const int mark[5] = {0, 0, 0xC0, 0xE0, 0xF0};
    const int base = first ? mark[len] : 0x80;
    if (len == 1) {
        connect_bytes(c, from, base + (int)(lo & (first ? 0x7F : 0x3F)), base + (int)(hi & (first ? 0x7F : 0x3F)), any[0]);
        return;
    }
    while (lo <= hi && !c->failed) {
        const uint32_t top = lo / below, end = (top + 1) * below - 1;
        if (lo % below == 0 && hi >= end) { /* whole blocks share what follows */
            const uint32_t last = (hi + 1) / below - 1;
            if (any[len - 1] < 0) {
                any[len - 1] = state(c);
                if (len > 2 && any[len - 2] < 0) {
                    any[len - 2] = state(c);
                    if (len > 3 && any[1] < 0) any[1] = state(c), connect_bytes(c, any[1], 0x80, 0xBF, any[0]);
                    connect_bytes(c, any[len - 2], 0x80, 0xBF, any[len - 3]);
                }
                connect_bytes(c, any[len - 1], 0x80, 0xBF, any[len - 2]);
            }
            connect_bytes(c, from, base + (int)(top & 0x3F), base + (int)(last & 0x3F), any[len - 1]);
            lo = (last + 1) * below;
        } else {
            const int32_t mid = state(c);
            const uint32_t until = hi < end ? hi : end;
            connect_bytes(c, from, base + (int)(top & 0x3F), base + (int)(top & 0x3F), mid);
            put_utf8(c, mid, lo % below, until % below, len - 1, false, any);
            lo = until + 1;
        }
    }
}

static int32_t put_class(compiler *c, const moa_rx *n, int32_t from) {
    static const moa_span of_len[5] = {{1, 0}, {0, 0x7F}, {0x80, 0x7FF}, {0x800, 0xFFFF}, {0x10000, 0x10FFFF}};
    int32_t any[4] = {state(c), -1, -1, -1};
    for (uint32_t i = 0; i < n->n; i++)
        for (int len = 1; len <= 4; len++) {
            const moa_span s = c->r->span[n->at + i], all = of_len[len];
            const uint32_t lo = s.lo > all.lo ? s.lo : all.lo, hi = s.hi < all.hi ? s.hi : all.hi;
            if (lo <= hi) put_utf8(c, from, lo, hi, len, true, any);
        }
    return any[0];
}

/* The number of a rule that is called. */
static int32_t number_of(compiler *c, uint32_t rule) {
    if (c->number[rule] < 0) {
        c->number[rule] = (int32_t)c->n_queue;
        c->queue[c->n_queue++] = rule;
    }
    return c->number[rule];
}

/* An expression as a rule of its own. */
static uint32_t own_rule(compiler *c, uint32_t x) {
    if (!c->own_of[x]) {
        c->own[c->n_own] = x;
        c->own_of[x] = ++c->n_own;
    }
    return c->n_rule + c->own_of[x] - 1;
}

static int32_t put(compiler *c, uint32_t x, int32_t from);

static int32_t put_called(compiler *c, uint32_t rule, int32_t from) {
    const int32_t to = state(c);
    if (!c->failed) connect(c, (edge){from, to, number_of(c, rule), ON_CALL, 0, 0});
    return to;
}

static int32_t put_call(compiler *c, uint32_t rule, int32_t from) {
    return measure_rule(c, rule, 0) <= SMALL ? put(c, c->r->rule[rule].body, from) : put_called(c, rule, from);
}

/* How the copies of x are written: as x, or, where that would be too much, as calls of a rule. */
static uint32_t copied(compiler *c, uint32_t x, uint32_t copies, bool *call) {
    const uint32_t size = copies > 1 ? measure(c, x, 0) : 0;
    *call = size == UINT32_MAX || (uint64_t)(size + 1) * copies > SMALL_COPIES;
    if (!*call) return x;
    return c->r->x[x].kind == MOA_RX_CALL ? c->r->x[x].at : own_rule(c, x);
}

static int32_t put_repeat(compiler *c, const moa_rx *n, int32_t from) {
    const bool endless = n->max == UINT32_MAX;
    bool call;
    const uint32_t what = copied(c, n->at, endless ? n->min : n->max, &call);
    int32_t at = from;
    for (uint32_t i = 0; i + endless < n->min && !c->failed; i++) at = call ? put_called(c, what, at) : put(c, what, at);
    if (endless) {
        const int32_t loop = state(c);
        connect_nothing(c, at, loop);
        const int32_t back = call ? put_called(c, what, loop) : put(c, what, loop);
        connect_nothing(c, back, loop);
        return n->min ? back : loop;
    }
    const int32_t end = state(c);
    for (uint32_t i = n->min; i < n->max && !c->failed; i++) {
        connect_nothing(c, at, end);
        at = call ? put_called(c, what, at) : put(c, what, at);
    }
    connect_nothing(c, at, end);
    return end;
}

/* A step of one byte needs no node between. */
static bool put_byte(compiler *c, const moa_rx *x, int32_t from, int32_t to) {
    if (x->kind != MOA_RX_CLASS && (x->kind != MOA_RX_TEXT || x->n != 1)) return false;
    const moa_span *s = c->r->span + x->at;
    if (x->kind == MOA_RX_TEXT) return connect_bytes(c, from, (uint8_t)c->r->text[x->at], (uint8_t)c->r->text[x->at], to), true;
    if (x->n && s[x->n - 1].hi > 127) return false;
    for (uint32_t i = 0; i < x->n; i++) connect_bytes(c, from, (int)s[i].lo, (int)s[i].hi, to);
    return true;
}

/* Steps that would be too much to write out are calls of rules. */
static int32_t put_graph(compiler *c, uint32_t x, int32_t from) {
    const moa_rx *g = &c->r->x[x];
    const bool call = measure(c, x, 0) > SMALL_COPIES;
    int32_t *node = malloc(g->min * sizeof *node);
    if (!node) return c->failed = MOA_ENOMEM, 0;
    for (uint32_t k = 0; k < g->min; k++) node[k] = k ? state(c) : from;
    for (uint32_t i = 0; i < g->n && !c->failed; i++) {
        const moa_rx_step s = c->r->step[g->at + i];
        const moa_rx *what = &c->r->x[s.x];
        if (put_byte(c, what, node[s.from], node[s.to])) continue;
        const bool rule = call && what->kind != MOA_RX_EMPTY;
        const int32_t end = rule ? put_called(c, what->kind == MOA_RX_CALL ? what->at : own_rule(c, s.x), node[s.from]) : put(c, s.x, node[s.from]);
        connect_nothing(c, end, node[s.to]);
    }
    const int32_t end = c->failed ? 0 : node[1];
    free(node);
    return end;
}

/* From `from` along x; returns where x ends. Adds no edge into `from`, so alternatives may share it. */
static int32_t put(compiler *c, uint32_t x, int32_t from) {
    const moa_rx n = c->r->x[x];
    if (c->failed) return 0;
    int32_t at = from;
    switch (n.kind) {
    case MOA_RX_TEXT:
        for (uint32_t i = 0; i < n.n && !c->failed; i++) {
            const int32_t to = state(c);
            connect_bytes(c, at, (uint8_t)c->r->text[n.at + i], (uint8_t)c->r->text[n.at + i], to);
            at = to;
        }
        return at;
    case MOA_RX_CLASS: return put_class(c, &n, from);
    case MOA_RX_SEQ:
        for (uint32_t i = 0; i < n.n && !c->failed; i++) at = put(c, c->r->child[n.at + i], at);
        return at;
    case MOA_RX_ALT:
        at = state(c);
        for (uint32_t i = 0; i < n.n && !c->failed; i++) connect_nothing(c, put(c, c->r->child[n.at + i], from), at);
        return at;
    case MOA_RX_REPEAT: return put_repeat(c, &n, from);
    case MOA_RX_CALL: return put_call(c, n.at, from);
    case MOA_RX_GRAPH: return put_graph(c, x, from);
    }
    return from;
}

/* The root and all that it calls. */
static void put_rules(compiler *c, uint32_t root) {
    number_of(c, root);
    for (uint32_t q = 0; q < c->n_queue && !c->failed; q++) {
        const uint32_t rule = c->queue[q];
        c->first[q] = state(c);
        c->last[q] = put(c, rule < c->n_rule ? c->r->rule[rule].body : c->own[rule - c->n_rule], c->first[q]);
        if (c->last[q] == c->first[q]) continue;
        const int32_t end = state(c); /* its own, so that nothing leaves it: a call in last place then needs no frame */
        connect_nothing(c, c->last[q], end);
        c->last[q] = end;
    }
}

static int open_compiler(compiler *c, moa_rules *r, moa_err *err) {
    *c = (compiler){.r = r, .n_rule = r->n_rule, .cap_all = r->n_rule + r->n_x};
    c->size = malloc((size_t)r->n_rule * sizeof *c->size);
    c->busy = calloc(r->n_rule, 1);
    c->own = malloc((size_t)r->n_x * sizeof *c->own);
    c->own_of = calloc(r->n_x, sizeof *c->own_of);
    c->queue = malloc(c->cap_all * sizeof *c->queue);
    c->number = malloc(c->cap_all * sizeof *c->number);
    c->first = malloc(c->cap_all * sizeof *c->first);
    c->last = malloc(c->cap_all * sizeof *c->last);
    if (!c->size || !c->busy || !c->own || !c->own_of || !c->queue || !c->number || !c->first || !c->last)
        return moa_fail(err, MOA_ENOMEM, "no memory to compile %u rules", r->n_rule);
    memset(c->number, 0xFF, c->cap_all * sizeof *c->number);
    return 0;
}

static void close_compiler(compiler *c) {
    free(c->e), free(c->size), free(c->busy), free(c->own), free(c->own_of), free(c->queue), free(c->number), free(c->first), free(c->last);
}

static const char *rule_name(const compiler *c, int32_t number) {
    const uint32_t rule = c->queue[number];
    return rule < c->n_rule ? c->r->rule[rule].name : "a repeated part";
}

/* ---- fewest bytes to the end ---- */

typedef struct heap { uint64_t *v; size_t n; } heap; /* distance << 32 | state */

static void heap_add(heap *h, uint64_t x) {
    size_t i = h->n++;
    for (; i && h->v[(i - 1) / 2] > x; i = (i - 1) / 2) h->v[i] = h->v[(i - 1) / 2];
    h->v[i] = x;
}

static uint64_t heap_take(heap *h) {
    const uint64_t top = h->v[0], x = h->v[--h->n];
    size_t i = 0;
    for (size_t k; (k = 2 * i + 1) < h->n; i = k) {
        if (k + 1 < h->n && h->v[k + 1] < h->v[k]) k++;
        if (h->v[k] >= x) break;
        h->v[i] = h->v[k];
    }
    h->v[i] = x;
    return top;
}

typedef struct ways {
    const compiler *c;
    int32_t *dist;           /* [n_state] */
    uint32_t *in_at, *in;    /* edges into a state */
    uint32_t *call_at, *call; /* edges that call a rule */
    int32_t *rule_of;        /* [n_state] rule that begins here, -1 */
    heap h;
} ways;

static void offer(ways *w, int32_t s, int64_t d) {
    if (d > MOA_GRAMMAR_FAR - 1) d = MOA_GRAMMAR_FAR - 1;
    if (d >= w->dist[s]) return;
    w->dist[s] = (int32_t)d;
    heap_add(&w->h, (uint64_t)d << 32 | (uint32_t)s);
}

static void offer_edge(ways *w, const edge *e) {
    const int64_t to = w->dist[e->to];
    if (to == MOA_GRAMMAR_FAR) return;
    if (e->kind == ON_BYTE) offer(w, e->from, to + 1);
    else if (e->kind == ON_NOTHING) offer(w, e->from, to);
    else if (w->dist[w->c->first[e->what]] != MOA_GRAMMAR_FAR) offer(w, e->from, to + w->dist[w->c->first[e->what]]);
}

/* Lists of edges by target, or by the rule that they call: at[k] .. at[k + 1] of list. */
static void index_edges(uint32_t *at, uint32_t *list, const compiler *c, int32_t n_key, bool by_call) {
    memset(at, 0, ((size_t)n_key + 1) * sizeof *at);
    for (int32_t i = 0; i < c->n_e; i++)
        if (!by_call || c->e[i].kind == ON_CALL) at[(by_call ? c->e[i].what : c->e[i].to) + 1]++;
    for (int32_t k = 0; k < n_key; k++) at[k + 1] += at[k];
    for (int32_t i = 0; i < c->n_e; i++)
        if (!by_call || c->e[i].kind == ON_CALL) list[at[by_call ? c->e[i].what : c->e[i].to]++] = (uint32_t)i;
    memmove(at + 1, at, (size_t)n_key * sizeof *at); /* each has gone on to where the next began */
    at[0] = 0;
}

static int find_ways(ways *w, const compiler *c, moa_err *err) {
    const size_t n = (size_t)c->n_state, m = (size_t)c->n_e + 1;
    *w = (ways){.c = c};
    w->dist = malloc(n * sizeof *w->dist);
    w->in_at = malloc((n + 1) * sizeof *w->in_at);
    w->in = malloc(m * sizeof *w->in);
    w->call_at = malloc(((size_t)c->n_queue + 1) * sizeof *w->call_at);
    w->call = malloc(m * sizeof *w->call);
    w->rule_of = malloc(n * sizeof *w->rule_of);
    w->h.v = malloc((2 * m + n) * sizeof *w->h.v); /* an edge is offered once for its target and once for its rule */
    if (!w->dist || !w->in_at || !w->in || !w->call_at || !w->call || !w->rule_of || !w->h.v)
        return moa_fail(err, MOA_ENOMEM, "no memory for %d states", c->n_state);
    for (size_t i = 0; i < n; i++) w->dist[i] = MOA_GRAMMAR_FAR, w->rule_of[i] = -1;
    for (uint32_t q = 0; q < c->n_queue; q++) w->rule_of[c->first[q]] = (int32_t)q;
    index_edges(w->in_at, w->in, c, c->n_state, false);
    index_edges(w->call_at, w->call, c, (int32_t)c->n_queue, true);
    for (uint32_t q = 0; q < c->n_queue; q++) offer(w, c->last[q], 0);
    while (w->h.n) {
        const uint64_t top = heap_take(&w->h);
        const int32_t s = (int32_t)(uint32_t)top;
        if ((int32_t)(top >> 32) != w->dist[s]) continue;
        for (uint32_t i = w->in_at[s]; i < w->in_at[s + 1]; i++) offer_edge(w, &c->e[w->in[i]]);
        const int32_t q = w->rule_of[s];
        for (uint32_t i = q < 0 ? 0 : w->call_at[q]; q >= 0 && i < w->call_at[q + 1]; i++) offer_edge(w, &c->e[w->call[i]]);
    }
    return 0;
}

static void free_ways(ways *w) {
    free(w->in_at), free(w->in), free(w->call_at), free(w->call), free(w->rule_of), free(w->h.v);
}

/* ---- the grammar ---- */

static bool keep(const moa_grammar *g, const compiler *c, const edge *e) {
    return g->dist[e->from] < MOA_GRAMMAR_FAR && g->dist[e->to] < MOA_GRAMMAR_FAR &&
           (e->kind != ON_CALL || g->dist[c->first[e->what]] < MOA_GRAMMAR_FAR);
}

static void count_edges(uint32_t *at, const moa_grammar *g, const compiler *c, int kind) {
    for (int32_t i = 0; i < c->n_e; i++) at[c->e[i].from + 1] += c->e[i].kind == kind && keep(g, c, &c->e[i]);
    for (int32_t s = 0; s < g->n_state; s++) at[s + 1] += at[s];
}

/* Bytes that all edges treat alike get one class. */
static void classify(moa_grammar *g) {
    bool cut[257] = {[0] = true};
    for (uint32_t i = 0; i < g->byte_at[g->n_state]; i++) cut[g->byte[i].lo] = cut[g->byte[i].hi + 1] = true;
    g->n_class = 0;
    for (int b = 0; b < 256; b++) {
        if (cut[b]) g->sample[g->n_class++] = (uint8_t)b;
        g->class_of[b] = (uint8_t)(g->n_class - 1);
    }
}

static int fill(moa_grammar *g, const compiler *c, moa_err *err) {
    const size_t n = (size_t)g->n_state + 1;
    g->byte_at = calloc(n, sizeof *g->byte_at);
    g->call_at = calloc(n, sizeof *g->call_at);
    g->skip_at = calloc(n, sizeof *g->skip_at);
    g->end = calloc(n, 1);
    g->start = malloc((size_t)g->n_rule * sizeof *g->start);
    g->rank = malloc((size_t)g->n_rule * sizeof *g->rank);
    uint32_t *at = malloc(3 * n * sizeof *at);
    if (!g->byte_at || !g->call_at || !g->skip_at || !g->end || !g->start || !g->rank || !at) {
        free(at);
        return moa_fail(err, MOA_ENOMEM, "no memory for %d states", g->n_state);
    }
    count_edges(g->byte_at, g, c, ON_BYTE);
    count_edges(g->call_at, g, c, ON_CALL);
    count_edges(g->skip_at, g, c, ON_NOTHING);
    g->byte = malloc((g->byte_at[n - 1] + 1) * sizeof *g->byte);
    g->call = malloc((g->call_at[n - 1] + 1) * sizeof *g->call);
    g->skip = malloc((g->skip_at[n - 1] + 1) * sizeof *g->skip);
    const bool ok = g->byte && g->call && g->skip;
    memcpy(at, g->byte_at, n * sizeof *at);
    memcpy(at + n, g->call_at, n * sizeof *at);
    memcpy(at + 2 * n, g->skip_at, n * sizeof *at);
    for (int32_t i = 0; ok && i < c->n_e; i++) {
        const edge *e = &c->e[i];
        if (!keep(g, c, e)) continue;
        if (e->kind == ON_BYTE) g->byte[at[e->from]++] = (moa_byte_edge){e->lo, e->hi, e->to};
        else if (e->kind == ON_CALL) g->call[at[n + (size_t)e->from]++] = (moa_call_edge){e->what, e->to};
        else g->skip[at[2 * n + (size_t)e->from]++] = e->to;
    }
    free(at);
    if (!ok) return moa_fail(err, MOA_ENOMEM, "no memory for %d edges", c->n_e);
    for (int32_t q = 0; q < g->n_rule; q++) {
        const int32_t s = c->last[q];
        g->start[q] = c->first[q];
        g->end[s] = g->byte_at[s] == g->byte_at[s + 1] && g->call_at[s] == g->call_at[s + 1] && g->skip_at[s] == g->skip_at[s + 1] ? 2 : 1;
    }
    classify(g);
    return 0;
}

/* ---- left recursion ---- */

typedef struct left {
    const moa_grammar *g;
    uint32_t *at; int32_t *to; uint32_t n_to, cap_to; /* rules called before a byte is read: to[at[q] .. at[q + 1]) */
    int32_t *seen;   /* [n_state] rule + 1 that came here */
    int32_t *stack;  /* [n_state + n_rule] */
    uint8_t *mark;   /* [n_rule] 1: on the path; 2: done */
    uint32_t *next;  /* [n_rule] */
} left;

static int first_calls(left *l, int32_t q, moa_err *err) {
    const moa_grammar *g = l->g;
    int32_t n = 0;
    l->seen[g->start[q]] = q + 1;
    for (l->stack[n++] = g->start[q]; n;) {
        const int32_t s = l->stack[--n];
        for (uint32_t i = g->skip_at[s]; i < g->skip_at[s + 1]; i++)
            if (l->seen[g->skip[i]] != q + 1) l->seen[g->skip[i]] = q + 1, l->stack[n++] = g->skip[i];
        for (uint32_t i = g->call_at[s]; i < g->call_at[s + 1]; i++) {
            const moa_call_edge e = g->call[i];
            if (l->n_to == l->cap_to) {
                const uint32_t cap = l->cap_to ? l->cap_to * 2 : 1024;
                int32_t *v = realloc(l->to, cap * sizeof *v);
                if (!v) return moa_fail(err, MOA_ENOMEM, "no memory for %u calls", cap);
                l->to = v, l->cap_to = cap;
            }
            l->to[l->n_to++] = e.rule;
            if (g->dist[g->start[e.rule]] == 0 && l->seen[e.to] != q + 1) l->seen[e.to] = q + 1, l->stack[n++] = e.to;
        }
    }
    l->at[q + 1] = l->n_to;
    return 0;
}

static int circle(const left *l, const compiler *c, int n_path, int32_t again, moa_err *err) {
    moa_buf b;
    moa_buf_init(&b, 300);
    int from = n_path - 1;
    while (from > 0 && l->stack[from] != again) from--;
    for (int i = from; i < n_path; i++) moa_buf_addf(&b, "%s -> ", rule_name(c, l->stack[i]));
    const int rc = moa_fail(err, MOA_EUNSUPPORTED, "rule '%s' calls itself before anything is read: %s%s", rule_name(c, again), moa_buf_str(&b),
                            b.failed ? "..." : rule_name(c, again));
    moa_buf_deinit(&b);
    return moa_hint(err, rc, "instead of a ::= a \"x\" | \"y\" write a ::= \"y\" \"x\"*");
}

/* Depth first from rule q; ranks are given on the way back, from the last down. */
static int order(left *l, const compiler *c, int32_t *rank, int32_t q, int32_t *left_over, moa_err *err) {
    int n = 0;
    l->mark[q] = 1;
    for (l->stack[n++] = q; n;) {
        const int32_t top = l->stack[n - 1];
        if (l->next[top] == l->at[top + 1]) {
            l->mark[top] = 2;
            rank[top] = --*left_over;
            n--;
            continue;
        }
        const int32_t to = l->to[l->next[top]++];
        if (l->mark[to] == 1) return circle(l, c, n, to, err);
        if (l->mark[to] == 0) l->mark[to] = 1, l->stack[n++] = to;
    }
    return 0;
}

static int rank_rules(moa_grammar *g, const compiler *c, moa_err *err) {
    const size_t n = (size_t)g->n_rule, s = (size_t)g->n_state;
    left l = {.g = g, .at = calloc(n + 1, sizeof *l.at), .seen = calloc(s, sizeof *l.seen), .stack = malloc((s + n) * sizeof *l.stack),
              .mark = calloc(n, 1), .next = malloc(n * sizeof *l.next)};
    int rc = l.at && l.seen && l.stack && l.mark && l.next ? 0 : moa_fail(err, MOA_ENOMEM, "no memory to order %d rules", g->n_rule);
    for (int32_t q = 0; rc >= 0 && q < g->n_rule; q++) rc = first_calls(&l, q, err);
    int32_t left_over = g->n_rule;
    if (rc >= 0) memcpy(l.next, l.at, n * sizeof *l.next);
    for (int32_t q = 0; rc >= 0 && q < g->n_rule; q++)
        if (!l.mark[q]) rc = order(&l, c, g->rank, q, &left_over, err);
    free(l.at), free(l.to), free(l.seen), free(l.stack), free(l.mark), free(l.next);
    return rc;
}

/* ---- */

static int check_built(const compiler *c, moa_err *err) {
    if (c->failed == MOA_ELIMIT) {
        moa_fail(err, MOA_ELIMIT, "the grammar needs more than %d states or %d edges", MAX_STATE, MAX_EDGE);
        return moa_hint(err, MOA_ELIMIT, "repetitions like {0,10000} are written out: make them smaller, or use *");
    }
    return c->failed ? moa_fail(err, c->failed, "no memory for %d states", c->n_state) : 0;
}

static int build(moa_grammar *g, compiler *c, uint32_t root, moa_err *err) {
    put_rules(c, root);
    MOA_TRY(check_built(c, err));
    g->n_rule = (int)c->n_queue, g->n_state = c->n_state;
    ways w;
    const int rc = find_ways(&w, c, err);
    g->dist = w.dist;
    free_ways(&w);
    if (rc < 0) return rc;
    if (g->dist[c->first[0]] == MOA_GRAMMAR_FAR) {
        moa_fail(err, MOA_EFORMAT, "no text matches the grammar: '%s' never comes to an end", rule_name(c, 0));
        return moa_hint(err, MOA_EFORMAT, "a rule that calls itself needs a case that does not");
    }
    MOA_TRY(fill(g, c, err));
    return rank_rules(g, c, err);
}

int moa_grammar_compile(moa_grammar **out, moa_rules *r, uint32_t root, uint64_t id, moa_err *err) {
    *out = NULL;
    MOA_TRY(moa_rules_check(r, err));
    moa_grammar *g = calloc(1, sizeof *g);
    if (!g) return moa_fail(err, MOA_ENOMEM, "no memory for a grammar");
    atomic_init(&g->refs, 1);
    g->id = id ? id : 1;
    compiler c;
    int rc = open_compiler(&c, r, err);
    if (rc >= 0) rc = build(g, &c, root, err);
    close_compiler(&c);
    if (rc < 0) {
        moa_grammar_free(g);
        return rc;
    }
    *out = g;
    return 0;
}

const moa_grammar *moa_grammar_ref(const moa_grammar *g) {
    if (g) atomic_fetch_add(&((moa_grammar *)(uintptr_t)g)->refs, 1);
    return g;
}

void moa_grammar_free(moa_grammar *g) {
    if (!g || atomic_fetch_sub(&g->refs, 1) > 1) return;
    free(g->byte_at), free(g->call_at), free(g->skip_at), free(g->byte), free(g->call), free(g->skip);
    free(g->end), free(g->dist), free(g->start), free(g->rank);
    free(g);
}

uint64_t moa_grammar_id(const moa_grammar *g) { return g->id; }
int moa_grammar_n_rule(const moa_grammar *g) { return g->n_rule; }
