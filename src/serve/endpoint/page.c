/* page.c - GET /: the page to chat and to watch mixtures work; GET /ui/FILE: its parts. They say nothing about the server, so they need no
 * key: what they ask does. endpoints.def: ENDPOINT(page), ENDPOINT(page_file)
 *
 * The policy: scripts, styles and connections of this server alone, no text that becomes markup, no frame around it. A browser asks again each time
 * whether its copy is the program's (ETag), so a new program is a new page. SPDX-License-Identifier: Apache-2.0 */
#include "serve/endpoint.h"
#include "serve/server.h"
#include "serve/ui.h"

#include "base/rng.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define POLICY                                                                                                              \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; " \
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

enum { MAX_FILES = 64 };
static struct { char etag[24]; moa_head head[8]; } row[MAX_FILES];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill(void) {
    int n;
    const moa_ui_file *f = moa_ui_files(&n);
    for (int i = 0; i < n && i < MAX_FILES; i++) {
        snprintf(row[i].etag, sizeof row[i].etag, "\"%016llx\"", (unsigned long long)moa_hash64(f[i].data, (uint64_t)(f[i].end - f[i].data), 0));
        const moa_head head[8] = {{"ETag", row[i].etag}, {"Cache-Control", "no-cache"}, {"Content-Security-Policy", POLICY}, {"X-Content-Type-Options", "nosniff"},
                                  {"Referrer-Policy", "no-referrer"}, {"Cross-Origin-Opener-Policy", "same-origin"}, {"Cross-Origin-Resource-Policy", "same-origin"}};
        memcpy(row[i].head, head, sizeof head);
    }
}

static void show(moa_exchange *x, const moa_ui_file *f, int i) {
    const char *have = moa_request_header(x, "If-None-Match");
    const bool same = have && strstr(have, row[i].etag);
    x->head = row[i].head;
    moa_reply_text(x, same ? 304 : 200, f->type, f->data, same ? 0 : (size_t)(f->end - f->data));
}

static void handle(moa_exchange *x) {
    int n;
    const moa_ui_file *f = moa_ui_files(&n);
    const char *name = x->rest[0] ? x->rest : f[0].name;
    moa_fault fault;
    pthread_once(&once, fill);
    for (int i = 0; i < n && i < MAX_FILES; i++) {
        if (strcmp(f[i].name, name)) continue;
        show(x, &f[i], i);
        return;
    }
    moa_fault_set(&fault, 404, "unknown_url", NULL, "the page has no file '%.100s'", name);
    moa_reply_fault(x, &fault);
}

const moa_endpoint moa_endpoint_page = {.name = "page", .help = "the page to chat and to watch mixtures work", .method = "GET", .path = "/", .open = true, .quick = true, .handle = handle};
const moa_endpoint moa_endpoint_page_file = {.name = "page-file", .help = "a part of it", .method = "GET", .path = "/ui/", .open = true, .quick = true, .handle = handle};
