/* export.c - adapters written as GGUF and as PEFT folders, every scale folded into B: readers differ in what they know of rsLoRA and of
 * patterns (one that reads lora_alpha alone is off by sqrt(r)), so the written file leaves them nothing to know.
 *     GGUF: adapter.lora.alpha = 0, the matrices as they are. PEFT: lora_alpha = r for every module, so that s = 1.
 * What a format cannot say (DoRA and biases in GGUF) is refused before anything is written.
 * SPDX-License-Identifier: Apache-2.0 */
#include "adapt/adapt_impl.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "format/hf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int no_memory(const moa_adapter *a, moa_err *err) { return moa_fail(err, MOA_ENOMEM, "%s: no memory to write it", a->path); }

/* s times rows [row, row + rows) of v, row i from i's place in the checkpoint (pairs), or to it. */
static float *folded(moa_arena *ar, const float *v, float s, int64_t row, int64_t rows, int64_t cols, int pairs, bool to_checkpoint) {
    float *out = moa_arena_alloc(ar, (size_t)(rows * cols) * sizeof *out);
    for (int64_t i = 0; out && i < rows; i++) {
        const int64_t p = pair_row(i, rows, pairs), to = to_checkpoint ? p : i, from = row + (to_checkpoint ? i : p);
        for (int64_t k = 0; k < cols; k++) out[to * cols + k] = s * v[from * cols + k];
    }
    return out;
}

/* ---- GGUF ---- */

/* One matrix of a tensor. */
typedef struct half { char to[112]; int expert; const moa_lora *l; int64_t row, rows; int pairs; } half;

static int by_tensor(const void *pa, const void *pb) {
    const half *a = pa, *b = pb;
    const int c = strcmp(a->to, b->to);
    return c ? c : (a->expert > b->expert) - (a->expert < b->expert);
}

static int list_halves(half *h, int *n, const base_map *b, const moa_adapter *a, moa_err *err) {
    for (int i = 0; i < a->n; i++) {
        const moa_lora *l = &a->lora[i];
        gguf_name g;
        place_list places = {0};
        if (l->magnitude || l->bias)
            return moa_fail(err, MOA_EUNSUPPORTED, "%s: '%.120s' has %s, which GGUF adapters cannot say", a->path, l->name, l->magnitude ? "DoRA's magnitude" : "a bias");
        int rc = base_map_places(&places, b, a, l, err);
        free(places.v);
        if (rc < 0) return rc;
        MOA_TRY(base_map_name(&g, b, a, l, err));
        const int64_t rows = *g.also ? l->n_out / 2 : l->n_out;
        h[*n] = (half){.expert = g.expert, .l = l, .rows = rows, .pairs = g.pairs};
        memcpy(h[(*n)++].to, g.to, sizeof g.to);
        if (!*g.also) continue;
        h[*n] = (half){.expert = g.expert, .l = l, .row = rows, .rows = l->n_out - rows, .pairs = g.pairs};
        memcpy(h[(*n)++].to, g.also, sizeof g.also);
    }
    qsort(h, (size_t)*n, sizeof *h, by_tensor);
    return 0;
}

static float *folded_b(moa_arena *ar, const half *h) {
    const float *b = adapter_wide(ar, &h->l->b);
    return b ? folded(ar, b, h->l->scale, h->row, h->rows, h->l->rank, h->pairs, false) : NULL;
}

static void put(moa_gguf_out *o, moa_arena *ar, const char *name, const char *suffix, float *v, int n_expert, int64_t rows, int64_t cols) {
    char full[160];
    snprintf(full, sizeof full, "%s%s", name, suffix);
    moa_tensor *t = moa_arena_alloc(ar, sizeof *t);
    if (!t) return;
    *t = n_expert ? moa_view3(MOA_F32, v, n_expert, rows, cols) : moa_view2(MOA_F32, v, rows, cols);
    moa_gguf_put_tensor(o, full, t);
}

