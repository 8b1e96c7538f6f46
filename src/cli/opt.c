/* opt.c - options of all commands: one parser, so that help texts, errors and types are alike everywhere.
 *
 * Forms: --name VALUE, --name=VALUE, -x VALUE, -xVALUE, flags; "--" ends the options; a lone "-" is positional
 * (standard input). Numbers are parsed whole ("4x" is an error) and checked against the row's range. An unknown
 * option names the nearest known one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "cli/live.h"

#include "base/nearest.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static int n_opts(const moa_command *c) {
    int n = 0;
    while (c->opts && c->opts[n].name) n++;
    return n;
}

void moa_cli_help(const moa_command *c, FILE *f) {
    fprintf(f, "usage: moa %s%s%s\n%s\n", c->name, c->usage && *c->usage ? " " : "", c->usage ? c->usage : "", c->help);
    int n = n_opts(c);
    if (n) fprintf(f, "\noptions:\n");
    for (int i = 0; i < n; i++) {
        const moa_opt *o = &c->opts[i];
        char left[64];
        snprintf(left, sizeof left, "%s%s%s%s%s", o->alt ? o->alt : "", o->alt ? ", " : "", o->name, o->arg ? " " : "",
                 o->arg ? o->arg : "");
        fprintf(f, "  %-24s %s%s\n", left, o->help, o->kind == MOA_OPT_STRS ? " (repeatable)" : "");
    }
    if (c->more) fprintf(f, "\n%s%s", c->more, *c->more && c->more[strlen(c->more) - 1] == '\n' ? "" : "\n");
}

int moa_cli_usage(const moa_command *c, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    char said[1024]; /* may quote an argument */
    vsnprintf(said, sizeof said, fmt, ap);
    va_end(ap);
    fprintf(stderr, "moa %s: ", c->name);
    moa_term_write(stderr, said, strlen(said));
    fprintf(stderr, "\nusage: moa %s %s\n  moa %s --help tells more\n", c->name, c->usage ? c->usage : "", c->name);
    return 2;
}

static int wrong_range(const moa_command *c, const moa_opt *o, const char *s) {
    if (o->kind == MOA_OPT_INT) moa_cli_usage(c, "%s %s: expected a whole number from %.0f to %.0f", o->name, s, o->lo, o->hi);
    else moa_cli_usage(c, "%s %s: expected a number from %g to %g", o->name, s, o->lo, o->hi);
    return -1;
}

static int set_value(const moa_command *c, const moa_opt *o, moa_optval *v, const char *s) {
    char *end;
    v->set = true;
    v->s = s;
    errno = 0;
    switch (o->kind) {
    case MOA_OPT_FLAG: break;
    case MOA_OPT_STR: break;
    case MOA_OPT_STRS:
        if (v->n_list == (int)(sizeof v->list / sizeof *v->list))
            return moa_cli_usage(c, "%s: given more than %d times", o->name, v->n_list), -1;
        v->list[v->n_list++] = s;
        break;
    case MOA_OPT_INT:
        v->i = strtoll(s, &end, 10);
        if (end == s || *end || (errno && o->lo >= o->hi)) return moa_cli_usage(c, "%s '%s': expected a whole number", o->name, s), -1;
        if (o->lo < o->hi && (errno || (double)v->i < o->lo || (double)v->i > o->hi)) return wrong_range(c, o, s);
        v->f = (double)v->i;
        break;
    case MOA_OPT_FLOAT:
        v->f = strtod(s, &end);
        if (end == s || *end || !isfinite(v->f)) return moa_cli_usage(c, "%s '%s': expected a number", o->name, s), -1;
        if (o->lo < o->hi && (v->f < o->lo || v->f > o->hi)) return wrong_range(c, o, s);
        break;
    }
    return 0;
}

/* Row of the option in `a`; *val is the text after '=' or after a short option, NULL when there is none. */
static int find(const moa_command *c, const char *a, const char **val) {
    *val = NULL;
    for (int i = 0, n = n_opts(c); i < n; i++) {
        const moa_opt *o = &c->opts[i];
        size_t len = strlen(o->name);
        if (!strncmp(a, o->name, len) && (a[len] == 0 || a[len] == '=')) return *val = a[len] ? a + len + 1 : NULL, i;
        if (len == 2 && !strncmp(a, o->name, 2) && o->kind != MOA_OPT_FLAG) return *val = a + 2, i; /* "-n" has no long form */
        len = o->alt ? strlen(o->alt) : 0;
        if (!len || strncmp(a, o->alt, len)) continue;
        if (a[len] == 0) return i;
        if (len == 2 && o->kind != MOA_OPT_FLAG) return *val = a + len + (a[len] == '='), i;
    }
    return -1;
}

static int unknown(const moa_command *c, const char *a) {
    const char *names[128];
    int n = n_opts(c), m = 0;
    for (int i = 0; i < n && m < 126; i++) {
        names[m++] = c->opts[i].name;
        if (c->opts[i].alt && strlen(c->opts[i].alt) > 2) names[m++] = c->opts[i].alt;
    }
    const char *near = moa_nearest(a, names, m);
    moa_cli_usage(c, "unknown option '%s'%s%s%s", a, near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
    return -1;
}

int moa_opt_parse(const moa_command *c, int argc, char **argv, moa_optval *val, const char **pos, int max_pos, int *n_pos) {
    memset(val, 0, (size_t)n_opts(c) * sizeof *val);
    *n_pos = 0;
    bool options = true;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *v;
        if (options && !strcmp(a, "--")) {
            options = false;
            continue;
        }
        if (!options || a[0] != '-' || a[1] == 0) {
            if (*n_pos == max_pos) return moa_cli_usage(c, "unexpected argument '%s'", a), -1;
            pos[(*n_pos)++] = a;
            continue;
        }
        if (!strcmp(a, "--help") || !strcmp(a, "-h")) return moa_cli_help(c, stdout), 1;
        int row = find(c, a, &v);
        if (row < 0) return unknown(c, a);
        const moa_opt *o = &c->opts[row];
        if (o->kind == MOA_OPT_FLAG && v) return moa_cli_usage(c, "%s takes no value", o->name), -1;
        if (o->kind != MOA_OPT_FLAG && !v) {
            if (++i == argc) return moa_cli_usage(c, "%s needs a value (%s)", o->name, o->arg ? o->arg : "VALUE"), -1;
            v = argv[i];
        }
        if (set_value(c, o, &val[row], v) < 0) return -1;
    }
    return 0;
}

int moa_cli_fail(const moa_err *err) {
    fprintf(stderr, "moa: %s\n", err->text[0] ? err->text : moa_strerror(err->code));
    if (err->hint[0]) fprintf(stderr, "  hint: %s\n", err->hint);
    return err->code == MOA_EUSAGE ? 2 : 1;
}
