/* sketch_text.c - a graph in box drawing, top to bottom; see sketch.h. SPDX-License-Identifier: Apache-2.0 */
#include "agent/sketch.h"

#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { N = 1, E = 2, S = 4, W = 8 }; /* where the line of a cell goes */
enum { BOX = -1, LAYERS = 26, BOX_ROWS = 3, LABEL_MOST = 22 };
typedef struct cell { uint32_t ch; unsigned char line; bool dashed, over; int owner; } cell;
typedef struct track { int edge, row, lo, hi; int *out, *in; } track; /* out, in: columns of the edge's ends; row -1: straight down */
typedef struct page {
    const moa_sketch_layout *l;
    moa_arena *arena;
    int columns, rows;
    int *top;              /* [n_layer] row where a layer begins */
    int *came, *went;      /* of items that are edges: the columns where they come in and go on */
    track *t;              /* [n_edge] */
    cell *c;
} page;

static int rows_of(const moa_sketch_layout *l, int layer) { return l->item[l->first[layer]].role || l->first[layer + 1] - l->first[layer] == 0 ? BOX_ROWS : layer && layer < l->n_layer - 1 ? BOX_ROWS : 1; }
static bool boxed(const moa_sketch_item *i) { return i->role != NULL; }
static int begin(const moa_sketch_item *i) { return (int)i->at; }
static int width(const moa_sketch_item *i) { return (int)i->size; }

/* ---- cells ---- */

static void line_at(page *p, int x, int y, unsigned bits, int owner, bool dashed) {
    if (x < 0 || x >= p->columns || y < 0 || y >= p->rows) return;
    cell *c = &p->c[(size_t)y * (size_t)p->columns + (size_t)x];
    const bool others = c->line && c->owner != owner && c->owner != BOX;
    if (others && ((c->line == (N | S) && bits == (E | W)) || (c->line == (E | W) && bits == (N | S)))) c->over = true; /* they pass each other */
    if (!c->line || bits == (N | S)) c->dashed = dashed;
    c->line |= (unsigned char)bits;
    if (!others) c->owner = owner;
}

static void down(page *p, int x, int y0, int y1, int owner, bool dashed) {
    for (int y = y0; y <= y1; y++) line_at(p, x, y, N | S, owner, dashed);
}

static void put(page *p, int x, int y, uint32_t ch) {
    if (x >= 0 && x < p->columns && y >= 0 && y < p->rows) p->c[(size_t)y * (size_t)p->columns + (size_t)x] = (cell){.ch = ch, .owner = BOX};
}

static uint32_t shape(const cell *c) {
    static const uint32_t of[16] = {' ', 0x2502, 0x2500, 0x2514, 0x2502, 0x2502, 0x250C, 0x251C, 0x2500, 0x2518, 0x2500, 0x2534, 0x2510, 0x2524, 0x252C, 0x253C};
    if (c->ch) return c->ch;
    if (c->over) return c->dashed ? 0x2506 : 0x2502;
    if (c->dashed && c->line == (N | S)) return 0x2506;
    if (c->dashed && c->line == (E | W)) return 0x2504;
    return of[c->line];
}

/* ---- items ---- */

/* At most `most` characters of a label that may hold anything. */
static int label_width(const char *s, int most) {
    const int n = (int)moa_utf8_count(s, strlen(s));
    return n < most ? n : most;
}

static void write_label(page *p, int x, int y, const char *s, int most) {
    const int all = (int)moa_utf8_count(s, strlen(s));
    size_t left = strlen(s);
    for (int i = 0; i < most && i < all; i++) {
        uint32_t cp;
        const int k = moa_utf8_next(&cp, s, left);
        const bool odd = cp < 0x20 || (cp >= 0x7F && cp < 0xA0);
        put(p, x + i, y, i == most - 1 && all > most ? 0x2026 : odd ? '?' : cp);
        s += k, left -= (size_t)k;
    }
}

static void draw_item(page *p, int i, int most) {
    const moa_sketch_item *it = &p->l->item[i];
    const int x = begin(it), w = width(it), y = p->top[it->layer];
    if (!boxed(it)) {
        if (it->label) write_label(p, x + 1, y, it->label, most);
        return;
    }
    for (int k = 1; k < w - 1; k++) line_at(p, x + k, y, E | W, BOX, false), line_at(p, x + k, y + 2, E | W, BOX, false);
    put(p, x, y, it->call ? 0x250C : 0x256D), put(p, x + w - 1, y, it->call ? 0x2510 : 0x256E);
    put(p, x, y + 2, it->call ? 0x2514 : 0x2570), put(p, x + w - 1, y + 2, it->call ? 0x2518 : 0x256F);
    put(p, x, y + 1, 0x2502), put(p, x + w - 1, y + 1, 0x2502);
    write_label(p, x + 2, y + 1, it->label, most);
}

