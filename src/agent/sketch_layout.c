/* sketch_layout.c - a graph in layers, as Sugiyama et al. draw them (1981): a node stands one layer behind the last of those it reads, edges that pass a layer
 * get a place in it, and neighbours are ordered, then placed, by the mean of what they are joined to.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/sketch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct maker {
    moa_sketch_layout *l;
    const moa_sketch *g;
    int *layer, *item_of;   /* of nodes */
    int n_real;             /* items that are no edges */
    unsigned char *reads;   /* [n_real][n_real]: row reads column: 1 reads, 2 was added by */
    int cap_item, cap_edge;
    int head, tail;         /* layers that stay, where there are too many: the first and the last so many; 0: all */
} maker;
enum { READS = 1, DECIDED = 2 };

static int no_memory(moa_err *err) { return moa_fail(err, MOA_ENOMEM, "the picture of a graph"); }

/* ---- which layer ---- */

static int find_layers(maker *m) {
    int deepest = 0;
    for (int i = 0; i < m->g->n; i++) {
        const moa_sketch_node *n = &m->g->node[i];
        int at = n->by >= 0 ? m->layer[n->by] : 0;
        for (int k = 0; k < n->n_in; k++) at = m->layer[n->in[k]] > at ? m->layer[n->in[k]] : at;
        m->layer[i] = at + 1; /* 0 is the question's */
        deepest = at + 1 > deepest ? at + 1 : deepest;
    }
    return deepest;
}

/* Layers in the middle become one. Returns how many are left. */
static int fold_layers(maker *m, int deepest, int most) {
    if (deepest <= most) return deepest;
    m->head = most * 2 / 3, m->tail = most - 1 - m->head;
    const int last = deepest - m->tail; /* the last layer that goes */
    for (int i = 0; i < m->g->n; i++) {
        if (m->layer[i] > last) m->layer[i] -= last - m->head - 1;
        else if (m->layer[i] > m->head) m->layer[i] = m->head + 1;
    }
    return most;
}

/* ---- items ---- */

static int add_item(maker *m, const moa_sketch_item *one) {
    moa_sketch_layout *l = m->l;
    if (l->n_item == m->cap_item) {
        const int cap = m->cap_item ? 2 * m->cap_item : 64;
        moa_sketch_item *v = moa_arena_alloc(l->arena, (size_t)cap * sizeof *v);
        if (!v) return -1;
        if (l->n_item) memcpy(v, l->item, (size_t)l->n_item * sizeof *v);
        l->item = v, m->cap_item = cap;
    }
    l->item[l->n_item] = *one;
    return l->n_item++;
}

static int add_some(maker *m, const moa_sketch_node *n, int layer, int hidden, const char *label) {
    char more[40];
    moa_sketch_item one = {.label = label, .role = n->role, .model = n->model, .call = n->model != NULL, .layer = layer};
    if (hidden) {
        snprintf(more, sizeof more, "%d more", hidden);
        one.more = true, one.model = NULL;
        if (!label) one.label = moa_arena_strndup(m->l->arena, more, strlen(more));
    }
    return one.label ? add_item(m, &one) : -1;
}

/* Nodes of one role in a layer: like[n]. The first and the last are shown, what is between them is one item. */
static int add_group(maker *m, const int *like, int n, int layer, int most) {
    const moa_sketch_node *v = m->g->node;
    if (n > most && most < 3) { /* "p1 … p12" */
        const size_t size = strlen(v[like[0]].name) + strlen(v[like[n - 1]].name) + 8;
        char *label = moa_arena_alloc(m->l->arena, size);
        if (!label) return -1;
        snprintf(label, size, "%s \xe2\x80\xa6 %s", v[like[0]].name, v[like[n - 1]].name);
        const int id = add_some(m, &v[like[0]], layer, n, label);
        for (int i = 0; i < n; i++) m->item_of[like[i]] = id;
        return id;
    }
    for (int i = 0; i < n; i++) {
        const bool hides = n > most && i == most - 2;
        const int id = add_some(m, &v[like[i]], layer, hides ? n - most + 1 : 0, hides ? NULL : v[like[i]].name);
        if (id < 0) return id;
        m->item_of[like[i]] = id;
        for (; hides && i < n - 2; i++) m->item_of[like[i + 1]] = id;
    }
    return 0;
}

static bool alike(const moa_sketch_node *a, const moa_sketch_node *b) { return !strcmp(a->role, b->role) && !a->model == !b->model; }

