/* constrain.h - the grammars that a generator's sequences follow: one matcher a grammar, shared by all its sequences and kept
 * between calls, so that the samples of a mix and the questions of an evaluation find its masks ready.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_CONSTRAIN_H
#define MOA_MODEL_CONSTRAIN_H

#include "format/grammar.h"

enum { MOA_CONSTRAINTS = 4 }; /* matchers kept that nobody uses */

typedef struct moa_constraints {
    moa_token_tree *tree; /* made with the first grammar */
    struct moa_constraint { moa_matcher *m; uint64_t id, used; int users; } *v;
    int n, cap;
    uint64_t clock;
} moa_constraints; /* zero-initialise */

void moa_constraints_deinit(moa_constraints *c);
/* A state at the beginning of g, in its matcher. */
int moa_constraints_open(moa_matcher **m, int *state, moa_constraints *c, const moa_tokenizer *tok, const moa_grammar *g, moa_err *err);
void moa_constraints_close(moa_constraints *c, moa_matcher *m, int state);

#endif
