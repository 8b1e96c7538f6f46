/* pretokenize.h - cuts text into the words inside which byte-pair merges may happen, by the rule that
 * tokenizer.ggml.pre names (pretokenizers.def). The words cover the text exactly.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FORMAT_TOKENIZER_PRETOKENIZE_H
#define MOA_FORMAT_TOKENIZER_PRETOKENIZE_H

#include "moa.h"

typedef struct moa_pre moa_pre;
/* MOA_EUNSUPPORTED for an unknown name; the hint says where the known ones are listed. */
int moa_pre_open(moa_pre **out, const char *name, size_t n, moa_err *err);
void moa_pre_close(moa_pre *p);
bool moa_pre_whole(const moa_pre *p); /* a word that is a token is taken as it is */
bool moa_pre_bos(const moa_pre *p);   /* default of add_bos_token */
bool moa_pre_sep(const moa_pre *p);   /* default of add_sep_token */

/* Row i of pretokenizers.def, 0 onwards; false behind the last. *same_as: the first name of the same rule, *name itself for that. */
bool moa_pre_row(const char **name, const char **same_as, int i);

typedef int (*moa_word_fn)(void *ctx, const char *p, size_t n); /* negative: stop with that code */
/* In order. Bytes that are no valid UTF-8 make words of their own. Thread-safe. */
int moa_pre_split(const moa_pre *p, const char *text, size_t n, moa_word_fn word, void *ctx, moa_err *err);

#endif
