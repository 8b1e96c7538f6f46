/* logprobs.c - see logprobs.h. SPDX-License-Identifier: Apache-2.0 */
#include "serve/logprobs.h"

#include "base/json.h"

#include <math.h>

typedef struct told {
    moa_token_log *log;
    const moa_tokenizer *tok;
    int64_t from, to;
    moa_token_prob row[1 + MOA_TOP_MAX];
} told;

/* Tokens of choice k that wait to be told. False: nobody asked, its text is no call's, or its server told none. */
static bool begin(told *w, moa_turn *t, int k) {
    const moa_agent_node *n = &t->run->node[t->run->answer + k];
    const moa_model *m = n->backend ? moa_backend_local_model(n->backend) : NULL;
    if (!n->log) return false;
    *w = (told){.log = n->log, .tok = m ? m->tok : NULL, .from = t->choice[k].told, .to = moa_token_log_count(n->log)};
    t->choice[k].told = w->to;
    return m || w->to > 0;
}

static moa_str bytes_of(const told *w, int32_t id) {
    moa_str s = {"", 0};
    if (w->tok) return moa_token_bytes(w->tok, id, true);
    moa_token_log_bytes(&s, w->log, id);
    return s;
}

/* JSON has no infinity. */
static double number_of(float lp) { return isfinite(lp) ? (double)lp : -9999; }

static void add_token(moa_buf *b, const told *w, const moa_token_prob *p) {
    const moa_str s = bytes_of(w, p->id);
    moa_buf_adds(b, "{\"token\":");
    moa_json_add_str(b, s.p, s.n);
    moa_buf_addf(b, ",\"logprob\":%.6g,\"bytes\":[", number_of(p->logprob));
    for (size_t i = 0; i < s.n; i++) moa_buf_addf(b, i ? ",%d" : "%d", (unsigned char)s.p[i]);
    moa_buf_adds(b, "]");
}

void moa_logprobs_chat(moa_buf *b, moa_turn *t, int k) {
    told w;
    if (!begin(&w, t, k)) {
        moa_buf_adds(b, "null");
        return;
    }
    moa_buf_adds(b, "{\"content\":[");
    for (int64_t i = w.from; i < w.to; i++) {
        moa_token_log_get(w.log, i, w.row);
        if (i > w.from) moa_buf_adds(b, ",");
        add_token(b, &w, &w.row[0]);
        moa_buf_adds(b, ",\"top_logprobs\":[");
        for (int j = 1; j <= w.log->top && w.row[j].id >= 0; j++) {
            if (j > 1) moa_buf_adds(b, ",");
            add_token(b, &w, &w.row[j]);
            moa_buf_adds(b, "}");
        }
        moa_buf_adds(b, "]}");
    }
    moa_buf_adds(b, "],\"refusal\":null}");
}

static void add_list(moa_buf *b, told *w, const char *key, void (*add)(moa_buf *, const told *)) {
    moa_buf_addf(b, "\"%s\":[", key);
    for (int64_t i = w->from; i < w->to; i++) {
        moa_token_log_get(w->log, i, w->row);
        if (i > w->from) moa_buf_adds(b, ",");
        add(b, w);
    }
    moa_buf_adds(b, "]");
}

static void add_text(moa_buf *b, const told *w) {
    const moa_str s = bytes_of(w, w->row[0].id);
    moa_json_add_str(b, s.p, s.n);
}
static void add_number(moa_buf *b, const told *w) { moa_buf_addf(b, "%.6g", number_of(w->row[0].logprob)); }
static void add_top(moa_buf *b, const told *w) {
    moa_buf_adds(b, "{");
    for (int j = 1; j <= w->log->top && w->row[j].id >= 0; j++) {
        const moa_str s = bytes_of(w, w->row[j].id);
        if (j > 1) moa_buf_adds(b, ",");
        moa_json_add_str(b, s.p, s.n);
        moa_buf_addf(b, ":%.6g", number_of(w->row[j].logprob));
    }
    moa_buf_adds(b, "}");
}

void moa_logprobs_text(moa_buf *b, moa_turn *t, int k) {
    told w;
    if (!begin(&w, t, k)) {
        moa_buf_adds(b, "null");
        return;
    }
    moa_buf_adds(b, "{");
    add_list(b, &w, "tokens", add_text);
    moa_buf_adds(b, ",");
    add_list(b, &w, "token_logprobs", add_number);
    moa_buf_adds(b, ",");
    add_list(b, &w, "top_logprobs", add_top);
    moa_buf_adds(b, ",\"text_offset\":[");
    for (int64_t i = w.from; i < w.to; i++) {
        moa_token_log_get(w.log, i, w.row);
        moa_buf_addf(b, i > w.from ? ",%zu" : "%zu", t->choice[k].offset);
        t->choice[k].offset += bytes_of(&w, w.row[0].id).n;
    }
    moa_buf_adds(b, "]}");
}

json_t *moa_logprobs_value(void (*write)(moa_buf *b, moa_turn *t, int k), moa_turn *t, int k) {
    moa_buf b;
    moa_buf_init(&b, 1 << 28);
    write(&b, t, k);
    json_t *v = json_loadb(moa_buf_str(&b), b.len, JSON_DECODE_ANY, NULL);
    moa_buf_deinit(&b);
    return v ? v : json_null();
}
