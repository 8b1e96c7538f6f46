/* adapt_impl.h - what the files of adapt/ share. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_ADAPT_ADAPT_IMPL_H
#define MOA_ADAPT_ADAPT_IMPL_H

#include "adapt/adapt.h"
#include "format/safetensors.h"

enum { MOA_ADAPT_MAX_RANK = 1 << 14, MOA_ADAPT_MAX_EXPERT = 1 << 14, MOA_ADAPT_MAX_CONFIG = 4 << 20, MOA_ADAPT_MAX_PATTERN = 4096 };

/* ---- adapter.c ---- */
/* cap: at most so many matrices, and as many whole tensors. */
int adapter_new(moa_adapter **out, moa_adapter_form form, const char *path, int cap, moa_err *err);
/* Room for that many more matrices. */
int adapter_room(moa_adapter *a, int64_t more, moa_err *err);
/* Matrices of one module are all there, of one rank, finite; sorted, hashed. what: names of both halves, for errors. */
int adapter_finish(moa_adapter *a, moa_err *err);
/* Memory of a matrix; type: F32, F16 or BF16. */
int adapter_matrix(moa_tensor *out, moa_adapter *a, moa_dtype type, int64_t rows, int64_t cols, const char *tensor, moa_err *err);
/* t as f32: its own memory where it is, else in the arena; NULL: no memory. */
float *adapter_wide(struct moa_arena *ar, const moa_tensor *t);

/* ---- peft_config.c: adapter_config.json of PEFT and of MLX ---- */
typedef struct peft_config peft_config;
int peft_config_new(peft_config **out, const char *text, size_t n, const char *path, moa_err *err);
void peft_config_free(peft_config *c);
bool peft_config_mlx(const peft_config *c);
bool peft_config_dora(const peft_config *c);
const char *peft_config_base(const peft_config *c); /* "" where it is not said */
/* Rank and scale of a module, named without "base_model.model."; MOA_EFORMAT when the configuration has no place for it. */
int peft_config_module(int *rank, float *scale, const peft_config *c, const char *module, moa_err *err);

/* Is the module one of target_parameters? 1 and the parameter's name, 0, or an error. inner: how often ".base_layer" stood behind the
 * module's name. PEFT wraps a module once for each of its parameters, in the order in which the module has them. */
int peft_config_parameter(const char **name, const peft_config *c, const char *module, int inner, moa_err *err);
/* Rank and scale of a parameter, named as its module with the parameter behind it. */
int peft_config_rank(int *rank, float *scale, const peft_config *c, const char *key, moa_err *err);
bool peft_config_ties(const peft_config *c); /* the output follows the embedding */

/* May a module's own tensor (".weight", ".bias") be in the file? hit counts, for each name of modules_to_save, tensors that it let in. */
int peft_config_whole(const peft_config *c, const char *module, bool bias, int *hit, moa_err *err);
int peft_config_n_saved(const peft_config *c);
const char *peft_config_saved(const peft_config *c, int i);

/* ---- peft.c ---- */
int peft_read(moa_adapter **out, const peft_config *c, const moa_safetensors *s, moa_err *err);
const char *peft_strip(const char *name); /* without base_model.model. */

/* ---- bind.c: where a module's rows go ---- */
typedef struct place {
    int site;                /* MOA_SITE_EMBEDDING, or of linear */
    const moa_linear_w *linear; /* NULL: the embedding, or a gate that is a vector */
    int64_t row, rows, step; /* of B: its part, every step-th row */
    int pairs;               /* heads whose rows go from halves to neighbours; 0: none */
    const moa_tensor *w;
    moa_tensor *const *slot; /* where the model keeps w */
    bool plus1;              /* GGUF's numbers are larger by 1 */
} place;
typedef struct place_list { place *v; int n, cap; } place_list;

typedef struct base_map base_map; /* tensors of a model by GGUF's names */
int base_map_new(base_map **out, const moa_model *m, moa_err *err);
void base_map_free(base_map *b);
const moa_model *base_map_model(const base_map *b);
/* Appends the places of a module, its shapes checked. */
int base_map_places(place_list *out, const base_map *b, const moa_adapter *a, const moa_lora *l, moa_err *err);
/* The same for a tensor that stands in for the base's: whole parts of it. */
int base_map_whole(place_list *out, const base_map *b, const moa_adapter *a, const moa_whole *w, moa_err *err);
/* The tensor's name in GGUF and of which expert (-1: none), for export. pairs: as of a place. also: second half of the rows, or "";
 * turns: every second row. */
typedef struct gguf_name { char to[112], also[112]; int expert, pairs; bool turns; } gguf_name;
int base_map_name(gguf_name *out, const base_map *b, const moa_adapter *a, const moa_lora *l, moa_err *err);
/* PEFT takes the second axis of a parameter for the input's or the third, by its version; the base's shapes tell which. 1: A of this
 * adapter's parameters is what B should be. */
int base_map_turned(const base_map *b, const moa_adapter *a, moa_err *err);
/* l, or with A and B in each other's place a copy; NULL: no memory. */
const moa_lora *adapter_lora(struct moa_arena *ar, const moa_lora *l, bool turned);

/* Row of the checkpoint that is row i in GGUF: rows of each head go from halves to neighbours. */
static inline int64_t pair_row(int64_t i, int64_t rows, int heads) {
    if (!heads) return i;
    const int64_t hd = rows / heads, at = i % hd;
    return i - at + at / 2 + at % 2 * (hd / 2);
}

#endif
