/* shape.c - see shape.h. Weights are drawn block by block from a pool of quantised normal numbers, so that a file of a gigabyte is
 * written in seconds and in little memory.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/shape.h"
#include "base/err.h"
#include "base/file.h"
#include "base/rng.h"
#include "model/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sizes from the published configurations; the layers of the large ones are cut to what a small machine holds. */
static const moa_shape shapes[] = {
    {"llama-336m", "a dense llama of 336 M weights", "llama",
     {.n_vocab = 32000, .n_ctx = 4096, .d_model = 1024, .n_layer = 24, .n_head = 16, .n_kv = 4, .head_dim = 64, .d_ff = 2816}},
    {"llama-1b", "Llama 3.2 1B, its output matrix its own", "llama",
     {.n_vocab = 128256, .n_ctx = 8192, .d_model = 2048, .n_layer = 16, .n_head = 32, .n_kv = 8, .head_dim = 64, .d_ff = 8192, .rope_base = 5e5f}},
    {"olmoe-4", "OLMoE, 4 of 16 layers", "olmoe",
     {.n_vocab = 50304, .n_ctx = 4096, .d_model = 2048, .n_layer = 4, .n_head = 16, .n_kv = 16, .head_dim = 128, .n_expert = 64,
      .n_expert_used = 8, .d_expert = 1024}},
    {"qwen3moe-2", "Qwen3 30B-A3B, 2 of 48 layers", "qwen3moe",
     {.n_vocab = 151936, .n_ctx = 8192, .d_model = 2048, .n_layer = 2, .n_head = 32, .n_kv = 4, .head_dim = 128, .n_expert = 128,
      .n_expert_used = 8, .d_expert = 768, .rope_base = 1e6f}},
    {"mixtral-1", "Mixtral 8x7B, 1 of 32 layers", "llama",
     {.n_vocab = 32000, .n_ctx = 4096, .d_model = 4096, .n_layer = 1, .n_head = 32, .n_kv = 8, .head_dim = 128, .d_ff = 14336, .n_expert = 8,
      .n_expert_used = 2, .d_expert = 14336, .rope_base = 1e6f}},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes, POOL = 1 << 20 /* weights */ };

const moa_shape *moa_shapes(int *n) {
    *n = N_SHAPES;
    return shapes;
}

const moa_shape *moa_shape_find(const char *name) {
    for (int i = 0; i < N_SHAPES; i++)
        if (!strcmp(shapes[i].name, name)) return &shapes[i];
    return NULL;
}

typedef struct plan {
    moa_gguf_out *o;
    moa_dtype type;
    uint64_t seed;
    uint8_t *pool; /* of POOL weights */
    int n_unit;    /* blocks of the pool */
    size_t unit;   /* bytes of a block */
} plan;

static int list_weight(void *ctx, moa_model *m, const moa_weight *w, moa_err *err) {
    plan *p = ctx;
    (void)m;
    (void)err;
    if (w->optional) return 0;
    const bool plain = w->part_dim == 1 || w->router || w->shape[w->n_dim - 1] % moa_type_get(p->type)->block;
    const moa_tensor t = moa_view(plain ? MOA_F32 : p->type, NULL, w->n_dim, w->shape);
    moa_gguf_put_later(p->o, w->name, &t);
    return 0;
}

/* Norms are 1, routers normal, matrices blocks of the pool. */
static int make_weight(void *ctx, int i, const moa_tensor *t, moa_writer *w, moa_err *err) {
    const plan *p = ctx;
    moa_rng r;
    (void)err;
    moa_rng_seed2(&r, p->seed, (uint64_t)i + 1);
    if (t->dtype == MOA_F32) {
        for (int64_t k = 0; k < moa_tensor_count(t); k++) {
            const float v = t->n_dim == 1 ? 1.0f : 0.02f * (float)moa_rng_normal(&r);
            MOA_TRY(moa_writer_add(w, &v, sizeof v));
        }
        return 0;
    }
    for (size_t left = moa_tensor_bytes(t); left; left -= p->unit)
        MOA_TRY(moa_writer_add(w, p->pool + moa_rng_below(&r, (uint32_t)p->n_unit) * p->unit, p->unit));
    return 0;
}

static int fill_pool(plan *p, moa_err *err) {
    const moa_type *type = moa_type_get(p->type);
    if (!type || !type->quantize) {
        moa_fail(err, MOA_EUNSUPPORTED, "weights cannot be written as %s", type ? type->name : "an unknown type");
        return moa_hint(err, MOA_EUNSUPPORTED, "moa list types shows the types that can be written");
    }
    p->unit = (size_t)type->bytes;
    p->n_unit = POOL / type->block;
    float *x = malloc(POOL * sizeof *x);
    p->pool = malloc((size_t)p->n_unit * p->unit);
    if (!x || !p->pool) {
        free(x);
        return moa_fail(err, MOA_ENOMEM, "no memory for random weights");
    }
    moa_rng r;
    moa_rng_seed2(&r, p->seed, 0);
    for (int i = 0; i < POOL; i++) x[i] = 0.02f * (float)moa_rng_normal(&r);
    type->quantize(p->pool, x, NULL, POOL);
    free(x);
    return 0;
}

