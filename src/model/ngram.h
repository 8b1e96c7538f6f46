/* ngram.h - what followed the last tokens when they stood there before: the next guess of a draft.
 *
 * One table for all requests of one prompt. It learns the prompt (an aggregator copies from its references) and every token of every
 * reply (samples of one prompt say alike things; what one has said, the others may come to say), and answers with the latest
 * continuation, first after the last LONG tokens, then after SHORT. A longer draft is a walk: guess, take the guess as said, guess
 * again. Wrong guesses cost time, never a different text.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_NGRAM_H
#define MOA_MODEL_NGRAM_H

#include <stdint.h>

enum { MOA_NGRAM_LONG = 4, MOA_NGRAM_SHORT = 2 };

typedef struct moa_ngrams {
    struct moa_ngrams *next;
    uint64_t id;      /* hash of the prompt */
    int users;
    uint32_t mask;    /* slots - 1 */
    uint64_t slot[];  /* upper half: of the hash of what came before; lower: the token; 0: free */
} moa_ngrams;

/* The table of a prompt in a list of them: one that others use, or a new one that has read it; NULL without memory. */
moa_ngrams *moa_ngrams_open(moa_ngrams **list, const int32_t *prompt, int64_t n);
void moa_ngrams_close(moa_ngrams **list, moa_ngrams *t); /* NULL is fine */
void moa_ngrams_learn(moa_ngrams *t, const int32_t *tok, int64_t n); /* tok[n - 1] followed what is before it */
/* Guesses what follows tok [n]: up to most tokens -> out; how many. */
int moa_ngrams_guess(const moa_ngrams *t, int32_t *out, int most, const int32_t *tok, int64_t n);

#endif
