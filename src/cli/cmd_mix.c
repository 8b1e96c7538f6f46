/* cmd_mix.c - moa mix: what a mix does, its settings, and its graph, drawn from a run of the strategy itself.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/mix.h"
#include "agent/sketch.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 100, O_SVG = 0, O_JSON };
static const moa_opt opts[] = {
    {"--svg", NULL, MOA_OPT_STR, "FILE", "write the graph as SVG; -: on stdout, and nothing else", 0, 0},
    MOA_ROW_JSON(": settings with ranges and defaults, roles, and all of the graph"),
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_mix = {
    .name = "mix",
    .usage = "[NAME[:KEY=VALUE,...]]",
    .help = "what a mix does: its roles, settings and graph",
    .more = "Alone it lists all mixes. The graph is the one that the strategy builds with these settings; no model is opened or asked, and those named need not be there. Where it grows while\n"
            "it runs, it is that of one run in which placeholders reply: drafts that disagree, judges that choose the first.\n"
            "example: moa mix smoa:n=3,rounds=2\n"
            "example: moa mix moa:proposers=a+b,aggregator=c --svg moa.svg",
    .opts = opts,
    .run = run,
};

/* ---- what it needs ---- */

static const struct { unsigned has; const char *key, *arg, *what, *dflt, *word; } roles[] = {
    {0, "proposers", "MODEL", "who drafts", "the model of -m", NULL},
    {MOA_SEVERAL, "proposers", "A+B+...", "who drafts, in turn", "the model of -m", "several models"},
    {MOA_AGGREGATES, "aggregator", "MODEL", "who reads the drafts and writes the answer", "the first proposer", NULL},
    {MOA_JUDGES, "judge", "MODEL", "who rates, chooses, criticises", "the aggregator", "a judge"},
    {MOA_LEARNS, "store", "FILE", "where it keeps what it learns", "in memory", "a store"},
};
enum { N_ROLE = sizeof roles / sizeof *roles };
static bool has_role(const moa_strategy *s, int i) { return i ? (s->has & roles[i].has) != 0 : !(s->has & MOA_SEVERAL); }

/* moa can work with one model; a bandit has nothing to choose from then. */
static const char *need_of(const moa_strategy *s, int i) { return has_role(s, i) ? roles[i].word : NULL; }

static void wrapped(int at, int indent, const char *text) {
    for (const char *p = text; *p;) {
        const int n = (int)strcspn(p, " ");
        if (at > indent && at + 1 + n > COLUMNS) printf("\n%*s", indent, ""), at = indent;
        else if (at > indent) putchar(' '), at++;
        printf("%.*s", n, p);
        at += n;
        p += n + (p[n] == ' ');
    }
    putchar('\n');
}

static void list_text(void) {
    enum { NAME = 28 };
    int n;
    const moa_strategy *const *s = moa_strategies(&n);
    for (int i = 0; i < n; i++) {
        char line[400] = "";
        size_t used = (size_t)snprintf(line, sizeof line, "%s", s[i]->help);
        int k = 0;
        for (int r = 0; r < N_ROLE; r++)
            if (need_of(s[i], r) && used < sizeof line) used += (size_t)snprintf(line + used, sizeof line - used, "%s%s", k++ ? ", " : "  [", need_of(s[i], r));
        if (k && used < sizeof line) snprintf(line + used, sizeof line - used, "]");
        printf("%-*s%s\n", NAME, s[i]->name, line);
    }
    puts("\n[what it can have beside a model]   moa mix NAME tells all of one");
}

static json_t *needs_json(const moa_strategy *s) {
    json_t *v = json_object();
    for (int r = 0; r < N_ROLE; r++)
        if (has_role(s, r)) json_object_set_new(v, roles[r].key, json_pack("{s:s, s:s, s:b}", "help", roles[r].what, "default", roles[r].dflt, "several", roles[r].has == MOA_SEVERAL));
    return v;
}

/* ---- settings ---- */

