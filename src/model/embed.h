/* embed.h - text embeddings: one vector of length 1 for each text, from an encoder or a decoder. One owner thread.
 *
 * Texts of a call share its passes; a text's vector does not depend on them, to the bit.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_EMBED_H
#define MOA_MODEL_EMBED_H

#include "model/model.h"

/* Numbers of the key <arch>.pooling_type. */
typedef enum moa_pooling { MOA_POOL_DEFAULT, MOA_POOL_MEAN, MOA_POOL_CLS /* first token */, MOA_POOL_LAST } moa_pooling;
const char *moa_pooling_name(moa_pooling p);
int moa_pooling_parse(moa_pooling *out, const char *name, moa_err *err);

typedef struct moa_embed_cfg {
    moa_pooling pooling; /* default: what the file says; else mean for encoders, last for decoders */
    int dim;             /* 0: all numbers. Fewer: the first of them, for models that were trained for it (Matryoshka, arXiv:2205.13147) */
    int n_batch;         /* rows of a pass; 0: 256. An encoder's pass holds whole texts, one of any length at least */
    int n_threads;       /* 0: all cores */
    moa_isa isa;         /* at most; MOA_ISA_COUNT: best */
    bool exact;          /* reference mode */
} moa_embed_cfg;
moa_embed_cfg moa_embed_defaults(void);

int moa_embedder_new(moa_embedder **out, const moa_model *m, const moa_embed_cfg *cfg, moa_err *err);
moa_pooling moa_embedder_pooling(const moa_embedder *e);

/* A text that can be embedded: 1 to moa_embedder_max_len ids of the vocabulary. */
int moa_embed_check(const moa_embedder *e, const moa_ids *text, moa_err *err);
/* text: ids of each text, special tokens included. out [n_text, moa_embedder_dim]. */
int moa_embed_ids(moa_embedder *e, float *out, const moa_ids *text, int n_text, moa_err *err);
/* As the model wants its input: BOS or [CLS] before it, EOS or [SEP] behind it. Appends. */
int moa_embed_tokenize(moa_ids *ids, const moa_embedder *e, const char *text, size_t n, moa_err *err);

#endif
