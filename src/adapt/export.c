/* export.c - adapters written as GGUF and as PEFT folders, every scale folded into B: readers differ in what they know of rsLoRA and of
 * patterns (one that reads lora_alpha alone is off by sqrt(r)), so the written file leaves them nothing to know.
 *     GGUF: adapter.lora.alpha = 0, the matrices as they are. PEFT: lora_alpha = r for every module, so that s = 1.
 * What a format cannot say (DoRA, biases, tensors that stand in for the base's in GGUF) is refused before anything is written.
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

/* s times rows row, row + step, ... of v, row i from i's place in the checkpoint (pairs), or to it. */
static float *folded(moa_arena *ar, const float *v, float s, int64_t row, int step, int64_t rows, int64_t cols, int pairs, bool to_checkpoint) {
    float *out = moa_arena_alloc(ar, (size_t)(rows * cols) * sizeof *out);
    for (int64_t i = 0; out && i < rows; i++) {
        const int64_t p = pair_row(i, rows, pairs), to = to_checkpoint ? p : i, from = row + step * (to_checkpoint ? i : p);
        for (int64_t k = 0; k < cols; k++) out[to * cols + k] = s * v[from * cols + k];
    }
    return out;
}

/* ---- GGUF ---- */

/* One matrix of a tensor. */
typedef struct half { char to[112]; int expert; const moa_lora *l; int64_t row, rows; int step, pairs; } half;

static int by_tensor(const void *pa, const void *pb) {
    const half *a = pa, *b = pb;
    const int c = strcmp(a->to, b->to);
    return c ? c : (a->expert > b->expert) - (a->expert < b->expert);
}

static int list_halves(half *h, int *n, moa_arena *ar, const base_map *b, const moa_adapter *a, moa_err *err) {
    const int turned = base_map_turned(b, a, err);
    if (turned < 0) return turned;
    for (int i = 0; i < a->n; i++) {
        const moa_lora *l = adapter_lora(ar, &a->lora[i], turned);
        gguf_name g;
        if (!l) return no_memory(a, err);
        place_list places = {0};
        if (l->magnitude || l->bias)
            return moa_fail(err, MOA_EUNSUPPORTED, "%s: '%.120s' has %s, which GGUF adapters cannot say", a->path, l->name, l->magnitude ? "DoRA's magnitude" : "a bias");
        int rc = base_map_places(&places, b, a, l, err);
        free(places.v);
        if (rc < 0) return rc;
        MOA_TRY(base_map_name(&g, b, a, l, err));
        const int64_t rows = *g.also ? l->n_out / 2 : l->n_out;
        const int step = *g.also && g.turns ? 2 : 1;
        h[*n] = (half){.expert = g.expert, .l = l, .rows = rows, .step = step, .pairs = g.pairs};
        memcpy(h[(*n)++].to, g.to, sizeof g.to);
        if (!*g.also) continue;
        h[*n] = (half){.expert = g.expert, .l = l, .row = step > 1 ? 1 : rows, .rows = l->n_out - rows, .step = step, .pairs = g.pairs};
        memcpy(h[(*n)++].to, g.also, sizeof g.also);
    }
    qsort(h, (size_t)*n, sizeof *h, by_tensor);
    return 0;
}

