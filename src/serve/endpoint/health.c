/* health.c - GET /health: the server is up, its models are open. endpoints.def: ENDPOINT(health)
 * SPDX-License-Identifier: Apache-2.0 */
#include "serve/endpoint.h"

#include <string.h>

static void handle(moa_exchange *x) {
    static const char ok[] = "{\"status\":\"ok\"}\n";
    moa_reply_text(x, 200, "application/json", ok, strlen(ok));
}

const moa_endpoint moa_endpoint_health = {.name = "health", .help = "the server is up", .method = "GET", .path = "/health", .open = true, .quick = true, .handle = handle};
