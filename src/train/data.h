/* data.h - the documents of a stage. Document number i is a function of (seed, stage, i) alone, so that a run
 * resumes from counters, whatever thread made it and whenever.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TRAIN_DATA_H
#define MOA_TRAIN_DATA_H

#include "base/buf.h"
#include "task/task.h"
#include "train/recipe.h"
#include "train/render.h"

typedef struct moa_data moa_data;

/* Opens all sources of r->stages[stage]; files and samples are read now. dir: the run folder (samples-STAGE.jsonl). */
int moa_data_open(moa_data **out, const moa_recipe *r, int stage, const moa_tokenizer *tok, const moa_chat_template *chat,
                  const char *dir, moa_err *err);
void moa_data_close(moa_data *d);

/* Replaces doc by document number `index`, of at most seq_len + 1 tokens (a longer one is replaced by the next draw of
 * the same number; an aggregate first shows fewer candidates). One thread at a time. */
int moa_data_doc(moa_doc *doc, moa_data *d, uint64_t index, moa_err *err);
/* Pairs of a dpo stage, over all its sources; and pair k in one document, which may be longer than a row. */
int64_t moa_data_pairs(const moa_data *d);
int moa_data_pair(moa_doc *doc, moa_data *d, int64_t k, moa_err *err);
int64_t moa_data_dropped(const moa_data *d); /* documents that were too long, so far */

/* Item `index` of the stage's family sources in the train split, into it: for sampling. */
int moa_data_item(moa_item *it, const moa_recipe *r, int stage, uint64_t index, moa_err *err);

/* Texts to train a tokenizer on: calls add(ctx, text, n) for about `items` documents over all stages. */
int moa_data_texts(const moa_recipe *r, int items, int (*add)(void *ctx, const char *text, size_t n), void *ctx, moa_err *err);

/* The file that sample stage `name` writes. */
void moa_samples_path(char *out, size_t n, const char *dir, const char *name);

#endif
