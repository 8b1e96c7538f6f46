/* window.h - more references than one prompt holds, read in windows (Self-MoA-Seq: Li et al., arXiv 2502.00674, section 5).
 *
 * The first window is merged; each later one holds the merge so far, which is the best so far, and fresh references, until all are read. What a window holds
 * is decided when it is composed, since only then the lengths are known, and counted by the aggregator's own tokenizer (fit.h). A window that leaves
 * references over adds the next, so that the graph grows while it runs and its last window is the answer. One reference that does not fit beside the best
 * is shortened. Where the call of a window fails or loses the answer, the best so far stands, and the next window goes on with it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_WINDOW_H
#define MOA_AGENT_WINDOW_H

#include "agent/strategy.h"

typedef struct moa_window_how {
    int most;   /* references at a time, copies of the best among them; 0: as many as the context holds */
    int copies; /* of the best so far; 0: two where that leaves room for a fresh one */
    bool last;  /* the best stands behind the fresh ones, not before them */
    bool told;  /* one copy, and a line that says of how many replies it was made */
} moa_window_how;
/* Composes n, which is the run's answer, as the first window over p, and adds the next where some are left. Nodes may move. */
int moa_compose_windows(moa_run *r, moa_agent_node *n, const moa_panel *p, const moa_window_how *how, moa_err *err);

#endif