static float *folded_b(moa_arena *ar, const half *h) {
    const float *b = adapter_wide(ar, &h->l->b);
    return b ? folded(ar, b, h->l->scale, h->row, h->step, h->rows, h->l->rank, h->pairs, false) : NULL;
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

/* Readers of GGUF adapters pass over tensors that stand in for the base's, or refuse them. */
static int check_gguf(const moa_adapter *a, moa_err *err) {
    if (!a->n_whole) return 0;
    moa_fail(err, MOA_EUNSUPPORTED, "%s: tensor '%.120s' stands in for the base's, for which GGUF adapters have no place", a->path, a->whole->name);
    return a->form == MOA_ADAPTER_GGUF ? MOA_EUNSUPPORTED : moa_hint(err, MOA_EUNSUPPORTED, "a PEFT folder has one: export to a name that does not end in .gguf");
}

int moa_adapter_write_gguf(const moa_adapter *a, const moa_model *m, const char *out, moa_err *err) {
    base_map *b = NULL;
    int n = 0;
    MOA_TRY(check_gguf(a, err));
    half *h = calloc(2 * (size_t)a->n + 1, sizeof *h);
    moa_arena *ar = moa_arena_new(0, 0);
    moa_gguf_out *o = moa_gguf_out_new();
    int rc = h && ar && o ? base_map_new(&b, m, err) : no_memory(a, err);
    if (rc >= 0) rc = list_halves(h, &n, ar, b, a, err);
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

/* One module as the checkpoint has it, or one expert's part of a parameter. */
typedef struct module { const char *name; const moa_lora *l; int pairs; } module;

static int name_module(module *out, moa_arena *ar, const moa_adapter *a, const moa_lora *l, const base_map *b, moa_err *err) {
    char name[512], full[560];
    gguf_name g;
    moa_hf_place p = {0};
    const moa_model *m = base_map_model(b);
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

/* Every matrix has its place in the base. Parameters are written as the file has them, whichever way round. */
static int check_places(const base_map *b, const moa_adapter *a, moa_err *err) {
    place_list places = {0};
    moa_arena *ar = moa_arena_new(0, 0);
    const int turned = ar ? base_map_turned(b, a, err) : no_memory(a, err);
    int rc = turned;
    for (int i = 0; rc >= 0 && i < a->n; i++) {
        const moa_arena_mark mark = moa_arena_save(ar);
        const moa_lora *l = adapter_lora(ar, &a->lora[i], turned);
        rc = l ? base_map_places(&places, b, a, l, err) : no_memory(a, err);
        moa_arena_restore(ar, mark);
    }
    for (int i = 0; rc >= 0 && i < a->n_whole; i++) rc = base_map_whole(&places, b, a, &a->whole[i], err);
    free(places.v);
    moa_arena_free(ar);
    return rc < 0 ? rc : 0;
}

static int commonest_rank(const moa_adapter *a) {
    int best = 0, most = 0;
    for (int i = 0; i < a->n; i++) {
        int n = 0;
        if (a->lora[i].rank == best) continue;
        for (int k = 0; k < a->n; k++) n += a->lora[k].rank == a->lora[i].rank;
        if (n > most) most = n, best = a->lora[i].rank;
    }
    return best ? best : 1; /* whole tensors alone: r has to be something */
}

/* Ranks that are not r, by the whole name, its dots escaped. */
static json_t *pattern_of(const module *v, int n, int r) {
    json_t *o = json_object();
    for (int i = 0; i < n; i++) {
        moa_buf b;
        if (v[i].l->rank == r || (v[i].l->parameter && v[i].l->expert)) continue;
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
        if (v[i].l->parameter || json_object_get(names, dot + 1)) continue;
        json_object_set_new(names, dot + 1, json_true());
        json_array_append_new(list, json_string(dot + 1));
    }
    json_decref(names);
    return list;
}

/* Parameters by their whole names, so that no other layer gets a wrapper. NULL: none. */
static json_t *parameters_of(const module *v, int n) {
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        if (v[i].l->parameter && !v[i].l->expert) json_array_append_new(list, json_string(peft_strip(v[i].name)));
    if (json_array_size(list)) return list;
    json_decref(list);
    return json_null();
}

static bool ends(const char *s, const char *with) {
    const size_t n = strlen(s), k = strlen(with);
    return n > k && strcmp(s + n - k, with) == 0;
}

/* modules_to_save by their whole names. What PEFT saves unasked beside an embedding's adapter, and trained biases, are not among them. */
static json_t *saved_of(const moa_adapter *a, bool *biases) {
    json_t *list = json_array();
    *biases = false;
    for (int i = 0; i < a->n_whole; i++) {
        const char *name = peft_strip(a->whole[i].name);
        if (ends(name, ".bias")) *biases = true;
        else if (!ends(name, ".base_layer.weight")) json_array_append_new(list, json_stringn(name, strlen(name) - strlen(".weight")));
    }
    if (json_array_size(list)) return list;
    json_decref(list);
    return json_null();
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
    bool dora = false, bias = false, trained;
    json_t *saved = saved_of(a, &trained);
    for (int i = 0; i < a->n; i++) dora |= a->lora[i].magnitude != NULL, bias |= a->lora[i].bias != NULL;
    if (snprintf(path, sizeof path, "%s/adapter_config.json", folder) >= (int)sizeof path) return moa_fail(err, MOA_ELIMIT, "%.80s...: too long a path", folder);
    json_t *c = json_pack("{s:s, s:s, s:s, s:i, s:i, s:f, s:b, s:b, s:b, s:s, s:b, s:b, s:o, s:o, s:o, s:o, s:o}", "peft_type", "LORA", "task_type", "CAUSAL_LM",
                          "base_model_name_or_path", a->base, "r", r, "lora_alpha", r, "lora_dropout", 0.0, "use_rslora", 0, "use_dora", dora, "lora_bias", bias,
                          "bias", trained ? "all" : "none", "fan_in_fan_out", 0, "inference_mode", 1, "modules_to_save", saved, "rank_pattern", pattern_of(v, a->n, r), "alpha_pattern",
                          pattern_of(v, a->n, r), "target_modules", targets_of(v, a->n), "target_parameters", parameters_of(v, a->n));
    char *text = c ? json_dumps(c, JSON_INDENT(2)) : NULL;
    json_decref(c);
    const int rc = text ? write_text(path, text, strlen(text), err) : no_memory(a, err);
    free(text);
    return rc;
}

typedef struct file { moa_buf head; const void **data; size_t *bytes; int n; uint64_t at; } file;

static void put_typed(file *f, const char *owner, const char *suffix, moa_dtype type, const void *v, int n_dim, int64_t rows, int64_t cols) {
    const uint64_t bytes = moa_row_bytes(type, rows * cols);
    moa_buf_adds(&f->head, f->n ? "," : "");
    char name[640];
    snprintf(name, sizeof name, "%s%s", owner, suffix);
    moa_json_add_str(&f->head, name, strlen(name));
    moa_buf_addf(&f->head, ":{\"dtype\":\"%s\",\"shape\":[", moa_type_get(type)->name);
    if (n_dim == 2) moa_buf_addf(&f->head, "%lld,", (long long)rows);
    moa_buf_addf(&f->head, "%lld],\"data_offsets\":[%llu,%llu]}", (long long)cols, (unsigned long long)f->at, (unsigned long long)(f->at + bytes));
    f->data[f->n] = v;
    f->bytes[f->n++] = (size_t)bytes;
    f->at += bytes;
}

static void put_st(file *f, const char *owner, const char *suffix, const float *v, int n_dim, int64_t rows, int64_t cols) {
    put_typed(f, owner, suffix, MOA_F32, v, n_dim, rows, cols);
}

/* All experts of a parameter: A as rows of one behind the other, B as their columns in turn. Wrappers of the same module are told
 * apart by ".base_layer". */
static int put_parameter(file *f, moa_arena *ar, const moa_adapter *a, const module *m, int n, moa_err *err) {
    const moa_lora *l = m->l;
    const int64_t rank = l->rank;
    const char *dot = strrchr(m->name, '.');
    char owner[640];
    size_t len = (size_t)snprintf(owner, sizeof owner, "%.*s", (int)(dot - m->name), m->name);
    for (int i = 0; i < l->inner && len < sizeof owner; i++) len += (size_t)snprintf(owner + len, sizeof owner - len, ".base_layer");
    float *va = moa_arena_alloc(ar, (size_t)(n * rank * l->n_in) * sizeof *va), *vb = moa_arena_alloc(ar, (size_t)(n * rank * l->n_out) * sizeof *vb);
    if (!va || !vb || len >= sizeof owner) return no_memory(a, err);
    for (int e = 0; e < n; e++) {
        const moa_arena_mark mark = moa_arena_save(ar);
        const float *one_a = adapter_wide(ar, &l[e].a), *one_b = adapter_wide(ar, &l[e].b);
        if (!one_a || !one_b) return no_memory(a, err);
        memcpy(va + e * rank * l->n_in, one_a, (size_t)(rank * l->n_in) * sizeof *va);
        for (int64_t o = 0; o < l->n_out; o++)
            for (int64_t k = 0; k < rank; k++) vb[(o * rank + k) * n + e] = l->scale * one_b[o * rank + k];
        moa_arena_restore(ar, mark);
    }
    put_st(f, owner, ".lora_A.weight", va, 2, n * rank, l->n_in);
    put_st(f, owner, ".lora_B.weight", vb, 2, l->n_out, n * rank);
    return 0;
}

static void put_whole(file *f, const moa_whole *w) {
    char name[640];
    snprintf(name, sizeof name, "base_model.model.%s", peft_strip(w->name));
    put_typed(f, name, "", w->w.dtype, w->w.data, w->w.n_dim, w->w.n_dim > 1 ? moa_rows(&w->w) : 1, moa_cols(&w->w));
}

static int put_module(file *f, moa_arena *ar, const moa_adapter *a, const module *m, moa_err *err) {
    const moa_lora *l = m->l;
    const float *va = adapter_wide(ar, &l->a), *wide = adapter_wide(ar, &l->b);
    if (!va || !wide) return no_memory(a, err);
    const float *vb = folded(ar, wide, l->scale, 0, 1, l->n_out, l->rank, m->pairs, true);
    const float *bias = l->bias ? folded(ar, l->bias, l->scale, 0, 1, l->n_out, 1, m->pairs, true) : NULL;
    const float *mag = l->magnitude ? folded(ar, l->magnitude, 1, 0, 1, l->n_out, 1, m->pairs, true) : NULL;
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
    if (a->form == MOA_ADAPTER_GGUF && a->n_whole)
        return moa_fail(err, MOA_EUNSUPPORTED, "%s: tensor '%.120s' stands in for the base's: of GGUF adapters only low-rank matrices are exported", a->path, a->whole->name);
    base_map *b = NULL;
    module *v = calloc((size_t)a->n + 1, sizeof *v);
    const size_t n_st = 4 * (size_t)a->n + (size_t)a->n_whole + 1;
    moa_arena *ar = moa_arena_new(0, 0);
    file f = {.data = calloc(n_st, sizeof *f.data), .bytes = calloc(n_st, sizeof *f.bytes)};
    moa_buf_init(&f.head, 64 << 20);
    moa_buf_adds(&f.head, "{\"__metadata__\":{\"format\":\"pt\"},");
    int rc = v && ar && f.data && f.bytes ? base_map_new(&b, m, err) : no_memory(a, err);
    if (rc >= 0) rc = check_places(b, a, err);
    for (int i = 0; rc >= 0 && i < a->n; i++) rc = name_module(&v[i], ar, a, &a->lora[i], b, err);
    for (int i = 0, end; rc >= 0 && i < a->n; i = end) {
        for (end = i + 1; a->lora[i].parameter && end < a->n && a->lora[end].name == a->lora[i].name;) end++;
        rc = a->lora[i].parameter ? put_parameter(&f, ar, a, &v[i], end - i, err) : put_module(&f, ar, a, &v[i], err);
    }
    for (int i = 0; rc >= 0 && i < a->n_whole; i++) put_whole(&f, &a->whole[i]);
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
