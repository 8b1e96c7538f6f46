/* schema_unique.c - uniqueItems where a grammar can tell: the items are some of a few single values.
 *
 * The items so far are a set of those values, and what may come next depends on that set alone. So each set that can be reached is a
 * node, and a value leads from a set without it to the set with it: 2^n nodes for n values, fewer where maxItems ends early.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/schema_impl.h"
#include "format/schema_merge.h"

#include <stdlib.h>

enum { MAX_VALUES = 20, MAX_SETS = 1 << 13, WORK = 16 /* sets that cost as much as a schema */ };

/* JSON Schema takes 1 and 1.0 for one value. */
static bool equal(const json_t *a, const json_t *b) {
    if (!json_is_number(a) || !json_is_number(b)) return json_equal((json_t *)(uintptr_t)a, (json_t *)(uintptr_t)b);
    const long double x = json_is_integer(a) ? (long double)json_integer_value(a) : (long double)json_real_value(a);
    return x == (json_is_integer(b) ? (long double)json_integer_value(b) : (long double)json_real_value(b));
}

/* The different values of an enum or a const, each a string, a number, true, false or null; -1: it is something else. */
static int single_values(const json_t *out[MAX_VALUES], const json_t *v) {
    const json_t *many = json_object_get(v, "enum"), *one = json_object_get(v, "const"), *type = json_object_get(v, "type");
    const size_t n = many ? json_array_size(many) : one != NULL;
    int m = 0;
    if (!n || (many && one) || moa_schema_beside_values(v)) return -1;
    for (size_t i = 0; i < n; i++) {
        const json_t *e = many ? json_array_get(many, i) : one;
        bool known = type && !moa_schema_has_type(type, e);
        if (json_is_object(e) || json_is_array(e)) return -1;
        for (int k = 0; k < m; k++) known |= equal(out[k], e);
        if (known) continue;
        if (m == MAX_VALUES) return -1;
        out[m++] = e;
    }
    return m;
}

typedef struct sets { uint32_t *node, *reached; uint32_t n; moa_rx_step *step; uint32_t n_step; } sets; /* node: of a set, 0: not reached */

static uint32_t node_of(sets *t, uint32_t set) {
    if (!set) return 0;
    if (!t->node[set]) {
        t->reached[t->n++] = set;
        t->node[set] = t->n; /* from 2 on: 0 is the beginning, which is the empty set, 1 the end */
    }
    return t->node[set];
}

/* Sets of least to most values, by size, since a set is reached from smaller ones. */
static bool walk(sets *t, const uint32_t *first, const uint32_t *next, int n, int64_t least, int64_t most) {
    t->reached[t->n++] = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        const uint32_t set = t->reached[i], from = node_of(t, set);
        const int size = __builtin_popcount(set);
        if (size >= least) t->step[t->n_step++] = (moa_rx_step){from, 1, 0};
        for (int k = 0; k < n && size < most; k++) {
            if (set >> k & 1) continue;
            if (t->n == MAX_SETS && !t->node[set | 1u << k]) return false;
            t->step[t->n_step++] = (moa_rx_step){from, node_of(t, set | 1u << k), set ? next[k] : first[k]};
        }
    }
    return true;
}

static uint32_t called(moa_schema *s, uint32_t x) {
    const uint32_t rule = moa_rules_anon(&s->r, "item");
    moa_rules_define(&s->r, rule, x);
    return moa_rx_call(&s->r, rule);
}

int moa_schema_unique(uint32_t *x, moa_schema *s, const json_t *items, int64_t least, int64_t most, uint32_t comma, int (*fixed)(uint32_t *, moa_schema *, const json_t *)) {
    const json_t *value[MAX_VALUES], *v = items ? moa_schema_look(s, items) : NULL;
    uint32_t first[MAX_VALUES], next[MAX_VALUES];
    const int n = v ? single_values(value, v) : -1;
    if (n < 0) {
        const int rc = moa_schema_fail(s, MOA_EUNSUPPORTED, "uniqueItems", "a grammar cannot remember the items before");
        return moa_hint(s->err, rc, "it can where items is an enum of at most %d strings, numbers, true, false or null, or maxItems is 1", MAX_VALUES);
    }
    if (most < 0 || most > n) most = n;
    if (least > most) return moa_schema_fail(s, MOA_EFORMAT, "minItems", "no array has that many different items");
    for (int i = 0; i < n; i++) {
        uint32_t one;
        MOA_TRY(fixed(&one, s, value[i]));
        first[i] = called(s, one); /* each is in very many steps */
        next[i] = called(s, MOA_RX_SEQ_OF(&s->r, comma, one));
    }
    sets t = {.node = calloc((size_t)1 << n, sizeof *t.node), .reached = malloc((MAX_SETS + 1) * sizeof *t.reached), .step = malloc((size_t)(MAX_SETS + 1) * (MAX_VALUES + 1) * sizeof *t.step)};
    int rc = t.node && t.reached && t.step ? 0 : moa_schema_fail(s, MOA_ENOMEM, NULL, "no memory");
    if (rc >= 0 && !walk(&t, first, next, n, least, most))
        rc = moa_hint(s->err, moa_schema_fail(s, MOA_EUNSUPPORTED, "uniqueItems", "more than %d sets of %d values", MAX_SETS, n), "fewer values, or a smaller maxItems");
    if (rc >= 0) *x = moa_rx_graph(&s->r, t.n + 1, t.step, t.n_step);
    s->work += t.n / WORK;
    free(t.node), free(t.reached), free(t.step);
    return rc;
}
