/* pack.h - documents into batches, made ahead by one thread.
 *
 * A batch is rows of seq_len tokens; a row holds whole documents, each with its own positions and doc_start, so no
 * document sees another. A document goes to the row that it fills best; one that fits nowhere waits for the next
 * batch (its number is kept). So no document is cut and none is lost, and what a batch holds follows from the counters of
 * moa_pack_state alone.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TRAIN_PACK_H
#define MOA_TRAIN_PACK_H

#include "train/data.h"

enum { MOA_WAITING_MAX = 16 };
typedef struct moa_pack_state { /* plain data: part of a checkpoint */
    uint64_t next;                       /* number of the next new document */
    uint64_t n_waiting;
    uint64_t waiting[MOA_WAITING_MAX];   /* numbers of documents that did not fit yet, oldest first */
} moa_pack_state;

typedef struct moa_train_batch {
    int64_t n;           /* tokens: rows x seq_len */
    int32_t *id, *pos, *doc_start, *target; /* [n]; doc_start and rows count within the part (n / accumulate) */
    float *weight;       /* [n]: 1 where the target is learned, else 0 */
    int32_t *pair;       /* [n]: of preferences: the pair's number for its chosen reply, less than 0 for the rejected one; 0: none */
    int64_t n_used, n_learned, n_doc;
    int64_t n_dropped;   /* too long, since the stage was opened */
    moa_pack_state after;
} moa_train_batch;

int moa_batch_init(moa_train_batch *b, const moa_recipe_stage *s, moa_err *err);
void moa_batch_deinit(moa_train_batch *b);
/* Of a dpo stage: pairs *next, *next + 1, ... as far as they fit, for the reference; *next is the first that did not. Pairs longer than a row are passed over. */
int moa_batch_pairs(moa_train_batch *b, moa_doc *scratch, moa_data *d, const moa_recipe_stage *s, int64_t *next, moa_err *err);
int moa_batch_fill(moa_train_batch *b, moa_doc *scratch, moa_data *d, const moa_recipe_stage *s, const moa_pack_state *from, moa_err *err);

/* The thread. It owns data from start to stop. */
typedef struct moa_feed moa_feed;
int moa_feed_start(moa_feed **out, moa_data *d, const moa_recipe_stage *s, const moa_pack_state *from, int64_t n_batch, moa_err *err);
/* The next batch, in order; valid until the next call. */
int moa_feed_take(const moa_train_batch **out, moa_feed *f, moa_err *err);
void moa_feed_stop(moa_feed *f);

#endif
