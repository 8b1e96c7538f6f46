/* repair.h - what MoRA's agents are asked, and what their replies mean. Training data for them are made of the same texts (bench/agents/mora.c).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_REPAIR_H
#define MOA_AGENT_REPAIR_H

#include "base/buf.h"

#include <stdbool.h>

/* In the order in which they are repaired: whoever misread the question computes what nobody asked for. */
typedef enum moa_fault { MOA_FAULT_MISREAD, MOA_FAULT_CONCEPT, MOA_FAULT_COMPUTATION, MOA_FAULT_NONE } moa_fault;
const char *moa_fault_name(moa_fault f);

/* The user's turn to the identifier: question, the solution between borders that nothing in it can imitate, and what to look for. */
int moa_repair_identify(moa_buf *out, const char *question, const char *solution);
/* To the repairer of that fault. Facts: what the calculator found ("12+30 is 42, not 43"), may be empty. */
int moa_repair_ask(moa_buf *out, const char *question, const char *solution, moa_fault fault, const char *facts);
/* The first fault, in the order above, that stands in the line behind the last "Error:". false: it says nothing of the kind. */
bool moa_fault_parse(moa_fault *out, const char *reply, size_t n);
/* Lines of facts of a solution, at most eight; how many of its equations are wrong. */
int moa_repair_facts(moa_buf *out, const char *solution);

#endif
