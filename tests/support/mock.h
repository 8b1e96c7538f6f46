/* mock.h - a server with OpenAI's /chat/completions that says what a script tells it, when it tells it: for tests and measurements of what
 * stands before such servers. One thread, one epoll, thousands of connections.
 *
 * The script is JSON lines; the first that fits a request is taken:
 *     model, prompt (hash in hex, mock_prompt), sample   whom it fits; without: all. sample: how many equal requests came before this one
 *     times                 how many requests it is for; then it fits none
 *     ttft, gap             seconds to the first chunk, and between chunks; jitter: share of both that is drawn (0 to 1, by seed)
 *     chunks, bytes         the made-up text: so many chunks of so many bytes. It names its own key, so that mock_check proves every byte
 *     text                  another text, one chunk; raw: the body as it is, in place of everything
 *     thought               reasoning_content before the first chunk, one gap earlier
 *     reasoning             so many of the tokens that it counts are told as thought
 *     usage                 false: no chunk that says it; stream false: replies as a whole whatever is asked
 *     status, retry_after, retry_after_ms, body   an error instead
 *     fault, after          what goes wrong behind chunk `after` (0; -1: before the head): "reset", "close" (the connection ends), "stall" (nothing more
 *                           comes), "malformed" (a chunk is no JSON), "oversize" (a line that does not end), "hang_up" (whole, then the connection
 *                           is closed without a word), "garbage" (no HTTP)
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_MOCK_H
#define TESTS_SUPPORT_MOCK_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct mock mock;
typedef struct mock_counts {
    long requests, running, most, done, canceled; /* canceled: the client left before the end of its reply */
    long connections, open;
    double last_cancel;                           /* when (moa_now) */
} mock_counts;

int mock_start(mock **out, const char *script, uint64_t seed, int port, moa_err *err); /* port 0: one that is free */
void mock_stop(mock *m);
int mock_port(const mock *m);
mock_counts mock_count(mock *m);
/* Request number i (from 0; the last 4096 are kept): when it came, and of the last 64 its head and body; NULL: not kept. Valid until mock_stop. */
double mock_came(mock *m, long i);
const char *mock_request(mock *m, long i);

uint64_t mock_prompt(const char *messages, uint64_t n); /* hash of the text of "messages" as the request has it */
/* Is text a whole made-up one? */
bool mock_check(const char *text, uint64_t n);

#endif
