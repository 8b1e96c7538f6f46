/* plot.c - see plot.h. Plain SVG elements without scripts, style sheets, ids or fonts to load, so that a
 * chart shows alike in a browser, in a rendered README and in a PDF. Colours are the palette of Okabe and
 * Ito ("Color universal design", 2008); markers and dashes differ too, for readers who print in grey.
 * Numbers are written by hand: printf's depend on the locale.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/plot.h"

#include "base/err.h"
#include "base/svg.h"

#include <math.h>
#include <string.h>

#define HUGE_VALUE 1e100 /* beyond it differences and ratios of values could overflow */

static const char *const colours[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5F5F5F", "#8A6D00"};
enum { N_COLOUR = sizeof colours / sizeof *colours, MAX_TICK = 24, MAX_BOX = 256 };

typedef struct axis {
    bool log, octaves;     /* octaves: all data are powers of two (numbers of samples, of tokens) */
    double lo, hi;         /* of data; log10 of it on a log axis */
    double from, to;       /* pixels */
    double tick[MAX_TICK]; /* values */
    int n_tick, decimals;  /* decimals of linear labels */
    double unit;           /* labels are value / unit */
    const char *suffix;
} axis;

typedef struct box { double x0, y0, x1, y1; } box;

typedef struct chart {
    moa_buf *b;
    const moa_plot *p;
    axis x, y;
    double w, h, left, right, top, bottom; /* plot area in pixels */
    box taken[MAX_BOX];                    /* where labels may not go */
    int n_taken;
} chart;

/* ---- text ---- */

static void add_num(moa_buf *b, double v, int decimals) { moa_svg_fixed(b, v, decimals, false); }

static void add_attr(moa_buf *b, const char *name, double v) {
    moa_buf_addf(b, " %s=\"", name);
    add_num(b, v, 1);
    moa_buf_adds(b, "\"");
}

static void put_text(moa_buf *b, double x, double y, const char *anchor, double size, const char *more, const char *s) {
    moa_buf_adds(b, "<text");
    add_attr(b, "x", x);
    add_attr(b, "y", y);
    add_attr(b, "font-size", size);
    moa_buf_addf(b, " text-anchor=\"%s\"%s>", anchor, more);
    moa_svg_escape(b, s);
    moa_buf_adds(b, "</text>\n");
}

static void put_line(moa_buf *b, double x0, double y0, double x1, double y1, const char *stroke) {
    moa_buf_adds(b, "<line");
    add_attr(b, "x1", x0);
    add_attr(b, "y1", y0);
    add_attr(b, "x2", x1);
    add_attr(b, "y2", y1);
    moa_buf_addf(b, " stroke=\"%s\"/>\n", stroke);
}

/* ---- axes ---- */

static bool usable(double v, bool log) { return fabs(v) <= HUGE_VALUE && (!log || v >= 1 / HUGE_VALUE); }

static double place(const axis *a, double v) {
    double t = ((a->log ? log10(v) : v) - a->lo) / (a->hi - a->lo);
    t = fmax(-10, fmin(11, t)); /* far outside a fixed range: clipped, and still a small number in the text */
    return a->from + t * (a->to - a->from);
}

static void widen(axis *a, double v) {
    if (!usable(v, a->log)) return;
    int e;
    if (a->log && frexp(v, &e) != 0.5) a->octaves = false;
    double t = a->log ? log10(v) : v;
    a->lo = fmin(a->lo, t);
    a->hi = fmax(a->hi, t);
}

static void ticks_linear(axis *a, double lo, double hi, int want) {
    double raw = (hi - lo) / want, base = pow(10, floor(log10(raw))), m = raw / base;
    double step = base * (m <= 1.001 ? 1 : m <= 2.001 ? 2 : m <= 5.001 ? 5 : 10);
    double first = ceil(lo / step - 1e-9), last = floor(hi / step + 1e-9);
    a->n_tick = 0;
    for (double i = first; i <= last && a->n_tick < MAX_TICK; i++) a->tick[a->n_tick++] = i == 0 ? 0 : i * step;
    double top = fmax(fabs(lo), fabs(hi));
    static const struct { double at, unit; const char *suffix; } units[] = {
        {1e15, 1, "e"}, {1e12, 1e12, "T"}, {1e9, 1e9, "G"}, {1e6, 1e6, "M"}, {1e4, 1e3, "k"}, {1e-5, 1, ""}, {0, 1, "e"}};
    int u = 0;
    while (top < units[u].at) u++;
    a->unit = units[u].unit;
    a->suffix = units[u].suffix;
    double d = ceil(-log10(step / a->unit) - 1e-9);
    a->decimals = (int)fmax(0, fmin(9, d));
}

static void ticks_octaves(axis *a, int want) {
    const double two = 0.301029995663981195;
    double from = ceil(a->lo / two - 1e-9), to = floor(a->hi / two + 1e-9), every = fmax(1, ceil((to - from + 1) / want));
    a->n_tick = 0;
    a->suffix = NULL;
    for (double e = from; e <= to && a->n_tick < MAX_TICK; e += every) a->tick[a->n_tick++] = exp2(e);
}

/* A log axis over a fraction of a decade is read like a linear one; over a few decades 1, 2, 5 are marked,
 * over many only whole powers. */
static void ticks_log(axis *a, int want) {
    double span = a->hi - a->lo;
    if (span < 0.7) {
        ticks_linear(a, pow(10, a->lo), pow(10, a->hi), want);
        return;
    }
    static const double fine[] = {1, 2, 5};
    int n_fine = span < 3.2 ? 3 : 1, every = (int)fmax(1, ceil(span / want));
    a->n_tick = 0;
    a->suffix = NULL;
    for (double e = floor(a->lo); e <= a->hi + 1e-9; e++) {
        if (n_fine == 1 && fmod(e, every) != 0) continue;
        for (int i = 0; i < n_fine && a->n_tick < MAX_TICK; i++) {
            double v = fine[i] * pow(10, e), t = log10(v);
            if (t >= a->lo - 1e-9 && t <= a->hi + 1e-9) a->tick[a->n_tick++] = v;
        }
    }
}

/* Range of the data or the fixed one, never empty, with a margin so that nothing sits on the frame. */
static void range(axis *a, double fixed_lo, double fixed_hi, int want) {
    bool fixed = fixed_lo < fixed_hi && usable(fixed_lo, a->log) && usable(fixed_hi, a->log);
    if (fixed) {
        a->lo = a->log ? log10(fixed_lo) : fixed_lo;
        a->hi = a->log ? log10(fixed_hi) : fixed_hi;
    } else if (a->lo > a->hi) {
        a->lo = 0, a->hi = 1;
    }
    double least = a->log ? 0.02 : fmax(1e-9 * fmax(fabs(a->lo), fabs(a->hi)), 1 / HUGE_VALUE);
    if (a->hi - a->lo < least) {
        double r = a->log ? 0.3 : a->lo == 0 ? 1 : fmax(0.1 * fabs(a->lo), least);
        a->lo -= r, a->hi += r;
    } else if (!fixed) {
        double margin = 0.04 * (a->hi - a->lo);
        bool at_zero = !a->log && a->lo == 0; /* counts and rates start at the axis itself */
        if (!at_zero) a->lo -= margin;
        a->hi += margin;
    }
    if (a->log && a->octaves && a->hi - a->lo < 7) ticks_octaves(a, want);
    else if (a->log) ticks_log(a, want);
    else ticks_linear(a, a->lo, a->hi, want);
}

/* m e k as "m·10^k" for values that would need too many digits; the exponent is raised text. */
static void add_power(moa_buf *b, double v) {
    double e = floor(log10(fabs(v)) + 1e-9), m = v / pow(10, e);
    if (fabs(m - 1) > 1e-6) {
        add_num(b, m, 3);
        moa_buf_adds(b, "·");
    }
    moa_buf_adds(b, "10<tspan font-size=\"9\" dy=\"-5\">");
    add_num(b, e, 0);
    moa_buf_adds(b, "</tspan>");
}

static void tick_label(moa_buf *b, const axis *a, double v) {
    if (v == 0) {
        moa_buf_adds(b, "0");
    } else if (!a->suffix) { /* log axis: each label in its own unit */
        if (v >= 0.999e-3 && v < 0.999e4) add_num(b, v, 4);
        else if (v >= 1 && v < 0.999e6) add_num(b, v / 1e3, 3), moa_buf_adds(b, "k");
        else if (v >= 1 && v < 0.999e9) add_num(b, v / 1e6, 3), moa_buf_adds(b, "M");
        else add_power(b, v);
    } else if (*a->suffix == 'e') {
        add_power(b, v);
    } else {
        moa_svg_fixed(b, v / a->unit, a->decimals, true);
        moa_buf_adds(b, a->suffix);
    }
}

static void put_tick(chart *c, const axis *a, double v, bool is_x) {
    double at = place(a, v);
    if (is_x) put_line(c->b, at, c->top, at, c->bottom, "#E4E4E4");
    else put_line(c->b, c->left, at, c->right, at, "#E4E4E4");
    moa_buf_adds(c->b, "<text");
    add_attr(c->b, "x", is_x ? at : c->left - 8);
    add_attr(c->b, "y", is_x ? c->bottom + 18 : at + 4);
    moa_buf_addf(c->b, " font-size=\"12\" text-anchor=\"%s\" fill=\"#444444\">", is_x ? "middle" : "end");
    tick_label(c->b, a, v);
    moa_buf_adds(c->b, "</text>\n");
}

static void put_axes(chart *c) {
    for (int i = 0; i < c->x.n_tick; i++) put_tick(c, &c->x, c->x.tick[i], true);
    for (int i = 0; i < c->y.n_tick; i++) put_tick(c, &c->y, c->y.tick[i], false);
    put_line(c->b, c->left, c->bottom, c->right, c->bottom, "#444444");
    put_line(c->b, c->left, c->top, c->left, c->bottom, "#444444");
    if (c->p->x_label) put_text(c->b, (c->left + c->right) / 2, c->bottom + 40, "middle", 13, "", c->p->x_label);
    if (c->p->y_label) {
        double mid = (c->top + c->bottom) / 2;
        moa_buf_adds(c->b, "<text transform=\"translate(16 ");
        add_num(c->b, mid, 1);
        moa_buf_adds(c->b, ") rotate(-90)\" font-size=\"13\" text-anchor=\"middle\">");
        moa_svg_escape(c->b, c->p->y_label);
        moa_buf_adds(c->b, "</text>\n");
    }
}

/* ---- series ---- */

static int colour_of(const moa_plot *p, int series) {
    int c = 0;
    for (int i = 0; i < series; i++) c += !p->series[i].faint;
    return c % N_COLOUR;
}

static const char *dash_of(const moa_plot *p, int series) {
    static const char *const dash[] = {"", " stroke-dasharray=\"7 4\"", " stroke-dasharray=\"2 3\""};
    int c = 0;
    for (int i = 0; i < series; i++) c += !p->series[i].faint;
    return dash[c / N_COLOUR % 3];
}

static void put_marker(moa_buf *b, int kind, double x, double y, double r) {
    static const float shape[][4][2] = {{{-1, -1}, {1, -1}, {1, 1}, {-1, 1}},
                                        {{0, -1.3f}, {1.2f, 0.9f}, {-1.2f, 0.9f}, {0, -1.3f}},
                                        {{0, -1.35f}, {1.35f, 0}, {0, 1.35f}, {-1.35f, 0}},
                                        {{-1.2f, -0.9f}, {1.2f, -0.9f}, {0, 1.3f}, {-1.2f, -0.9f}}};
    if (kind % 5 == 0) {
        moa_buf_adds(b, "<circle");
        add_attr(b, "cx", x);
        add_attr(b, "cy", y);
        add_attr(b, "r", r);
        moa_buf_adds(b, "/>\n");
        return;
    }
    moa_buf_adds(b, "<path d=\"");
    for (int i = 0; i < 4; i++) {
        moa_buf_adds(b, i ? "L" : "M");
        add_num(b, x + r * (double)shape[kind % 5 - 1][i][0], 1);
        moa_buf_adds(b, " ");
        add_num(b, y + r * (double)shape[kind % 5 - 1][i][1], 1);
    }
    moa_buf_adds(b, "Z\"/>\n");
}

static bool point_at(const chart *c, const moa_plot_point *q, double *x, double *y) {
    if (!usable(q->x, c->x.log) || !usable(q->y, c->y.log)) return false;
    *x = place(&c->x, q->x);
    *y = place(&c->y, q->y);
    return true;
}

/* Points closer than a fifth of a pixel to the one before add bytes, not ink. */
static void put_path(chart *c, const moa_plot_series *s) {
    double x, y, px = 0, py = 0;
    bool any = false;
    moa_buf_adds(c->b, "<path fill=\"none\" d=\"");
    for (size_t i = 0; i < s->n_point; i++) {
        if (!point_at(c, &s->point[i], &x, &y)) continue;
        if (any && i + 1 < s->n_point && fabs(x - px) < 0.2 && fabs(y - py) < 0.2) continue;
        moa_buf_adds(c->b, any ? "L" : "M");
        add_num(c->b, x, 1);
        moa_buf_adds(c->b, " ");
        add_num(c->b, y, 1);
        any = true, px = x, py = y;
    }
    moa_buf_adds(c->b, any ? "\"/>\n" : "M0 0\"/>\n");
}

static void put_bar(chart *c, const moa_plot_point *q) {
    double x, y;
    if (!(q->lo < q->hi) || !point_at(c, q, &x, &y) || !usable(q->hi, c->y.log)) return;
    double lo = usable(q->lo, c->y.log) ? place(&c->y, q->lo) : c->bottom, hi = place(&c->y, q->hi);
    moa_buf_adds(c->b, "<path fill=\"none\" d=\"M");
    const double step[][2] = {{x - 4, lo}, {x + 4, lo}, {x, lo}, {x, hi}, {x - 4, hi}, {x + 4, hi}};
    for (int i = 0; i < 6; i++) {
        if (i) moa_buf_adds(c->b, i == 2 || i == 4 ? "M" : "L");
        add_num(c->b, step[i][0], 1);
        moa_buf_adds(c->b, " ");
        add_num(c->b, step[i][1], 1);
    }
    moa_buf_adds(c->b, "\"/>\n");
}

static void take(chart *c, box k) {
    if (c->n_taken < MAX_BOX) c->taken[c->n_taken++] = k;
}

static size_t drawn(const chart *c, const moa_plot_series *s) {
    size_t n = 0;
    double x, y;
    for (size_t k = 0; k < s->n_point; k++) n += point_at(c, &s->point[k], &x, &y);
    return n;
}

static void put_series(chart *c, int i) {
    const moa_plot_series *s = &c->p->series[i];
    int col = colour_of(c->p, i);
    moa_buf_addf(c->b, "<g stroke=\"%s\" fill=\"%s\" stroke-width=\"%s\" stroke-linejoin=\"round\"%s%s>\n", colours[col], colours[col],
                 s->faint ? "1" : "2", s->faint ? " opacity=\"0.35\"" : "", dash_of(c->p, i));
    if (!s->no_line) put_path(c, s);
    for (size_t k = 0; k < s->n_point; k++) put_bar(c, &s->point[k]);
    moa_buf_adds(c->b, "</g>\n");
    if (s->no_marker) return;
    moa_buf_addf(c->b, "<g fill=\"%s\" stroke=\"#FFFFFF\" stroke-width=\"0.8\"%s>\n", colours[col], s->faint ? " opacity=\"0.35\"" : "");
    double x, y, r = drawn(c, s) > 200 ? 2 : 4;
    for (size_t k = 0; k < s->n_point; k++) {
        if (!point_at(c, &s->point[k], &x, &y)) continue;
        put_marker(c->b, col, x, y, r);
        take(c, (box){x - r, y - r, x + r, y + r});
    }
    moa_buf_adds(c->b, "</g>\n");
}

static bool free_box(const chart *c, box k) {
    if (k.x0 < c->left || k.x1 > c->right + 4 || k.y0 < c->top - 4 || k.y1 > c->bottom) return false;
    for (int i = 0; i < c->n_taken; i++) {
        const box *t = &c->taken[i];
        if (k.x0 < t->x1 && k.x1 > t->x0 && k.y0 < t->y1 && k.y1 > t->y0) return false;
    }
    return true;
}

/* Place k for a label of width w: right, left, above, below, then rows ever further down and up, right and left. */
static box label_place(double x, double y, double w, int k) {
    if (k == 2) return (box){x - w / 2, y - 19, x + w / 2, y - 7};
    if (k == 3) return (box){x - w / 2, y + 7, x + w / 2, y + 19};
    const int row = k < 2 ? 0 : (k / 4) * (k % 4 < 2 ? 1 : -1);
    const double dy = 12 * row, dx = row ? 12 : 7;
    return k % 2 ? (box){x - dx - w, y + dy - 6, x - dx, y + dy + 6} : (box){x + dx, y + dy - 6, x + dx + w, y + dy + 6};
}

/* Beside its point where there is room, with a thin line to it where that is rows away; else right or left, overlapping. */
static void put_label(chart *c, const moa_plot_point *q, int colour) {
    enum { N_PLACE = 48 };
    double x, y;
    if (!q->label || !*q->label || !point_at(c, q, &x, &y)) return;
    if (x < c->left || x > c->right || y < c->top || y > c->bottom) return;
    const double w = moa_svg_width(q->label, 11);
    int k = 0;
    while (k < N_PLACE && !free_box(c, label_place(x, y, w, k))) k++;
    if (k == N_PLACE) k = x + w > c->right;
    const box at = label_place(x, y, w, k);
    take(c, at);
    const bool left = at.x1 < x, middle = !left && at.x0 < x; /* anchored at the marker's side: w is an estimate */
    if (k >= 8) put_line(c->b, x, y, left ? at.x1 + 1 : at.x0 - 1, (at.y0 + at.y1) / 2, colours[colour]);
    moa_buf_adds(c->b, "<text");
    add_attr(c->b, "x", left ? at.x1 : middle ? x : at.x0);
    add_attr(c->b, "y", at.y1 - 2);
    moa_buf_addf(c->b, " font-size=\"11\" text-anchor=\"%s\" fill=\"%s\">", left ? "end" : middle ? "middle" : "start", colours[colour]);
    moa_svg_escape(c->b, q->label);
    moa_buf_adds(c->b, "</text>\n");
}

/* ---- the whole ---- */

/* Legend in rows under the title; with b NULL it is only measured. Returns its height. */
static double legend(chart *c, moa_buf *b, double y0) {
    double x = c->left, y = y0, rows = 0;
    for (int i = 0; i < c->p->n_series; i++) {
        const moa_plot_series *s = &c->p->series[i];
        if (!s->name || !*s->name) continue;
        double w = 40 + moa_svg_width(s->name, 12.5);
        if (rows == 0) rows = 1;
        if (x > c->left && x + w > c->w - 8) x = c->left, y += 19, rows++;
        if (b) {
            int col = colour_of(c->p, i);
            moa_buf_addf(b, "<g stroke=\"%s\" fill=\"%s\" stroke-width=\"%s\"%s%s>", colours[col], colours[col], s->faint ? "1" : "2",
                         s->faint ? " opacity=\"0.35\"" : "", dash_of(c->p, i));
            if (!s->no_line) put_line(b, x, y - 4, x + 22, y - 4, colours[col]);
            moa_buf_adds(b, "</g>");
            if (!s->no_marker) {
                moa_buf_addf(b, "<g fill=\"%s\" stroke=\"#FFFFFF\" stroke-width=\"0.8\">", colours[col]);
                put_marker(b, col, x + 11, y - 4, 4);
                moa_buf_adds(b, "</g>");
            }
            put_text(b, x + 28, y, "start", 12.5, "", s->name);
        }
        x += w + 8;
    }
    return rows * 19;
}

static void measure(chart *c) {
    const moa_plot *p = c->p;
    for (int i = 0; i < p->n_series; i++)
        for (size_t k = 0; k < p->series[i].n_point; k++) {
            const moa_plot_point *q = &p->series[i].point[k];
            if (!usable(q->x, p->log_x) || !usable(q->y, p->log_y)) continue;
            widen(&c->x, q->x);
            widen(&c->y, q->y);
            if (q->lo < q->hi) widen(&c->y, q->lo), widen(&c->y, q->hi);
        }
}

/* Left margin: as wide as the longest tick label needs. */
static double margin(chart *c) {
    double most = 0;
    for (int i = 0; i < c->y.n_tick; i++) {
        moa_buf t;
        moa_buf_init(&t, 256);
        tick_label(&t, &c->y, c->y.tick[i]);
        bool power = strchr(moa_buf_str(&t), '<') != NULL;
        most = fmax(most, power ? 48 : moa_svg_width(moa_buf_str(&t), 12));
        moa_buf_deinit(&t);
    }
    return most + (c->p->y_label ? 40 : 18);
}

int moa_plot_svg(moa_buf *out, const moa_plot *p) {
    int width = p->width ? p->width : 720, height = p->height ? p->height : 440;
    if (width < 240 || height < 160 || width > 10000 || height > 10000 || p->n_series < 0) return MOA_EINVAL;
    chart c = {.b = out, .p = p, .w = width, .h = height, .x = {.log = p->log_x, .octaves = true}, .y = {.log = p->log_y, .octaves = true}};
    c.x.lo = c.y.lo = INFINITY;
    c.x.hi = c.y.hi = -INFINITY;
    measure(&c);
    range(&c.x, p->x_min, p->x_max, width / 85 + 1);
    range(&c.y, p->y_min, p->y_max, height / 60);
    c.left = margin(&c);
    c.right = c.w - 18;
    double under = p->title ? 34 : 12;
    c.top = under + legend(&c, NULL, 0) + 8;
    c.bottom = c.h - (p->x_label ? 52 : 30);
    if (c.bottom - c.top < 40) c.top = under, c.bottom = fmax(c.bottom, c.top + 40); /* legend over the plot rather than no plot */
    c.x.from = c.left, c.x.to = c.right;
    c.y.from = c.bottom, c.y.to = c.top;

    moa_buf_addf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" ", width, height, width, height);
    moa_buf_adds(out, "font-family=\"Helvetica, Arial, 'Liberation Sans', sans-serif\" fill=\"#222222\">\n");
    if (p->title) {
        moa_buf_adds(out, "<title>");
        moa_svg_escape(out, p->title);
        moa_buf_adds(out, "</title>\n");
    }
    moa_buf_adds(out, "<rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>\n");
    if (p->title) put_text(out, c.left, 24, "start", 16, " font-weight=\"bold\"", p->title);
    put_axes(&c);
    /* An inner svg clips to its own box without needing an id; it keeps the outer coordinates. */
    moa_buf_adds(out, "<svg");
    add_attr(out, "x", c.left);
    add_attr(out, "y", c.top);
    add_attr(out, "width", c.right - c.left);
    add_attr(out, "height", c.bottom - c.top);
    moa_buf_adds(out, " viewBox=\"");
    const double view[] = {c.left, c.top, c.right - c.left, c.bottom - c.top};
    for (int i = 0; i < 4; i++) {
        if (i) moa_buf_adds(out, " ");
        add_num(out, view[i], 1);
    }
    moa_buf_adds(out, "\">\n");
    for (int i = 0; i < p->n_series; i++) put_series(&c, i);
    moa_buf_adds(out, "</svg>\n");
    for (int i = 0; i < p->n_series; i++)
        for (size_t k = 0; k < p->series[i].n_point; k++) put_label(&c, &p->series[i].point[k], colour_of(p, i));
    legend(&c, out, under + 10);
    moa_buf_adds(out, "</svg>\n");
    return out->failed;
}
