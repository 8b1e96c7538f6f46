/* grammar_rules.c - rules while they are built: a pool of expressions by number, rules by name, failures that stick.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "base/utf8.h"
#include "format/grammar_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_POOL = 1 << 24 }; /* entries of one pool */

/* Room for k more; false when there is none. */
static bool room(moa_rules *r, void **v, uint32_t n, uint32_t *cap, size_t size, size_t k) {
    if (r->failed) return false;
    if (k <= *cap - n) return true;
    size_t want = *cap ? (size_t)*cap * 2 : 256;
    while (want < n + k) want *= 2;
    if (want > MAX_POOL) return r->failed = MOA_ELIMIT, false;
    void *p = realloc(*v, want * size);
    if (!p) return r->failed = MOA_ENOMEM, false;
    *v = p;
    *cap = (uint32_t)want;
    return true;
}

int moa_rules_init(moa_rules *r, moa_err *err) {
    *r = (moa_rules){0};
    if (room(r, (void **)&r->x, 0, &r->cap_x, sizeof *r->x, 1)) r->x[r->n_x++] = (moa_rx){.kind = MOA_RX_EMPTY, .depth = 1};
    return moa_rules_check(r, err);
}

void moa_rules_deinit(moa_rules *r) {
    for (uint32_t i = 0; i < r->n_rule; i++) free(r->rule[i].name);
    free(r->x), free(r->child), free(r->span), free(r->text), free(r->step), free(r->rule), free(r->slot);
    *r = (moa_rules){0};
}

int moa_rules_check(const moa_rules *r, moa_err *err) {
    if (r->failed == MOA_ELIMIT) return moa_fail(err, MOA_ELIMIT, "grammar: more than %d million parts, or more than %d nested ones", MAX_POOL >> 20, MOA_RX_DEPTH);
    return r->failed ? moa_fail(err, r->failed, "grammar: no memory for its rules") : 0;
}

/* ---- rules ---- */

static bool grow_slots(moa_rules *r) {
    const uint32_t cap = r->cap_slot ? r->cap_slot * 2 : 512;
    uint32_t *slot = calloc(cap, sizeof *slot);
    if (!slot) return r->failed = MOA_ENOMEM, false;
    for (uint32_t i = 0; i < r->n_rule; i++) {
        uint64_t h = moa_hash64(r->rule[i].name, strlen(r->rule[i].name), 0);
        while (slot[h & (cap - 1)]) h++;
        slot[h & (cap - 1)] = i + 1;
    }
    free(r->slot);
    r->slot = slot, r->cap_slot = cap;
    return true;
}

uint32_t moa_rules_name(moa_rules *r, const char *name, size_t n) {
    if (r->failed || (2 * (r->n_rule + 1) > r->cap_slot && !grow_slots(r))) return 0;
    uint64_t h = moa_hash64(name, n, 0);
    for (uint32_t s; (s = r->slot[h & (r->cap_slot - 1)]) != 0; h++)
        if (strlen(r->rule[s - 1].name) == n && !memcmp(r->rule[s - 1].name, name, n)) return s - 1;
    if (!room(r, (void **)&r->rule, r->n_rule, &r->cap_rule, sizeof *r->rule, 1)) return 0;
    char *copy = strndup(name, n);
    if (!copy) return r->failed = MOA_ENOMEM, 0;
    r->rule[r->n_rule] = (moa_rule){.name = copy};
    r->slot[h & (r->cap_slot - 1)] = r->n_rule + 1;
    return r->n_rule++;
}

uint32_t moa_rules_anon(moa_rules *r, const char *like) {
    char name[96];
    snprintf(name, sizeof name, "%.60s #%u", like, r->n_rule); /* a name that no text can spell */
    return moa_rules_name(r, name, strlen(name));
}

void moa_rules_define(moa_rules *r, uint32_t rule, uint32_t x) {
    if (r->failed) return;
    r->rule[rule].body = x;
    r->rule[rule].defined = true;
}

/* ---- expressions ---- */

static uint32_t add(moa_rules *r, moa_rx x) {
    if (x.depth > MOA_RX_DEPTH && !r->failed) r->failed = MOA_ELIMIT;
    if (!room(r, (void **)&r->x, r->n_x, &r->cap_x, sizeof *r->x, 1)) return 0;
    r->x[r->n_x] = x;
    return r->n_x++;
}

