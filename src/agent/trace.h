/* trace.h - a run as JSON: its graph, what came of each node, and all that is needed to run it again (replay.h). Times are seconds since the run
 * began. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_TRACE_H
#define MOA_AGENT_TRACE_H

#include "agent/run.h"

#include <jansson.h>

/* {"node","role","model","in":[names]}, and "answer": true for those that answer. */
json_t *moa_trace_node(const moa_run *r, int node);
/* Adds what came of an ended node: state, times, tokens, note, finish, vote. */
void moa_trace_outcome(json_t *to, const moa_run *r, int node);
/* {"mix": {...}, "seed", "messages", "nodes": [...], "answers": [...], "usage", "seconds"}: nodes with their messages, texts and the seeds that they
 * drew with. redact: texts are replaced by their length and a hash, so that it can be kept but not replayed. NULL: no memory. */
json_t *moa_trace_run(const moa_run *r, bool redact);
/* What a node's model thought before it replied, where its server told: nothing is decided by it, so that a replay knows it not. */
void moa_trace_thoughts(json_t *trace, int node, const char *s, size_t n, bool redact);
/* The settings of a mix by name, as a trace has them. */
json_t *moa_trace_settings(const moa_mix_cfg *c);
/* The same without what differs between two executions of the same decisions: times, thoughts, tokens reused or guessed. Takes v. */
json_t *moa_trace_canonical(json_t *v);

#endif
