/* live.c - proposals seen as they grow.
 *
 * The pane is drawn below the cursor and redrawn by moving up over it: no alternate screen, so what was there stays and
 * the last frame remains as a summary. A frame is one write between "begin/end synchronized update" (ignored by terminals
 * that do not know it), at most 25 a second: no flicker. The size is asked for at every frame; after a resize the old
 * frame's lines are counted as the terminal has wrapped them. Columns are counted by East Asian width.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/live.h"

#include "base/clock.h"
#include "base/utf8.h"
#include "task/task.h"

#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

enum { TAIL = 1024, MAX_LINES = 512 };

typedef struct growing { char tail[TAIL]; size_t n; } growing; /* the end of a reply */

/* Where a streamed answer stands. An aggregator may begin with a line of what the replies say, which is no part of the answer: it
 * goes, dim, to the view. */
typedef struct answer_text { enum { BEGIN, IN_LINE, PLAIN } at; size_t n_begin; /* bytes of the mark that are held back */ } answer_text;

struct moa_live {
    moa_live_cfg cfg;
    bool tty, utf8, color, stream; /* stream: stdout is a terminal and gets the answer's text */
    growing *row; int n_row;
    int used[MAX_LINES], n_line;   /* of the frame on the screen */
    int tick;
    double last;
    bool hidden, streaming, ended;
    size_t n_streamed;
    answer_text answer;
};

/* ---- text on a terminal ---- */

void moa_term_write(FILE *f, const char *s, size_t n) {
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        int k = moa_utf8_next(&cp, s + i, n - i);
        if (cp == '\n' || cp == '\t' || (cp >= 0x20 && cp != 0x7F && !(cp >= 0x80 && cp < 0xA0))) fwrite(s + i, 1, (size_t)k, f);
        i += (size_t)k;
    }
}

bool moa_term_color(FILE *f) {
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(fileno(f)) && !(no && *no) && term && strcmp(term, "dumb");
}

static int columns(uint32_t cp) {
    int w = utf8proc_charwidth((utf8proc_int32_t)cp);
    return w < 0 ? 0 : w;
}

/* What a row shows of a character: controls and line ends are a space. */
static uint32_t shown(uint32_t cp) { return cp < 0x20 || cp == 0x7F || (cp >= 0x80 && cp < 0xA0) ? ' ' : cp; }

/* Append s clipped to `width` columns; returns the columns used. */
static int add_clipped(moa_buf *b, const char *s, size_t n, int width) {
    int used = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        i += (size_t)moa_utf8_next(&cp, s + i, n - i);
        cp = shown(cp);
        if (used + columns(cp) > width) break;
        used += columns(cp);
        moa_utf8_add(b, cp);
    }
    return used;
}

/* The end of s in at most `width` columns, behind a mark when something is cut off. */
static int add_tail(moa_buf *b, const char *s, size_t n, int width, bool utf8) {
    while (n > 0 && (s[n - 1] == '\n' || s[n - 1] == ' ')) n--;
    int all = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        i += (size_t)moa_utf8_next(&cp, s + i, n - i);
        all += columns(shown(cp));
    }
    if (all <= width) return add_clipped(b, s, n, width);
    if (width < 2) return 0;
    size_t i = 0;
    for (int drop = all - (width - 1); drop > 0 && i < n;) {
        uint32_t cp;
        i += (size_t)moa_utf8_next(&cp, s + i, n - i);
        drop -= columns(shown(cp));
    }
    moa_buf_adds(b, utf8 ? "\u2026" : "<");
    return 1 + add_clipped(b, s + i, n - i, width - 1);
}

/* ---- a frame ---- */

static const char *glyph(int state, moa_live_style s) {
    static const char *const spin[] = {"\u280b", "\u2819", "\u2838", "\u2834", "\u2826", "\u2807"};
    static const char *const plain[] = {"|", "/", "-", "\\"};
    switch (state) {
    case MOA_NODE_WAITING: return s.utf8 ? "\u00b7" : ".";
    case MOA_NODE_DONE: return s.utf8 ? "\u2713" : "+";
    case MOA_NODE_FAILED: return s.utf8 ? "\u2717" : "x";
    default: return s.utf8 ? spin[s.tick % 6] : plain[s.tick % 4];
    }
}