/* An edge that passes a layer: down, and over to the column where it goes on. */
static void draw_pass(page *p, int i, int owner, bool dashed) {
    const int y = p->top[p->l->item[i].layer], a = p->came[i], b = p->went[i], h = BOX_ROWS;
    if (a == b) {
        down(p, a, y, y + h - 1, owner, dashed);
        return;
    }
    down(p, a, y, y, owner, dashed);
    line_at(p, a, y + 1, N | (b > a ? E : W), owner, dashed);
    for (int x = (a < b ? a : b) + 1; x < (a < b ? b : a); x++) line_at(p, x, y + 1, E | W, owner, dashed);
    line_at(p, b, y + 1, S | (b > a ? W : E), owner, dashed);
    down(p, b, y + 2, y + h - 1, owner, dashed);
}

/* ---- edges between two layers ---- */

/* A column of the item for this edge, the nearest to `want` that no other edge of the gap has. */
static int port(int *taken, int columns, const moa_sketch_item *it, int want, int edge) {
    const int lo = boxed(it) ? begin(it) + 1 : begin(it), hi = begin(it) + width(it) - 1 - boxed(it);
    const int at = want < lo ? lo : want > hi ? hi : want;
    for (int d = 0; d <= 2 * (hi - lo); d++) {
        const int x = at + (d % 2 ? (d + 1) / 2 : -d / 2);
        if (x < lo || x > hi || x >= columns) continue;
        if (taken[x] == 0 || taken[x] == edge + 1) return taken[x] = edge + 1, x;
    }
    return at;
}

static int middle(const moa_sketch_item *it) { return begin(it) + (width(it) - 1) / 2; }

/* A column beside the middle where a line comes or goes anyway: no bend for the sake of one column. */
static int straight(const moa_sketch_item *it, const int *column, int n) {
    const int at = middle(it);
    for (int i = 0; i < n; i++)
        if (column[i] >= at - 1 && column[i] <= at + 1) return column[i];
    return at;
}

static int find_ports(page *p, int layer) {
    const moa_sketch_layout *l = p->l;
    int *taken = moa_arena_calloc(p->arena, (size_t)p->columns * sizeof *taken);
    if (!taken) return -1;
    for (int k = 0; k < l->n_edge; k++) {
        const moa_sketch_edge *e = &l->edge[k];
        track *t = &p->t[k];
        if (l->item[e->from[0]].layer != layer) continue;
        *t = (track){.edge = k, .row = -1, .lo = p->columns, .out = moa_arena_alloc(p->arena, (size_t)e->n_from * sizeof(int)), .in = moa_arena_alloc(p->arena, (size_t)e->n_to * sizeof(int))};
        if (!t->out || !t->in) return -1;
        for (int i = 0; i < e->n_from; i++) {
            const moa_sketch_item *it = &l->item[e->from[i]];
            t->out[i] = port(taken, p->columns, it, e->n_from == 1 && e->n_to == 1 ? middle(&l->item[e->to[0]]) : middle(it), k);
            if (!it->label) p->went[e->from[i]] = t->out[i];
        }
        for (int i = 0; i < e->n_to; i++) {
            const moa_sketch_item *it = &l->item[e->to[i]];
            t->in[i] = port(taken, p->columns, it, e->n_from == 1 && e->n_to == 1 ? t->out[0] : straight(it, t->out, e->n_from), k);
            if (!it->label) p->came[e->to[i]] = t->in[i];
        }
        for (int i = 0; i < e->n_from + e->n_to; i++) {
            const int x = i < e->n_from ? t->out[i] : t->in[i - e->n_from];
            t->lo = x < t->lo ? x : t->lo, t->hi = x > t->hi ? x : t->hi;
        }
    }
    return 0;
}

/* Rows for what runs across; returns how many. */
static int find_rows(page *p, int layer) {
    const moa_sketch_layout *l = p->l;
    int n = 0;
    for (int k = 0; k < l->n_edge; k++) {
        track *t = &p->t[k];
        if (l->item[l->edge[k].from[0]].layer != layer || t->lo == t->hi) continue;
        for (t->row = 0;; t->row++) {
            bool free = true;
            for (int j = 0; j < k && free; j++)
                free = l->item[l->edge[j].from[0]].layer != layer || p->t[j].row != t->row || p->t[j].lo > t->hi + 1 || p->t[j].hi < t->lo - 1;
            if (free) break;
        }
        n = t->row + 1 > n ? t->row + 1 : n;
    }
    return n;
}

