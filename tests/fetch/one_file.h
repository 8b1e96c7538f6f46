/* one_file.h - one file from the server to the folder, for the tests of a single download. SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FETCH_ONE_FILE_H
#define TESTS_FETCH_ONE_FILE_H

#include "fetch/support.h"

enum { SIZE = 300000 };
static const char *target, *part;
static moa_http_cfg http_cfg;

static int fresh(void **state) {
    http_cfg = (moa_http_cfg){.connect_s = 5, .stall_s = 5};
    const int rc = setup(state);
    static char t[128], p[128];
    snprintf(t, sizeof t, "%s/m.gguf", folder);
    snprintf(p, sizeof p, "%s/m.gguf.part", folder);
    target = t, part = p;
    return rc;
}

/* d: what differs from a download of url to target. */
static int fetch(moa_downloaded *out, const char *url, moa_download d, moa_err *err) {
    moa_http *h;
    d.url = url, d.target = target, d.part = part, d.name = "m.gguf", d.n_file = 1;
    if (!d.size) d.size = -1;
    if (d.backoff_s == 0) d.backoff_s = 0.001;
    assert_int_equal(moa_http_open(&h, &http_cfg, err), 0);
    const int rc = moa_download_run(out, h, &d, err);
    moa_http_close(h);
    return rc;
}

static inline void fetched(const char *url, moa_download d, uint64_t seed) {
    moa_downloaded out;
    moa_err err = {0};
    if (fetch(&out, url, d, &err) < 0) fail_msg("%s\n%s", err.text, err.hint);
    char sum[65];
    httpd_sha256(sum, seed, SIZE);
    holds(target, seed, SIZE);
    assert_string_equal(out.sha256, sum);
    assert_int_equal(out.size, SIZE);
    assert_int_equal(n_files(folder), 1); /* no part, no note */
}

static inline void refused(const char *url, moa_download d, int code, const char *text) {
    moa_downloaded out;
    moa_err err = {0};
    const int rc = fetch(&out, url, d, &err);
    if (rc != code || err.code != code || (!strstr(err.text, text) && !strstr(err.hint, text)))
        fail_msg("%d (expected %d): '%s' / '%s' (expected '%s')", rc, code, err.text, err.hint, text);
    assert_int_equal(file_size(target), -1);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, fresh, teardown)

#endif
