/* quantize.c - see quantize.h.
 *
 * Where bits pay, by the rule of thumb of llama.cpp's K-quant mixes: the output matrix (every token's probability comes out
 * of it), the values of attention and the second matrix of the feed-forward part, and of these the first layers, whose errors
 * all others inherit, and the last, whose errors nothing can mend. In models with experts, keys and values are a small part
 * of the bytes that every token uses.
 * Kept as they are: vectors, routers (a routing error is not a rounding error), convolutions, tables of positions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/quantize.h"

#include "base/cpu.h"
#include "base/err.h"
#include "base/file.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- the table ---- */

#define EXPERTS(type) {".attn_k.", MOA_EVERY_LAYER, true, type}, {".attn_v.", MOA_EVERY_LAYER, true, type}
static const moa_scheme schemes[] = {
    {"Q8_0", "8.5 bits everywhere: no difference that matters", MOA_Q8_0, 7, {{0}}},
    {"Q6_K", "6.6 bits everywhere", MOA_Q6_K, 18, {EXPERTS(MOA_Q8_0)}},
    {"Q5_K_S", "5.5 bits, output 6.6", MOA_Q5_K, 16, {EXPERTS(MOA_Q8_0), {"output.weight", 0, false, MOA_Q6_K}}},
    {"Q5_K_M", "5.5 bits; output and half of attn_v and ffn_down 6.6", MOA_Q5_K, 17,
     {EXPERTS(MOA_Q8_0), {"output.weight", 0, false, MOA_Q6_K}, {".attn_v.", MOA_HALF_OF_LAYERS, false, MOA_Q6_K},
      {".ffn_down", MOA_HALF_OF_LAYERS, false, MOA_Q6_K}, {".attn_qkv.", 0, false, MOA_Q6_K}, {".attn_kv_b.", 0, false, MOA_Q6_K}}},
    {"Q4_K_S", "4.5 bits, output 6.6, the first attn_v and ffn_down 5.5", MOA_Q4_K, 14,
     {EXPERTS(MOA_Q8_0), {"output.weight", 0, false, MOA_Q6_K}, {".attn_v.", MOA_FIRST_EIGHTH, false, MOA_Q5_K},
      {".ffn_down", MOA_FIRST_EIGHTH, false, MOA_Q5_K}}},
    {"Q4_K_M", "4.5 bits; output and half of attn_v and ffn_down 6.6", MOA_Q4_K, 15,
     {EXPERTS(MOA_Q8_0), {"output.weight", 0, false, MOA_Q6_K}, {".attn_v.", MOA_HALF_OF_LAYERS, false, MOA_Q6_K},
      {".ffn_down", MOA_HALF_OF_LAYERS, false, MOA_Q6_K}, {".attn_qkv.", 0, false, MOA_Q5_K}, {".attn_kv_b.", 0, false, MOA_Q6_K}}},
    {"Q4_0", "4.5 bits, output 6.6; simplest blocks", MOA_Q4_0, 2, {EXPERTS(MOA_Q8_0), {"output.weight", 0, false, MOA_Q6_K}}},
    {"IQ4_NL", "4.5 bits with uneven levels, output 6.6, the first ffn_down 5.5", MOA_IQ4_NL, 25,
     {EXPERTS(MOA_Q8_0), {"output.weight", 0, false, MOA_Q6_K}, {".attn_v.", 0, false, MOA_Q5_K},
      {".ffn_down", MOA_FIRST_EIGHTH, false, MOA_Q5_K}, {".attn_qkv.", 0, false, MOA_Q5_K}}},
    {"IQ4_XS", "4.25 bits with uneven levels, output 6.6, the first ffn_down 5.5", MOA_IQ4_XS, 30,
     {EXPERTS(MOA_Q8_0), {"output.weight", 0, false, MOA_Q6_K}, {".attn_v.", 0, false, MOA_Q5_K},
      {".ffn_down", MOA_FIRST_EIGHTH, false, MOA_Q5_K}, {".attn_qkv.", 0, false, MOA_Q5_K}}},
    /* One type for every matrix. */
    {"F32", "single precision", MOA_F32, 0, {{0}}},
    {"F16", "half precision", MOA_F16, 1, {{0}}},
    {"BF16", "upper halves of singles", MOA_BF16, 32, {{0}}},
    {"Q4_K", "4.5 bits everywhere", MOA_Q4_K, 14, {{0}}},
    {"Q5_K", "5.5 bits everywhere", MOA_Q5_K, 16, {{0}}},
    {"Q4_1", "5 bits everywhere", MOA_Q4_1, 3, {{0}}},
    {"Q5_0", "5.5 bits everywhere", MOA_Q5_0, 8, {{0}}},
    {"Q5_1", "6 bits everywhere", MOA_Q5_1, 9, {{0}}},
};
enum { N_SCHEME = sizeof schemes / sizeof *schemes };

static const char *const kept[] = {"_norm", "ffn_gate_inp", "rope_f", "attn_sinks", "exp_probs_b", "ssm_conv", "ssm_a", "position_embd",
                                   "token_types", ".scale", ".bias"};