static const char *tint(int state) {
    return state == MOA_NODE_DONE ? "\x1b[32m" : state == MOA_NODE_FAILED ? "\x1b[31m" : state == MOA_NODE_RUNNING ? "\x1b[36m" : "\x1b[2m";
}

static int add_row(moa_buf *b, const moa_live_row *r, int name_w, int width, moa_live_style s) {
    int used = 0;
    if (width < 3) return 0;
    if (s.color) moa_buf_adds(b, tint(r->state));
    moa_buf_addf(b, "%s ", glyph(r->state, s));
    if (s.color) moa_buf_adds(b, "\x1b[0m");
    used += 2;
    char head[96];
    int n = r->state == MOA_NODE_DONE && width >= 40 && r->tokens >= 0
                ? snprintf(head, sizeof head, "%-*s %4lld tok %5.1f s  ", name_w, r->name, (long long)r->tokens, r->seconds)
                : snprintf(head, sizeof head, "%-*s  ", name_w, r->name);
    used += add_clipped(b, head, (size_t)(n < 0 ? 0 : n < 96 ? n : 95), width - used);
    if (s.color && r->state == MOA_NODE_DONE) moa_buf_adds(b, "\x1b[2m");
    used += add_tail(b, r->tail, r->n_tail, width - used, s.utf8);
    if (s.color) moa_buf_adds(b, "\x1b[0m");
    return used;
}

/* Which rows are shown when not all fit: those that run come first, then the latest to end. */
static int urgency(const moa_live_row *r) { return r->state == MOA_NODE_RUNNING ? 2 : r->state != MOA_NODE_WAITING; }

int moa_live_frame(moa_buf *out, int *used, const moa_live_row *row, int n, int width, int height, moa_live_style style) {
    int name_w = 2, n_line = 0, room = n <= height ? n : height - 1, shown_rows = 0;
    for (int i = 0; i < n; i++) name_w = (int)strlen(row[i].name) > name_w ? (int)strlen(row[i].name) : name_w;
    if (name_w > 12) name_w = 12;
    int left[3] = {0};
    for (int i = 0; i < n; i++) left[urgency(&row[i])]++;
    int quota[3], r = room;
    for (int u = 2; u >= 0; u--) quota[u] = left[u] < r ? left[u] : r, r -= quota[u];
    for (int i = 0; i < n && n_line < height; i++) {
        int u = urgency(&row[i]), behind = left[u]--;
        if (behind > quota[u]) continue; /* the last quota[u] of each kind are kept */
        if (n_line) moa_buf_adds(out, "\n");
        int w = add_row(out, &row[i], name_w, width, style);
        if (used) used[n_line] = w;
        n_line++, shown_rows++;
    }
    if (shown_rows < n && n_line < height) {
        char more[48];
        int len = snprintf(more, sizeof more, "  and %d more", n - shown_rows);
        if (n_line) moa_buf_adds(out, "\n");
        int w = add_clipped(out, more, (size_t)len, width);
        if (used) used[n_line] = w;
        n_line++;
    }
    return n_line;
}

/* ---- the pane ---- */

moa_live *moa_live_new(const moa_live_cfg *cfg) {
    moa_live *l = calloc(1, sizeof *l);
    if (!l) return NULL;
    setlocale(LC_CTYPE, "");
    const char *term = getenv("TERM");
    l->cfg = *cfg;
    l->utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
    l->tty = isatty(STDERR_FILENO) && term && strcmp(term, "dumb");
    l->color = moa_term_color(stderr);
    l->stream = cfg->stream_answer && isatty(STDOUT_FILENO);
    return l;
}

static void terminal_size(int *width, int *height) {
    struct winsize w;
    *width = 80, *height = 24;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 && w.ws_row > 0) *width = w.ws_col, *height = w.ws_row;
}

int moa_term_width(void) {
    int width, height;
    terminal_size(&width, &height);
    return width;
}

void moa_term_status(const char *line) {
    int width, height;
    moa_buf b;
    moa_buf_init(&b, 1 << 12);
    terminal_size(&width, &height);
    moa_buf_adds(&b, "\r");
    add_clipped(&b, line, strlen(line), width - 1);
    moa_buf_adds(&b, "\x1b[K");
    fwrite(moa_buf_str(&b), 1, b.len, stderr);
    fflush(stderr);
    moa_buf_deinit(&b);
}

