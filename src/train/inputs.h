/* inputs.h - what was in the files that a recipe names. Its own hash covers their names; a run that goes on with other contents
 * would be the run of neither. So the contents are hashed when a run begins, every checkpoint holds the hashes, and a file that is
 * not what it was is refused by its name: on --resume, in front of a finished run, and where a later stage comes to read it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TRAIN_INPUTS_H
#define MOA_TRAIN_INPUTS_H

#include "train/recipe.h"

enum { MOA_INPUTS_MAX = 3 + MOA_STAGES_MAX * MOA_DATA_MAX };
/* In the recipe's order: init.gguf, init.run (its newest checkpoint), tokenizer.gguf, then the sources of each stage. Two recipes of
 * one hash name the same files in the same order. 0: not there (moa_inputs_read). */
typedef struct moa_inputs { uint32_t n; uint64_t hash[MOA_INPUTS_MAX]; } moa_inputs;

/* Their contents now. dir: the run folder, beside which init.run lies. A file that is gone counts as 0; one that is there and
 * cannot be read is an error. */
int moa_inputs_read(moa_inputs *out, const moa_recipe *r, const char *dir, moa_err *err);
/* `then` against what is there now. stage < 0: all of them, but for what is gone (whoever still needs it will say so); else those
 * that this stage reads. */
int moa_inputs_check(const moa_inputs *then, const moa_recipe *r, const char *dir, int stage, moa_err *err);

/* The folder of another recipe's run, beside dir. */
void moa_run_beside(char *out, size_t n, const char *dir, const char *name);

#endif
