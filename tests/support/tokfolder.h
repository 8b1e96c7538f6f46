/* tokfolder.h - a Hugging Face folder for tests of tokenizers: a model with an embedding and nothing else, and the files that a test
 * puts beside it, in the folder of scratch.h. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TEST_TOKFOLDER_H
#define MOA_TEST_TOKFOLDER_H

#include "support/tokens.h"

void tokfolder_put(const char *name, const void *p, size_t n);
void tokfolder_text(const char *name, const char *text); /* NULL: the file goes */
void tokfolder_clean(int n_vocab);                       /* nothing but the model: a llama whose config.json says bos 7, eos 8 */

int tokfolder_try(tok_loaded *l, moa_err *err);
tok_loaded tokfolder_open(void);      /* fails the test where it is refused */
tok_loaded tokfolder_converted(void); /* the same folder as a GGUF file */
void tokfolder_refused(int code, const char *says);

#endif