/* Rows that a block does not divide: the nearest type with smaller blocks. */
static const struct { moa_dtype from, to; } smaller[] = {
    {MOA_Q4_K, MOA_Q5_0}, {MOA_Q5_K, MOA_Q5_1}, {MOA_Q6_K, MOA_Q8_0}, {MOA_IQ4_XS, MOA_IQ4_NL},
};

const moa_scheme *moa_schemes(int *n) {
    *n = N_SCHEME;
    return schemes;
}

const moa_scheme *moa_scheme_find(const char *name) {
    for (int i = 0; i < N_SCHEME; i++)
        if (!strcasecmp(schemes[i].name, name)) return &schemes[i];
    return NULL;
}

/* ---- which type ---- */

static int layer_of(const char *name) {
    int n = 0;
    if (strncmp(name, "blk.", 4)) return -1;
    for (const char *p = name + 4; *p >= '0' && *p <= '9'; p++) {
        if (n > 100000) return -1;
        n = n * 10 + (*p - '0');
    }
    return n;
}

static bool in_place(moa_where where, int i, int n) {
    if (where == MOA_FIRST_EIGHTH) return i >= 0 && i < n / 8;
    if (where == MOA_HALF_OF_LAYERS) return i >= 0 && (i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2);
    return true;
}

static bool is_kept(const moa_tensor *t) {
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (strstr(t->name, kept[i])) return true;
    return t->n_dim < 2 || moa_rows(t) < 2;
}

static moa_dtype fitting(moa_dtype type, int64_t cols) {
    for (size_t i = 0; i < sizeof smaller / sizeof *smaller; i++)
        if (smaller[i].from == type && cols % moa_type_get(type)->block) type = smaller[i].to;
    return cols % moa_type_get(type)->block ? MOA_F16 : type;
}

moa_dtype moa_scheme_type(const moa_scheme *s, const moa_tensor *t, int n_layer, bool tied, bool experts, moa_dtype *wanted) {
    const bool plain = s->type == MOA_F32;
    moa_dtype type = s->type;
    if (is_kept(t) || !moa_type_get(t->dtype)->dequantize) type = plain && moa_type_get(t->dtype)->block > 1 ? MOA_F32 : t->dtype;
    else {
        const char *name = tied && !strcmp(t->name, "token_embd.weight") ? "output.weight" : t->name; /* it is both */
        for (const moa_scheme_rule *r = s->rule; r->piece; r++)
            if (strstr(name, r->piece) && (experts || !r->experts) && in_place(r->where, layer_of(name), n_layer)) {
                type = r->type;
                break;
            }
    }
    if (wanted) *wanted = type;
    return fitting(type, moa_cols(t));
}

/* ---- writing ---- */

enum { SLICE = 1 << 22 }; /* elements that are converted before they are written */

typedef struct job {
    const moa_gguf *in;
    const moa_quantize_cfg *cfg;
    float *importance; /* [cols] of the matrix at hand */
    int n_layer;
    bool tied, experts;
} job;

typedef struct slice { const moa_tensor *from; const moa_type *to; int64_t row, n_row; const float *importance; char *out; int n_threads; } slice;

/* Rows of one matrix to out. */
static int convert(const slice *s, moa_err *err) {
    const int64_t cols = moa_cols(s->from);
    const moa_type *from = moa_type_get(s->from->dtype);
    const size_t in_bytes = moa_row_bytes(from->id, cols), out_bytes = moa_row_bytes(s->to->id, cols);
    int failed = 0;
#pragma omp parallel reduction(+ : failed) num_threads(s->n_threads) if (s->n_row * cols > 1 << 16)
    {
        float *wide = malloc((size_t)cols * sizeof *wide);
        failed += !wide;
#pragma omp for
        for (int64_t i = 0; i < s->n_row; i++) {
            if (!wide) continue;
            from->dequantize(wide, (const char *)s->from->data + (size_t)(s->row + i) * in_bytes, cols);
            s->to->quantize(s->out + (size_t)i * out_bytes, wide, s->importance, cols);
        }
        free(wide);
    }
    return failed ? moa_fail(err, MOA_ENOMEM, "tensor '%s': no memory for a row of %lld weights", s->from->name, (long long)cols) : 0;
}

static const moa_imatrix_entry *entry_of(const job *j, const moa_tensor *t) {
    return j->cfg->imatrix ? moa_imatrix_find(j->cfg->imatrix, t->name) : NULL;
}

/* One matrix of a tensor (an expert, or all of it), slice by slice. */
static int write_matrix(job *j, slice s, int64_t n_mat, int64_t mat, moa_writer *w, moa_err *err) {
    const int64_t cols = moa_cols(s.from), rows = moa_rows(s.from) / n_mat;
    const moa_imatrix_entry *e = entry_of(j, s.from);
    if (e) {
        if (!moa_imatrix_mean(j->importance, e, n_mat, cols, mat))
            return moa_fail(err, MOA_EFORMAT, "importance of '%s' is for %lld x %lld inputs, the tensor has %lld x %lld", s.from->name,
                            (long long)e->n_mat, (long long)e->n_in, (long long)n_mat, (long long)cols);
        s.importance = j->importance;
    }
    int64_t most = SLICE / cols > 0 ? SLICE / cols : 1;
    for (int64_t i = 0; i < rows; i += most) {
        s.row = mat * rows + i;
        s.n_row = rows - i < most ? rows - i : most;
        MOA_TRY(convert(&s, err));
        MOA_TRY(moa_writer_add(w, s.out, (size_t)s.n_row * moa_row_bytes(s.to->id, cols)));
    }
    return 0;
}

