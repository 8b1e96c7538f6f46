/* traces.c - GET /v1/traces: the last requests of this caller; GET /v1/traces/ID: what one did, node by node. endpoints.def: ENDPOINT(traces),
 * ENDPOINT(trace)
 * SPDX-License-Identifier: Apache-2.0 */
#include "serve/endpoint.h"
#include "serve/server.h"

#include <stdlib.h>

/* What was asked and replied is for who asked, and where nothing tells callers from each other, for nobody. */
static bool refused(moa_exchange *x) {
    moa_fault f;
    if (!x->shared) return false;
    moa_fault_set(&f, 403, "traces_off", NULL, "traces are told to those who asked, and this server has no keys to tell its callers from each other: moa serve --api-key KEY");
    moa_reply_fault(x, &f);
    return true;
}

static void handle_all(moa_exchange *x) {
    if (refused(x)) return;
    moa_reply_json(x, 200, json_pack("{s:s, s:o}", "object", "list", "data", moa_traces_list(&x->server->traces, x->caller)));
}

static void handle_one(moa_exchange *x) {
    size_t n = 0;
    moa_fault f;
    if (refused(x)) return;
    char *text = moa_traces_get(&x->server->traces, x->caller, x->rest, &n);
    if (text) {
        moa_reply_text(x, 200, "application/json", text, n);
        free(text);
        return;
    }
    moa_fault_set(&f, 404, "trace_not_found", NULL, "no trace '%.100s' of yours among the last %d; GET /v1/traces lists them", x->rest, (int)MOA_TRACES);
    moa_reply_fault(x, &f);
}

const moa_endpoint moa_endpoint_traces = {.name = "traces", .help = "the last requests", .method = "GET", .path = "/traces", .handle = handle_all};
const moa_endpoint moa_endpoint_trace = {.name = "trace", .help = "what one of them did, node by node", .method = "GET", .path = "/traces/", .handle = handle_one};
