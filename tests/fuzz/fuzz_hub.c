/* fuzz_hub.c - what servers say: the first byte tells whether the rest is a listing of a repository, header lines of a
 * reply, or a reference that a user pastes. Whatever is made of it holds to the rules for names.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "fetch/hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void listing(const char *s, size_t n) {
    static const char *const what[] = {"", "Q4_K_M", "safetensors", "a.gguf"};
    moa_hub_repo r;
    moa_err err = {0};
    const int rc = moa_hub_parse(&r, s, n, "fuzz", &err);
    if (rc < 0) {
        moa_assert(err.code == rc && err.text[0] && !r.file);
        return;
    }
    for (int i = 0; i < r.n_file; i++) moa_assert(moa_ref_path_ok(r.file[i].path) && r.file[i].size >= -1);
    for (size_t w = 0; w < sizeof what / sizeof *what; w++) {
        moa_hub_pick p;
        moa_hub_model *m;
        int n_model;
        if (moa_hub_choose(&p, &r, what[w], &err) >= 0) {
            moa_assert(p.n_file > 0);
            for (int i = 0; i < p.n_file; i++) moa_assert(p.file[i] >= 0 && p.file[i] < r.n_file);
            free(p.file);
        }
        moa_assert(moa_hub_models(&m, &n_model, &r, &err) == 0);
        for (int i = 0; i < n_model; i++) moa_assert(m[i].first >= 0 && m[i].first < r.n_file && m[i].bytes >= -1 && m[i].n_part > 0);
        free(m);
    }
    moa_hub_free(&r);
}

static void headers(const char *s, size_t n) {
    moa_http_reply r = {.linked_size = -1};
    moa_http_header(&r, "HTTP/1.1 200 OK\r\n", 17);
    for (size_t at = 0; at < n;) {
        const char *nl = memchr(s + at, '\n', n - at);
        const size_t k = nl ? (size_t)(nl - s) + 1 - at : n - at;
        moa_http_header(&r, s + at, k);
        at += k;
    }
    moa_assert(r.length >= -1 && r.linked_size >= -1 && r.to >= r.from && (r.total < 0 || r.to < r.total));
    for (const char *p = r.etag; *p; p++) moa_assert(*p >= 0x20 && *p < 0x7F);
    moa_assert(!r.linked_sha256[0] || strlen(r.linked_sha256) == 64);
}

static void reference(const char *s, size_t n) {
    char *text = malloc(n + 1), name[MOA_REF_NAME_MAX];
    moa_ref r;
    moa_err err = {0};
    if (!text) return;
    memcpy(text, s, n);
    text[n] = 0;
    if (moa_ref_parse(&r, text, "https://hub.example", &err) < 0) moa_assert(err.code == MOA_EUSAGE && err.text[0]);
    else if (r.hub) moa_assert(moa_ref_name_ok(r.owner) && moa_ref_name_ok(r.repo) && moa_ref_path_ok(r.rev) && !strchr("./", r.what[0] ? r.what[0] : 'x') && !strstr(r.what, "/."));
    else if (moa_ref_url_name(name, r.url, NULL) >= 0) moa_assert(moa_ref_name_ok(name));
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    const char *s = (const char *)data + 1;
    if (data[0] == 'l') listing(s, size - 1);
    else if (data[0] == 'h') headers(s, size - 1);
    else reference(s, size - 1);
    return 0;
}