uint32_t moa_rx_text(moa_rules *r, const char *p, size_t n) {
    if (!n || !room(r, (void **)&r->text, r->n_text, &r->cap_text, 1, n)) return 0;
    memcpy(r->text + r->n_text, p, n);
    r->n_text += (uint32_t)n;
    return add(r, (moa_rx){.kind = MOA_RX_TEXT, .depth = 1, .at = r->n_text - (uint32_t)n, .n = (uint32_t)n});
}

static int by_lo(const void *a, const void *b) {
    const moa_span *x = a, *y = b;
    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

static void put_span(moa_rules *r, uint32_t lo, uint32_t hi) {
    if (lo > hi || !room(r, (void **)&r->span, r->n_span, &r->cap_span, sizeof *r->span, 1)) return;
    r->span[r->n_span++] = (moa_span){lo, hi};
}

/* What UTF-8 can say of it: no surrogates. */
static void put_valid(moa_rules *r, uint32_t lo, uint32_t hi) {
    put_span(r, lo, hi < 0xD7FF ? hi : 0xD7FF);
    put_span(r, lo > 0xE000 ? lo : 0xE000, hi < 0x10FFFF ? hi : 0x10FFFF);
}

uint32_t moa_rx_class(moa_rules *r, const moa_span *s, uint32_t n, bool negated) {
    moa_span *v = malloc(((size_t)n + 1) * sizeof *v);
    if (!v) return r->failed = MOA_ENOMEM, 0;
    if (n) memcpy(v, s, n * sizeof *v);
    qsort(v, n, sizeof *v, by_lo);
    uint32_t m = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (v[i].lo > v[i].hi) continue;
        if (m && v[i].lo <= v[m - 1].hi + 1) v[m - 1].hi = v[i].hi > v[m - 1].hi ? v[i].hi : v[m - 1].hi;
        else v[m++] = v[i];
    }
    const uint32_t at = r->n_span;
    uint32_t from = 0;
    for (uint32_t i = 0; i < m; i++) {
        if (!negated) put_valid(r, v[i].lo, v[i].hi);
        else if (v[i].lo > from) put_valid(r, from, v[i].lo - 1);
        from = v[i].hi + 1;
    }
    if (negated) put_valid(r, from, 0x10FFFF);
    free(v);
    return add(r, (moa_rx){.kind = MOA_RX_CLASS, .depth = 1, .at = at, .n = r->n_span - at});
}

static uint32_t many(moa_rules *r, uint8_t kind, const uint32_t *x, uint32_t n) {
    if (n == 1) return x[0];
    uint16_t depth = 0;
    if (!room(r, (void **)&r->child, r->n_child, &r->cap_child, sizeof *r->child, n)) return 0;
    for (uint32_t i = 0; i < n; i++) {
        r->child[r->n_child + i] = x[i];
        if (r->x[x[i]].depth > depth) depth = r->x[x[i]].depth;
    }
    r->n_child += n;
    return add(r, (moa_rx){.kind = kind, .depth = (uint16_t)(depth + 1), .at = r->n_child - n, .n = n});
}

uint32_t moa_rx_seq(moa_rules *r, const uint32_t *x, uint32_t n) { return n ? many(r, MOA_RX_SEQ, x, n) : 0; }

uint32_t moa_rx_alt(moa_rules *r, const uint32_t *x, uint32_t n) { return many(r, MOA_RX_ALT, x, n); }

uint32_t moa_rx_repeat(moa_rules *r, uint32_t x, uint32_t min, uint32_t max) {
    if (r->failed || max == 0) return 0;
    if (min == 1 && max == 1) return x;
    return add(r, (moa_rx){.kind = MOA_RX_REPEAT, .depth = (uint16_t)(r->x[x].depth + 1), .at = x, .n = 1, .min = min, .max = max});
}

uint32_t moa_rx_call(moa_rules *r, uint32_t rule) { return add(r, (moa_rx){.kind = MOA_RX_CALL, .depth = 1, .at = rule}); }

uint32_t moa_rx_graph(moa_rules *r, uint32_t n_node, const moa_rx_step *step, uint32_t n) {
    uint16_t depth = 0;
    if (!room(r, (void **)&r->step, r->n_step, &r->cap_step, sizeof *r->step, n)) return 0;
    for (uint32_t i = 0; i < n; i++) {
        r->step[r->n_step + i] = step[i];
        if (r->x[step[i].x].depth > depth) depth = r->x[step[i].x].depth;
    }
    r->n_step += n;
    return add(r, (moa_rx){.kind = MOA_RX_GRAPH, .depth = (uint16_t)(depth + 1), .at = r->n_step - n, .n = n, .min = n_node});
}
