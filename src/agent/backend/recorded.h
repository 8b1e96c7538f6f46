/* recorded.h - replies that models once gave, as models: a call is answered by (model, question, sample).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_BACKEND_RECORDED_H
#define MOA_AGENT_BACKEND_RECORDED_H

#include "agent/backend.h"
#include "task/taskset.h"

typedef struct moa_recorded moa_recorded;
/* tasks (borrowed while files are added; NULL: none) say which question an id stands for. */
int moa_recorded_new(moa_recorded **out, const moa_taskset *tasks, moa_err *err);
/* "FILE" or "MODEL=FILE". Files are task files whose format holds replies, JSONL of {"model", "question" or "id", "replies": [...]}, or a JSON object
 * {id: reply or [replies]}, whose model is MODEL ("recorded" where it is not given). Replies of one model and question add up. */
int moa_recorded_add(moa_recorded *r, const char *spec, moa_err *err);
int moa_recorded_count(const moa_recorded *r);
const char *moa_recorded_model(const moa_recorded *r, int i); /* NULL: there is no i-th */
/* model NULL: the first. Borrows r. Call c gets reply c->sample, modulo how many there are. */
int moa_backend_recorded_open(moa_backend **out, moa_recorded *r, const char *model, moa_err *err);
void moa_recorded_free(moa_recorded *r);

#endif
