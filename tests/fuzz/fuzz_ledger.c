/* fuzz_ledger.c - any bytes as a server's journal: read as the next server does (refused with words and left as it is, or taken, and only a line
 * without its end is cut off), and its traces run again as `moa replay` does. A replay ends, and a second one says the same.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/replay.h"
#include "agent/trace.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "serve/ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { REPLAYS = 4, WORK = 200 };

static void open_it(const char *path, const uint8_t *data, size_t size, bool redact) {
    moa_ledger *l;
    moa_err err = {0};
    char *left;
    size_t n, whole = size;
    const int rc = moa_ledger_open(&l, path, redact, &err);
    if (rc < 0) moa_assert(!l && err.text[0]);
    moa_ledger_close(l);
    while (rc >= 0 && whole && data[whole - 1] != '\n') whole--;
    moa_assert_eq(moa_read_file(&left, &n, path, size + 1, NULL), 0);
    moa_assert_eq(n, whole);
    moa_assert(n == 0 || !memcmp(left, data, n));
    free(left);
}

/* A replay waits for real where a run waited, and for calls that never come to their end until it is sure: neither is what is tried here, so waits are
 * made short, and a run that waits for a canceled call is one that was canceled. */
static bool hurry(json_t *trace) {
    json_t *settings = json_object_get(json_object_get(trace, "mix"), "settings"), *n;
    size_t i;
    bool canceled = false;
    static const char *const waits[] = {"grace", "deadline"};
    for (int k = 0; k < 2; k++)
        if (json_number_value(json_object_get(settings, waits[k])) > 0.01) json_object_set_new(settings, waits[k], json_real(0.01));
    json_array_foreach(json_object_get(trace, "nodes"), i, n)
        if (json_integer_value(json_object_get(n, "rc")) == MOA_ECANCELED) json_object_set_new(trace, "rc", json_integer(MOA_ECANCELED)), canceled = true;
    return canceled;
}

static json_t *replay(const json_t *trace) {
    json_t *again;
    moa_err err = {0};
    if (moa_replay(&again, trace, "fuzz", &err) >= 0) {
        moa_assert(json_is_object(again));
        return again;
    }
    moa_assert(!again && err.text[0]);
    return NULL;
}

static void replay_twice(json_t *trace) {
    char place[50], a[20], b[20];
    moa_buf added;
    moa_buf_init(&added, 1 << 16);
    const bool waits = hurry(trace), earlier = moa_replay_complete(&added, trace) > 0;
    moa_buf_deinit(&added);
    if (waits && earlier) return; /* half told, it waits until it is sure that nothing comes */
    json_t *one = replay(trace), *two = replay(trace);
    moa_assert(!one == !two);
    if (one && json_integer_value(json_object_get(trace, "rc")) != MOA_ECANCELED) moa_assert(json_equal(one, two)); /* what is canceled is so at some moment */
    if (one) moa_replay_compare(place, sizeof place, a, b, sizeof a, moa_trace_canonical(trace), one);
    json_decref(one);
    json_decref(two);
}

static void replay_lines(const char *text, size_t size) {
    int left = REPLAYS;
    for (const char *p = text, *end; left && p < text + size; p = end + 1) {
        moa_err err;
        json_t *v;
        if (!(end = memchr(p, '\n', (size_t)(text + size - p)))) end = text + size;
        if (end == p || moa_json_parse(&v, p, (size_t)(end - p), size, "fuzz", &err) < 0) continue;
        json_t *trace = json_object_get(v, "moa") ? json_object_get(v, "trace") : v;
        if (json_is_object(trace) && json_array_size(json_object_get(trace, "nodes")) < WORK) replay_twice(trace), left--;
        json_decref(v);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[32];
    const int fd = memfd_create("journal", 0);
    moa_assert(fd >= 0 && (size == 0 || write(fd, data, size) == (ssize_t)size));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    open_it(path, data, size, size % 2);
    close(fd);
    replay_lines((const char *)data, size);
    return 0;
}
