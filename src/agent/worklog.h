/* worklog.h - a long work, written down piece by piece: lines of JSON in PATH.work, whole lines only; PATH itself comes when all is done.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_WORKLOG_H
#define MOA_AGENT_WORKLOG_H

#include "base/err.h"

#include <jansson.h>

typedef struct moa_worklog moa_worklog;
typedef int (*moa_worklog_fn)(void *ctx, const json_t *piece, const char *where, moa_err *err);
/* Opens the work on `path`, for one process at a time. `what` names it: a file that was begun with another is refused, and so is a finished PATH, unless
 * fresh. each: the pieces that are there, in order; a last line without its end is cut off. */
int moa_worklog_open(moa_worklog **out, const char *path, const char *what, bool fresh, moa_worklog_fn each, void *ctx, moa_err *err);
int moa_worklog_add(moa_worklog *w, const json_t *piece, moa_err *err); /* one line, flushed to the file */
/* The member `line` of every piece that has one, as a line of PATH, put in place whole; then PATH.work goes. Closes w in every case. */
int moa_worklog_finish(moa_worklog *w, moa_err *err);
void moa_worklog_close(moa_worklog *w); /* the work goes on another time */

#endif
