/* execute.h - what graphs (run.c) and their execution (execute.c) know of each other. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_EXECUTE_H
#define MOA_AGENT_EXECUTE_H

#include "agent/run.h"

typedef struct moa_edge { int to; struct moa_edge *next; } moa_edge;
typedef struct moa_execution moa_execution;

void moa_execution_look(moa_execution *x, int node); /* it may have become ready */

#endif