/* Experts side by side; smaller ranks and experts that are not adapted are filled with zeros. */
static int put_experts(moa_gguf_out *o, moa_arena *ar, const moa_adapter *a, const half *h, int n, int n_expert, moa_err *err) {
    int64_t rank = 0, n_in = h->l->n_in, n_out = h->rows;
    for (int i = 0; i < n; i++) rank = h[i].l->rank > rank ? h[i].l->rank : rank;
    float *va = moa_arena_calloc(ar, (size_t)(n_expert * rank * n_in) * sizeof *va), *vb = moa_arena_calloc(ar, (size_t)(n_expert * rank * n_out) * sizeof *vb);
    if (!va || !vb) return no_memory(a, err);
    for (int i = 0; i < n; i++) {
        const moa_lora *l = h[i].l;
        const float *b = folded_b(ar, &h[i]), *wide = adapter_wide(ar, &l->a);
        if (!b || !wide) return no_memory(a, err);
        memcpy(va + h[i].expert * rank * n_in, wide, (size_t)(l->rank * n_in) * sizeof *va);
        for (int64_t r = 0; r < n_out; r++) memcpy(vb + (h[i].expert * n_out + r) * rank, b + r * l->rank, (size_t)l->rank * sizeof *vb);
    }
    put(o, ar, h->to, ".lora_a", va, n_expert, rank, n_in);
    put(o, ar, h->to, ".lora_b", vb, n_expert, n_out, rank);
    return 0;
}

static int put_all(moa_gguf_out *o, moa_arena *ar, const moa_adapter *a, const half *h, int n, int n_expert, moa_err *err) {
    for (int i = 0, end; i < n; i = end) {
        const moa_lora *l = h[i].l;
        for (end = i + 1; end < n && strcmp(h[end].to, h[i].to) == 0;) end++;
        if (h[i].expert >= 0) {
            MOA_TRY(put_experts(o, ar, a, h + i, end - i, n_expert, err));
            continue;
        }
        float *b = folded_b(ar, &h[i]), *va = adapter_wide(ar, &l->a);
        if (!b || !va) return no_memory(a, err);
        if (l->embedding) put(o, ar, h[i].to, ".lora_a", va, 0, l->n_in, l->rank);
        else put(o, ar, h[i].to, ".lora_a", va, 0, l->rank, l->n_in);
        put(o, ar, h[i].to, ".lora_b", b, 0, h[i].rows, l->rank);
    }
    return 0;
}

/* Neither form that is written has a place for tensors that stand in for the base's. */
static int check_export(const moa_adapter *a, moa_err *err) {
    if (!a->n_whole) return 0;
    moa_fail(err, MOA_EUNSUPPORTED, "%s: tensor '%.120s' stands in for the base's: only low-rank matrices are exported", a->path, a->whole->name);
    return moa_hint(err, MOA_EUNSUPPORTED, "run the adapter as it is: --adapter %.150s", a->path);
}

int moa_adapter_write_gguf(const moa_adapter *a, const moa_model *m, const char *out, moa_err *err) {
    base_map *b = NULL;
    int n = 0;
    MOA_TRY(check_export(a, err));
    half *h = calloc(2 * (size_t)a->n, sizeof *h);
    moa_arena *ar = moa_arena_new(0, 0);
    moa_gguf_out *o = moa_gguf_out_new();
    int rc = h && ar && o ? base_map_new(&b, m, err) : no_memory(a, err);
    if (rc >= 0) rc = list_halves(h, &n, b, a, err);
    if (rc >= 0) {
        moa_gguf_put_str(o, "general.type", "adapter", 7);
        moa_gguf_put_str(o, "general.architecture", m->arch->name, strlen(m->arch->name));
        moa_gguf_put_str(o, "adapter.type", "lora", 4);
        moa_gguf_put_f32(o, "adapter.lora.alpha", 0);
        if (*a->base) moa_gguf_put_u32(o, "general.base_model.count", 1);
        if (*a->base) moa_gguf_put_str(o, "general.base_model.0.name", a->base, strlen(a->base));
        rc = put_all(o, ar, a, h, n, m->h.n_expert, err);
    }
    if (rc >= 0) rc = moa_gguf_write(o, out, err);
    moa_gguf_out_free(o);
    moa_arena_free(ar);
    base_map_free(b);
    free(h);
    return rc;
}

/* ---- PEFT ---- */

/* One module as the checkpoint has it. */
typedef struct module { const char *name; const moa_lora *l; int pairs; } module;