/* Common settings by what they are about; those that stand in no group are in the last. */
static const struct { const char *title, *keys; } groups[] = {
    {"drafts", " n temperature top-k top-p min-p repeat-penalty max-tokens "},
    {"aggregator", " aggregate-temperature aggregate-max-tokens layout fence fit tool-turns staircase steps "},
    {"judge", " judge-max-tokens "},
    {"waiting, early stop", " quorum grace until error wave same alike "},
    {"screens", " checker screen screen-at subsets most-of-one duplicates "},
    {"bounds", " deadline budget-tokens budget-cost "},
    {"further", NULL},
};
enum { N_GROUP = sizeof groups / sizeof *groups, OWN = -1 };

static int group_of(const moa_strategy *s, const moa_setting *p) {
    char key[48];
    if (s->n_setting && p >= s->setting && p < s->setting + s->n_setting) return OWN;
    snprintf(key, sizeof key, " %s ", p->key);
    for (int g = 0; g < N_GROUP - 1; g++)
        if (strstr(groups[g].keys, key)) return g;
    return N_GROUP - 1;
}

static void word_of(char *out, size_t n, const moa_setting *p, double v) {
    const char *w = p->words;
    for (int i = 0; i < (int)v; i++) w += strcspn(w, "|"), w += *w == '|';
    snprintf(out, n, "%.*s", (int)strcspn(w, "|"), w);
}

/* "-": off, or what its help says. */
static void value_of(char *out, size_t n, const moa_mix_cfg *c, const moa_setting *p) {
    const char *text;
    const double v = moa_mix_get(c, p, &text);
    if (p->text) {
        snprintf(out, n, "%s", text ? text : "-");
        moa_utf8_tame(out, false);
    } else if (p->words) word_of(out, n, p, v);
    else if (v < p->lo || (!(v > 0) && !(p->lo > 0) && !p->whole && p->hi > 1000)) snprintf(out, n, "-");
    else snprintf(out, n, "%g", v);
}

static void print_setting(const moa_mix_cfg *c, const moa_mix_cfg *dflt, const moa_setting *p) {
    enum { KEY = 22, VALUE = 14, INDENT = 2 + KEY + VALUE };
    char value[200], was[200], key[60], line[600], range[300];
    value_of(value, sizeof value, c, p);
    value_of(was, sizeof was, dflt, p);
    if (p->text) snprintf(range, sizeof range, "text");
    else if (p->words) snprintf(range, sizeof range, "%s", p->words);
    else snprintf(range, sizeof range, "%.10g..%.10g", p->lo, p->hi);
    snprintf(key, sizeof key, "%s", p->key);
    snprintf(line, sizeof line, "%s (%s%s%s)", p->help, range, strcmp(value, was) ? ", default " : "", strcmp(value, was) ? was : "");
    int at = printf("  %-*s%-*s", KEY, key, VALUE - 1, value) + 1;
    putchar(' ');
    if (at > INDENT) printf("\n%*s", INDENT, "");
    wrapped(INDENT, INDENT, line);
}

static void settings_text(const moa_mix_spec *m) {
    const moa_mix_cfg dflt = moa_mix_defaults(m->strategy->name);
    const moa_setting *p;
    for (int g = OWN; g < N_GROUP; g++) {
        bool any = false;
        for (int i = 0; (p = moa_strategy_setting(m->strategy, i)); i++) {
            if (group_of(m->strategy, p) != g) continue;
            if (!any) printf("\n%s\n", g == OWN ? "its own settings" : groups[g].title);
            any = true;
            print_setting(&m->cfg, &dflt, p);
        }
    }
}

static json_t *value_json(const moa_mix_cfg *c, const moa_setting *p) {
    const char *text;
    const double v = moa_mix_get(c, p, &text);
    char word[80];
    if (p->text) return text ? moa_json_str(text, strlen(text)) : json_null();
    if (p->words) return word_of(word, sizeof word, p, v), json_string(word);
    if (v < p->lo) return json_null(); /* off */
    return p->whole ? json_integer((json_int_t)v) : json_real(v);
}

