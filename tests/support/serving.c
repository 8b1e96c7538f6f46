/* serving.c - see serving.h. SPDX-License-Identifier: Apache-2.0 */
#include "support/serving.h"

#include "base/clock.h"
#include "support/tinymodel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char file[256];
static const char *model[] = {file};
static char config[300];
static moa_mix_options o = {.n_threads = 1};

const char *serving_model(void) { return file; }

static int path_of(char *out, size_t n, const char *name, moa_err *err) {
    (void)err;
    snprintf(out, n, "%s", name);
    return 0;
}

static moa_ledger *ledger; /* of the server that was started last: reload's */

static bool own_config;
void serving_config(const char *path) {
    if (own_config) unlink(config);
    own_config = false;
    snprintf(config, sizeof config, "%s", path ? path : "");
}

void serving_yaml(const char *fmt, ...) {
    char path[] = "/tmp/moa-test-yaml-XXXXXX";
    va_list ap;
    FILE *f = fdopen(mkstemp(path), "w");
    assert_non_null(f);
    va_start(ap, fmt);
    assert_true(vfprintf(f, fmt, ap) > 0);
    va_end(ap);
    assert_int_equal(fclose(f), 0);
    serving_config(path);
    own_config = true;
}

static int reload(void *ctx, moa_catalog **out, const moa_catalog *was, moa_err *err) {
    const moa_catalog_cfg models = {.model = model, .n_model = 1, .path = path_of, .open = moa_open_local, .options = &o, .file = config[0] ? config : NULL, .journal = ledger ? ledger->journal : NULL};
    (void)ctx;
    return moa_catalog_open(out, &models, was, err);
}

static void *live(void *arg) {
    serving *s = arg;
    moa_err err = {0};
    s->rc = moa_server_run(s->server, &err);
    return NULL;
}

void serving_start(serving *s, const moa_server_cfg *cfg) {
    moa_err err = {0};
    moa_server_cfg c = cfg ? *cfg : (moa_server_cfg){0};
    *s = (serving){0};
    if (!c.ledger && moa_ledger_open(&s->own, NULL, false, &err) < 0) fail_msg("%s", err.text);
    c.ledger = ledger = c.ledger ? c.ledger : s->own;
    const moa_catalog_cfg models = {.model = model, .n_model = 1, .path = path_of, .open = moa_open_local, .options = &o, .file = config[0] ? config : NULL,
                                    .journal = ledger->journal};
    c.reload = reload;
    if (!file[0] && tinymodel_write(file, sizeof file, 5, &err) < 0) fail_msg("%s", err.text);
    if (moa_catalog_open(&s->catalog, &models, NULL, &err) < 0) fail_msg("%s", err.text);
    if (moa_server_open(&s->server, &c, s->catalog, &err) < 0) fail_msg("%s", err.text);
    s->port = s->server->port;
    assert_int_equal(pthread_create(&s->thread, NULL, live, s), 0);
}

void serving_stop(serving *s) {
    moa_server_stop(s->server);
    moa_server_stop(s->server);
    pthread_join(s->thread, NULL);
    assert_int_equal(s->rc, 0);
    moa_server_close(s->server);
    moa_ledger_close(s->own);
}

int serving_running(serving *s) {
    int queued, running;
    moa_queue_load(&s->server->queue, &queued, &running);
    return queued + running;
}

bool serving_idle_within(serving *s, double seconds) {
    const double end = moa_now() + seconds;
    while (serving_running(s)) {
        if (moa_now() > end) return false;
        usleep(500);
    }
    return true;
}

int serving_teardown(void **state) {
    (void)state;
    if (file[0]) unlink(file);
    return 0;
}
