/* pplreport.h - a perplexity and a distance between two models, as text and as JSON; for quantize and perplexity.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_CLI_PPLREPORT_H
#define MOA_CLI_PPLREPORT_H

#include "base/buf.h"
#include "model/perplexity.h"

typedef struct moa_ppl_ask {
    const char *model, *against; /* files; against NULL: alone */
    const char *text;            /* file, "-": standard input */
    moa_ppl_cfg cfg;             /* progress and ctx are filled here */
    bool quiet;
} moa_ppl_ask;

/* Opens the models and the text, measures, shows progress on stderr where that is a terminal. Stopped by Ctrl-C, the error tells
 * what was measured so far. */
int moa_ppl_measure(moa_ppl *out, moa_ppl_ask *ask, moa_err *err);
void moa_ppl_show(const moa_ppl *p);              /* on stdout */
void moa_ppl_json(moa_buf *b, const moa_ppl *p);  /* one object */

#endif
