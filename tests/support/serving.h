/* serving.h - a server in the test's own process, on a port that is free, with one small model that babbles.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_SERVING_H
#define TESTS_SUPPORT_SERVING_H

#include "serve/catalog.h"
#include "serve/server.h"

typedef struct serving {
    moa_server *server;
    moa_catalog *catalog;
    int port;
    pthread_t thread;
    int rc;
    moa_ledger *own;          /* where the test brought none */
} serving;

/* cfg: NULL or the server's numbers; host and port are chosen here. */
void serving_start(serving *s, const moa_server_cfg *cfg);
void serving_config(const char *path); /* from the next start or reload on; NULL: none */
/* The same with a configuration's text, in a file that goes with the next serving_config. */
void serving_yaml(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
const char *serving_model(void);        /* the model's file */
void serving_stop(serving *s); /* at once; fails the test where anything is left */
int serving_running(serving *s); /* requests at work */
bool serving_idle_within(serving *s, double seconds); /* waits until none is */
int serving_teardown(void **state); /* for groups: the model's file goes */

#endif
