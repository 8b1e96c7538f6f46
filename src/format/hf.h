/* hf.h - models as Hugging Face folders: config.json, *.safetensors, tokenizer.json and what lies beside them, read into
 * the form of a GGUF file, so that nothing behind it needs to know the difference.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FORMAT_HF_H
#define MOA_FORMAT_HF_H

#include "format/gguf.h"

/* Is path a folder with config.json, a .safetensors file or a .safetensors.index.json? */
bool moa_hf_is(const char *path);

enum { MOA_HF_HEAD = 1 /* keys and shapes only: tensors that must be computed have no data yet (zeros) */ };
/* Tensors point into the mapped shards. Those that GGUF stores otherwise (rows of q and k in other order, norms + 1, MXFP4
 * blocks) are made at once in anonymous memory: the first token needs all of them. Experts that lie apart keep a tensor each. */
int moa_hf_open(moa_gguf **out, const char *path, int flags, moa_err *err);

/* A GGUF file, or what moa_hf_is knows. */
int moa_gguf_open_any(moa_gguf **out, const char *path, int flags, moa_err *err);

/* Where the matrix of a module lies in a GGUF file of this architecture: "model.layers.3.self_attn.q_proj" in blk.3.attn_q.weight. */
typedef struct moa_hf_place {
    char to[112], also[112]; /* also: tensor of the second half of its rows, or "" */
    int expert;              /* of a tensor of all experts; -1: none */
    int pairs;               /* rows of each head lie otherwise: 1 of queries, 2 of keys, 0 no */
    bool plus1;              /* GGUF has 1 added */
    bool turns;              /* rows of `to` and `also` in turn, not in halves */
} moa_hf_place;
bool moa_hf_place_of(moa_hf_place *p, const char *arch, const char *module);
/* The same of a parameter that holds all experts' matrices: "model.layers.3.mlp.experts.gate_up_proj". */
bool moa_hf_parameter_of(moa_hf_place *p, const char *arch, const char *parameter);
/* The same of any tensor that GGUF keeps whole, norms and biases too: "model.layers.3.input_layernorm.weight". */
bool moa_hf_tensor_of(moa_hf_place *p, const char *arch, const char *tensor);
/* And back: the module whose matrix, or expert, a tensor is. */
bool moa_hf_module_of(char *out, size_t n, const char *arch, const char *tensor, int expert);

typedef struct moa_hf_convert {
    const char *type;    /* of matrices: "BF16", "Q8_0" ...; NULL: as they are. Vectors and routers are F32, MXFP4 stays */
    bool (*progress)(void *ctx, uint64_t done, uint64_t bytes, const char *tensor); /* every 4 MB; false: MOA_ECANCELED, no file. NULL: none */
    void *ctx;
} moa_hf_convert;
/* Reads the folder, writes one GGUF file, tensor by tensor: memory does not grow with the model. Atomic; MOA_EIO at once when the
 * disk has less room than the file needs. */
int moa_hf_write(const char *path, const char *out, const moa_hf_convert *how, moa_err *err);

#endif
