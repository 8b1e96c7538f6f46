/* sketch_svg.c - a graph as SVG, left to right; see sketch.h. Plain elements without scripts, style sheets, ids or fonts to load, on a ground of its own, so
 * that it shows alike in a browser, in a rendered README, dark or light, and in a PDF. SPDX-License-Identifier: Apache-2.0 */
#include "agent/sketch.h"

#include "base/svg.h"
#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

enum { LAYERS = 26, SIDE = 6, MARGIN = 22, GAP = 46, ROLES = 24, LABEL_MOST = 24 };
typedef struct colours { const char *fill, *line; } colours;
typedef struct role { const char *name; bool call; int n; colours c; } role;
typedef struct drawing {
    moa_buf *b;
    const moa_sketch_layout *l;
    double *x, *w;          /* [n_layer] where a layer begins, how wide it is */
    role role[ROLES]; int n_role;
    double dy;              /* items begin below the title */
    bool models;            /* boxes tell the model too */
} drawing;

static void attr(moa_buf *b, const char *name, double v) {
    moa_buf_addf(b, " %s=\"", name);
    moa_svg_fixed(b, v, 1, false);
    moa_buf_adds(b, "\"");
}

static void num(moa_buf *b, double v) {
    moa_buf_adds(b, " ");
    moa_svg_fixed(b, v, 1, false);
}

/* A label of at most LABEL_MOST characters, escaped. */
static void label(moa_buf *b, const char *s) {
    size_t left = strlen(s), at = 0;
    char cut[4 * LABEL_MOST + 8];
    if (moa_utf8_count(s, left) <= LABEL_MOST) {
        moa_svg_escape(b, s);
        return;
    }
    for (int i = 0; i < LABEL_MOST - 1; i++) {
        uint32_t cp;
        const int k = moa_utf8_next(&cp, s, left);
        memcpy(cut + at, s, (size_t)k);
        at += (size_t)k, s += k, left -= (size_t)k;
    }
    snprintf(cut + at, sizeof cut - at, "\xe2\x80\xa6");
    moa_svg_escape(b, cut);
}

static double label_width(const char *s, double size) {
    const double w = moa_svg_width(s, size), most = 0.56 * size * LABEL_MOST;
    return w < most ? w : most;
}

static void text(moa_buf *b, double x, double y, double size, const char *anchor, const char *more, const char *s, bool cut) {
    moa_buf_adds(b, "<text");
    attr(b, "x", x);
    attr(b, "y", y);
    attr(b, "font-size", size);
    moa_buf_addf(b, " text-anchor=\"%s\"%s>", anchor, more);
    if (cut) label(b, s);
    else moa_svg_escape(b, s);
    moa_buf_adds(b, "</text>\n");
}

/* ---- roles ---- */

/* Who asks nobody is grey; proposers and aggregators are always the same two; the others in turn. */
static colours colours_of(const char *name, bool call, int number) {
    static const colours of[] = {{"#FFE9CC", "#C77700"}, {"#F6DDEB", "#A8437F"}, {"#E6E0F8", "#6A4FB3"}, {"#FBF3C4", "#8A6D00"}, {"#D9F1F4", "#1F7A85"}};
    if (!call) return (colours){"#EEF0F2", "#79818A"};
    if (!strcmp(name, "proposer")) return (colours){"#DCEBFA", "#0063A6"};
    if (!strcmp(name, "aggregator")) return (colours){"#D8F2E6", "#00805C"};
    return of[number % (int)(sizeof of / sizeof *of)];
}

static void find_roles(drawing *d, const moa_sketch *g) {
    int others = 0;
    for (int i = 0; i < g->n; i++) {
        const moa_sketch_node *n = &g->node[i];
        const bool call = n->model != NULL;
        int k = 0;
        while (k < d->n_role && (strcmp(d->role[k].name, n->role) != 0 || d->role[k].call != call)) k++;
        if (k == ROLES) continue;
        if (k == d->n_role) {
            const bool other = call && strcmp(n->role, "proposer") != 0 && strcmp(n->role, "aggregator") != 0;
            d->role[d->n_role++] = (role){n->role, call, 0, colours_of(n->role, call, others)};
            others += other;
        }
        d->role[k].n++;
    }
}

static colours paint(const drawing *d, const moa_sketch_item *it) {
    for (int k = 0; k < d->n_role; k++)
        if (!strcmp(d->role[k].name, it->role) && d->role[k].call == it->call) return d->role[k].c;
    return (colours){"#FFFFFF", "#79818A"};
}

/* ---- items ---- */

