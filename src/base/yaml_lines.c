/* yaml_lines.c - an index of a YAML text: path of each key -> line. libcyaml fills structs but forgets where a
 * value stood, so range errors could not name a line; this pass over libyaml's events remembers it, and while there
 * refuses what libcyaml would accept or report at the wrong line (unknown and repeated keys, aliases).
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"
#include "base/yaml.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { DEPTH_MAX = 8, KEYS_MAX = 2048, PATH_MAX_BYTES = 256 };

typedef struct entry { const char *path; int line; } entry;
struct moa_yaml_lines {
    moa_arena *arena;
    entry *key; /* [n], in the order of the text */
    int n;
};

typedef struct level {
    bool map, want_value;       /* in a mapping: the next scalar is a value */
    int index;                  /* in a sequence: the next element */
    size_t path_len;            /* of the container itself */
    const cyaml_schema_value_t *schema; /* NULL: below a value of the wrong type; libcyaml will say so */
    const char *what;           /* "recipe", "stage": for messages; never the event's text, which is gone soon */
} level;

typedef struct walk {
    moa_yaml_lines *l;
    const char *name, *root;    /* of the text; what it is */
    char path[PATH_MAX_BYTES];
    level lv[DEPTH_MAX];
    int depth;                  /* containers open */
    const cyaml_schema_value_t *next; /* schema of the value that comes next */
    const char *next_what;
    bool seen_root;
} walk;

