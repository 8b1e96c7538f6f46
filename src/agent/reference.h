/* reference.h - how the replies of others stand in a prompt.
 *
 * layout=after (moa's own): the conversation unchanged, and behind the question of its last turn the candidates and the task (task/aggregate.c). Proposers
 * and aggregator then share everything up to the end of the question, and its KV is there already.
 * layout=system (as the code of Mixture-of-Agents does it, arXiv 2406.04692): the instruction and the numbered candidates in the system message, behind the user's own;
 * user turns stay as they are. The prompt then differs from the proposals' near its first token.
 * fence=nonce: the borders hold a word that is a hash of the run's seed and of the candidates themselves. Who writes a candidate, or a page that a candidate quotes, could
 * know the seed, but no text can hold a hash of itself; a replay finds the same word. Lines that look like a border are quoted in either fence.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_REFERENCE_H
#define MOA_AGENT_REFERENCE_H

#include "agent/run.h"
#include "base/buf.h"

/* The last user turn (layout=after), or what goes into the system message (layout=system). */
int moa_add_references(moa_buf *out, const moa_run *r, const char *const *ref, int n_ref);

#endif