static int collect_rows(moa_live *l, const moa_run *r, moa_live_row *out, int max) {
    int n = 0;
    for (int i = 0; i < r->n_node && i < l->n_row && n < max; i++) {
        const moa_agent_node *d = &r->node[i];
        if (l->stream && i == r->answer && d->backend && r->n_node > 1) continue; /* that one is on stdout */
        bool told = d->note && (d->state == MOA_NODE_FAILED || !d->backend); /* a vote says who won */
        out[n++] = (moa_live_row){d->name, d->state, told ? d->note : l->row[i].tail, told ? strlen(d->note) : l->row[i].n,
                                  d->backend ? d->completion_tokens : -1, d->seconds};
    }
    return n;
}

static void draw(moa_live *l, const moa_run *r) {
    moa_live_row *rows = malloc((size_t)(r->n_node + 1) * sizeof *rows);
    if (!rows) return;
    int width, height, up = 0;
    terminal_size(&width, &height);
    int limit = height - 2 < 1 ? 1 : height - 2 < MAX_LINES ? height - 2 : MAX_LINES;
    for (int i = 0; i < l->n_line; i++) up += l->used[i] > width ? (l->used[i] + width - 1) / width : 1;
    if (up > height - 1) up = height - 1;
    moa_buf b;
    moa_buf_init(&b, 1 << 22);
    moa_buf_adds(&b, "\x1b[?2026h");
    if (!l->hidden) moa_buf_adds(&b, "\x1b[?25l");
    moa_buf_adds(&b, "\r");
    if (up > 1) moa_buf_addf(&b, "\x1b[%dA", up - 1);
    moa_buf_adds(&b, "\x1b[J");
    int n = collect_rows(l, r, rows, r->n_node);
    l->n_line = moa_live_frame(&b, l->used, rows, n, width - 1, limit, (moa_live_style){l->color, l->utf8, l->tick++});
    moa_buf_adds(&b, "\x1b[?2026l");
    l->hidden = true;
    fwrite(moa_buf_str(&b), 1, b.len, stderr);
    fflush(stderr);
    moa_buf_deinit(&b);
    free(rows);
    l->last = moa_now();
}

static void leave(moa_live *l) {
    if (l->n_line) fputs("\n", stderr);
    if (l->hidden) fputs("\x1b[?25h", stderr);
    fflush(stderr);
    l->hidden = false;
    l->n_line = 0;
}

static bool keep_text(moa_live *l, const moa_run *r, const moa_event *e) {
    if (l->n_row < r->n_node) {
        growing *v = realloc(l->row, (size_t)r->n_node * sizeof *v);
        if (!v) return false;
        memset(v + l->n_row, 0, (size_t)(r->n_node - l->n_row) * sizeof *v);
        l->row = v, l->n_row = r->n_node;
    }
    growing *w = &l->row[e->node];
    if (e->kind != MOA_EV_TEXT) return true;
    const char *s = e->text;
    size_t n = e->n;
    if (n > TAIL) s += n - TAIL, n = TAIL;
    size_t keep = w->n + n > TAIL ? TAIL - n : w->n;
    memmove(w->tail, w->tail + (w->n - keep), keep);
    memcpy(w->tail + keep, s, n);
    w->n = keep + n;
    size_t cut = 0; /* do not begin inside a character */
    while (cut < w->n && cut < 3 && ((unsigned char)w->tail[cut] & 0xC0) == 0x80) cut++;
    memmove(w->tail, w->tail + cut, w->n - cut);
    w->n -= cut;
    return true;
}

static const char says[] = MOA_REPLIES_SAY;

/* A piece of the line of what the replies say; end: it is over. */
static void show_line(moa_live *l, const char *s, size_t n, bool end) {
    if (!l->tty || l->cfg.quiet) return;
    moa_term_write(stderr, s, n);
    if (end) fputs(l->color ? "\x1b[0m\n" : "\n", stderr);
    fflush(stderr);
}