static json_t *settings_json(const moa_mix_spec *m) {
    const moa_mix_cfg dflt = moa_mix_defaults(m->strategy->name);
    const moa_setting *p;
    json_t *list = json_array();
    for (int i = 0; (p = moa_strategy_setting(m->strategy, i)); i++) {
        const int g = group_of(m->strategy, p);
        json_t *v = json_pack("{s:s, s:s, s:s}", "key", p->key, "help", p->help, "group", g == OWN ? "own" : groups[g].title);
        json_object_set_new(v, "type", json_string(p->text ? "text" : p->words ? "word" : p->whole ? "whole" : "number"));
        if (p->words) {
            json_t *words = json_array();
            for (const char *w = p->words; *w; w += strcspn(w, "|"), w += *w == '|') json_array_append_new(words, json_stringn(w, strcspn(w, "|")));
            json_object_set_new(v, "words", words);
        } else if (!p->text) json_object_set_new(v, "range", json_pack("[f, f]", p->lo, p->hi));
        json_object_set_new(v, "default", value_json(&dflt, p));
        json_object_set_new(v, "value", value_json(&m->cfg, p));
        json_array_append_new(list, v);
    }
    return list;
}

/* ---- the whole ---- */

static void roles_text(const moa_strategy *s) {
    enum { KEY = 24, INDENT = 2 + KEY };
    puts("\nroles");
    for (int r = 0; r < N_ROLE; r++) {
        char key[60], line[200];
        if (!has_role(s, r)) continue;
        snprintf(key, sizeof key, "%s=%s", roles[r].key, roles[r].arg);
        snprintf(line, sizeof line, "%s (default: %s)", roles[r].what, roles[r].dflt);
        printf("  %-*s", KEY, key);
        wrapped(INDENT, INDENT, line);
    }
}

/* The models of node i's role, where they have names. */
static void add_models(moa_buf *b, const moa_sketch *g, int i) {
    enum { MOST = MOA_MAX_PROPOSERS };
    const char *seen[MOST];
    int n = 0;
    for (int j = i; g->named && j < g->n && n < MOST; j++) {
        bool known = strcmp(g->node[j].role, g->node[i].role) != 0 || !g->node[j].model;
        for (int k = 0; k < n && !known; k++) known = !strcmp(seen[k], g->node[j].model);
        if (known) continue;
        moa_buf_addf(b, "%s%s", n ? ", " : " of ", seen[n] = g->node[j].model);
        n++;
    }
}

/* "proposer   p1.1 .. p2.3: 6 calls of a, b" */
static void cast_text(const moa_sketch *g) {
    enum { ROLE = 12, INDENT = 2 + ROLE + 1 };
    for (int i = 0; i < g->n; i++) {
        const moa_sketch_node *n = &g->node[i], *last = n;
        int k = 0;
        bool told = false;
        for (int j = 0; j < g->n; j++) {
            if (strcmp(g->node[j].role, n->role) != 0 || !g->node[j].model != !n->model) continue;
            told = told || j < i;
            last = &g->node[j], k++;
        }
        if (told) continue;
        moa_buf b;
        moa_buf_init(&b, 1 << 20);
        moa_buf_adds(&b, n->name);
        if (k > 1 && strcmp(last->name, n->name) != 0) moa_buf_addf(&b, " .. %s", last->name);
        if (n->model) moa_buf_addf(&b, ": %d call%s", k, k == 1 ? "" : "s");
        else if (k > 1) moa_buf_addf(&b, ": no call (%d)", k);
        else moa_buf_adds(&b, ": no call");
        if (n->model) add_models(&b, g, i);
        if (b.data) moa_utf8_tame(b.data, false);
        printf("  %-*s ", ROLE, n->role);
        wrapped(INDENT, INDENT, moa_buf_str(&b));
        moa_buf_deinit(&b);
    }
}

static int graph_text(const moa_sketch *g, bool learns, moa_err *err) {
    moa_buf b;
    moa_buf_init(&b, 16 << 20);
    if (g->n_grown)
        printf("\ngraph: grows while it runs. This is one run with placeholder replies%s: %d call%s;\n%d of %d nodes were added on the way (a broken line leads from who decided it)\n",
               learns ? ", and an empty store" : "", g->n_call, g->n_call == 1 ? "" : "s", g->n_grown, g->n);
    else printf("\ngraph: %d call%s\n", g->n_call, g->n_call == 1 ? "" : "s");
    puts("");
    moa_err wide = {0};
    const int rc = moa_sketch_text(&b, g, COLUMNS, &wide);
    if (rc == MOA_ELIMIT) printf("%s: --svg FILE draws it\n", wide.text);
    else if (rc >= 0) fwrite(moa_buf_str(&b), 1, b.len, stdout);
    else *err = wide;
    puts("");
    if (rc >= 0) cast_text(g);
    moa_buf_deinit(&b);
    return rc < 0 && rc != MOA_ELIMIT ? rc : 0;
}

