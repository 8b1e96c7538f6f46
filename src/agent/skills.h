/* skills.h - what a question is about, found without a model: its words, a vector of them, the nearest of some centroids.
 *
 * A router that asked a model first would pay for every question before anybody works on it, and a replay would need the model. So words do:
 * the same text gives the same vector on every machine.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_SKILLS_H
#define MOA_AGENT_SKILLS_H

#include "base/arena.h"
#include "base/err.h"

#include <stddef.h>

/* Words in order, lower case, ASCII letters and bytes beyond ASCII; a number is "#", any other visible character a word of its own. At most n_max
 * (of the beginning), each of at most MOA_WORD_MAX bytes (longer ones are left out). Returns how many, or a negative code. The arena's. */
enum { MOA_WORD_MAX = 20, MOA_WORDS_MAX = 2048 };
int moa_skill_words(const char ***word, moa_arena *a, const char *text, int n_max, moa_err *err);

/* Hashed counts of words (Weinberger et al., arXiv 0902.2206): sum over words w of sign(w) (1 + ln count(w)) at place hash(w), to length 1. All 0 where
 * there are no words. */
enum { MOA_SKILL_DIM = 256 };
typedef struct moa_skill { float v[MOA_SKILL_DIM]; } moa_skill;
int moa_skill_of(moa_skill *out, moa_arena *a, const char *text, moa_err *err);
void moa_skill_unit(moa_skill *s); /* to length 1 */
double moa_skill_cosine(const moa_skill *a, const moa_skill *b); /* of vectors of length 1 or 0 */
int moa_skill_nearest(const moa_skill *s, const moa_skill *center, int n, double *cosine); /* -1: n is 0 */

/* As text for a store: each number as a byte of its greatest, in hex. Reading takes nothing else, and gives length 1. */
enum { MOA_SKILL_TEXT = 2 * MOA_SKILL_DIM + 1 };
void moa_skill_write(char out[MOA_SKILL_TEXT], const moa_skill *s);
bool moa_skill_read(moa_skill *out, const char *text);

/* k groups of n vectors by k-means on the sphere (Dhillon and Modha 2001): centers [k], group [n] (may be NULL). Begins as k-means++ (Arthur and
 * Vassilvitskii 2007) draws it by the seed. Returns the mean cosine of vectors and their centers, or a negative code. */
double moa_skill_groups(moa_skill *center, int *group, const moa_skill *s, int n, int k, uint64_t seed, moa_err *err);

#endif
