/* taskset.c - see taskset.h. Sets are small (thousands of items), so they are made whole when opened: then no two
 * items of a family ask the same, and asking for an item again costs nothing.
 * SPDX-License-Identifier: Apache-2.0 */
#include "task/taskset.h"

#include "base/err.h"
#include "base/nearest.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_GROUP = 64, MAX_ITEMS = MAX_GROUP * MOA_TASKSET_MOST, TRIES = 50 };

struct moa_taskset {
    moa_item *item;
    int *group;
    int n, cap;
    char *name[MAX_GROUP];
    int count[MAX_GROUP]; /* items of a group */
    int n_group;
    const moa_task_format *format; /* of the file; NULL: generated */
};

void moa_taskset_free(moa_taskset *t) {
    if (!t) return;
    for (int i = 0; i < t->n; i++) moa_item_deinit(&t->item[i]);
    for (int g = 0; g < t->n_group; g++) free(t->name[g]);
    free(t->item);
    free(t->group);
    free(t);
}

/* A new empty item at the end, not counted before the caller is done with it. */
static int reserve(moa_taskset *t, moa_err *err) {
    if (t->n == MAX_ITEMS) return moa_fail(err, MOA_ELIMIT, "a task set has more than %d items", MAX_ITEMS);
    if (t->n < t->cap) return MOA_OK;
    int cap = t->cap ? 2 * t->cap : 256;
    moa_item *item = realloc(t->item, (size_t)cap * sizeof *item);
    if (item) t->item = item;
    int *group = item ? realloc(t->group, (size_t)cap * sizeof *group) : NULL;
    if (!group) return moa_fail(err, MOA_ENOMEM, "no memory for a task set of %d items", cap);
    t->group = group;
    t->cap = cap;
    return MOA_OK;
}

static int find_group(moa_taskset *t, const char *name, moa_err *err) {
    for (int g = 0; g < t->n_group; g++)
        if (strcmp(t->name[g], name) == 0) return g;
    if (t->n_group == MAX_GROUP) return moa_fail(err, MOA_ELIMIT, "a task set has more than %d groups", MAX_GROUP);
    if (!(t->name[t->n_group] = strdup(name))) return moa_fail(err, MOA_ENOMEM, "no memory for a group's name");
    return t->n_group++;
}

/* ---- generated ---------------------------------------------------------------------------------- */

static bool seen(const moa_taskset *t, int from, uint64_t id) {
    for (int i = from; i < t->n; i++)
        if (t->item[i].id == id) return true;
    return false;
}

static int add_family(moa_taskset *t, const moa_family *f, int level, uint64_t seed, int n, moa_err *err) {
    int g = find_group(t, f->name, err), first = t->n;
    MOA_TRY(g);
    for (int k = 0; k < n; k++) {
        MOA_TRY(reserve(t, err));
        moa_item *it = &t->item[t->n];
        moa_item_init(it);
        int rc = MOA_OK, lv = level ? level : k % f->n_level + 1, again = 0;
        do rc = moa_item_make(it, f, MOA_HELDOUT, seed, (uint64_t)k + (uint64_t)again * (uint64_t)n, lv, err);
        while (rc == MOA_OK && seen(t, first, it->id) && ++again < TRIES);
        if (rc == MOA_OK && again == TRIES)
            rc = moa_fail(err, MOA_ELIMIT, "family %s, level %d: no %d different held-out questions", f->name, lv, n);
        if (rc < 0) {
            moa_item_deinit(it);
            return again == TRIES ? moa_hint(err, rc, "ask for fewer items, or for all levels") : rc;
        }
        t->group[t->n++] = g;
    }
    return MOA_OK;
}

static int generate(moa_taskset *t, const char *which, uint64_t seed, int n, moa_err *err) {
    char name[64] = "";
    int n_family, level = 0;
    const moa_family *const *f = moa_families(&n_family);
    size_t len = strcspn(which, "/");
    if (len >= sizeof name) return moa_fail(err, MOA_ENOTFOUND, "no task family with so long a name");
    memcpy(name, which, len);
    if (which[len]) {
        char *end;
        long v = strtol(which + len + 1, &end, 10);
        if (*end || v < 1 || v > 99) return moa_fail(err, MOA_EINVAL, "task set level '%s', expected a number from 1", which + len + 1);
        level = (int)v;
    }
    if (*name) {
        const moa_family *one = moa_family_find(name);
        if (!one || !one->scored) {
            const char *scored[MAX_GROUP], *near;
            int k = 0;
            for (int i = 0; i < n_family && k < MAX_GROUP; i++)
                if (f[i]->scored) scored[k++] = f[i]->name;
            near = moa_nearest(name, scored, k);
            moa_fail(err, MOA_ENOTFOUND, "no scored task family '%s'", name);
            return near ? moa_hint(err, MOA_ENOTFOUND, "did you mean microworld/%s?", near) : moa_hint(err, MOA_ENOTFOUND, "`moa list tasks` names them");
        }
        return add_family(t, one, level, seed, n, err);
    }
    for (int i = 0; i < n_family; i++)
        if (f[i]->scored) MOA_TRY(add_family(t, f[i], 0, seed, n, err));
    return MOA_OK;
}