static int write_svg(const moa_sketch *g, const moa_mix_spec *m, const char *path, moa_err *err) {
    enum { TITLE = 80 };
    char title[4 * TITLE + 40];
    moa_writer *w;
    moa_buf b;
    const size_t n = strlen(m->label);
    snprintf(title, sizeof title, "%.*s%s: %d call%s", TITLE, m->label, n > TITLE ? "..." : "", g->n_call, g->n_call == 1 ? "" : "s");
    moa_buf_init(&b, 16 << 20);
    int rc = moa_sketch_svg(&b, g, title, err);
    if (rc >= 0 && !strcmp(path, "-")) fwrite(moa_buf_str(&b), 1, b.len, stdout);
    else if (rc >= 0 && (rc = moa_writer_open(&w, path, err)) >= 0) {
        moa_writer_add(w, moa_buf_str(&b), b.len);
        rc = moa_writer_commit(w, err);
    }
    moa_buf_deinit(&b);
    return rc;
}

static int print_json(json_t *v, moa_err *err) {
    char *text = v ? json_dumps(v, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(v);
    if (!text) return moa_fail(err, MOA_ENOMEM, "JSON of a mix");
    puts(text);
    free(text);
    return 0;
}

static json_t *about_json(const moa_strategy *s) { return json_pack("{s:s, s:s, s:o}", "name", s->name, "help", s->help, "roles", needs_json(s)); }

static int list_json(moa_err *err) {
    int n;
    const moa_strategy *const *s = moa_strategies(&n);
    json_t *all = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(all, about_json(s[i]));
    return print_json(all, err);
}

static int show(const moa_mix_spec *m, const moa_optval *v, moa_err *err) {
    moa_sketch g;
    if (v[O_SVG].set && !*v[O_SVG].s) return moa_fail(err, MOA_EUSAGE, "--svg: the file's name is empty");
    MOA_TRY(moa_sketch_make(&g, m, err));
    int rc = v[O_SVG].set ? write_svg(&g, m, v[O_SVG].s, err) : 0;
    if (rc >= 0 && v[O_JSON].set) {
        json_t *o = about_json(m->strategy);
        json_object_set_new(o, "mix", moa_json_str(m->label, strlen(m->label)));
        json_object_set_new(o, "settings", settings_json(m));
        json_object_set_new(o, "graph", moa_sketch_json(&g));
        rc = print_json(o, err);
    } else if (rc >= 0 && !v[O_SVG].set) {
        char line[400];
        snprintf(line, sizeof line, "%s: %s", m->strategy->name, m->strategy->help);
        wrapped(0, 0, line);
        roles_text(m->strategy);
        settings_text(m);
        rc = graph_text(&g, m->strategy->has & MOA_LEARNS, err);
    }
    moa_sketch_deinit(&g);
    return rc;
}

static int run(int argc, char **argv) {
    moa_optval v[sizeof opts / sizeof *opts];
    const char *name = NULL;
    moa_err err = {0};
    int n_pos, rc = moa_opt_parse(&moa_command_mix, argc, argv, v, &name, 1, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    if (!n_pos && v[O_SVG].set) return moa_cli_usage(&moa_command_mix, "--svg draws one mix: name it");
    if (v[O_JSON].set && v[O_SVG].set && !strcmp(v[O_SVG].s, "-")) return moa_cli_usage(&moa_command_mix, "--json and --svg - would both write to stdout");
    if (!n_pos && !v[O_JSON].set) return list_text(), 0;
    moa_mix_spec m = {0};
    rc = n_pos ? moa_mix_spec_parse(&m, name, &err) : list_json(&err);
    if (rc >= 0 && n_pos) rc = show(&m, v, &err);
    moa_mix_spec_deinit(&m);
    return rc < 0 ? moa_cli_fail(&err) : 0;
}
