/* attempt.c - one request to a server, from its first byte out to the verdict. SPDX-License-Identifier: Apache-2.0 */
#include "serve/upstream/upstream.h"

#include "fetch/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { BUFFER = 16 << 10 };
static const double linger_s = 1; /* for the end of a stream whose last event has come */

static void read_head(attempt *a) {
    const char *type = NULL;
    curl_easy_getinfo(a->easy, CURLINFO_RESPONSE_CODE, &a->status);
    curl_easy_getinfo(a->easy, CURLINFO_CONTENT_TYPE, &type);
    a->streamed = a->status == 200 && type && !strncasecmp(type, "text/event-stream", 17);
    a->headed = true;
}

static size_t on_data(char *p, size_t one, size_t n, void *ctx) {
    attempt *a = ctx;
    (void)one;
    if (a->lost || atomic_load_explicit(&a->j->call->cancel, memory_order_relaxed)) return CURL_WRITEFUNC_ERROR;
    a->heard = moa_net_time(a->j->u->net);
    if (!a->headed) read_head(a);
    const int rc = (a->streamed ? moa_reply_feed : moa_reply_body)(&a->reply, p, n);
    if (a->streamed) moa_upstream_job_heard(a->j, a);
    return rc < 0 ? CURL_WRITEFUNC_ERROR : n;
}

static size_t on_header(char *p, size_t one, size_t n, void *ctx) {
    attempt *a = ctx;
    (void)one;
    const double wait = moa_retry_after(p, n, (double)time(NULL));
    if (wait > a->retry_after) a->retry_after = wait;
    return n;
}

static void set_up(attempt *a) {
    const job *j = a->j;
    const upstream *u = j->u;
    CURL *e = a->easy;
    curl_easy_setopt(e, CURLOPT_URL, u->url);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, u->header);
    curl_easy_setopt(e, CURLOPT_POSTFIELDS, moa_buf_str(&j->body));
    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)j->body.len);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, a);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, a);
    curl_easy_setopt(e, CURLOPT_PRIVATE, a);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, a->why);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)(u->cfg.connect_s * 1000) + 1);
    curl_easy_setopt(e, CURLOPT_BUFFERSIZE, (long)BUFFER);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    if (!strncmp(u->url, "https", 5)) curl_easy_setopt(e, CURLOPT_PIPEWAIT, 1L); /* calls wait for the first connection: with HTTP/2 it carries them all */
    curl_easy_setopt(e, CURLOPT_USERAGENT, "moa/" MOA_VERSION);
    moa_http_trust(e);
    curl_easy_setopt(e, CURLOPT_NOPROXY, "127.0.0.1,localhost,::1");
}

int moa_attempt_new(attempt **out, job *j, bool hedge, moa_err *err) {
    attempt *a = calloc(1, sizeof *a);
    if (a) a->easy = curl_easy_init();
    if (!a || !a->easy) {
        free(a);
        return moa_fail(err, MOA_ENOMEM, "%s: no memory for a request", j->u->id);
    }
    a->j = j, a->hedge = hedge, a->retry_after = -1;
    a->began = moa_net_time(j->u->net);
    moa_reply_init(&a->reply, j->u->id);
    if (j->call->log) moa_reply_want_probs(&a->reply);
    set_up(a);
    const CURLMcode code = curl_multi_add_handle(moa_net_multi(j->u->net), a->easy);
    if (code != CURLM_OK) {
        curl_easy_cleanup(a->easy);
        moa_reply_deinit(&a->reply);
        free(a);
        return moa_fail(err, MOA_EIO, "%s: %s", j->u->id, curl_multi_strerror(code));
    }
    *out = a;
    return 0;
}

void moa_attempt_free(attempt *a) {
    /* In the middle of a reply: a connection of HTTP/1.1 is closed by this. On one of HTTP/2 the stream's end is only written with the next bytes
     * of another stream (libcurl 7.88 to 8.14, its issue 17611); where it was the last stream, this closes the connection too. */
    curl_easy_setopt(a->easy, CURLOPT_FORBID_REUSE, 1L);
    curl_multi_remove_handle(moa_net_multi(a->j->u->net), a->easy);
    curl_easy_cleanup(a->easy);
    moa_reply_deinit(&a->reply);
    free(a);
}

double moa_attempt_due(const attempt *a, const char **silence) {
    const moa_upstream_cfg *c = &a->j->u->cfg;
    *silence = a->reply.over ? NULL : a->heard > 0 ? "between two bytes" : "before the first byte";
    return a->reply.over ? a->heard + linger_s : a->heard > 0 ? a->heard + c->timeout_s : a->began + c->first_s;
}

static int refused(const attempt *a, moa_err *err) {
    char why[301];
    moa_reply_reason(&a->reply, why, sizeof why);
    return moa_fail(err, MOA_EIO, "%s (%.180s): status %ld: %s", a->j->u->id, a->j->u->url, a->status, why);
}

int moa_attempt_result(attempt *a, CURLcode code, const char *silence, bool *passing, bool *alive, moa_err *err) {
    const upstream *u = a->j->u;
    moa_reply *r = &a->reply;
    if (!a->headed) read_head(a);
    const bool busy = a->status == 408 || a->status == 429;
    int rc = 0;
    if (silence) rc = moa_fail(err, MOA_EIO, "%s (%.180s): silence %s for too long (%.3g s)", u->id, u->url, silence, a->heard > 0 ? u->cfg.timeout_s : u->cfg.first_s);
    else if (a->status && a->status != 200) rc = refused(a, err);
    else if (r->err.code) *err = r->err, rc = err->code;
    else if (code != CURLE_OK && !r->over) rc = moa_fail(err, MOA_EIO, "%s (%.180s): %s", u->id, u->url, a->why[0] ? a->why : curl_easy_strerror(code));
    else if (moa_reply_end(r, a->streamed) < 0) *err = r->err, rc = err->code;
    const bool distrust = code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE; /* as it will be next time */
    *passing = rc == MOA_EIO && !distrust && (silence || !a->status || a->status == 200 || busy || a->status >= 500);
    *alive = rc >= 0 || (!silence && a->status >= 400 && a->status < 500 && a->status != 408);
    return rc;
}