static void write_answer(moa_live *l, const char *s, size_t n) {
    answer_text *a = &l->answer;
    if (a->at == BEGIN) {
        while (n && a->n_begin < sizeof says - 1 && *s == says[a->n_begin]) a->n_begin++, s++, n--;
        if (a->n_begin < sizeof says - 1 && !n) return;
        a->at = a->n_begin < sizeof says - 1 ? PLAIN : IN_LINE;
        if (a->at == IN_LINE && l->color && l->tty && !l->cfg.quiet) fputs("\x1b[2m", stderr);
        if (a->at == IN_LINE) show_line(l, says, sizeof says - 1, false);
        else fwrite(says, 1, a->n_begin, stdout), l->n_streamed += a->n_begin;
    }
    if (a->at == IN_LINE) {
        const char *stop = memchr(s, '\n', n);
        const size_t k = stop ? (size_t)(stop - s) : n;
        show_line(l, s, k, stop != NULL);
        if (!stop) return;
        a->at = PLAIN;
        s += k + 1, n -= k + 1;
    }
    moa_term_write(stdout, s, n);
    l->n_streamed += n;
    fflush(stdout);
}

/* The answer's own text, straight to the terminal; the pane above becomes a summary. */
static void stream(moa_live *l, const moa_run *r, const moa_event *e) {
    if (!l->streaming) {
        if (l->tty && !l->cfg.quiet && r->n_node > 1) draw(l, r);
        bool pane = l->n_line > 0;
        leave(l);
        if (pane) fputs("\n", stderr);
        l->streaming = true;
        if (!r->node[e->node].n_in) l->answer.at = PLAIN; /* it read no replies */
    }
    if (e->kind == MOA_EV_TEXT && e->n) write_answer(l, e->text, e->n);
}

static void plain_line(const moa_live *l, const moa_run *r, int i) {
    const moa_agent_node *n = &r->node[i];
    if (n->state == MOA_NODE_FAILED || !n->backend) {
        fprintf(stderr, "%s: %s\n", n->name, n->note ? n->note : "done");
        return;
    }
    moa_buf b;
    moa_buf_init(&b, 4 * TAIL);
    add_tail(&b, l->row[i].tail, l->row[i].n, 60, l->utf8);
    fprintf(stderr, "%s: %lld tokens, %.2f s  %s%s%s%s\n", n->name, (long long)n->completion_tokens, n->seconds, moa_buf_str(&b),
            n->note ? "  (" : "", n->note ? n->note : "", n->note ? ")" : "");
    moa_buf_deinit(&b);
}

bool moa_live_event(void *live, moa_run *r, const moa_event *e) {
    moa_live *l = live;
    if (!l || !keep_text(l, r, e)) return !moa_interrupted();
    bool is_answer = e->node == r->answer && r->node[e->node].backend;
    if (l->stream && is_answer) {
        stream(l, r, e);
    } else if (l->cfg.quiet) {
        /* nothing */
    } else if (l->tty) {
        if (moa_now() - l->last > 0.04 || e->kind == MOA_EV_DONE) draw(l, r);
    } else if (e->kind == MOA_EV_DONE) {
        plain_line(l, r, e->node);
    }
    return !moa_interrupted();
}

bool moa_live_end(moa_live *l, const moa_run *r) {
    if (!l || l->ended) return false;
    l->ended = true;
    bool pane = l->n_line > 0;
    if (l->tty && !l->cfg.quiet && pane) draw(l, r);
    leave(l);
    if (pane) fputs("\n", stderr);
    if (l->answer.at == IN_LINE) show_line(l, "", 0, true);
    bool whole = l->streaming && l->answer.at == PLAIN && r->rc >= 0 && !r->node[r->answer].replaced;
    if (l->n_streamed) fputs("\n", stdout);
    fflush(stdout);
    return whole;
}

void moa_live_notes(const moa_live_cfg *cfg, const moa_run *r) {
    const bool all = isatty(STDERR_FILENO), streamed = cfg->stream_answer && isatty(STDOUT_FILENO);
    for (int i = 0; i < r->n_node && !cfg->quiet; i++)
        if (r->node[i].note && r->node[i].backend && (all || (streamed && i == r->answer)))
            fprintf(stderr, "moa: %s: %s\n", r->node[i].name, r->node[i].note);
}

void moa_live_free(moa_live *l) {
    if (!l) return;
    if (l->hidden) leave(l);
    free(l->row);
    free(l);
}
