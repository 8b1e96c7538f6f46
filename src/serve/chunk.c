/* chunk.c - see chunk.h. SPDX-License-Identifier: Apache-2.0 */
#include "serve/chunk.h"

#include "base/json.h"

#include <stdio.h>
#include <string.h>

enum { MAX_LINE = 32 << 20 };

void moa_chunk_id(char out[64], const char *prefix, const moa_exchange *x) { snprintf(out, 64, "%s%s", prefix, x->id + strlen("req-")); }

void moa_chunks_init(moa_chunks *c, moa_exchange *x, const moa_ask *a, const char *object, const char *id) {
    char print[32];
    *c = (moa_chunks){.x = x, .usage_null = a->include_usage};
    moa_buf_init(&c->head, 1 << 16);
    moa_buf_init(&c->line, MAX_LINE);
    moa_buf_addf(&c->head, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", id, object, (long long)a->created);
    moa_json_add_str(&c->head, a->spec.label, strlen(a->spec.label));
    moa_buf_addf(&c->head, ",\"system_fingerprint\":\"%s\",\"choices\":[", moa_turn_fingerprint(print, a));
}

void moa_chunks_deinit(moa_chunks *c) {
    moa_buf_deinit(&c->head);
    moa_buf_deinit(&c->line);
}

static int send(moa_chunks *c) { return c->line.failed ? c->line.failed : moa_sse_event(c->x, NULL, moa_buf_str(&c->line), c->line.len); }

int moa_chunk_send(moa_chunks *c, int choice, const char *body, size_t n) {
    moa_buf_clear(&c->line);
    moa_buf_add(&c->line, moa_buf_str(&c->head), c->head.len);
    moa_buf_addf(&c->line, "{\"index\":%d,", choice);
    moa_buf_add(&c->line, body, n);
    moa_buf_adds(&c->line, c->usage_null ? "}],\"usage\":null}" : "}]}");
    return send(c);
}

void moa_chunk_delta(moa_buf *b, const char *field, const char *s, size_t n) {
    moa_buf_addf(b, "{\"%s\":", field);
    moa_json_add_str(b, s, n);
    moa_buf_adds(b, "}");
}

/* A chunk without choices; takes v. */
static int send_member(moa_chunks *c, const char *name, json_t *v) {
    moa_buf_clear(&c->line);
    moa_buf_add(&c->line, moa_buf_str(&c->head), c->head.len);
    moa_buf_addf(&c->line, "],\"%s\":", name);
    if (v) moa_json_add(&c->line, v);
    else moa_buf_adds(&c->line, "null");
    moa_buf_adds(&c->line, "}");
    json_decref(v);
    return send(c);
}

int moa_chunk_event(moa_chunks *c, json_t *event) { return send_member(c, "moa", event); }
int moa_chunk_usage(moa_chunks *c, json_t *usage) { return send_member(c, "usage", usage); }