/* A layer that stands for many is one item. */
static int add_layer(maker *m, int layer, int most, int *scratch, bool folded) {
    const moa_sketch *g = m->g;
    int n = 0, k = 0, *like = scratch, *all = scratch + g->n;
    for (int i = 0; i < g->n; i++)
        if (m->layer[i] == layer) all[n++] = i;
    if (folded && n > 1) {
        const int id = add_some(m, &g->node[all[0]], layer, n, NULL);
        for (int i = 0; i < n; i++) m->item_of[all[i]] = id;
        if (id >= 0) m->l->item[id].role = "", m->l->item[id].call = true;
        return id;
    }
    for (int i = 0; i < n; i++) {
        if (all[i] < 0) continue;
        k = 0;
        for (int j = i; j < n; j++) {
            if (all[j] < 0 || (j > i && !alike(&g->node[all[i]], &g->node[all[j]]))) continue;
            like[k++] = all[j];
            if (j > i) all[j] = -1;
        }
        if (add_group(m, like, k, layer, most) < 0) return -1;
    }
    return 0;
}

static int add_items(maker *m, int deepest, int most, moa_err *err) {
    int *scratch = moa_arena_alloc(m->l->arena, 2 * (size_t)m->g->n * sizeof *scratch);
    if (!scratch || add_item(m, &(moa_sketch_item){.label = "question"}) < 0) return no_memory(err);
    for (int k = 1; k <= deepest; k++)
        if (add_layer(m, k, most, scratch, m->head && k == m->head + 1) < 0) return no_memory(err);
    if (add_item(m, &(moa_sketch_item){.label = "answer", .layer = deepest + 1}) < 0) return no_memory(err);
    m->n_real = m->l->n_item;
    m->l->n_layer = deepest + 2;
    return 0;
}

/* ---- edges ---- */

/* Who decided that it is needed is shown where nothing that it reads, which was added with it, shows it. */
static bool shows_origin(const moa_sketch *g, const moa_sketch_node *v) {
    for (int k = 0; k < v->n_in; k++)
        if (g->node[v->in[k]].by == v->by) return false;
    return v->by >= 0;
}

static void note_reads(maker *m) {
    const int n = m->n_real, answer = n - 1;
    for (int i = 0; i < m->g->n; i++) {
        const moa_sketch_node *v = &m->g->node[i];
        unsigned char *row = m->reads + (size_t)m->item_of[i] * (size_t)n;
        for (int k = 0; k < v->n_in; k++) row[m->item_of[v->in[k]]] = READS;
        if (shows_origin(m->g, v) && !row[m->item_of[v->by]]) row[m->item_of[v->by]] = DECIDED;
        if (v->by < 0 && !v->n_in) row[0] = READS;
        if (v->answer) m->reads[(size_t)answer * (size_t)n + (size_t)m->item_of[i]] = READS;
    }
    for (int i = 0; i < n; i++) m->reads[(size_t)i * (size_t)n + (size_t)i] = 0; /* within what is one item */
}

static moa_sketch_edge *add_edge(maker *m, const int *from, int n_from, bool decides) {
    moa_sketch_layout *l = m->l;
    if (l->n_edge == m->cap_edge) {
        const int cap = m->cap_edge ? 2 * m->cap_edge : 64;
        moa_sketch_edge *v = moa_arena_alloc(l->arena, (size_t)cap * sizeof *v);
        if (!v) return NULL;
        if (l->n_edge) memcpy(v, l->edge, (size_t)l->n_edge * sizeof *v);
        l->edge = v, m->cap_edge = cap;
    }
    moa_sketch_edge *e = &l->edge[l->n_edge];
    *e = (moa_sketch_edge){.from = moa_arena_alloc(l->arena, (size_t)n_from * sizeof *from), .to = moa_arena_alloc(l->arena, (size_t)m->n_real * sizeof *from), .n_from = n_from, .decides = decides};
    if (!e->from || !e->to) return NULL;
    memcpy(e->from, from, (size_t)n_from * sizeof *from);
    l->n_edge++;
    return e;
}

/* Whom item `to` reads in this layer; how many. */
static int sources(int *out, const maker *m, int to, int layer, int kind) {
    int n = 0;
    for (int i = 0; i < m->n_real; i++)
        if (m->l->item[i].layer == layer && m->reads[(size_t)to * (size_t)m->n_real + (size_t)i] == kind) out[n++] = i;
    return n;
}

/* All who read the same of a layer share an edge. Edges may still pass layers. */
static int join(maker *m, int kind, moa_err *err) {
    moa_sketch_layout *l = m->l;
    int *from = moa_arena_alloc(l->arena, (size_t)m->n_real * sizeof *from);
    if (!from) return no_memory(err);
    for (int to = 0; to < m->n_real; to++)
        for (int layer = 0; layer < l->n_layer; layer++) {
            const int n = sources(from, m, to, layer, kind);
            moa_sketch_edge *e = NULL;
            if (!n) continue;
            for (int k = 0; k < l->n_edge && !e; k++)
                if (l->edge[k].n_from == n && l->edge[k].decides == (kind == DECIDED) && !memcmp(l->edge[k].from, from, (size_t)n * sizeof *from)) e = &l->edge[k];
            if (!e && !(e = add_edge(m, from, n, kind == DECIDED))) return no_memory(err);
            e->to[e->n_to++] = to;
        }
    return 0;
}

