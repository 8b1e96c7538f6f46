/* checkpoint.h - everything a run needs to go on as if it had never stopped, in one file.
 *
 * Two files take turns (checkpoint-0.moa, checkpoint-1.moa); a write goes to the older one, atomically, so that a crash or a
 * full disk at any moment leaves the newer one whole. Reading takes the newest that is sound.
 *
 *   bytes  what
 *   8      "MOACKPT\n"
 *   4 4    version, bytes of moa_progress
 *   8      hash of the recipe
 *   64     name of the recipe, 0-padded
 *   ...    moa_progress
 *   4      number of parameters; for each:
 *            4 + n  length and bytes of its name;  4 dimensions;  8 per dimension: size;  4 number of states
 *            f32 weights, then f32 states
 *   4 8..  only where the recipe names files: their number, the hash of each one's contents (inputs.h)
 *   8      hash of all before
 * Little-endian, as the machines moa runs on.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TRAIN_CHECKPOINT_H
#define MOA_TRAIN_CHECKPOINT_H

#include "train/inputs.h"
#include "train/optim.h"
#include "train/pack.h"

typedef struct moa_progress { /* plain data, no padding */
    int64_t stage, step;      /* the stage in work and the steps done in it; stage == number of stages: all done */
    int64_t total_step, tokens, learned;
    int64_t updates;          /* of the optimiser in this stage (skipped steps do not count) */
    int64_t skipped, skipped_in_row;
    int64_t log_bytes;        /* length of the log that belongs to this state */
    double loss_avg, seconds; /* smoothed loss; time spent so far */
    uint64_t meta_hash;       /* of the tokenizer file */
    moa_pack_state pack;
} moa_progress;
_Static_assert(sizeof(moa_progress) == 12 * 8 + sizeof(moa_pack_state), "a checkpoint stores it as it is");

int moa_checkpoint_save(const char *dir, const moa_recipe *r, const moa_progress *p, const moa_inputs *in, const moa_optim_param *param, int n_param,
                        moa_err *err);

/* Newest sound checkpoint of dir, for a recipe of this hash; MOA_ENOTFOUND when there is none at all. peek reads the counters
 * (so that the caller can allocate what the stage needs) and what the recipe's files held, load also weights and, inside a stage,
 * states. warn->code is 0, or it says why a file was passed over. */
int moa_checkpoint_peek(moa_progress *p, moa_inputs *in, const char *dir, const moa_recipe *r, moa_err *err, moa_err *warn);
int moa_checkpoint_load(moa_progress *p, const char *dir, const moa_recipe *r, const moa_optim_param *param, int n_param, moa_err *err);
void moa_checkpoint_remove(const char *dir); /* a run that starts over */
/* Of whatever recipe, for init.run: weights only; the checksum of the file that they come from. */
int moa_checkpoint_weights(const char *dir, const moa_optim_param *param, int n_param, moa_err *err);
int moa_checkpoint_sum(uint64_t *out, const char *dir, moa_err *err);

#endif
