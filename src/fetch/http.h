/* http.h - one GET at a time through libcurl: http and https, redirects by our own rules, headers and body to a sink,
 * errors sorted into those that may pass and those that will not. Proxy variables (http_proxy, https_proxy, all_proxy,
 * no_proxy) are libcurl's, but this machine itself is never asked for through a proxy. Authorities of TLS: those of the system, and
 * what CURL_CA_BUNDLE, else SSL_CERT_FILE, and SSL_CERT_DIR name. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FETCH_HTTP_H
#define MOA_FETCH_HTTP_H

#include "base/sha256.h"
#include "fetch/ref.h"

enum { MOA_HTTP_REDIRECTS = 10 };

typedef struct moa_http_cfg {
    const char *origin;                       /* URL: header and token go to its scheme, host and port, and nowhere else */
    const char *const *header; int n_header;  /* "Name: value" */
    const char *token;                        /* sent as "Authorization: Bearer"; NULL: none */
    int connect_s, stall_s;                   /* 0: 20 and 30. stall: this long without a byte is an error that may pass */
    bool (*tick)(void *ctx); void *ctx;       /* called while waiting, about once a second or more; false stops: MOA_ECANCELED */
} moa_http_cfg;

typedef struct moa_http_reply {
    int status;                    /* 0: there was no reply */
    char url[MOA_REF_URL_MAX];     /* asked last, after redirects */
    char etag[256], last_modified[64], type[64]; /* type: Content-Type */
    char message[200];             /* X-Error-Message: what a hub says about a refusal */
    char linked_sha256[MOA_SHA256_HEX]; /* X-Linked-Etag of the origin, when it is a SHA-256; else "" */
    int64_t linked_size;           /* X-Linked-Size of the origin, or -1 */
    int64_t length;                /* Content-Length or -1 */
    int64_t from, to, total;       /* Content-Range: bytes from-to/total; -1: absent */
    double retry_after;            /* seconds the server asks to wait, -1: it does not say */
    bool encoded;                  /* the body is compressed or otherwise recoded */
    bool framed;                   /* it says where its body ends (a length, chunks, HTTP/2): a broken connection is no end */
    bool transient;                /* what failed may work when it is tried again */
} moa_http_reply;

typedef struct moa_http_sink {
    int (*begin)(void *ctx, const moa_http_reply *r, moa_err *err); /* once, before the body of a 2xx reply; negative stops */
    int (*data)(void *ctx, const void *p, size_t n, moa_err *err);
    void *ctx;
} moa_http_sink;

typedef struct moa_http moa_http;
int moa_http_open(moa_http **out, const moa_http_cfg *cfg, moa_err *err); /* borrows cfg and what it points to */
void moa_http_close(moa_http *h);

/* GET url from byte `from` on (0: all of it), with If-Range where if_range is not NULL. 0: a 2xx reply went whole to the
 * sink. *reply is filled in every case; on failure err says what happened and reply->transient whether to try again. */
int moa_http_get(moa_http *h, moa_http_reply *reply, const char *url, int64_t from, const char *if_range, const moa_http_sink *sink, moa_err *err);

/* The rules of a redirect, apart so that they can be tested without a TLS server: http and https only, and never from
 * https down to http. */
int moa_http_may_go(const char *from, const char *to, moa_err *err);
bool moa_http_same_origin(const char *a, const char *b); /* scheme, host and port */

/* Authorities of TLS for another handle of libcurl (a CURL). */
void moa_http_trust(void *curl);

/* Header lines of a reply, one a call as they arrive ("Name: value\r\n"); for the client and the fuzz target. */
void moa_http_header(moa_http_reply *r, const char *line, size_t n);

#endif
