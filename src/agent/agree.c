/* agree.c - see agree.h. SPDX-License-Identifier: Apache-2.0 */
#include "agent/agree.h"

#include "agent/screen.h"
#include "agent/strategy.h"

#include <stdio.h>
#include <string.h>

double moa_agree_error(int a, int b) {
    const int m = a + b + 1;
    double c = 1, sum = 0; /* C(m, j) / 2^m from j = m down: no factorial, no overflow below some thousand replies */
    for (int i = 0; i < m; i++) c *= 0.5;
    for (int j = m; j > a; j--) {
        sum += c;
        c *= (double)j / (m - j + 1);
    }
    return sum;
}

const char *moa_agree(moa_run *r, const int *in, int n_in, int n) {
    int *cluster = moa_arena_calloc(r->arena, (size_t)(n_in + 1) * sizeof *cluster), *size = moa_arena_calloc(r->arena, (size_t)(n_in + 1) * sizeof *size);
    int *stands = moa_arena_calloc(r->arena, (size_t)(n_in + 1) * sizeof *stands), m = 0;
    int left = n - n_in, first = 0, second = 0;
    moa_vote v;
    char words[160];
    if (!cluster || !size || !stands) return NULL;
    for (int i = 0; i < n_in; i++) {
        left += r->node[in[i]].state < MOA_NODE_DONE;
        if (!moa_proved_wrong(r, &r->node[in[i]])) stands[m++] = in[i];
    }
    if (moa_cluster(&v, cluster, r, stands, m, NULL) < 0 || v.winner < 0 || !left) return NULL;
    for (int i = 0; i < m; i++)
        if (cluster[i] >= 0) size[cluster[i]]++;
    for (int k = 0; k < v.n_cluster; k++) {
        if (size[k] > first) second = first, first = size[k];
        else if (size[k] > second) second = size[k];
    }
    const double e = moa_agree_error(first, second);
    if (first - second > left) snprintf(words, sizeof words, "%d of %d agree, %d more cannot change it", first, v.n_vote, left);
    else if (v.n_vote > 1 && e <= r->cfg->error) snprintf(words, sizeof words, "%d of %d agree, another answer leads in truth with probability %.2g", first, v.n_vote, e);
    else return NULL;
    return moa_arena_strndup(r->arena, words, strlen(words));
}

/* Only proposals are spared: who reads them may also wait for a critique of them. */
const char *moa_enough_agree(moa_run *r, const moa_agent_node *n) {
    for (int i = 0; i < n->n_in; i++)
        if (r->node[n->in[i]].state < MOA_NODE_DONE && strcmp(r->node[n->in[i]].role, "proposer") != 0) return NULL;
    return moa_agree(r, n->in, n->n_in, n->n_in);
}
