/* grammar.h - what a reply may be: a compiled context-free grammar over bytes, and the tokens that keep it alive.
 *
 * A grammar comes from GBNF text or from a JSON schema; once compiled it is read-only and shared. A matcher joins one
 * grammar with one vocabulary: it holds the states of any number of sequences and the masks of states that were met.
 * A token is allowed exactly when its bytes can still become a sentence of the grammar; a token that ends a
 * generation, exactly when the bytes so far are a sentence.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FORMAT_GRAMMAR_H
#define MOA_FORMAT_GRAMMAR_H

#include "format/tokenizer.h"

enum { MOA_GRAMMAR_TEXT = 4 << 20 }; /* most bytes of a grammar's or a schema's text */

/* moa_grammar_parse, moa_grammar_from_schema and moa_grammar_free are public (moa.h). */
const moa_grammar *moa_grammar_ref(const moa_grammar *g); /* one more owner: each calls moa_grammar_free. Thread-safe */
uint64_t moa_grammar_id(const moa_grammar *g);            /* hash of what it was made from; never 0 */
int moa_grammar_n_rule(const moa_grammar *g);

/* The bytes of a tokenizer's tokens as a tree in depth-first order; borrows nothing after new. */
typedef struct moa_token_tree moa_token_tree;
int moa_token_tree_new(moa_token_tree **out, const moa_tokenizer *t, moa_err *err);
void moa_token_tree_free(moa_token_tree *v);

/* Grammar + vocabulary (borrowed; NULL: only bytes can be fed). One owner thread. All memory is taken here: opening more
 * than 64 states at once grows the list of states, nothing else makes a heap call. */
typedef struct moa_matcher moa_matcher;
int moa_matcher_new(moa_matcher **out, const moa_grammar *g, const moa_token_tree *v, moa_err *err);
void moa_matcher_free(moa_matcher *m);

/* States are small integers: the beginning of the grammar, or a copy of another. */
int moa_matcher_open(moa_matcher *m, moa_err *err);
int moa_matcher_fork(moa_matcher *m, int state, moa_err *err);
void moa_matcher_close(moa_matcher *m, int state);

/* *mask: bit i of word i / 64 is token i; valid until the next call. budget: tokens that may still come, this one included.
 * Where it would not suffice for what a token opens, tokens that leave the shortest way to an end remain; INT64_MAX: no matter.
 * No token at all is MOA_EINVAL and says so. */
int moa_matcher_mask(const uint64_t **mask, moa_matcher *m, int state, int64_t budget, moa_err *err);
/* Feed an allowed token; one that is not allowed is MOA_EINVAL, and the state stays as it was. */
int moa_matcher_accept(moa_matcher *m, int state, int32_t token, moa_err *err);
/* Feed bytes: 1 alive, 0 not (the state stays as it was), or a negative code. */
int moa_matcher_feed(moa_matcher *m, int state, const void *p, size_t n, moa_err *err);
bool moa_matcher_complete(const moa_matcher *m, int state); /* the bytes so far are a sentence */
bool moa_matcher_finished(const moa_matcher *m, int state); /* and no byte can follow */

typedef struct moa_matcher_stats { int64_t hits, misses, collections; } moa_matcher_stats; /* of masks; of the state memory */
moa_matcher_stats moa_matcher_get_stats(const moa_matcher *m);

#endif