/* ---- from a file -------------------------------------------------------------------------------- */

typedef struct loading { moa_taskset *t; int most; } loading; /* most: items of a group; 0: no bound */

static int add_object(void *ctx, const json_t *o, const char *where, moa_err *err) {
    const loading *l = ctx;
    moa_taskset *t = l->t;
    const char *group = NULL;
    if (!t->format) t->format = moa_task_format_of(o);
    MOA_TRY(reserve(t, err));
    moa_item *it = &t->item[t->n];
    moa_item_init(it);
    const int rc = json_is_object(o) ? t->format->read(it, &group, o, where, err) : moa_fail(err, MOA_EFORMAT, "%s: expected an object (format %s)", where, t->format->name);
    const int g = rc < 0 ? rc : find_group(t, group ? group : "all", err);
    if (g < 0 || (l->most && t->count[g] >= l->most)) {
        moa_item_deinit(it);
        return g < 0 ? g : 0;
    }
    t->group[t->n++] = g;
    t->count[g]++;
    return 0;
}

static int loaded(const moa_taskset *t, const char *name, int rc, moa_err *err) {
    return rc >= 0 && t->n == 0 ? moa_fail(err, MOA_EFORMAT, "%s: no items", name) : rc;
}

int moa_taskset_text(moa_taskset **out, const char *text, size_t n, const char *name, const moa_task_format *format, moa_err *err) {
    moa_taskset *t = *out = calloc(1, sizeof *t);
    if (!t) return moa_fail(err, MOA_ENOMEM, "no memory for a task set");
    t->format = format;
    const int rc = loaded(t, name, moa_task_objects_text(text, n, name, add_object, &(loading){t, 0}, err), err);
    if (rc >= 0) return 0;
    moa_taskset_free(t);
    *out = NULL;
    return rc;
}

int moa_taskset_open(moa_taskset **out, const char *name, uint64_t seed, int n_per_family, moa_err *err) {
    return moa_taskset_open_as(out, name, NULL, seed, n_per_family, err);
}

int moa_taskset_open_as(moa_taskset **out, const char *name, const moa_task_format *format, uint64_t seed, int n_per_family, moa_err *err) {
    static const char builtin[] = "microworld";
    size_t n = sizeof builtin - 1;
    bool own = strncmp(name, builtin, n) == 0 && (name[n] == 0 || name[n] == '/');
    *out = NULL;
    if (n_per_family < 0 || n_per_family > MOA_TASKSET_MOST)
        return moa_fail(err, MOA_EINVAL, "%d items per family, expected 1 to %d", n_per_family, MOA_TASKSET_MOST);
    if (own && n_per_family == 0) n_per_family = MOA_TASKSET_USUAL;
    moa_taskset *t = calloc(1, sizeof *t);
    if (!t) return moa_fail(err, MOA_ENOMEM, "no memory for a task set");
    t->format = own ? NULL : format;
    int rc = own ? generate(t, name[n] ? name + n + 1 : "", seed, n_per_family, err)
                 : loaded(t, name, moa_task_objects(name, add_object, &(loading){t, n_per_family}, err), err);
    if (rc < 0) {
        moa_taskset_free(t);
        return rc;
    }
    *out = t;
    return MOA_OK;
}

const moa_task_format *moa_taskset_format(const moa_taskset *t) { return t->format; }
int moa_taskset_count(const moa_taskset *t) { return t->n; }
const moa_item *moa_taskset_item(const moa_taskset *t, int i) { return &t->item[i]; }
int moa_taskset_group_count(const moa_taskset *t) { return t->n_group; }
const char *moa_taskset_group_name(const moa_taskset *t, int g) { return t->name[g]; }
int moa_taskset_group(const moa_taskset *t, int i) { return t->group[i]; }