static int name_module(module *out, moa_arena *ar, const moa_adapter *a, const moa_lora *l, const base_map *b, moa_err *err) {
    char name[512], full[560];
    gguf_name g;
    moa_hf_place p = {0};
    const moa_model *m = base_map_model(b);
    place_list places = {0};
    const int fits = base_map_places(&places, b, a, l, err);
    free(places.v);
    if (fits < 0) return fits;
    if (a->form != MOA_ADAPTER_GGUF) {
        snprintf(full, sizeof full, "base_model.model.%s", peft_strip(l->name));
    } else {
        MOA_TRY(base_map_name(&g, b, a, l, err));
        if (!moa_hf_module_of(name, sizeof name, m->arch->name, g.to, g.expert) || !moa_hf_place_of(&p, m->arch->name, name))
            return moa_fail(err, MOA_EUNSUPPORTED, "%s: '%.120s': checkpoints of %s have no module of its own for it", a->path, l->name, m->arch->name);
        snprintf(full, sizeof full, "base_model.model.%s", name);
    }
    *out = (module){moa_arena_strndup(ar, full, strlen(full)), l, p.pairs == 1 ? m->h.n_head : p.pairs == 2 ? m->h.n_kv : 0};
    return out->name ? 0 : no_memory(a, err);
}

static int commonest_rank(const moa_adapter *a) {
    int best = 0, most = 0;
    for (int i = 0; i < a->n; i++) {
        int n = 0;
        if (a->lora[i].rank == best) continue;
        for (int k = 0; k < a->n; k++) n += a->lora[k].rank == a->lora[i].rank;
        if (n > most) most = n, best = a->lora[i].rank;
    }
    return best;
}

/* Ranks that are not r, by the whole name, its dots escaped. */
static json_t *pattern_of(const module *v, int n, int r) {
    json_t *o = json_object();
    for (int i = 0; i < n; i++) {
        moa_buf b;
        if (v[i].l->rank == r) continue;
        moa_buf_init(&b, 4096);
        for (const char *s = peft_strip(v[i].name); *s; s++) moa_buf_addf(&b, "%s%c", *s == '.' ? "\\" : "", *s);
        json_object_set_new(o, moa_buf_str(&b), json_integer(v[i].l->rank));
        moa_buf_deinit(&b);
    }
    return o;
}

static json_t *targets_of(const module *v, int n) {
    json_t *names = json_object(), *list = json_array();
    for (int i = 0; i < n; i++) {
        const char *dot = strrchr(v[i].name, '.');
        if (json_object_get(names, dot + 1)) continue;
        json_object_set_new(names, dot + 1, json_true());
        json_array_append_new(list, json_string(dot + 1));
    }
    json_decref(names);
    return list;
}

static int write_text(const char *path, const void *p, size_t n, moa_err *err) {
    moa_writer *w;
    MOA_TRY(moa_writer_open(&w, path, err));
    moa_writer_add(w, p, n);
    return moa_writer_commit(w, err);
}

static int write_config(const char *folder, const moa_adapter *a, const module *v, moa_err *err) {
    char path[4096];
    const int r = commonest_rank(a);
    bool dora = false, bias = false;
    for (int i = 0; i < a->n; i++) dora |= a->lora[i].magnitude != NULL, bias |= a->lora[i].bias != NULL;
    if (snprintf(path, sizeof path, "%s/adapter_config.json", folder) >= (int)sizeof path) return moa_fail(err, MOA_ELIMIT, "%.80s...: too long a path", folder);
    json_t *c = json_pack("{s:s, s:s, s:s, s:i, s:i, s:f, s:b, s:b, s:b, s:s, s:b, s:b, s:n, s:o, s:o, s:o}", "peft_type", "LORA", "task_type", "CAUSAL_LM",
                          "base_model_name_or_path", a->base, "r", r, "lora_alpha", r, "lora_dropout", 0.0, "use_rslora", 0, "use_dora", dora, "lora_bias", bias,
                          "bias", "none", "fan_in_fan_out", 0, "inference_mode", 1, "modules_to_save", "rank_pattern", pattern_of(v, a->n, r), "alpha_pattern",
                          pattern_of(v, a->n, r), "target_modules", targets_of(v, a->n));
    char *text = c ? json_dumps(c, JSON_INDENT(2)) : NULL;
    json_decref(c);
    const int rc = text ? write_text(path, text, strlen(text), err) : no_memory(a, err);
    free(text);
    return rc;
}

typedef struct file { moa_buf head; const float **data; size_t *bytes; int n; uint64_t at; } file;

