/* adapt.h - low-rank adapters (LoRA, Hu et al. 2021, arXiv:2106.09685) of a model: read, bound to a base, added to its products.
 *
 *     y = W x + b + sum over adapters i of t_i s_i (B_i (A_i x) + c_i)
 * with A [r, n_in], B [n_out, r], the file's scale s (alpha / r, or alpha / sqrt(r)), the user's scale t. The base stays as it is,
 * quantised or not; A and B keep their 16-bit types, and the adapter's part is computed in f32 whatever the base computes in. DoRA (Liu et al. 2024, arXiv:2402.09353) multiplies
 * the rows of W + t s B A by m / |row|; those factors are worked out when a set is made.
 *
 * A file may also hold tensors that stand in for the base's own (PEFT's modules_to_save, layers of the embedding, trained biases):
 * they are used whole, whatever the scale, as the file has them.
 *
 * An adapter is a file in memory; a set is some adapters with scales, made for one model, for any number of sessions. Neither
 * changes the model, so sets come and go while it is open.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_ADAPT_ADAPT_H
#define MOA_ADAPT_ADAPT_H

#include "model/model.h"

/* One matrix that the file adapts. */
typedef struct moa_lora {
    const char *name;      /* module or tensor, as the file calls it */
    int expert;            /* of a tensor of all experts, GGUF's or a parameter of PEFT's; else -1 */
    bool parameter;        /* of PEFT's target_parameters: which of its sides is the input, only the base knows */
    int inner;             /* of a parameter: wrappers of other parameters around its own */
    bool embedding;        /* a [n_in = n_vocab, rank]: a row is a token's */
    int64_t n_in, n_out;
    int rank;
    float scale;           /* s; not in b */
    moa_tensor a, b;       /* [rank, n_in], [n_out, rank]: F32, F16 or BF16 */
    float *bias;           /* [n_out] c, or NULL */
    float *magnitude;      /* [n_out] m of DoRA, or NULL */
} moa_lora;

/* A tensor in place of the base's. */
typedef struct moa_whole {
    const char *name;      /* as the file calls it, ending in ".weight" or ".bias" */
    moa_tensor w;          /* matrices F32, F16 or BF16, vectors F32 */
} moa_whole;

typedef enum moa_adapter_form { MOA_ADAPTER_PEFT, MOA_ADAPTER_MLX, MOA_ADAPTER_GGUF } moa_adapter_form;
const char *moa_adapter_form_name(moa_adapter_form f);

typedef struct moa_adapter {
    moa_adapter_form form;
    char *path;            /* of the weights */
    const char *arch;      /* of the base; "" where the file does not say */
    const char *base;      /* name of the base model; "" where the file does not say */
    moa_lora *lora;        /* [n], sorted by name; room for cap */
    int n, cap;
    moa_whole *whole;      /* [n_whole], sorted by name */
    int n_whole;
    uint64_t key;          /* of the contents */
    struct moa_arena *arena;
} moa_adapter;

/* Is path an adapter: a folder with adapter_config.json, a .safetensors file beside one, a GGUF file that says so? */
bool moa_adapter_is(const char *path);
/* Everything is checked that can be without the base: both halves, shapes, ranks against the configuration, finite numbers. */
int moa_adapter_open(moa_adapter **out, const char *path, moa_err *err);
void moa_adapter_close(moa_adapter *a);
/* From memory, for tests: text of adapter_config.json and bytes of the .safetensors file; a GGUF file (8-byte aligned). */
int moa_adapter_open_peft(moa_adapter **out, const char *config, size_t n_config, const void *data, size_t n_data, const char *name, moa_err *err);
int moa_adapter_open_gguf(moa_adapter **out, const moa_gguf *g, moa_err *err);

/* ---- sets ---- */
typedef struct moa_adapter_use { const moa_adapter *adapter; float scale; } moa_adapter_use;
typedef struct moa_adapter_set moa_adapter_set;
/* Every matrix of every adapter finds its place in m and fits it, or the error names tensor, file and both shapes. Borrows the
 * adapters and the model. n_threads: for DoRA's factors; 0: all cores. */
int moa_adapter_set_new(moa_adapter_set **out, const moa_model *m, const moa_adapter_use *use, int n, int n_threads, moa_err *err);
void moa_adapter_set_free(moa_adapter_set *s);
const moa_sites *moa_adapter_set_sites(const moa_adapter_set *s); /* for moa_session_adapt */

/* "PATH" or "PATH:SCALE". A colon behind the last '/' begins a scale: what is no number there is refused, not taken for a name. path
 * has room for n bytes. Opened together: moa_adapters_open (include/moa.h). */
int moa_adapter_spec(char *path, size_t n, float *scale, const char *spec, moa_err *err);

/* ---- export ---- */
/* With every scale folded into B, so that no reader can get it wrong: GGUF with alpha 0, PEFT with lora_alpha equal to r for every
 * module. m is the base: rows of q and k lie otherwise in GGUF's llamas, and names differ. out: a file, a folder. Atomic a file. */
int moa_adapter_write_gguf(const moa_adapter *a, const moa_model *m, const char *out, moa_err *err);
int moa_adapter_write_peft(const moa_adapter *a, const moa_model *m, const char *out, moa_err *err);

#endif