/* <unk>, <s>, </s>, the 256 bytes, the 26 letters, the mark of a space, and words: a, b, .. z, aa, ab and so on behind that mark. A word less
 * its last letter comes before it, so words are put together letter by letter, and a text of random tokens reads back as these tokens, as
 * the replies of a trained model do: what an aggregator reads of a reply is as long as the reply. */
static int put_vocabulary(moa_gguf_out *o, int n_vocab, moa_err *err) {
    enum { WORD = 16, LETTER = 259, SPACE = LETTER + 26 };
    static const char model[] = "llama", space[] = "\xe2\x96\x81"; /* SentencePiece's */
    moa_str *s = calloc((size_t)n_vocab, sizeof *s);
    char *text = calloc((size_t)n_vocab, WORD);
    int32_t *type = calloc((size_t)n_vocab, sizeof *type);
    float *score = calloc((size_t)n_vocab, sizeof *score);
    const bool ok = s && text && type && score;
    for (int i = 0; ok && i < n_vocab; i++) {
        char *at = text + (size_t)i * WORD;
        int n = 0;
        type[i] = i == 0 ? 2 : i < 3 ? 3 : i < LETTER ? 6 : 1; /* unknown, control, byte, normal */
        score[i] = i < LETTER ? 0 : (float)(LETTER - 1 - i);
        if (i < 3) n = snprintf(at, WORD, "%s", i == 0 ? "<unk>" : i == 1 ? "<s>" : "</s>");
        else if (i < LETTER) n = snprintf(at, WORD, "<0x%02X>", (unsigned)i - 3);
        else if (i < SPACE) at[n++] = (char)('a' + i - LETTER);
        else {
            int v = i - SPACE, letters = 0, first = 1; /* of the words of as many letters */
            for (; v >= first; letters++) v -= first, first *= 26;
            n = snprintf(at, WORD, "%s", space);
            for (; letters > 0; letters--) first /= 26, at[n++] = (char)('a' + v / first % 26);
        }
        s[i] = (moa_str){at, (size_t)n};
    }
    if (ok) {
        moa_gguf_put_str(o, "tokenizer.ggml.model", model, sizeof model - 1);
        moa_gguf_put_strs(o, "tokenizer.ggml.tokens", s, (uint64_t)n_vocab);
        moa_gguf_put_arr(o, "tokenizer.ggml.scores", MOA_GGUF_F32, score, (uint64_t)n_vocab);
        moa_gguf_put_arr(o, "tokenizer.ggml.token_type", MOA_GGUF_I32, type, (uint64_t)n_vocab);
        moa_gguf_put_u32(o, "tokenizer.ggml.bos_token_id", 1);
        moa_gguf_put_u32(o, "tokenizer.ggml.eos_token_id", 2);
    }
    free(s), free(text), free(type), free(score);
    return ok ? 0 : moa_fail(err, MOA_ENOMEM, "no memory for a vocabulary of %d", n_vocab);
}

static int list_all(plan *p, const moa_shape *s, moa_err *err) {
    const moa_arch *a = moa_arch_find(s->arch, strlen(s->arch));
    moa_hparams h = s->h;
    moa_model *m;
    if (!a) return moa_arch_unknown(s->arch, strlen(s->arch), err);
    h.rope_pairs = a->rope_pairs;
    h.gate_norm = a->gate_norm;
    MOA_TRY(moa_hparams_check(&h, err));
    MOA_TRY(moa_model_shell(&m, a, &h, h.n_layer * (32 + 6 * h.n_expert) + 8, err));
    moa_gguf_put_str(p->o, "general.architecture", a->name, strlen(a->name));
    moa_gguf_put_str(p->o, "general.name", s->name, strlen(s->name));
    moa_hparams_put(p->o, a, &h);
    moa_gguf_put_u32(p->o, "general.quantization_version", 2);
    int rc = put_vocabulary(p->o, h.n_vocab, err);
    if (rc >= 0) rc = moa_weights_each(m, list_weight, p, err);
    moa_model_close(m);
    return rc;
}

int moa_shape_write(const moa_shape *s, moa_dtype type, uint64_t seed, const char *path, moa_err *err) {
    plan p = {.o = moa_gguf_out_new(), .type = type, .seed = seed};
    int rc = p.o ? fill_pool(&p, err) : moa_fail(err, MOA_ENOMEM, "no memory for the header of a model");
    if (rc >= 0) rc = list_all(&p, s, err);
    if (rc >= 0) rc = moa_gguf_write_with(p.o, path, make_weight, &p, err);
    moa_gguf_out_free(p.o);
    free(p.pool);
    return rc;
}
