/* inputs.c - see inputs.h. SPDX-License-Identifier: Apache-2.0 */
#include "train/inputs.h"

#include "base/err.h"
#include "base/file.h"
#include "base/rng.h"
#include "format/hf.h"
#include "train/checkpoint.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef enum kind { DATA, MODEL, RUN } kind;
/* What the recipe names: a file; a model (a file, one in parts, or a folder); the run of init.run. */
typedef struct input { const char *path; kind kind; int stage, line; } input;

/* All of them, in order; returns how many. */
static uint32_t list(input *v, const moa_recipe *r) {
    uint32_t n = 0;
    if (r->init.gguf) v[n++] = (input){r->init.gguf, MODEL, -1, 0};
    if (r->init.run) v[n++] = (input){r->init.run, RUN, -1, 0};
    if (r->tokenizer.gguf) v[n++] = (input){r->tokenizer.gguf, MODEL, -1, 0};
    for (unsigned i = 0; i < r->stages_count; i++)
        for (unsigned j = 0; j < r->stages[i].data_count; j++) {
            const moa_recipe_data *d = &r->stages[i].data[j];
            if (moa_recipe_source_path(d)) v[n++] = (input){moa_recipe_source_path(d), DATA, (int)i, d->line};
        }
    return n;
}

void moa_run_beside(char *out, size_t n, const char *dir, const char *name) {
    const char *slash = strrchr(dir, '/');
    snprintf(out, n, "%.*s%s", slash ? (int)(slash - dir + 1) : 0, dir, name);
}

/* Its keys and tensors, in however many files they lie. */
static int hash_model(uint64_t *out, const char *path, moa_err *err) {
    moa_gguf *g;
    uint64_t h = 1;
    MOA_TRY(moa_gguf_open_any(&g, path, 0, err));
    for (int i = 0; i < moa_gguf_n_kv(g); i++) {
        const moa_gguf_kv *kv = moa_gguf_kv_at(g, i);
        h = moa_hash64(kv->key.p, kv->key.n, h + (uint64_t)kv->type);
        h = moa_hash64(kv->data, kv->size, h);
    }
    for (int i = 0; i < moa_gguf_n_tensor(g); i++) {
        const moa_tensor *t = moa_gguf_tensor_at(g, i);
        h = moa_hash64(t->name, strlen(t->name), h + (uint64_t)t->dtype);
        h = moa_hash64(t->shape, (size_t)t->n_dim * sizeof *t->shape, h);
        h = moa_hash64(t->data, moa_tensor_bytes(t), h);
    }
    moa_gguf_close(g);
    *out = h;
    return 0;
}

static int hash_of(uint64_t *out, const input *in, const char *dir, moa_err *err) {
    char run[1200];
    moa_map m;
    *out = 0;
    if (in->kind == RUN) {
        moa_run_beside(run, sizeof run, dir, in->path);
        const int rc = moa_checkpoint_sum(out, run, err);
        return rc == MOA_ENOTFOUND ? 0 : rc;
    }
    if (access(in->path, F_OK) != 0) return 0;
    if (in->kind == MODEL) return hash_model(out, in->path, err);
    MOA_TRY(moa_map_open(&m, in->path, err));
    *out = moa_hash64(m.data, m.size, 1);
    moa_map_close(&m);
    return 0;
}

int moa_inputs_read(moa_inputs *out, const moa_recipe *r, const char *dir, moa_err *err) {
    static const moa_inputs none;
    input v[MOA_INPUTS_MAX];
    *out = none;
    out->n = list(v, r);
    for (uint32_t i = 0; i < out->n; i++) {
        uint32_t k = 0; /* many stages read the same file */
        while (k < i && (v[k].kind != v[i].kind || strcmp(v[k].path, v[i].path) != 0)) k++;
        if (k < i) out->hash[i] = out->hash[k];
        else MOA_TRY(hash_of(&out->hash[i], &v[i], dir, err));
    }
    return 0;
}

static int changed(const input *in, const moa_recipe *r, moa_err *err) {
    char line[16] = "";
    if (in->line) snprintf(line, sizeof line, ":%d", in->line);
    moa_fail(err, MOA_EINVAL, "%s%s: %s %s is not what it was when this run began", r->path, line, in->kind == RUN ? "the run" : in->kind == MODEL ? "the model" : "the file", in->path);
    return moa_hint(err, MOA_EINVAL, "put it back as it was, or train anew: --fresh, or another folder by --out");
}

int moa_inputs_check(const moa_inputs *then, const moa_recipe *r, const char *dir, int stage, moa_err *err) {
    input v[MOA_INPUTS_MAX];
    const uint32_t n = list(v, r);
    if (then->n != n) {
        moa_fail(err, MOA_EINVAL, "%s: its checkpoint knows the contents of %u files, %s names %u", dir, then->n, r->path, n);
        return moa_hint(err, MOA_EINVAL, "train anew: --fresh, or another folder by --out");
    }
    for (uint32_t i = 0; i < n; i++) {
        uint64_t now;
        if (stage >= 0 && v[i].stage != stage) continue;
        MOA_TRY(hash_of(&now, &v[i], dir, err));
        if (now != then->hash[i] && now != 0) return changed(&v[i], r, err);
    }
    return 0;
}
