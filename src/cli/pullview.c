/* pullview.c - see models.h: the progress of moa pull. The line is written in one piece, at most ten times a second.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/models.h"

#include "base/clock.h"
#include "cli/live.h"

#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { BAR = 20, NAME_LEAST = 8, QUIET_SECONDS = 30 };

void moa_cli_bytes(char out[24], int64_t bytes) {
    static const char *const unit[] = {"B", "kB", "MB", "GB", "TB"};
    double v = (double)bytes;
    int u = 0;
    while (v >= 999.5 && u < 4) v /= 1000, u++;
    if (bytes < 0) snprintf(out, 24, "?");
    else snprintf(out, 24, u == 0 ? "%.0f %s" : v < 9.995 ? "%.2f %s" : v < 99.95 ? "%.1f %s" : "%.0f %s", v, unit[u]);
}

static void put_time(char *out, size_t n, double s) {
    if (s > 359999) snprintf(out, n, "days");
    else if (s >= 3600) snprintf(out, n, "%d:%02d:%02d", (int)s / 3600, (int)s / 60 % 60, (int)s % 60);
    else snprintf(out, n, "%d:%02d", (int)s / 60, (int)s % 60);
}

static void put_bar(char *out, size_t n, double share, bool utf8) {
    const int full = (int)(share * BAR + 0.5);
    size_t k = 0;
    for (int i = 0; i < BAR && k + 4 < n; i++) k += (size_t)snprintf(out + k, n - k, "%s", i < full ? (utf8 ? "\u2588" : "#") : (utf8 ? "\u2591" : "-"));
}

void moa_pull_line(char *out, size_t n, const moa_fetch_event *e, double rate, int width, bool utf8) {
    char which[32] = "", bar[4 * BAR + 8] = "", done[24], total[24], speed[24], left[16] = "", tail[256];
    const double share = e->total > 0 ? (double)e->done / (double)e->total : 0;
    const char *name = e->name ? e->name : "";
    if (e->n_file > 1) snprintf(which, sizeof which, "(%d/%d) ", e->file + 1, e->n_file);
    moa_cli_bytes(done, e->done);
    moa_cli_bytes(total, e->total);
    moa_cli_bytes(speed, (int64_t)rate);
    if (e->total > 0 && rate > 1) put_time(left, sizeof left, (double)(e->total - e->done) / rate);
    const char *verb = e->kind == MOA_FETCH_CHECK ? "  reading what is here" : "";
    if (e->kind == MOA_FETCH_WAIT) snprintf(tail, sizeof tail, "  waiting %.0f s", e->seconds + 0.5);
    else if (e->total > 0) snprintf(tail, sizeof tail, "  %3d%%  %s of %s  %s/s%s%s%s", (int)(share * 100), done, total, speed, *left ? "  " : "", left, verb);
    else snprintf(tail, sizeof tail, "  %s  %s/s%s", done, speed, verb);
    /* Where that leaves no room for the name, how far it is and how long it takes come first. */
    if (e->total > 0 && e->kind != MOA_FETCH_WAIT && width - (int)(strlen(which) + strlen(tail)) < NAME_LEAST)
        snprintf(tail, sizeof tail, "  %3d%%%s%s", (int)(share * 100), *left ? "  " : "", left);
    const int wide = (int)strlen(which) + (int)strlen(tail);
    int bar_width = 0;
    if (e->total > 0 && e->kind != MOA_FETCH_WAIT && width - wide > BAR + 14) {
        put_bar(bar, sizeof bar, share, utf8);
        bar_width = BAR + 2;
    }
    int room = width - wide - bar_width;
    if (room < 0) room = 0;
    const int len = (int)strlen(name), keep = len <= room ? len : room;
    /* The end of a name tells more than its beginning: the type stands there. */
    snprintf(out, n, "%s%s%s%s%.*s", which, name + len - keep, bar_width ? "  " : "", bar, width > (int)strlen(which) ? width - (int)strlen(which) : 0, tail);
}

static int columns(void) {
    struct winsize w;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 1 ? w.ws_col - 1 : 79;
}

void moa_pull_view_init(moa_pull_view *v, bool quiet) {
    const char *term = getenv("TERM");
    *v = (moa_pull_view){.quiet = quiet, .file = -1, .total = -1};
    v->tty = isatty(STDERR_FILENO) && !(term && !strcmp(term, "dumb"));
    if (v->tty && setlocale(LC_CTYPE, "")) v->utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
}

