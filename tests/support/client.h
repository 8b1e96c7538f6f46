/* client.h - a small HTTP/1.1 client of raw sockets, for tests of the server: whole requests and replies, and halves of them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_CLIENT_H
#define TESTS_SUPPORT_CLIENT_H

#include "base/buf.h"

#include <jansson.h>
#include <stdbool.h>

typedef struct reply {
    int status;        /* 0: none came */
    moa_buf head, body; /* body without its chunks */
    bool whole;        /* it ended as it said it would */
} reply;

int client_connect(int port);                       /* to 127.0.0.1; fails the test where it cannot */
void client_send(int fd, const char *bytes, size_t n); /* what a closed connection refuses is no failure */
bool client_read(int fd, reply *r);                 /* one reply; false: the connection ended before it was whole */
void reply_deinit(reply *r);
const char *reply_header(const reply *r, const char *name); /* valid until the next call; NULL: it has none */

/* One request on a connection of its own. headers: lines that end in \r\n, or NULL. body NULL: none. */
reply client_ask(int port, const char *method, const char *path, const char *headers, const char *body);
reply client_post(int port, const char *path, const char *body); /* with Content-Type: application/json */
json_t *reply_json(const reply *r);                 /* fails the test where it is none */
json_t *client_json(int port, const char *path, const char *body, int status); /* posts; fails the test where the status is another */
const json_t *reply_message(const json_t *v, size_t choice); /* of a chat's whole reply; NULL: it has none */
const char *reply_content(const json_t *v, size_t choice);   /* fails the test where it has none */

/* The events of a stream: each calls fn with the text behind "data: ". Comments are skipped. */
typedef void (*event_fn)(void *ctx, const char *name, const char *data, size_t n);
int reply_events(const reply *r, event_fn fn, void *ctx); /* how many */

#endif
