/* ps.c - GET /ps: the requests that wait and run, without a word of what they say. endpoints.def: ENDPOINT(ps)
 * SPDX-License-Identifier: Apache-2.0 */
#include "serve/endpoint.h"
#include "serve/server.h"

#include "base/clock.h"
#include "base/json.h"

#include <string.h>

/* Quick: in the event thread, whose list it is. */
static void handle(moa_exchange *x) {
    json_t *list = json_array();
    const double now = moa_now();
    for (moa_exchange *e = x->server->open; e; e = e->next) {
        if (e == x || !e->endpoint || e->endpoint->quick) continue;
        pthread_mutex_lock(&e->lock);
        const char *state = e->started > 0 ? "running" : e->queued ? "waiting" : "reading";
        json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:s, s:f, s:I, s:b}", "id", e->id, "endpoint", e->endpoint->name, "model", moa_json_str(e->what, strlen(e->what)), "state", state, "seconds",
                                              now - e->came, "texts", (json_int_t)atomic_load(&e->n_tokens), "stream", e->streaming));
        pthread_mutex_unlock(&e->lock);
    }
    moa_reply_json(x, 200, json_pack("{s:s, s:o}", "object", "list", "data", list));
}

const moa_endpoint moa_endpoint_ps = {.name = "ps", .help = "requests that wait and run", .method = "GET", .path = "/ps", .quick = true, .handle = handle};
