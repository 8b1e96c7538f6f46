/* replay.h - a run again, from its trace (trace.h): the strategy, the votes, the merging of messages, the decisions all work anew; only the models are
 * replaced by what they said. A trace that comes out otherwise shows that moa decides otherwise than it did then.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_REPLAY_H
#define MOA_AGENT_REPLAY_H

#include "base/buf.h"
#include "base/err.h"

#include <jansson.h>

/* Runs it; *again is its new trace, canonical (json_decref it). A trace without texts, or one that is none: MOA_EFORMAT. where: for errors. */
int moa_replay(json_t **again, const json_t *trace, const char *where, moa_err *err);
/* A trace that an earlier moa wrote knows no settings that are newer: each gets its default, as it is in moa now, and its name goes to `added`, unless it is there
 * (", " between them). A new setting's default is what was done before there was one, and whether it is shows in the comparison. What nodes once told in other words
 * they tell in today's. Returns how many settings. */
int moa_replay_complete(moa_buf *added, json_t *trace);
/* The first place where two canonical traces differ, as a path such as "nodes[3].text", with both values cut to a line. 0: they are equal. */
int moa_replay_compare(char *place, size_t n_place, char *was, char *is, size_t n_value, const json_t *a, const json_t *b);

#endif
