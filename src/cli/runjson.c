/* runjson.c - see runjson.h. Written as text rather than through a tree: texts of models may hold bytes that are not
 * UTF-8, which the string writer replaces and a tree would refuse.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/runjson.h"

#include "base/json.h"

#include <string.h>

static void str(moa_buf *b, const char *key, const char *s) {
    moa_buf_addf(b, "\"%s\":", key);
    moa_json_add_str(b, s, strlen(s));
}

static void add_call(moa_buf *b, const moa_agent_node *n) {
    static const char *const finish[] = {"stop", "stop", "length", "context", "canceled", "error"};
    moa_buf_adds(b, "{");
    str(b, "node", n->name);
    moa_buf_adds(b, ",");
    str(b, "role", n->role);
    moa_buf_adds(b, ",");
    str(b, "model", n->backend->id);
    moa_buf_addf(b, ",\"prompt_tokens\":%lld,\"completion_tokens\":%lld,\"reused_prefix_tokens\":%lld,\"seconds\":%.6f,\"first_token_seconds\":%.6f,",
                 (long long)n->prompt_tokens, (long long)n->completion_tokens, (long long)n->reused_tokens, n->seconds, n->first_s);
    str(b, "finish", n->rc < 0 ? "error" : finish[n->why]);
    moa_buf_adds(b, ",");
    str(b, "text", n->text ? n->text : "");
    if (n->rc < 0) {
        moa_buf_adds(b, ",");
        str(b, "error", n->note ? n->note : moa_strerror(n->rc));
    }
    moa_buf_adds(b, "}");
}

int moa_run_json(moa_buf *b, const moa_run *r, const char *mix, moa_err *err) {
    moa_buf_adds(b, "{");
    str(b, "answer", moa_run_answer(r));
    moa_buf_adds(b, ",");
    str(b, "mix", mix);
    moa_buf_adds(b, ",");
    str(b, "model", r->cfg->proposer[0]->id);
    moa_buf_adds(b, ",\"calls\":[");
    bool first = true;
    for (int i = 0; i < r->n_node; i++) {
        if (!r->node[i].backend || r->node[i].state < MOA_NODE_DONE) continue;
        if (!first) moa_buf_adds(b, ",");
        first = false;
        add_call(b, &r->node[i]);
    }
    const moa_usage *u = &r->usage;
    moa_buf_addf(b, "],\"first_text_seconds\":%.6f,\"usage\":{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,\"total_tokens\":%lld,\"reused_prefix_tokens\":%lld,"
                 "\"drafted_tokens\":%lld,\"accepted_tokens\":%lld},"
                 "\"seconds\":%.6f,\"notes\":[", r->first_s, (long long)u->prompt_tokens, (long long)u->completion_tokens,
                 (long long)u->total_tokens, (long long)u->reused_prefix_tokens, (long long)u->drafted_tokens,
                 (long long)u->accepted_tokens, r->seconds);
    first = true;
    for (int i = 0; i < r->n_node; i++) {
        if (!r->node[i].note) continue;
        moa_buf_adds(b, first ? "{" : ",{");
        first = false;
        str(b, "node", r->node[i].name);
        moa_buf_adds(b, ",");
        str(b, "note", r->node[i].note);
        moa_buf_adds(b, "}");
    }
    moa_buf_adds(b, "]}\n");
    return b->failed ? moa_fail(err, b->failed, "the run's JSON is too long") : 0;
}

int moa_run_print_json(FILE *f, const moa_run *r, const char *mix, moa_err *err) {
    moa_buf b;
    moa_buf_init(&b, 256 << 20);
    int rc = moa_run_json(&b, r, mix, err);
    if (rc >= 0 && fwrite(moa_buf_str(&b), 1, b.len, f) != b.len) rc = moa_fail(err, MOA_EIO, "standard output could not be written");
    moa_buf_deinit(&b);
    return rc;
}