static double height_of(const drawing *d, const moa_sketch_item *it) { return !it->label ? 8 : !it->role ? 26 : d->models && it->call ? 44 : 32; }

static double width_of(const drawing *d, const moa_sketch_item *it) {
    if (!it->label) return 0;
    const double w = label_width(it->label, 14), m = d->models && it->model && !it->more ? label_width(it->model, 11) : 0;
    return (w > m ? w : m) + (it->role ? 24 : 16);
}

static double mid(const drawing *d, const moa_sketch_item *it) { return d->dy + it->at + it->size / 2; }
static double left(const drawing *d, const moa_sketch_item *it) { return it->label ? d->x[it->layer] + (d->w[it->layer] - width_of(d, it)) / 2 : d->x[it->layer]; }
static double right(const drawing *d, const moa_sketch_item *it) { return it->label ? left(d, it) + width_of(d, it) : d->x[it->layer] + d->w[it->layer]; }

static void draw_item(const drawing *d, const moa_sketch_item *it) {
    moa_buf *b = d->b;
    const double x = left(d, it), w = width_of(d, it), y = mid(d, it);
    if (!it->label) return;
    if (!it->role) {
        text(b, x + w / 2, y + 5, 14, "middle", " font-style=\"italic\" fill=\"#4A5058\"", it->label, true);
        return;
    }
    const colours c = paint(d, it);
    moa_buf_adds(b, "<rect");
    attr(b, "x", x);
    attr(b, "y", y - it->size / 2);
    attr(b, "width", w);
    attr(b, "height", it->size);
    moa_buf_addf(b, " rx=\"%d\" fill=\"%s\" stroke=\"%s\" stroke-width=\"1.5\"%s/>\n", it->call ? 7 : 15, c.fill, c.line, it->more ? " stroke-dasharray=\"3 3\"" : "");
    const bool two = d->models && it->model && !it->more;
    text(b, x + w / 2, two ? y - 2 : y + 5, 14, "middle", it->more ? " fill=\"#4A5058\"" : " font-weight=\"600\"", it->label, true);
    if (two) text(b, x + w / 2, y + 14, 11, "middle", " fill=\"#4A5058\"", it->model, true);
}

/* ---- edges ---- */

static void draw_edge(const drawing *d, const moa_sketch_edge *e) {
    static const char *const looks[2] = {"stroke=\"#66707B\" stroke-width=\"1.3\"", "stroke=\"#B0640A\" stroke-width=\"1.3\" stroke-dasharray=\"5 4\""};
    enum { TIP = 7 };
    moa_buf *b = d->b;
    for (int i = 0; i < e->n_from; i++) {
        const moa_sketch_item *f = &d->l->item[e->from[i]];
        const double end = d->x[f->layer] + d->w[f->layer]; /* straight to the border of its column, so that no curve goes through a wider neighbour */
        for (int k = 0; k < e->n_to; k++) {
            const moa_sketch_item *t = &d->l->item[e->to[k]];
            const double x0 = right(d, f), y0 = mid(d, f), begin = d->x[t->layer], x1 = left(d, t) - (t->label ? TIP : 0), y1 = mid(d, t), bend = (begin - end) / 2;
            moa_buf_addf(b, "<path fill=\"none\" %s d=\"M", looks[e->decides]);
            num(b, x0), num(b, y0);
            moa_buf_adds(b, " H"), num(b, end);
            moa_buf_adds(b, " C"), num(b, end + bend), num(b, y0), num(b, begin - (t->label ? TIP : 0) - bend), num(b, y1), num(b, begin - (t->label ? TIP : 0)), num(b, y1);
            if (t->label || !i) moa_buf_adds(b, " H"), num(b, t->label ? x1 : right(d, t)); /* through a layer: one line for all */
            moa_buf_adds(b, "\"/>\n");
        }
    }
    for (int k = 0; k < e->n_to; k++) {
        const moa_sketch_item *t = &d->l->item[e->to[k]];
        if (!t->label) continue;
        const double x = left(d, t), y = mid(d, t);
        moa_buf_addf(b, "<path fill=\"%s\" d=\"M", e->decides ? "#B0640A" : "#66707B");
        num(b, x), num(b, y), moa_buf_adds(b, " L"), num(b, x - TIP - 1), num(b, y - 4), moa_buf_adds(b, " L"), num(b, x - TIP - 1), num(b, y + 4);
        moa_buf_adds(b, " Z\"/>\n");
    }
}

/* ---- the whole ---- */