static void wipe(const moa_pull_view *v) {
    if (v->tty) fputs("\r\x1b[K", stderr);
}

/* A sentence of its own. */
static void say(const moa_pull_view *v, const char *name, const char *text) {
    wipe(v);
    if (name) fprintf(stderr, "%s: ", name);
    moa_term_write(stderr, text, strlen(text));
    fputc('\n', stderr);
}

static void measure(moa_pull_view *v, const moa_fetch_event *e, double now) {
    const double dt = now - v->last;
    if (e->done < v->seen) v->seen = e->done; /* the file is fetched anew */
    if (dt < 0.05) return;
    const double newest = (double)(e->done - v->seen) / dt, keep = dt > 2 ? 0 : 1 - dt / 2; /* two seconds' memory */
    v->rate = v->rate > 0 ? keep * v->rate + (1 - keep) * newest : newest;
    v->seen = e->done;
}

static void draw(moa_pull_view *v, const moa_fetch_event *e, double now) {
    char line[1024];
    measure(v, e, now);
    v->last = now;
    moa_pull_line(line, sizeof line, e, v->rate > 0 ? v->rate : 0, columns(), v->utf8);
    fprintf(stderr, "\r%s\x1b[K", line);
}

/* Without a terminal: at every tenth of the file, at most once a second, and every half minute. */
static void tell(moa_pull_view *v, const moa_fetch_event *e, double now) {
    const int step = e->total > 0 ? (int)(10 * ((double)e->done / (double)e->total)) : 0;
    if (e->kind != MOA_FETCH_DATA) return;
    if (e->done < v->begun) v->begun = e->done, v->from = v->last = now, v->step = step; /* the file is fetched anew */
    if (now - v->last < 1 || (step == v->step && now - v->last < QUIET_SECONDS) || (step >= 10 && v->step >= 9)) return;
    char line[1024];
    v->step = step;
    v->last = now;
    moa_pull_line(line, sizeof line, e, (double)(e->done - v->begun) / (now - v->from), 120, false);
    fprintf(stderr, "%s\n", line);
}

static void begin(moa_pull_view *v, const moa_fetch_event *e, double now) {
    char total[24], done[24];
    v->file = e->file;
    v->last = v->from = now;
    v->seen = v->begun = e->done;
    v->rate = 0;
    v->step = e->total > 0 ? (int)(10 * ((double)e->done / (double)e->total)) : 0;
    if (v->tty && !e->done) return;
    moa_cli_bytes(total, e->total);
    moa_cli_bytes(done, e->done);
    wipe(v);
    if (e->done) fprintf(stderr, "%s: goes on at %s of %s\n", e->name, done, total);
    else if (e->total >= 0) fprintf(stderr, "%s: %s\n", e->name, total);
    else fprintf(stderr, "%s\n", e->name);
}

bool moa_pull_view_event(void *view, const moa_fetch_event *e) {
    moa_pull_view *v = view;
    const double now = moa_now();
    if (e->kind == MOA_FETCH_DATA || e->kind == MOA_FETCH_BEGIN) v->done = e->done, v->total = e->total;
    if (v->quiet || moa_interrupted()) return !moa_interrupted();
    switch (e->kind) {
    case MOA_FETCH_BEGIN: begin(v, e, now); break;
    case MOA_FETCH_NOTE: say(v, e->name, e->text); break;
    case MOA_FETCH_END: wipe(v); break;
    case MOA_FETCH_WAIT:
        if (v->last >= 0) say(v, NULL, e->text), fprintf(stderr, "  trying again in %.0f s\n", e->seconds < 1 ? 1 : e->seconds);
        v->last = -1; /* once a pause */
        break;
    case MOA_FETCH_CHECK:
    case MOA_FETCH_DATA:
        if (v->last < 0) v->last = now, v->seen = e->done;
        if (!v->tty) tell(v, e, now);
        else if (now - v->last >= 0.1 || e->done == e->total) draw(v, e, now);
        break;
    case MOA_FETCH_TICK: break;
    }
    return true;
}

void moa_pull_view_end(moa_pull_view *v) {
    if (!v->quiet) wipe(v);
}
