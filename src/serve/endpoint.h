/* endpoint.h - what can be asked: one row a path, endpoints.def. Every path is there with and without "/v1" before it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_ENDPOINT_H
#define MOA_SERVE_ENDPOINT_H

#include "serve/exchange.h"

struct moa_endpoint {
    const char *name, *help;
    const char *method, *path;   /* "POST", "/chat/completions"; a path that ends with '/' takes a rest */
    bool open;                   /* needs no key */
    bool quick;                  /* answers at once: runs in the event thread, so it neither waits nor computes */
    bool computes;               /* for as long as it takes, in its own thread: one such request at a time */
    bool later;                  /* the reply may come after handle has returned: moa_queue_done is its last word in any case */
    void (*handle)(moa_exchange *x); /* makes the reply; in a thread of the server's loop unless quick */
};
const moa_endpoint *const *moa_endpoints(int *n);

/* The endpoint of a path, and where its rest begins. NULL: there is none for this method; *known tells whether the path has others, and
 * allow[64] which. HEAD asks as GET does. */
const moa_endpoint *moa_endpoint_find(const char *method, const char *path, const char **rest, bool *known, char allow[64]);

#endif
