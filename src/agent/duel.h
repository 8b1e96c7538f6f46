/* duel.h - two replies to one question before a judge: the prompt, its verdict, and both orders of them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_DUEL_H
#define MOA_AGENT_DUEL_H

#include "base/buf.h"
#include "base/err.h"

typedef enum moa_verdict { MOA_VERDICT_NONE, MOA_VERDICT_A, MOA_VERDICT_B, MOA_VERDICT_TIE } moa_verdict;
/* The question, the two replies between borders that no reply can imitate, what counts (criteria, as a line; NULL: all of it), and how to answer. A reply longer
 * than MOA_DUEL_MAX bytes keeps its head and its tail, and the cut is marked. */
enum { MOA_DUEL_MAX = 16000 };
int moa_duel_prompt(moa_buf *out, const char *question, const char *a, const char *b, const char *criteria);
/* "Better: A", "B", "tie" (or "Answer: ...") in a reply of any bytes. NONE: it names none of them. */
moa_verdict moa_duel_parse(const char *reply, size_t n);
/* What two verdicts say of the first reply: `ab` where it stood first, `ba` where it stood second. 1: better in both orders, -1: worse in both, 0: a tie, or the
 * order decided. A verdict that says nothing counts as a tie. */
int moa_duel_both(moa_verdict ab, moa_verdict ba);

/* Criteria that a judge may be asked to choose from, and its choice: at most `most` of them as one line. 0: it named none. */
int moa_criteria_prompt(moa_buf *out, const char *question, int most);
int moa_criteria_parse(moa_buf *out, const char *reply, size_t n, int most);

/* ---- preferences over many items ---- */
/* Share of wins of one side, and the same where both were equally long. AlpacaEval's length control (Dubois et al., arXiv 2404.04475) fits
 * P(win) = sigmoid(theta + phi tanh(d / s)), d = length difference, s = its standard deviation, and reports sigmoid(theta); its third term, the difficulty of an
 * instruction for the models of its leaderboard, needs that leaderboard and is left out. */
typedef struct moa_preference {
    int n;
    double win, win_ci[2];            /* 1 a win, 0.5 a tie; 95 % bootstrap over items */
    double even, even_ci[2];          /* the same at equal length */
    double length;                    /* phi: what a longer reply is worth to the judge */
} moa_preference;
/* win[n] in 0..1, length_difference[n] in bytes. */
int moa_preference_of(moa_preference *out, const double *win, const double *length_difference, int n, uint64_t seed, moa_err *err);

#endif