/* An edge whose readers stand in several layers, or not in the next one, becomes one for each layer, with a place to pass. */
static int split(maker *m, moa_err *err) {
    moa_sketch_layout *l = m->l;
    for (int k = 0; k < l->n_edge; k++) {
        const int next = l->item[l->edge[k].from[0]].layer + 1;
        int here = 0;
        for (int i = 0; i < l->edge[k].n_to; i++) here += l->item[l->edge[k].to[i]].layer == next;
        if (here == l->edge[k].n_to) continue;
        const int pass = add_item(m, &(moa_sketch_item){.layer = next});
        moa_sketch_edge *on = pass < 0 ? NULL : add_edge(m, &pass, 1, l->edge[k].decides);
        if (!on) return no_memory(err);
        moa_sketch_edge *e = &l->edge[k];
        int kept = 0;
        for (int i = 0; i < e->n_to; i++) {
            if (l->item[e->to[i]].layer == next) e->to[kept++] = e->to[i];
            else on->to[on->n_to++] = e->to[i];
        }
        e->to[kept++] = pass; /* there was room: somebody has gone */
        e->n_to = kept;
    }
    return 0;
}

/* ---- order ---- */

static int by_want(const void *a, const void *b, void *items) {
    const moa_sketch_item *all = items, *x = &all[*(const int *)a], *y = &all[*(const int *)b];
    if (x->layer != y->layer) return x->layer < y->layer ? -1 : 1;
    if (fabs(x->want - y->want) > 1e-9) return x->want < y->want ? -1 : 1;
    return *(const int *)a < *(const int *)b ? -1 : 1;
}

/* Items in the order of layers and wishes. */
static int sort_items(maker *m, moa_err *err) {
    moa_sketch_layout *l = m->l;
    const size_t n = (size_t)l->n_item;
    int *order = moa_arena_alloc(l->arena, 2 * n * sizeof *order), *place = order + n;
    moa_sketch_item *v = moa_arena_alloc(l->arena, n * sizeof *v);
    if (!order || !v) return no_memory(err);
    for (int i = 0; i < l->n_item; i++) order[i] = i;
    qsort_r(order, n, sizeof *order, by_want, l->item);
    for (int i = 0; i < l->n_item; i++) place[order[i]] = i, v[i] = l->item[order[i]];
    for (int k = 0; k < l->n_edge; k++) {
        for (int i = 0; i < l->edge[k].n_from; i++) l->edge[k].from[i] = place[l->edge[k].from[i]];
        for (int i = 0; i < l->edge[k].n_to; i++) l->edge[k].to[i] = place[l->edge[k].to[i]];
    }
    l->item = v;
    m->cap_item = l->n_item;
    for (int k = 0, i = 0; k <= l->n_layer; k++) {
        l->first[k] = i;
        while (k < l->n_layer && i < l->n_item && l->item[i].layer == k) i++;
    }
    return 0;
}

/* What items of one layer wish, by the middles of those they are joined to in the layer before (down) or behind it. */
static void wish(moa_sketch_layout *l, int layer, bool down, double *sum, int *count) {
    for (int i = l->first[layer]; i < l->first[layer + 1]; i++) sum[i] = 0, count[i] = 0;
    for (int k = 0; k < l->n_edge; k++) {
        const moa_sketch_edge *e = &l->edge[k];
        const int *at = down ? e->to : e->from, *of = down ? e->from : e->to, n_at = down ? e->n_to : e->n_from, n_of = down ? e->n_from : e->n_to;
        if (l->item[at[0]].layer != layer) continue;
        for (int i = 0; i < n_at; i++)
            for (int j = 0; j < n_of; j++) {
                const int weight = l->item[at[i]].label || l->item[of[j]].label ? 1 : 16; /* long edges go straight */
                sum[at[i]] += weight * (l->item[of[j]].at + l->item[of[j]].size / 2), count[at[i]] += weight;
            }
    }
    for (int i = l->first[layer]; i < l->first[layer + 1]; i++) l->item[i].want = count[i] ? sum[i] / count[i] : l->item[i].at + l->item[i].size / 2;
}

