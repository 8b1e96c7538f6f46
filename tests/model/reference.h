/* reference.h - runs a numpy reference in a temporary folder and reads what it made: for each line NAME N_IDS N_ROWS N_COLS N_CTX of
 * cases.txt NAME.gguf, NAME.ids (i32) and NAME.want (f32). Without a python3 that has numpy the tests are skipped and say so.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TESTS_MODEL_REFERENCE_H
#define MOA_TESTS_MODEL_REFERENCE_H

#include "model/support.h"
#include "support/scratch.h"

#include <limits.h>

enum { REF_MAX = 64 };

typedef struct ref_case {
    char name[48];
    int n, rows, cols, n_ctx;  /* n_ctx 0: the model's */
    moa_map ids_file, want_file;
    const int32_t *ids;        /* [n] */
    const float *want;         /* [rows, cols] */
} ref_case;

static struct { char dir[PATH_MAX / 4]; ref_case v[REF_MAX]; int n; bool whole; } ref_all;

static inline int ref_n(void) { return ref_all.n; }
static inline const ref_case *ref_at(int i) { return &ref_all.v[i]; }

static inline const ref_case *ref_find(const char *name) {
    for (int i = 0; i < ref_all.n; i++)
        if (!strcmp(ref_all.v[i].name, name)) return &ref_all.v[i];
    return NULL;
}

static inline void ref_path(char *out, size_t n, const char *name, const char *ending) {
    snprintf(out, n, "%s/%.47s%.15s", ref_all.dir, name, ending);
}

/* Maps ids and values of a case with its numbers; false when they have other sizes. */
static inline bool ref_load(ref_case *c) {
    char path[PATH_MAX];
    moa_err err = {0};
    ref_path(path, sizeof path, c->name, ".ids");
    if (moa_map_open(&c->ids_file, path, &err) < 0 || c->ids_file.size != (size_t)c->n * 4) return false;
    ref_path(path, sizeof path, c->name, ".want");
    if (moa_map_open(&c->want_file, path, &err) < 0 || c->want_file.size != (size_t)c->rows * (size_t)c->cols * 4) return false;
    c->ids = (const int32_t *)(const void *)c->ids_file.data;
    c->want = (const float *)(const void *)c->want_file.data;
    return true;
}

static inline void ref_unload(ref_case *c) {
    moa_map_close(&c->ids_file);
    moa_map_close(&c->want_file);
}

/* Fills the list, or leaves it empty. */
static inline void ref_make(const char *script) {
    const char *tmp = getenv("TMPDIR"), *python = python_with("numpy");
    char cmd[PATH_MAX], path[PATH_MAX];
    if (!python) return;
    snprintf(ref_all.dir, sizeof ref_all.dir, "%s/moa-ref-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(ref_all.dir)) return;
    snprintf(cmd, sizeof cmd, "PYTHONDONTWRITEBYTECODE=1 OPENBLAS_NUM_THREADS=1 %s tests/model/reference/%s --all '%s'", python, script,
             ref_all.dir);
    ref_path(path, sizeof path, "cases", ".txt");
    FILE *f = system(cmd) == 0 ? fopen(path, "r") : NULL;
    for (ref_case *c = ref_all.v; f && ref_all.n < REF_MAX && fscanf(f, "%47s %d %d %d %d", c->name, &c->n, &c->rows, &c->cols, &c->n_ctx) == 5; c++) {
        if (!ref_load(c)) break; /* then every test fails: see ref_or_skip */
        ref_all.n++;
    }
    ref_all.whole = f && feof(f) && ref_all.n > 0;
    if (f) fclose(f);
}

static inline int ref_or_skip(void **state) {
    (void)state;
    if (ref_all.whole) return 0;
    if (ref_all.dir[0]) fail_msg("the reference script failed, or its files have other sizes than cases.txt says");
    printf("skip: no python3 with numpy (apt-get install python3-numpy)\n");
    skip();
    return 0;
}

static inline void ref_remove(void) {
    char cmd[PATH_MAX];
    for (int i = 0; i < ref_all.n; i++) ref_unload(&ref_all.v[i]);
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", ref_all.dir);
    if (ref_all.dir[0] && system(cmd) != 0) printf("   %s stays\n", ref_all.dir);
}

#endif