/* Two passes: how high it is, then drawn. */
static double draw_legend(const drawing *d, double y, double extent, bool draw) {
    double x = MARGIN;
    for (int k = 0; k < d->n_role; k++) {
        const role *r = &d->role[k];
        char line[120];
        if (r->call) snprintf(line, sizeof line, "%.80s, %d call%s", r->name, r->n, r->n == 1 ? "" : "s");
        else snprintf(line, sizeof line, "%.80s (no call)", r->name);
        const double w = 22 + moa_svg_width(line, 12) + 18;
        if (k && x + w > extent - MARGIN) x = MARGIN, y += 20;
        if (draw) {
            moa_buf_adds(d->b, "<rect");
            attr(d->b, "x", x);
            attr(d->b, "y", y - 10);
            moa_buf_addf(d->b, " width=\"16\" height=\"12\" rx=\"%d\" fill=\"%s\" stroke=\"%s\"/>\n", r->call ? 3 : 6, r->c.fill, r->c.line);
            text(d->b, x + 22, y, 12, "start", "", line, false);
        }
        x += w;
    }
    return y + 20;
}

static const char told[] = "one run with placeholder replies; dashed: decided while it runs";

static void draw_all(drawing *d, const moa_sketch *g, const char *title, double across, double high) {
    moa_buf *b = d->b;
    const double legend = d->dy + high + 30, h = draw_legend(d, legend, across, false) + (g->n_grown ? 20 : 0);
    moa_buf_adds(b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0");
    num(b, across), num(b, h);
    moa_buf_adds(b, "\"");
    attr(b, "width", across);
    attr(b, "height", h);
    moa_buf_adds(b, " role=\"img\" font-family=\"Helvetica, Arial, 'Liberation Sans', sans-serif\" fill=\"#1C2126\">\n<title>");
    moa_svg_escape(b, title);
    moa_buf_adds(b, "</title>\n<rect");
    attr(b, "width", across);
    attr(b, "height", h);
    moa_buf_adds(b, " rx=\"8\" fill=\"#FFFFFF\"/>\n");
    text(b, MARGIN, 28, 15, "start", " font-weight=\"700\"", title, false);
    for (int k = 0; k < d->l->n_edge; k++) draw_edge(d, &d->l->edge[k]);
    for (int i = 0; i < d->l->n_item; i++) draw_item(d, &d->l->item[i]);
    const double y = draw_legend(d, legend, across, true);
    if (g->n_grown) text(b, MARGIN, y, 12, "start", " fill=\"#4A5058\"", told, false);
    moa_buf_adds(b, "</svg>\n");
}

static bool several_models(const moa_sketch *g) {
    const char *first = NULL;
    for (int i = 0; i < g->n; i++) {
        const char *m = g->node[i].model;
        if (m && first && strcmp(m, first) != 0) return true;
        if (m) first = m;
    }
    return false;
}

int moa_sketch_svg(moa_buf *out, const moa_sketch *g, const char *title, moa_err *err) {
    moa_sketch_layout l;
    int rc = moa_sketch_lay(&l, g, SIDE, LAYERS, err);
    drawing d = {.b = out, .l = &l, .dy = 50, .models = g->named || several_models(g)};
    if (rc >= 0) d.x = moa_arena_calloc(l.arena, 2 * (size_t)l.n_layer * sizeof *d.x);
    if (rc >= 0 && !d.x) rc = moa_fail(err, MOA_ENOMEM, "the picture of a graph");
    if (rc >= 0) {
        d.w = d.x + l.n_layer;
        find_roles(&d, g);
        double x = MARGIN;
        for (int k = 0; k < l.n_layer; k++) {
            for (int i = l.first[k]; i < l.first[k + 1]; i++) {
                l.item[i].size = height_of(&d, &l.item[i]);
                if (width_of(&d, &l.item[i]) > d.w[k]) d.w[k] = width_of(&d, &l.item[i]);
            }
            d.x[k] = x;
            x += d.w[k] + GAP;
        }
        double across = x - GAP + MARGIN, heading = moa_svg_width(title, 16) + 2 * MARGIN, foot = g->n_grown ? moa_svg_width(told, 12) + 2 * MARGIN : 0;
        const double least = heading > foot ? heading : foot, high = moa_sketch_place(&l, 12, false);
        if (across < least) {
            for (int k = 0; k < l.n_layer; k++) d.x[k] += (least - across) / 2;
            across = least;
        }
        if (high < 0) rc = moa_fail(err, MOA_ENOMEM, "the picture of a graph");
        else draw_all(&d, g, title, across, high);
    }
    if (rc >= 0 && out->failed) rc = moa_fail(err, out->failed, "the picture of a graph");
    moa_sketch_layout_deinit(&l);
    return rc;
}
