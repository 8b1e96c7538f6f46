/* alike.h - how alike are two replies? A cosine: of their embeddings where the first proposer's model gives any (backend.h), else of their words, weighted
 * by how few of the replies have them (tf-idf). Taken once a pair, told in the trace.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_ALIKE_H
#define MOA_AGENT_ALIKE_H

#include "agent/run.h"

/* out [n_in][n_in], symmetric, ones on the diagonal; 0 where one of the two has not worked. */
int moa_alike(double *out, moa_run *r, const int *in, int n_in, moa_err *err);
/* tf-idf cosines of n texts (NULL: none): words are runs of letters and digits, without case. */
int moa_words_alike(double *out, const char *const *text, int n, moa_err *err);

#endif