/* What an element of a list is called, for messages. */
static const char *singular(const char *key) {
    static const char *const pairs[][2] = {{"stages", "stage"}, {"models", "model"}, {"backends", "backend"}, {"mixes", "mix"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (!strcmp(key, pairs[i][0])) return pairs[i][1];
    return key;
}

static void known_keys(char *out, size_t size, const cyaml_schema_field_t *f) {
    size_t used = 0;
    for (; f->key && used + 1 < size; f++) {
        int k = snprintf(out + used, size - used, "%s%s", used ? ", " : "", f->key);
        if (k < 0) break;
        used += (size_t)k;
    }
}

static int add_key(walk *w, const char *key, int line, moa_err *err) {
    level *v = &w->lv[w->depth - 1];
    int k = snprintf(w->path + v->path_len, sizeof w->path - v->path_len, "%s%s", v->path_len ? "." : "", key);
    if (k < 0 || (size_t)k >= sizeof w->path - v->path_len)
        return moa_fail(err, MOA_EFORMAT, "%s:%d: key too long in %s", w->name, line, v->what);
    w->next = NULL;
    w->next_what = "a value of the wrong type";
    if (v->schema && v->schema->type == CYAML_MAPPING) {
        const cyaml_schema_field_t *f = v->schema->mapping.fields;
        while (f->key && strcmp(f->key, key) != 0) f++;
        if (!f->key) {
            char known[320];
            known_keys(known, sizeof known, v->schema->mapping.fields);
            return moa_fail(err, MOA_EFORMAT, "%s:%d: unknown key '%.64s' in %s (known: %s)", w->name, line, key, v->what, known);
        }
        w->next = &f->value;
        w->next_what = singular(f->key);
    }
    for (int i = 0; i < w->l->n; i++)
        if (!strcmp(w->l->key[i].path, w->path))
            return moa_fail(err, MOA_EFORMAT, "%s:%d: key '%.64s' stands twice in %s, first on line %d", w->name, line, key,
                            v->what, w->l->key[i].line);
    if (w->l->n == KEYS_MAX) return moa_fail(err, MOA_ELIMIT, "%s:%d: more than %d keys", w->name, line, KEYS_MAX);
    char *path = moa_arena_strndup(w->l->arena, w->path, strlen(w->path));
    if (!path) return moa_fail(err, MOA_ENOMEM, "%s: no memory for the %s", w->name, w->root);
    w->l->key[w->l->n++] = (entry){path, line};
    return 0;
}

/* The place where a value begins: sets w->path to it, and w->next in a sequence. */
static int begin_value(walk *w, int line, moa_err *err) {
    if (w->depth == 0) {
        if (w->seen_root) return moa_fail(err, MOA_EFORMAT, "%s:%d: a second document; a %s is one", w->name, line, w->root);
        w->seen_root = true;
        return 0;
    }
    level *v = &w->lv[w->depth - 1];
    if (v->map) {
        v->want_value = false;
        return 0;
    }
    int k = snprintf(w->path + v->path_len, sizeof w->path - v->path_len, "[%d]", v->index++);
    if (k < 0 || (size_t)k >= sizeof w->path - v->path_len)
        return moa_fail(err, MOA_ELIMIT, "%s:%d: nested too deeply", w->name, line);
    bool seq = v->schema && (v->schema->type == CYAML_SEQUENCE || v->schema->type == CYAML_SEQUENCE_FIXED);
    w->next = seq ? v->schema->sequence.entry : NULL;
    w->next_what = v->what;
    return 0;
}

static int open_container(walk *w, bool map, int line, moa_err *err) {
    if (w->depth && w->lv[w->depth - 1].map && !w->lv[w->depth - 1].want_value)
        return moa_fail(err, MOA_EFORMAT, "%s:%d: a key must be one word", w->name, line);
    MOA_TRY(begin_value(w, line, err));
    if (w->depth == DEPTH_MAX) return moa_fail(err, MOA_ELIMIT, "%s:%d: nested too deeply (at most %d levels)", w->name, line, DEPTH_MAX);
    w->lv[w->depth++] = (level){.map = map, .path_len = strlen(w->path), .schema = w->next, .what = w->next_what};
    return 0;
}

static int on_scalar(walk *w, const char *text, size_t n, int line, moa_err *err) {
    if (memchr(text, 0, n)) return moa_fail(err, MOA_EFORMAT, "%s:%d: a zero byte in a value", w->name, line);
    if (w->depth && w->lv[w->depth - 1].map && !w->lv[w->depth - 1].want_value) {
        w->lv[w->depth - 1].want_value = true;
        return add_key(w, text, line, err);
    }
    return begin_value(w, line, err);
}

static int on_event(walk *w, const yaml_event_t *e, moa_err *err) {
    int line = (int)e->start_mark.line + 1;
    switch (e->type) {
    case YAML_ALIAS_EVENT: return moa_fail(err, MOA_EFORMAT, "%s:%d: aliases (*name) are not used in a %s", w->name, line, w->root);
    case YAML_SCALAR_EVENT: return on_scalar(w, (const char *)e->data.scalar.value, e->data.scalar.length, line, err);
    case YAML_MAPPING_START_EVENT: return open_container(w, true, line, err);
    case YAML_SEQUENCE_START_EVENT: return open_container(w, false, line, err);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        w->depth--;
        w->path[w->lv[w->depth].path_len] = 0;
        return 0;
    default: return 0;
    }
}

static int run_events(walk *w, const char *text, size_t n, moa_err *err) {
    yaml_parser_t p;
    if (!yaml_parser_initialize(&p)) return moa_fail(err, MOA_ENOMEM, "%s: no memory to parse it", w->name);
    yaml_parser_set_input_string(&p, (const unsigned char *)text, n);
    int rc = 0;
    for (bool done = false; !done && rc == 0;) {
        yaml_event_t e;
        if (!yaml_parser_parse(&p, &e)) {
            rc = p.error == YAML_MEMORY_ERROR
                     ? moa_fail(err, MOA_ENOMEM, "%s: no memory to parse it", w->name)
                     : moa_fail(err, MOA_EFORMAT, "%s:%d: %s%s%s", w->name, (int)p.problem_mark.line + 1,
                                p.problem ? p.problem : "not YAML", p.context ? " " : "", p.context ? p.context : "");
            break;
        }
        rc = on_event(w, &e, err);
        done = e.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&e);
    }
    yaml_parser_delete(&p);
    return rc;
}

int moa_yaml_lines_new(moa_yaml_lines **out, const char *text, size_t n, const char *name, const char *what, const cyaml_schema_value_t *schema, moa_err *err) {
    *out = NULL;
    moa_yaml_lines *l = calloc(1, sizeof *l);
    if (l) l->arena = moa_arena_new(0, 0);
    if (l && l->arena) l->key = moa_arena_alloc(l->arena, KEYS_MAX * sizeof *l->key);
    if (!l || !l->arena || !l->key) {
        moa_yaml_lines_free(l);
        return moa_fail(err, MOA_ENOMEM, "%s: no memory for the %s", name, what);
    }
    walk w = {.l = l, .name = name, .next = schema, .root = what, .next_what = what};
    int rc = run_events(&w, text, n, err);
    if (rc == 0 && !w.seen_root) rc = moa_fail(err, MOA_EFORMAT, "%s:1: the %s is empty", name, what);
    if (rc < 0) {
        moa_yaml_lines_free(l);
        return rc;
    }
    *out = l;
    return 0;
}

void moa_yaml_lines_free(moa_yaml_lines *l) {
    if (!l) return;
    moa_arena_free(l->arena);
    free(l);
}

int moa_yaml_line(const moa_yaml_lines *l, const char *fmt, ...) {
    char path[PATH_MAX_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(path, sizeof path, fmt, ap);
    va_end(ap);
    for (int i = 0; i < l->n; i++)
        if (!strcmp(l->key[i].path, path)) return l->key[i].line;
    return 0;
}
