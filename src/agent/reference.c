/* reference.c - see reference.h. SPDX-License-Identifier: Apache-2.0 */
#include "agent/reference.h"

#include "base/rng.h"
#include "task/task.h"

#include <stdio.h>
#include <string.h>

/* The words of moa_aggregate_task, for an instruction that comes before the question. */
static const char before[] =
    "Other assistants have answered the user's last message. Their replies stand below and may be wrong. Compare them, check the steps, and give the best final answer in the same form, "
    "without speaking of the replies.";

static void draw_nonce(char out[20], const moa_run *r, const char *const *ref, int n_ref) {
    uint64_t h = moa_mix64(r->seed ^ 0x66656e6365);
    for (int i = 0; i < n_ref; i++) h = moa_hash64(ref[i], strlen(ref[i]) + 1, h);
    snprintf(out, 20, "%016llx", (unsigned long long)h);
}

/* Own task text of a mix, plain fence: numbered references in brackets. */
static void add_bracketed(moa_buf *b, const char *const *ref, int n_ref) {
    for (int i = 0; i < n_ref; i++) moa_buf_addf(b, "%s[%d]\n%s\n", i ? "\n" : "", i + 1, ref[i]);
}

int moa_add_references(moa_buf *b, const moa_run *r, const char *const *ref, int n_ref) {
    const moa_mix_cfg *c = r->cfg;
    const char *own = c->aggregate_text && *c->aggregate_text ? c->aggregate_text : NULL;
    const bool system = c->layout == MOA_LAYOUT_SYSTEM;
    char nonce[20] = "";
    if (c->fence == MOA_FENCE_NONCE) draw_nonce(nonce, r, ref, n_ref);
    moa_buf_addf(b, "%s\n\n", system ? own ? own : before : r->conv[r->n_conv - 1].content);
    if (own && !nonce[0]) add_bracketed(b, ref, n_ref);
    else moa_add_candidates(b, ref, n_ref, nonce[0] ? nonce : NULL);
    if (!system) moa_buf_addf(b, "%s%s", own ? "\n" : "", own ? own : moa_aggregate_task());
    return b->failed;
}
