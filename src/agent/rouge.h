/* rouge.h - how alike two texts are by their longest common subsequence of words. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_ROUGE_H
#define MOA_AGENT_ROUGE_H

#include "base/err.h"
#include "base/buf.h"

/* ROUGE-L (Lin 2004): with L the length of the longest common subsequence of the words of a and b (runs of letters and digits; ASCII in lower case; of each text the
 * first MOA_ROUGE_WORDS), P = L / words of a, R = L / words of b, F = 2 P R / (P + R); 0 where one has no words. */
enum { MOA_ROUGE_WORDS = 2048 };
int moa_rouge_l(double *f, const char *a, const char *b, moa_err *err);

/* The consensus of Ensemble-Instruct (Lee et al., arXiv 2310.13961): where two of the texts say the same (moa_vote_count: equal answers, or equal texts where none
 * names one), the most frequent of these; else, if the least of all pairwise ROUGE-L is above min_rouge, the text with the largest sum over the others;
 * else none: *winner = -1. *exact: the first way. NULL texts take no part. min_rouge 1: the first way alone. */
int moa_consensus(int *winner, bool *exact, const char *const *text, int n, double min_rouge, moa_err *err);

#endif