static int write_tensor(void *ctx, int i, const moa_tensor *t, moa_writer *w, moa_err *err) {
    job *j = ctx;
    const moa_tensor *from = moa_gguf_tensor_at(j->in, i);
    moa_quantize_event e = {.i = i, .n = moa_gguf_n_tensor(j->in), .from = from, .to = t->dtype};
    moa_scheme_type(j->cfg->scheme, from, j->n_layer, j->tied, j->experts, &e.wanted);
    e.kept = from->dtype == t->dtype;
    e.no_importance = j->cfg->imatrix && !e.kept && moa_type_get(t->dtype)->block > 1 && !entry_of(j, from);
    if (j->cfg->event && !j->cfg->event(j->cfg->ctx, &e)) return moa_fail(err, MOA_ECANCELED, "stopped");
    if (e.kept) return moa_writer_add(w, from->data, moa_tensor_bytes(from));
    const int64_t cols = moa_cols(from), n_mat = from->n_dim == 3 ? from->shape[0] : 1, row_bytes = (int64_t)moa_row_bytes(t->dtype, cols);
    const int64_t most = SLICE / cols > 0 ? SLICE / cols : 1;
    slice s = {.from = from, .to = moa_type_get(t->dtype), .out = malloc((size_t)(most * row_bytes)),
               .n_threads = j->cfg->n_threads > 0 ? j->cfg->n_threads : moa_cpu_threads()};
    j->importance = malloc((size_t)cols * sizeof *j->importance);
    int rc = s.out && j->importance ? 0 : moa_fail(err, MOA_ENOMEM, "tensor '%s': no memory for %lld rows", from->name, (long long)most);
    for (int64_t mat = 0; rc >= 0 && mat < n_mat; mat++) rc = write_matrix(j, s, n_mat, mat, w, err);
    free(s.out);
    free(j->importance);
    return rc;
}

static bool starts(moa_str s, const char *with) { return s.n >= strlen(with) && !memcmp(s.p, with, strlen(with)); }

static void put_keys(moa_gguf_out *o, const job *j) {
    for (int i = 0; i < moa_gguf_n_kv(j->in); i++) {
        const moa_gguf_kv *kv = moa_gguf_kv_at(j->in, i);
        if (!starts(kv->key, "split.")) moa_gguf_put_kv(o, kv);
    }
    moa_gguf_put_u32(o, "general.file_type", j->cfg->scheme->file_type);
    moa_gguf_put_u32(o, "general.quantization_version", 2);
    const moa_imatrix *m = j->cfg->imatrix;
    if (!m) return;
    moa_gguf_put_u32(o, "quantize.imatrix.entries_count", (uint32_t)m->n_entry);
    moa_gguf_put_u32(o, "quantize.imatrix.chunks_count", (uint32_t)m->chunks);
    if (m->text) moa_gguf_put_str(o, "quantize.imatrix.dataset", m->text, strlen(m->text));
}

int moa_quantize_file(const moa_gguf *in, const char *out, const moa_quantize_cfg *cfg, moa_err *err) {
    moa_str type;
    MOA_TRY(moa_gguf_str(&type, in, "general.type", "model", err));
    if (type.n != 5 || memcmp(type.p, "model", 5) != 0) /* the numbers of an importance matrix are no weights */
        return moa_fail(err, MOA_EUNSUPPORTED, "%s: general.type is '%.*s', expected 'model'", moa_gguf_path(in), type.n < 40 ? (int)type.n : 40, type.p);
    job j = {.in = in, .cfg = cfg, .tied = moa_gguf_tensor(in, "output.weight") == NULL};
    for (int i = 0; i < moa_gguf_n_tensor(in); i++) {
        const char *name = moa_gguf_tensor_at(in, i)->name;
        if (layer_of(name) >= j.n_layer) j.n_layer = layer_of(name) + 1;
        j.experts |= strstr(name, "ffn_gate_inp.") != NULL;
    }
    moa_gguf_out *o = moa_gguf_out_new();
    if (!o) return moa_fail(err, MOA_ENOMEM, "%s: no memory", out);
    put_keys(o, &j);
    for (int i = 0; i < moa_gguf_n_tensor(in); i++) {
        const moa_tensor *t = moa_gguf_tensor_at(in, i);
        const moa_tensor to = moa_view(moa_scheme_type(cfg->scheme, t, j.n_layer, j.tied, j.experts, NULL), NULL, t->n_dim, t->shape);
        moa_gguf_put_later(o, t->name, &to);
    }
    const int rc = moa_gguf_write_with(o, out, write_tensor, &j, err);
    moa_gguf_out_free(o);
    return rc;
}