static void draw_edge(page *p, int k) {
    const moa_sketch_layout *l = p->l;
    const moa_sketch_edge *e = &l->edge[k];
    const track *t = &p->t[k];
    const int layer = l->item[e->from[0]].layer, y0 = p->top[layer] + rows_of(l, layer), end = p->top[layer + 1] - 1, y = t->row < 0 ? y0 : y0 + t->row;
    for (int i = 0; i < e->n_from; i++) {
        if (boxed(&l->item[e->from[i]])) line_at(p, t->out[i], y0 - 1, S, BOX, false);
        down(p, t->out[i], y0, y - 1, k, e->decides);
        if (t->row >= 0) line_at(p, t->out[i], y, N, k, e->decides);
    }
    for (int x = t->lo; x <= t->hi && t->row >= 0; x++) line_at(p, x, y, (x > t->lo ? W : 0u) | (x < t->hi ? E : 0u), k, e->decides);
    for (int i = 0; i < e->n_to; i++) {
        if (t->row >= 0) line_at(p, t->in[i], y, S, k, e->decides);
        down(p, t->in[i], t->row >= 0 ? y + 1 : y, end, k, e->decides);
        if (l->item[e->to[i]].label) put(p, t->in[i], end, 0x25BC);
        else draw_pass(p, e->to[i], k, e->decides);
    }
}

static int draw(page *p, int most, moa_err *err) {
    const moa_sketch_layout *l = p->l;
    int y = 0;
    for (int k = 0; k < l->n_layer; k++) {
        p->top[k] = y;
        y += rows_of(l, k);
        if (find_ports(p, k) < 0) return moa_fail(err, MOA_ENOMEM, "the picture of a graph");
        if (k + 1 < l->n_layer) y += find_rows(p, k) + 1;
    }
    p->rows = y;
    p->c = moa_arena_calloc(p->arena, (size_t)p->rows * (size_t)p->columns * sizeof *p->c);
    if (!p->c) return moa_fail(err, MOA_ENOMEM, "a picture of %d rows", p->rows);
    for (int i = 0; i < l->n_item; i++) draw_item(p, i, most);
    for (int k = 0; k < l->n_edge; k++) draw_edge(p, k);
    return 0;
}

static void print(moa_buf *out, const page *p) {
    for (int y = 0; y < p->rows; y++) {
        const cell *row = p->c + (size_t)y * (size_t)p->columns;
        int n = p->columns;
        while (n && shape(&row[n - 1]) == ' ') n--;
        for (int x = 0; x < n; x++) moa_utf8_add(out, shape(&row[x]));
        moa_buf_adds(out, "\n");
    }
}

/* Sizes, with labels of at most `most` characters; how wide the widest layer is. */
static int measure(moa_sketch_layout *l, int most) {
    int widest = 0;
    for (int k = 0; k < l->n_layer; k++) {
        int w = -1;
        for (int i = l->first[k]; i < l->first[k + 1]; i++) {
            moa_sketch_item *it = &l->item[i];
            it->size = !it->label ? 3 : label_width(it->label, most) + (boxed(it) ? 4 : 2);
            w += width(it) + 1;
        }
        widest = w > widest ? w : widest;
    }
    return widest;
}

static int draw_in(moa_buf *out, moa_sketch_layout *l, int columns, int most, moa_err *err) {
    page p = {.l = l, .arena = l->arena, .columns = columns};
    if (moa_sketch_place(l, 1, true) < 0) return moa_fail(err, MOA_ENOMEM, "the picture of a graph");
    p.top = moa_arena_alloc(l->arena, (size_t)l->n_layer * sizeof *p.top);
    p.came = moa_arena_calloc(l->arena, 2 * (size_t)l->n_item * sizeof *p.came), p.went = p.came + l->n_item;
    p.t = moa_arena_calloc(l->arena, ((size_t)l->n_edge + 1) * sizeof *p.t);
    if (!p.top || !p.came || !p.t) return moa_fail(err, MOA_ENOMEM, "the picture of a graph");
    MOA_TRY(draw(&p, most, err));
    print(out, &p);
    return out->failed ? moa_fail(err, out->failed, "the picture of a graph") : 0;
}

int moa_sketch_text(moa_buf *out, const moa_sketch *g, int columns, moa_err *err) {
    static const struct { int side, label; } tries[] = {{8, LABEL_MOST}, {6, LABEL_MOST}, {5, LABEL_MOST}, {4, LABEL_MOST}, {3, LABEL_MOST}, {1, LABEL_MOST}, {1, 10}, {1, 6}};
    if (columns < 40) return moa_fail(err, MOA_EINVAL, "a picture of %d columns, at least 40", columns);
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        moa_sketch_layout l;
        int rc = moa_sketch_lay(&l, g, tries[i].side, LAYERS, err);
        const bool fits = rc >= 0 && measure(&l, tries[i].label) <= columns;
        if (fits) rc = draw_in(out, &l, columns, tries[i].label, err);
        moa_sketch_layout_deinit(&l);
        if (rc < 0 || fits) return rc;
    }
    return moa_fail(err, MOA_ELIMIT, "the graph is too wide for %d columns", columns);
}
