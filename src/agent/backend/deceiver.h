/* deceiver.h - models that lie, to measure what a mixture stands (docs/agents/deception.md). "deceiver:NAME" and "injector:NAME" where a mix names a model.
 *
 * Both ask the model NAME, greedily, and turn its reply into an argument for something else: its answer, and the last place of its reasoning that has it,
 * become a wrong one that fits (another number near by, another choice, another word of the question). The same question gives the same lie, so that
 * several liars agree. An injector besides declares all others void and tells the reader what to answer, for every other question
 * behind a border like those that references stand in.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_DECEIVER_H
#define MOA_AGENT_DECEIVER_H

#include "agent/backend.h"
#include "base/buf.h"

/* A backend before inner, which it borrows. */
int moa_backend_deceiver_open(moa_backend **out, moa_backend *inner, bool injects, moa_err *err);
/* The lie: reply with another answer. False: it has no answer to change. */
bool moa_deceive(moa_buf *out, const char *question, const char *reply, size_t n, bool injects);

#endif
