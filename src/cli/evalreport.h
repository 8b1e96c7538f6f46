/* evalreport.h - a finished evaluation as a table, JSON, Markdown and charts. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_CLI_EVALREPORT_H
#define MOA_CLI_EVALREPORT_H

#include "agent/compare.h"
#include "base/buf.h"

/* What a judge said: its name (NULL: there is none), whom mixes were compared with, and how (of[against] says nothing). */
typedef struct moa_eval_judged { const char *judge; int against; const moa_compare *of; } moa_eval_judged;
int moa_eval_text(moa_buf *out, const moa_eval *e, const moa_eval_judged *j, const char *set, moa_err *err);
int moa_eval_json(moa_buf *out, const moa_eval *e, const moa_eval_judged *j, const char *set, double wall_s, moa_err *err);
int moa_eval_markdown(moa_buf *out, const moa_eval *e, const char *set, moa_err *err);
int moa_eval_plot_n(moa_buf *out, const moa_eval *e, const char *set, moa_err *err);         /* accuracy against samples */
int moa_eval_plot_diversity(moa_buf *out, const moa_eval *e, const char *set, moa_err *err); /* proposals: quality against diversity */
int moa_eval_plot_tokens(moa_buf *out, const moa_eval *e, const char *set, moa_err *err);    /* accuracy against tokens, generated and in all */

#endif
