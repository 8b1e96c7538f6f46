/* shelf.h - more models than there is memory for: each is opened when its calls come, serves all that wait for it, and is put back.
 *
 * A batch of questions that goes to several models is served model by model, so each is read once: Symbolic-MoE's grouping (arXiv 2503.05641) for any
 * mix. Which model is next: that with the most calls waiting; one that only reads what others say (moa_shelf_last) comes when no other has calls
 * left. Before a model is opened the shelf waits until no call has come for a moment, since runs that begin together call one after the other.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_BACKEND_SHELF_H
#define MOA_AGENT_BACKEND_SHELF_H

#include "agent/mix.h"

typedef struct moa_shelf moa_shelf;
/* At most n_resident models are open at a time. vars: variables of chat templates (moa_backend_local_vars), borrowed; NULL: none. */
int moa_shelf_new(moa_shelf **out, int n_resident, moa_open_fn open, void *ctx, const char *vars, moa_err *err);
/* A model of it, to be closed like any backend before the shelf is freed. The file is opened to see what it is, and closed again. */
int moa_shelf_get(moa_backend **out, moa_shelf *s, const char *name, moa_err *err);
/* b, or what stands behind it, comes last; nothing where it is on no shelf. */
void moa_shelf_last(moa_backend *b);
/* How often models were opened to work so far, how many did, and how many were open at a time at most. */
typedef struct moa_shelf_stats { int loads, models, most; } moa_shelf_stats;
moa_shelf_stats moa_shelf_count(moa_shelf *s);
void moa_shelf_free(moa_shelf *s);

#endif
