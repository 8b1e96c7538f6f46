/* guard.h - who may ask: bearer keys, origins of web pages, types of bodies. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_GUARD_H
#define MOA_SERVE_GUARD_H

#include "serve/server.h"

struct MHD_Response;

/* "Bearer KEY" against the server's keys, in a time that tells nothing about them. *caller: a hash of the key. */
int moa_guard_key(uint64_t *caller, const moa_server *s, const char *authorization, moa_fault *f);
/* Hash of the name that a client gives a request, so that it is known when it comes again; 0: none. */
uint64_t moa_guard_named(const char *idempotency_key);
/* A web page may ask when it comes from this machine, from a configured origin, or from the server itself, where that is reached by
 * other machines. What sends no Origin is no web page. */
int moa_guard_origin(const moa_server *s, struct MHD_Connection *conn, moa_fault *f);
bool moa_guard_allows(const moa_server *s, const char *origin, const char *host);
void moa_guard_cors(struct MHD_Response *r, const moa_server *s, struct MHD_Connection *conn);
bool moa_guard_json_type(const char *type); /* application/json, with or without parameters */

#endif