static void put_st(file *f, const char *owner, const char *suffix, const float *v, int n_dim, int64_t rows, int64_t cols) {
    const uint64_t bytes = (uint64_t)(rows * cols) * sizeof *v;
    moa_buf_adds(&f->head, f->n ? "," : "");
    char name[640];
    snprintf(name, sizeof name, "%s%s", owner, suffix);
    moa_json_add_str(&f->head, name, strlen(name));
    moa_buf_adds(&f->head, ":{\"dtype\":\"F32\",\"shape\":[");
    if (n_dim == 2) moa_buf_addf(&f->head, "%lld,", (long long)rows);
    moa_buf_addf(&f->head, "%lld],\"data_offsets\":[%llu,%llu]}", (long long)cols, (unsigned long long)f->at, (unsigned long long)(f->at + bytes));
    f->data[f->n] = v;
    f->bytes[f->n++] = (size_t)bytes;
    f->at += bytes;
}

static int put_module(file *f, moa_arena *ar, const moa_adapter *a, const module *m, moa_err *err) {
    const moa_lora *l = m->l;
    const float *va = adapter_wide(ar, &l->a), *wide = adapter_wide(ar, &l->b);
    if (!va || !wide) return no_memory(a, err);
    const float *vb = folded(ar, wide, l->scale, 0, l->n_out, l->rank, m->pairs, true);
    const float *bias = l->bias ? folded(ar, l->bias, l->scale, 0, l->n_out, 1, m->pairs, true) : NULL;
    const float *mag = l->magnitude ? folded(ar, l->magnitude, 1, 0, l->n_out, 1, m->pairs, true) : NULL;
    float *turned = l->embedding ? moa_arena_alloc(ar, (size_t)(l->rank * l->n_in) * sizeof *turned) : NULL;
    if (!vb || (l->bias && !bias) || (l->magnitude && !mag) || (l->embedding && !turned)) return no_memory(a, err);
    for (int64_t i = 0; turned && i < l->n_in; i++)
        for (int k = 0; k < l->rank; k++) turned[k * l->n_in + i] = va[i * l->rank + k];
    put_st(f, m->name, l->embedding ? ".lora_embedding_A" : ".lora_A.weight", turned ? turned : va, 2, l->rank, l->n_in);
    put_st(f, m->name, l->embedding ? ".lora_embedding_B" : ".lora_B.weight", vb, 2, l->n_out, l->rank);
    if (bias) put_st(f, m->name, ".lora_B.bias", bias, 1, 1, l->n_out);
    if (mag) put_st(f, m->name, ".lora_magnitude_vector", mag, 1, 1, l->n_out);
    return 0;
}

static int write_weights(const char *folder, file *f, moa_err *err) {
    char path[4096];
    moa_writer *w;
    if (snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder) >= (int)sizeof path) return moa_fail(err, MOA_ELIMIT, "%.80s...: too long a path", folder);
    moa_buf_adds(&f->head, "}");
    while (f->head.len % 8 && !f->head.failed) moa_buf_adds(&f->head, " ");
    if (f->head.failed) return moa_fail(err, f->head.failed, "%s: the list of tensors is too long", path);
    const uint64_t len = f->head.len;
    MOA_TRY(moa_writer_open(&w, path, err));
    moa_writer_add(w, &len, sizeof len);
    moa_writer_add(w, f->head.data, f->head.len);
    for (int i = 0; i < f->n; i++) moa_writer_add(w, f->data[i], f->bytes[i]);
    return moa_writer_commit(w, err);
}

int moa_adapter_write_peft(const moa_adapter *a, const moa_model *m, const char *out, moa_err *err) {
    MOA_TRY(check_export(a, err));
    base_map *b = NULL;
    module *v = calloc((size_t)a->n, sizeof *v);
    moa_arena *ar = moa_arena_new(0, 0);
    file f = {.data = calloc(4 * (size_t)a->n, sizeof *f.data), .bytes = calloc(4 * (size_t)a->n, sizeof *f.bytes)};
    moa_buf_init(&f.head, 64 << 20);
    moa_buf_adds(&f.head, "{\"__metadata__\":{\"format\":\"pt\"},");
    int rc = v && ar && f.data && f.bytes ? base_map_new(&b, m, err) : no_memory(a, err);
    for (int i = 0; rc >= 0 && i < a->n; i++) rc = name_module(&v[i], ar, a, &a->lora[i], b, err);
    for (int i = 0; rc >= 0 && i < a->n; i++) rc = put_module(&f, ar, a, &v[i], err);
    if (rc >= 0) rc = moa_mkdirs(out, err);
    if (rc >= 0) rc = write_weights(out, &f, err);
    if (rc >= 0) rc = write_config(out, a, v, err);
    moa_buf_deinit(&f.head);
    free(f.data);
    free(f.bytes);
    free(v);
    moa_arena_free(ar);
    base_map_free(b);
    return rc;
}
