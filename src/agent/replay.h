/* replay.h - a run again, from its trace (trace.h): the strategy, the votes, the merging of messages, the decisions all work anew; only the models are
 * replaced by what they said. A trace that comes out otherwise shows that moa decides otherwise than it did then.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_REPLAY_H
#define MOA_AGENT_REPLAY_H

#include "base/err.h"

#include <jansson.h>

/* Runs it; *again is its new trace, canonical (json_decref it). A trace without texts, or one that is none: MOA_EFORMAT. where: for errors. */
int moa_replay(json_t **again, const json_t *trace, const char *where, moa_err *err);
/* The first place where two canonical traces differ, as a path such as "nodes[3].text", with both values cut to a line. 0: they are equal. */
int moa_replay_compare(char *place, size_t n_place, char *was, char *is, size_t n_value, const json_t *a, const json_t *b);

#endif
