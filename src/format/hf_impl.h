/* hf_impl.h - what the files hf_*.c share: the opened folder and the plan of its tensors.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FORMAT_HF_IMPL_H
#define MOA_FORMAT_HF_IMPL_H

#include "base/arena.h"
#include "base/file.h"
#include "base/json.h"
#include "format/hf.h"
#include "format/safetensors.h"

enum { HF_MAX_NAME = 96, HF_MAX_CONFIG = 4 << 20, HF_MAX_TOKENIZER = 128 << 20, HF_MAX_TEMPLATE = 1 << 20 };

/* Rows of a source tensor, seen as a matrix of all its rows: first, first + step ... */
typedef struct hf_piece {
    const moa_safetensors *file;
    const moa_st_tensor *t, *scales; /* scales: of MXFP4 blocks, else NULL */
    int64_t first, step, n;
} hf_piece;

typedef enum hf_op {
    HF_ROWS,    /* as they are */
    HF_PAIRS,   /* rows of each head from halves to neighbours, as llama's GGUF files have them */
    HF_PLUS1,   /* Gemma's norms: the checkpoint stores w - 1 */
    HF_MXFP4,   /* blocks and scales, values of a byte from neighbours to halves */
    HF_COLUMNS, /* the piece is columns of a transposed matrix */
    HF_VALUES   /* computed numbers */
} hf_op;

/* One tensor of the GGUF file: its pieces one behind the other. */
typedef struct hf_tensor {
    char name[HF_MAX_NAME], each[HF_MAX_NAME]; /* each: with %d, for experts that lie apart; else "" */
    moa_dtype dtype;   /* that the pieces give; small ones are widened to F32 */
    moa_dtype from;    /* of the source */
    int n_dim;
    int64_t shape[MOA_MAX_DIM];
    hf_op op;
    bool small;        /* a vector, a router, a table of positions: F32 whatever the rest is */
    int heads;
    hf_piece *piece;
    int n_piece;
    const float *values;
} hf_tensor;

struct hf_type;

typedef struct hf_model {
    char *folder, *config_path;
    const struct hf_type *type;
    moa_arena *arena;
    json_t *config, *text; /* text: the part that describes the language model; borrowed from config */
    json_t *tokenizer, *tokenizer_config, *special_map, *added, *generation, *sentence; /* sentence: sentence_bert_config.json */
    moa_map pieces_file;   /* a SentencePiece model, vocab.txt or vocab.json, where there is no tokenizer.json */
    const uint8_t *pieces; /* [n_pieces] bytes */
    size_t n_pieces;
    const char *pieces_name;
    char *merges;          /* merges.txt, beside vocab.json: [n_merges] bytes */
    size_t n_merges;
    char *chat_template;
    moa_safetensors **shard;
    int n_shard;
    hf_tensor *tensor;
    int n_tensor, cap_tensor;
    uint32_t *slot; /* tensors by name */
    uint64_t slot_mask;
    moa_gguf_out *keys;
    moa_buf head;
    uint8_t *made; /* anonymous mapping of derived tensors */
    size_t made_bytes;
    /* numbers of config.json that other files need */
    int n_vocab, n_layer, n_head, n_kv, head_dim, n_expert;
} hf_model;

enum { /* traits of a model type */
    HF_ROPE_PAIRS = 1, /* q and k are permuted */
    HF_NORM_PLUS1 = 2,
    HF_SANDWICH = 4,   /* post_attention_layernorm is not the norm before the feed-forward part */
    HF_ENCODER = 8,
    HF_NO_WINDOW = 16, /* the GGUF architecture has no windows: the context is cut to the window */
    HF_EXTRA_LAYERS = 32 /* layers behind the last predict further tokens and are left out */
};

typedef struct hf_field { const char *from, *to; char kind; double dflt; } hf_field; /* kind u, f, b */
typedef struct hf_type {
    const char *model_type, *arch;
    unsigned traits;
    const char *act;         /* hidden_act that the architecture has */
    double rope_theta;       /* where config.json has none */
    const hf_field *fields;  /* beyond the common ones; ends with from NULL */
    int (*more)(hf_model *m, moa_err *err);
} hf_type;

const hf_type *hf_type_of_arch(const char *arch); /* the first: all of one architecture have its names and order of rows; NULL: none */
/* config.json -> m->type and keys "ARCH.*", and the tensors that it implies. */
int hf_config_read(hf_model *m, moa_err *err);
/* Keys with the architecture's name before them. */
void hf_put_u32(hf_model *m, const char *key, uint32_t v);
void hf_put_f32(hf_model *m, const char *key, double v);
void hf_put_bool(hf_model *m, const char *key, bool v);
int hf_num(double *out, const hf_model *m, const char *key, double dflt, moa_err *err); /* null counts as absent */
int hf_count(int *out, const hf_model *m, const char *key, int dflt, moa_err *err);     /* 0 to 2^24; dflt < 0: needed */
const json_t *hf_get(const hf_model *m, const char *key); /* of the text part, NULL when absent or null */
/* rope_theta, rope_scaling, rope_parameters -> keys, factor tensors. n_rot: rotated dimensions of a head. */
int hf_rope_read(hf_model *m, int n_rot, int n_ctx, moa_err *err);
int hf_pooling_read(hf_model *m, moa_err *err); /* modules.json and what it names -> key "ARCH.pooling_type" */

/* Every tensor of the shards finds its place in m->tensor, or an error names it. */
int hf_tensors_plan(hf_model *m, moa_err *err);
hf_tensor *hf_tensor_add(hf_model *m, const char *name, moa_err *err); /* zeroed; an error for a second of that name */
int hf_add_values(hf_model *m, const char *name, const float *v, int64_t n, moa_err *err); /* f32 [n], copied */

/* Rows [from, from + n) of a tensor (all pieces in order) in type `to`. dst has room. */
int hf_rows(void *dst, moa_dtype to, const hf_tensor *t, int64_t from, int64_t n, moa_err *err);
/* Where the rows of a piece lie when nothing must be done to them, else NULL. */
const void *hf_direct(const hf_tensor *t, const hf_piece *p);

/* tokenizer.json, or a SentencePiece model, and its companions -> keys "tokenizer.*". */
int hf_tokenizer_read(hf_model *m, moa_err *err);
/* The name for tokenizer.ggml.pre of the pre_tokenizer of a byte-level BPE. whole: ignore_merges. prefix: a space is put before a text. */
int hf_pre_name(const char **out, bool *prefix, const json_t *pre, bool whole, const char *path, moa_err *err);

int hf_model_new(hf_model **out, const char *path, moa_err *err);  /* nothing read yet */
int hf_model_open(hf_model **out, const char *path, moa_err *err); /* all files read, tensors planned */
int hf_model_gguf(moa_gguf **out, hf_model *m, const char *path, int flags, moa_err *err); /* takes m in every case */
void hf_model_free(void *m);

#endif