static int put_in_order(maker *m, moa_err *err) {
    moa_sketch_layout *l = m->l;
    double *sum = moa_arena_alloc(l->arena, (size_t)l->n_item * sizeof *sum);
    int *count = moa_arena_alloc(l->arena, (size_t)l->n_item * sizeof *count);
    if (!sum || !count) return no_memory(err);
    for (int turn = 0; turn < 3; turn++) {
        const bool down = turn % 2 == 0;
        for (int step = 1; step < l->n_layer; step++) {
            const int layer = down ? step : l->n_layer - 1 - step;
            for (int k = 0; k < l->n_layer; k++)
                for (int i = l->first[k], n = l->first[k + 1] - i; i < l->first[k + 1]; i++) /* evenly, for now */
                    l->item[i].size = 0, l->item[i].at = l->item[i].want = (i - l->first[k] + 0.5) / n;
            wish(l, layer, down, sum, count);
            MOA_TRY(sort_items(m, err));
        }
    }
    return 0;
}

/* ---- places ---- */

/* Everybody as near to its wish as the neighbours let: the mean of pushing all to the right and of pushing all to the left, within 0 and extent. */
static void settle(moa_sketch_layout *l, int layer, double gap, double extent, double *right) {
    const int from = l->first[layer], to = l->first[layer + 1];
    double edge = 0;
    for (int i = from; i < to; i++) {
        const double want = l->item[i].want - l->item[i].size / 2;
        right[i] = want > edge || i == from ? want : edge;
        edge = right[i] + l->item[i].size + gap;
    }
    for (int i = to; i-- > from;) {
        const double want = l->item[i].want - l->item[i].size / 2, most = edge - gap - l->item[i].size;
        const double left = i == to - 1 || want < most ? want : most;
        edge = left;
        l->item[i].at = (left + right[i]) / 2;
    }
    edge = 0;
    for (int i = from; i < to; i++) {
        if (l->item[i].at < edge) l->item[i].at = edge;
        edge = l->item[i].at + l->item[i].size + gap;
    }
    edge = extent + gap;
    for (int i = to; i-- > from;) {
        if (l->item[i].at + l->item[i].size + gap > edge) l->item[i].at = edge - gap - l->item[i].size;
        edge = l->item[i].at;
    }
}

double moa_sketch_place(moa_sketch_layout *l, double gap, bool whole) {
    enum { TURNS = 8 };
    double extent = 0, *sum = moa_arena_alloc(l->arena, 2 * (size_t)l->n_item * sizeof *sum), *right = sum + l->n_item;
    int *count = moa_arena_alloc(l->arena, (size_t)l->n_item * sizeof *count);
    if (!sum || !count) return -1;
    for (int pass = 0; pass < 2; pass++) /* in the middle, to begin with */
        for (int k = 0; k < l->n_layer; k++) {
            double w = -gap;
            for (int i = l->first[k]; i < l->first[k + 1]; i++) w += l->item[i].size + gap;
            double at = (extent - w) / 2;
            for (int i = l->first[k]; pass && i < l->first[k + 1]; i++) l->item[i].at = at, at += l->item[i].size + gap;
            if (!pass && w > extent) extent = w;
        }
    for (int turn = 0; turn < TURNS; turn++)
        for (int step = 1; step < l->n_layer; step++) {
            const int layer = turn % 2 == 0 ? step : l->n_layer - 1 - step;
            wish(l, layer, turn % 2 == 0, sum, count);
            settle(l, layer, gap, extent, right);
        }
    for (int i = 0; whole && i < l->n_item; i++) l->item[i].at = floor(l->item[i].at + 1e-6);
    return extent;
}

int moa_sketch_lay(moa_sketch_layout *l, const moa_sketch *g, int most, int layers, moa_err *err) {
    enum { LAYOUT_BYTES = 256 << 20 };
    maker m = {.l = l, .g = g};
    *l = (moa_sketch_layout){.arena = moa_arena_new(0, LAYOUT_BYTES)};
    if (!l->arena) return no_memory(err);
    m.layer = moa_arena_alloc(l->arena, 2 * (size_t)g->n * sizeof *m.layer);
    if (!m.layer) return no_memory(err);
    m.item_of = m.layer + g->n;
    const int deepest = fold_layers(&m, find_layers(&m), layers);
    MOA_TRY(add_items(&m, deepest, most, err));
    m.reads = moa_arena_calloc(l->arena, (size_t)m.n_real * (size_t)m.n_real);
    l->first = moa_arena_calloc(l->arena, ((size_t)l->n_layer + 1) * sizeof *l->first);
    if (!m.reads || !l->first) return no_memory(err);
    note_reads(&m);
    MOA_TRY(join(&m, READS, err));
    MOA_TRY(join(&m, DECIDED, err));
    MOA_TRY(split(&m, err));
    for (int i = 0; i < l->n_item; i++) l->item[i].want = i; /* as they came */
    MOA_TRY(sort_items(&m, err));
    return put_in_order(&m, err);
}

void moa_sketch_layout_deinit(moa_sketch_layout *l) {
    moa_arena_free(l->arena);
    *l = (moa_sketch_layout){0};
}
