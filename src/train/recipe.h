/* recipe.h - a training recipe: what to train, on what, how; read from YAML with a schema in the code.
 *
 * Every error names file and line. Unknown keys, keys given twice, aliases and values out of range are refused,
 * so that a slip of the pen costs a second and not a night. Two recipes that train the same have the same hash
 * (comments and the order of keys do not count), which is what a checkpoint is bound to.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TRAIN_RECIPE_H
#define MOA_TRAIN_RECIPE_H

#include "model/model.h"

enum { MOA_STAGES_MAX = 32, MOA_DATA_MAX = 64, MOA_TURNS_MAX = 16, MOA_RECIPE_BYTES_MAX = 1 << 20 };

typedef enum moa_stage_kind { MOA_STAGE_TRAIN, MOA_STAGE_SAMPLE } moa_stage_kind;

/* What an aggregator learns to reply: a correct candidate; the list of all answers and then the last line of a correct
 * candidate; only the last line of a correct candidate; the worked solution whatever the candidates say. Or what a judge learns
 * (moa_judging of task/task.h, in its order), with the judge's prompt in place of the aggregator's. */
typedef enum moa_agg_target {
    MOA_AGG_COPY, MOA_AGG_LIST, MOA_AGG_ANSWER, MOA_AGG_SOLUTION,
    MOA_AGG_RATE, MOA_AGG_CHOOSE, MOA_AGG_COMPARE, MOA_AGG_CONSISTENT, MOA_AGG_CRITIQUE, MOA_AGG_REVISE
} moa_agg_target;

/* The assistant's turns, or the user's too: several candidates in a prompt repeat each other, and to foresee repetition is to
 * learn copying. */
typedef enum moa_learn { MOA_LEARN_REPLY, MOA_LEARN_ALL } moa_learn;

/* What a stage minimises: minus the log-likelihood of what is learned; or the loss of preferences between two replies (tensor/op/dpo.c). */
typedef enum moa_stage_loss { MOA_LOSS_LIKELIHOOD, MOA_LOSS_DPO } moa_stage_loss;

typedef struct moa_recipe_model {
    char *arch;
    int n_layer, d_model, n_head, n_kv, head_dim, d_ff, n_ctx;
    double rope_base, norm_eps;
    bool tied;
} moa_recipe_model;

typedef struct moa_recipe_init {
    char *gguf; /* weights (any type) of a model: a GGUF file, one in parts, a folder */
    char *run;  /* f32 weights of another recipe's run folder */
} moa_recipe_init;

/* rank 0: all weights are trained. Else those of init.gguf stay, and low-rank matrices beside each linear of a layer are (Hu et al. 2021,
 * arXiv:2106.09685): y = W x + alpha / rank B A x. What comes out is an adapter file. */
typedef struct moa_recipe_lora { int rank; double alpha; } moa_recipe_lora;

typedef struct moa_recipe_tokenizer {
    char *gguf;     /* taken from a model file; NULL: trained on the recipe's data */
    int n_vocab;
    int items;      /* documents to train it on */
    char **special; /* control tokens; the bundled ChatML-like set when empty */
    unsigned special_count;
} moa_recipe_tokenizer;

/* One source of documents. Exactly one of family, file, aggregate is set. */
typedef struct moa_recipe_data {
    char *family;      /* name of a task family; "all": every scored one; "talk": every unscored one */
    char *file;        /* plain text (language modelling), or .jsonl with {"messages": [{role, content}]} a line; dpo: {"prompt", "chosen", "rejected"} */
    char *aggregate;   /* name of an earlier sample stage, or a path to such a JSONL */
    double weight;     /* share of the documents, relative to the other sources of the stage */
    int *levels;       /* NULL: drawn by the family */
    unsigned levels_count;
    int turns;         /* family: a document holds 1 to so many items, as turns of one conversation */
    moa_learn learn;   /* which tokens of a conversation carry loss */
    int k_min, k_max;  /* aggregate: candidates shown */
    double mixed;      /* aggregate: share drawn from items with right and wrong candidates */
    moa_agg_target target;
    int line;          /* in the recipe */
} moa_recipe_data;

typedef struct moa_recipe_stage {
    char *name;
    moa_stage_kind kind;
    /* train */
    char *tokens_text, *batch_text; /* "40M", "16k" as written */
    int64_t tokens, steps, batch_tokens; /* steps is filled from tokens */
    int seq_len, accumulate;
    moa_stage_loss loss;
    double beta;                    /* of dpo: how dear it is to leave the reference */
    double lr, min_lr, warmup;      /* warmup: steps when >= 1, else a share of the stage */
    char *schedule, *optimizer, *dtype;
    double beta1, beta2, eps, momentum, weight_decay, clip;
    double *snapshots;              /* fractions of the stage at which a model is exported */
    unsigned snapshots_count;
    moa_recipe_data *data;
    unsigned data_count;
    /* sample */
    int items, samples, max_tokens;
    double temperature, top_p;
    int line;
} moa_recipe_stage;

typedef struct moa_recipe_checkpoint { double minutes; int steps; } moa_recipe_checkpoint;
typedef struct moa_recipe_output { char *path, *type; } moa_recipe_output;

typedef struct moa_recipe {
    char *name, *about, *license;
    int64_t seed;
    moa_recipe_model model;
    moa_recipe_init init;
    moa_recipe_lora lora;
    moa_recipe_tokenizer tokenizer;
    char *chat_template; /* Jinja text; NULL: the bundled one */
    moa_recipe_stage *stages;
    unsigned stages_count;
    moa_recipe_checkpoint checkpoint;
    moa_recipe_output output;
    char *path;          /* of the file, for messages */
    uint64_t hash;
} moa_recipe;

int moa_recipe_load(moa_recipe **out, const char *path, moa_err *err);
int moa_recipe_parse(moa_recipe **out, const char *text, size_t n, const char *name, moa_err *err);
void moa_recipe_free(moa_recipe *r);

/* "40M", "16k", "1.5B", "4096" (k, M, B are powers of ten) -> a count; MOA_EFORMAT otherwise. */
int moa_count_parse(int64_t *out, const char *text, moa_err *err);
int64_t moa_recipe_total_tokens(const moa_recipe *r); /* of all train stages */
/* The file that a source reads: file, or an aggregate that names a JSONL. NULL: a family, or an earlier sample stage. */
const char *moa_recipe_source_path(const moa_recipe_data *d);
bool moa_recipe_is_jsonl(const char *path);           /* conversations, samples; else a file is plain text */
extern const char moa_recipe_chat_template[];         /* the bundled one */

/* ---- recipe_check.c: defaults for what is absent, ranges for what is there ---- */
struct moa_yaml_lines;
int moa_recipe_check(moa_recipe *r, const struct moa_yaml_lines *l, const char *name, moa_err *err);

#endif
