/* http.c - see http.h.
 *
 * Redirects are followed here and not by libcurl for three reasons: headers that the user gave must not travel to
 * another host (libcurl drops Authorization there, but no other header); a chain may not fall from https to http; and
 * a hub tells the checksum of a file in the very reply that redirects to the storage.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fetch/http.h"

#include "base/clock.h"
#include "base/err.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HEADER_BYTES = 256 << 10, REFUSAL_BYTES = 64 << 10 };

struct moa_http {
    const moa_http_cfg *cfg;
    CURL *curl;
    /* of the request under way */
    moa_http_reply *reply;
    const moa_http_sink *sink;
    moa_err *err;
    size_t header_bytes, refused_bytes;
    double refused_since;
    bool begun, from_origin;
    int rc; /* of the sink, or MOA_ECANCELED */
};

int moa_http_open(moa_http **out, const moa_http_cfg *cfg, moa_err *err) {
    *out = NULL;
    moa_http *h = calloc(1, sizeof *h);
    if (!h || curl_global_init(CURL_GLOBAL_DEFAULT)) {
        free(h);
        return moa_fail(err, MOA_ENOMEM, "no memory for an HTTP client");
    }
    h->cfg = cfg;
    h->curl = curl_easy_init();
    if (!h->curl) {
        moa_http_close(h);
        return moa_fail(err, MOA_ENOMEM, "no memory for an HTTP client");
    }
    *out = h;
    return 0;
}

void moa_http_close(moa_http *h) {
    if (!h) return;
    if (h->curl) curl_easy_cleanup(h->curl);
    curl_global_cleanup();
    free(h);
}

/* ---- origins and redirects ---- */

typedef struct origin { char scheme[8], host[256]; long port; } origin;

static bool split(origin *o, const char *url) {
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL, *port = NULL;
    bool ok = u && !curl_url_set(u, CURLUPART_URL, url, 0) && !curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) &&
              !curl_url_get(u, CURLUPART_HOST, &host, 0) && !curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) &&
              strlen(scheme) < sizeof o->scheme && strlen(host) < sizeof o->host;
    if (ok) {
        snprintf(o->scheme, sizeof o->scheme, "%s", scheme);
        snprintf(o->host, sizeof o->host, "%s", host);
        o->port = strtol(port, NULL, 10);
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    return ok;
}

bool moa_http_same_origin(const char *a, const char *b) {
    origin x, y;
    return split(&x, a) && split(&y, b) && !strcasecmp(x.scheme, y.scheme) && !strcasecmp(x.host, y.host) && x.port == y.port;
}

int moa_http_may_go(const char *from, const char *to, moa_err *err) {
    origin a, b;
    char show[256];
    moa_ref_show(show, sizeof show, to);
    if (!split(&a, from) || !split(&b, to) || (strcasecmp(b.scheme, "http") && strcasecmp(b.scheme, "https")))
        return moa_fail(err, MOA_EFORMAT, "redirected to '%s', which is no http or https URL", show);
    if (!strcasecmp(a.scheme, "https") && strcasecmp(b.scheme, "https"))
        return moa_fail(err, MOA_EFORMAT, "redirected from https down to '%s': refused, since anyone on the way could change the file", show);
    return 0;
}

static int stall_s(const moa_http *h) { return h->cfg->stall_s ? h->cfg->stall_s : 30; }

/* ---- headers of the reply ---- */

static bool named(const char *line, size_t n, const char *name, const char **value, size_t *n_value) {
    const size_t k = strlen(name);
    if (n <= k || line[k] != ':' || strncasecmp(line, name, k)) return false;
    const char *s = line + k + 1, *end = line + n;
    while (s < end && (*s == ' ' || *s == '\t')) s++;
    while (end > s && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' ' || end[-1] == '\t')) end--;
    *value = s, *n_value = (size_t)(end - s);
    return true;
}

/* Keeps a value whole or not at all: half an ETag would match nothing. Only printable ASCII is kept. */
static void keep(char *out, size_t cap, const char *s, size_t n) {
    bool ok = n < cap;
    for (size_t i = 0; i < n && ok; i++) ok = s[i] >= 0x20 && s[i] < 0x7F;
    if (ok) memcpy(out, s, n);
    out[ok ? n : 0] = 0;
}

/* A decimal number at *s, moved past it; -1 without one or beyond 2^62. */
static int64_t number(const char **s, const char *end) {
    int64_t v = 0;
    const char *p = *s;
    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        if (v > (INT64_MAX >> 1) / 10 - 1) return -1;
        v = v * 10 + (*p - '0');
    }
    if (p == *s) return -1;
    *s = p;
    return v;
}

static int64_t whole_number(const char *s, size_t n) {
    const char *end = s + n;
    const int64_t v = number(&s, end);
    return s == end ? v : -1;
}

/* "bytes 0-9/100", "bytes 0-9/ *", "bytes * /100" (without the spaces). */
static void content_range(moa_http_reply *r, const char *s, size_t n) {
    const char *end = s + n;
    if (n < 6 || strncasecmp(s, "bytes ", 6)) return;
    s += 6;
    int64_t from = -1, to = -1;
    if (s < end && *s == '*') s++;
    else if ((from = number(&s, end)) < 0 || s == end || *s++ != '-' || (to = number(&s, end)) < from) return;
    if (s == end || *s++ != '/') return;
    const bool unknown = end - s == 1 && *s == '*';
    const int64_t total = unknown ? -1 : whole_number(s, (size_t)(end - s));
    if (!unknown && to >= total) return; /* no number is -1 */
    r->from = from, r->to = to, r->total = total;
}

static void clear(moa_http_reply *r) {
    r->status = 0;
    r->etag[0] = r->last_modified[0] = r->type[0] = r->message[0] = 0;
    r->length = r->from = r->to = r->total = -1;
    r->retry_after = -1;
    r->encoded = r->framed = false;
}

void moa_http_header(moa_http_reply *r, const char *line, size_t n) {
    const char *v;
    size_t k;
    if (n > 5 && !strncasecmp(line, "HTTP/", 5)) clear(r), r->framed = line[5] >= '2'; /* also after a 100 Continue */
    else if (named(line, n, "etag", &v, &k)) keep(r->etag, sizeof r->etag, v, k);
    else if (named(line, n, "last-modified", &v, &k)) keep(r->last_modified, sizeof r->last_modified, v, k);
    else if (named(line, n, "content-type", &v, &k)) keep(r->type, sizeof r->type, v, k);
    else if (named(line, n, "content-length", &v, &k)) r->length = whole_number(v, k), r->framed |= r->length >= 0;
    else if (named(line, n, "transfer-encoding", &v, &k)) r->framed = true; /* libcurl takes none but chunked */
    else if (named(line, n, "content-range", &v, &k)) content_range(r, v, k);
    else if (named(line, n, "content-encoding", &v, &k)) r->encoded = k > 0 && !(k == 8 && !strncasecmp(v, "identity", 8));
    else if (named(line, n, "x-error-message", &v, &k)) keep(r->message, sizeof r->message, v, k);
    else if (named(line, n, "x-linked-size", &v, &k)) r->linked_size = whole_number(v, k);
    else if (named(line, n, "x-linked-etag", &v, &k)) {
        char tag[80];
        keep(tag, sizeof tag, v, k);
        const size_t q = tag[0] == '"' && k > 1 && tag[k - 1] == '"' ? 1 : 0;
        if (q) tag[k - 1] = 0;
        if (!moa_sha256_parse(r->linked_sha256, tag + q)) r->linked_sha256[0] = 0;
    }
}

static size_t on_header(char *p, size_t size, size_t n, void *user) {
    moa_http *h = user;
    (void)size;
    h->header_bytes += n;
    if (h->header_bytes > HEADER_BYTES) return h->rc = moa_fail(h->err, MOA_ELIMIT, "a reply with more than %d kB of headers", HEADER_BYTES >> 10), 0;
    /* What a storage server says about checksums is not the origin's word. */
    char sha[MOA_SHA256_HEX];
    const int64_t linked = h->reply->linked_size;
    memcpy(sha, h->reply->linked_sha256, sizeof sha);
    moa_http_header(h->reply, p, n);
    if (!h->from_origin) {
        memcpy(h->reply->linked_sha256, sha, sizeof sha);
        h->reply->linked_size = linked;
    }
    return n;
}

/* ---- body ---- */

static int begin(moa_http *h) {
    if (h->begun) return h->rc;
    h->begun = true;
    if (h->sink->begin) h->rc = h->sink->begin(h->sink->ctx, h->reply, h->err);
    return h->rc;
}

static size_t on_data(char *p, size_t size, size_t n, void *user) {
    moa_http *h = user;
    (void)size;
    long status = 0;
    curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &status);
    h->reply->status = (int)status;
    if (status < 200 || status > 299) { /* the page of a refusal or redirect: passed over, unless it has no end */
        if (!h->refused_bytes) h->refused_since = moa_now();
        h->refused_bytes += n;
        return h->refused_bytes > REFUSAL_BYTES || moa_now() - h->refused_since > stall_s(h) ? 0 : n;
    }
    if (begin(h) < 0) return 0;
    h->rc = h->sink->data(h->sink->ctx, p, n, h->err);
    return h->rc < 0 ? 0 : n;
}

static int on_progress(void *user, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    moa_http *h = user;
    (void)a, (void)b, (void)c, (void)d;
    if (!h->cfg->tick || h->cfg->tick(h->cfg->ctx)) return 0;
    h->rc = moa_fail(h->err, MOA_ECANCELED, "stopped");
    return 1;
}

/* ---- one request ---- */

static bool add(struct curl_slist **list, const char *line) {
    struct curl_slist *l = curl_slist_append(*list, line);
    if (l) *list = l;
    return l != NULL;
}

static bool this_machine(const char *url) {
    origin o;
    unsigned char ip[4]; /* parsed, since "127.0.0.1.example.org" is a name */
    return split(&o, url) && (!strcasecmp(o.host, "localhost") || !strcmp(o.host, "[::1]") || (inet_pton(AF_INET, o.host, ip) == 1 && ip[0] == 127));
}

/* The token is as good as a password: to another machine it goes through TLS only. */
static bool private_way(const char *url) {
    origin o;
    return (split(&o, url) && !strcasecmp(o.scheme, "https")) || this_machine(url);
}

static bool request_headers(struct curl_slist **list, const moa_http *h, const char *url, int64_t from, const char *if_range) {
    char line[4200];
    bool ok = true;
    if (from > 0) {
        snprintf(line, sizeof line, "Range: bytes=%" PRId64 "-", from);
        ok = add(list, line);
        if (ok && if_range) snprintf(line, sizeof line, "If-Range: %s", if_range), ok = add(list, line);
    }
    if (!h->from_origin) return ok;
    for (int i = 0; i < h->cfg->n_header && ok; i++) ok = add(list, h->cfg->header[i]);
    if (ok && h->cfg->token && private_way(url)) snprintf(line, sizeof line, "Authorization: Bearer %s", h->cfg->token), ok = add(list, line);
    return ok;
}

/* The variables that the curl program and OpenSSL go by, which libcurl leaves to its callers. */
void moa_http_trust(void *curl) {
    CURL *c = curl;
    const char *bundle = getenv("CURL_CA_BUNDLE"), *file = getenv("SSL_CERT_FILE"), *dir = getenv("SSL_CERT_DIR");
    if (bundle && *bundle) file = bundle;
    if (file && *file) curl_easy_setopt(c, CURLOPT_CAINFO, file);
    if (dir && *dir) curl_easy_setopt(c, CURLOPT_CAPATH, dir);
}

static void set_up(moa_http *h, const char *url, struct curl_slist *list, char *errbuf) {
    CURL *c = h->curl;
    const moa_http_cfg *cfg = h->cfg;
    curl_easy_reset(c); /* keeps the connections */
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "moa/" MOA_VERSION);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, errbuf);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)(cfg->connect_s ? cfg->connect_s : 20));
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)stall_s(h));
    curl_easy_setopt(c, CURLOPT_BUFFERSIZE, 256L << 10);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, h);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, h);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, h);
    if (this_machine(url)) curl_easy_setopt(c, CURLOPT_PROXY, ""); /* a proxy would look for the server on its own machine */
    moa_http_trust(c);
}

static bool may_pass(CURLcode c) {
    switch (c) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_HTTP3: return true;
    default: return false;
    }
}

static bool status_may_pass(long s) { return s == 408 || s == 425 || s == 429 || s == 500 || s == 502 || s == 503 || s == 504; }

static int hint(moa_http *h, int code, CURLcode c, const char *detail) {
    switch (c) {
    case CURLE_PEER_FAILED_VERIFICATION:
        if (strstr(detail, "host name")) return moa_hint(h->err, code, "the server shows the certificate of another host: is the URL right?");
        if (strstr(detail, "expired") || strstr(detail, "not yet valid")) return moa_hint(h->err, code, "is the clock of this machine right? Then the server's owner has to renew it");
        return moa_hint(h->err, code, "nobody who is trusted here vouches for the server; CURL_CA_BUNDLE or SSL_CERT_FILE names a file with further authorities");
    case CURLE_SSL_CACERT_BADFILE: return moa_hint(h->err, code, "CURL_CA_BUNDLE or SSL_CERT_FILE names a file that holds no authorities, or cannot be read");
    case CURLE_COULDNT_RESOLVE_PROXY: return moa_hint(h->err, code, "https_proxy, http_proxy or all_proxy names it");
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT: return moa_hint(h->err, code, "is the name right and the network up? Behind a proxy set https_proxy");
    default: return code;
    }
}

static int transfer_failed(moa_http *h, CURLcode c, const char *detail, const char *show) {
    moa_http_reply *r = h->reply;
    long proxy = 0; /* what it answered to CONNECT */
    if (h->rc < 0) return h->rc; /* the sink or the user ended it and said why */
    if (!curl_easy_getinfo(h->curl, CURLINFO_HTTP_CONNECTCODE, &proxy) && proxy >= 300) {
        r->transient = status_may_pass(proxy);
        moa_fail(h->err, MOA_EIO, "%s: the proxy answered %ld", show, proxy);
        return moa_hint(h->err, MOA_EIO, "%s", proxy == 407 ? "it wants a name and a password: https_proxy=http://NAME:PASSWORD@HOST:PORT" : "https_proxy or all_proxy names it, no_proxy the hosts to reach without it");
    }
    const int code = c == CURLE_OUT_OF_MEMORY ? MOA_ENOMEM : MOA_EIO;
    r->transient = may_pass(c);
    moa_fail(h->err, code, "%s: %s", show, *detail ? detail : curl_easy_strerror(c));
    return hint(h, code, c, detail);
}

/* Why a server may have said no to this request. */
static const char *access_hint(const moa_http *h) {
    if (!h->cfg->token) return "is the name right? A hub says this of what does not exist, too. Private or gated: HF_TOKEN holds your access token, --header serves other servers";
    if (!h->from_origin) return "the token in HF_TOKEN goes to the hub alone, and this is another server";
    if (!private_way(h->reply->url)) return "the token in HF_TOKEN was not sent: it goes to other machines through https only";
    return "the token in HF_TOKEN has no access: a gated model asks you to accept its terms on its page first";
}

static int refused(moa_http *h, const char *show) {
    moa_http_reply *r = h->reply;
    const int s = r->status;
    const int code = s == 404 || s == 410 ? MOA_ENOTFOUND : MOA_EIO;
    r->transient = status_may_pass(s);
    moa_fail(h->err, code, "%s: the server answered %d%s%s", show, s, r->message[0] ? ": " : "", r->message);
    if (s == 401 || s == 403) moa_hint(h->err, code, "%s", access_hint(h));
    if (s == 404) moa_hint(h->err, code, "check the name; a private repository is 'not found' without HF_TOKEN");
    return code;
}

/* One request. 0: done; 1: redirected, to reply->url. */
static int hop(moa_http *h, int64_t from, const char *if_range) {
    moa_http_reply *r = h->reply;
    struct curl_slist *list = NULL;
    char errbuf[CURL_ERROR_SIZE] = "", show[256], *next = NULL;
    long status = 0;
    curl_off_t wait = 0;
    moa_ref_show(show, sizeof show, r->url);
    clear(r);
    h->header_bytes = h->refused_bytes = 0;
    if (!request_headers(&list, h, r->url, from, if_range)) {
        curl_slist_free_all(list);
        return moa_fail(h->err, MOA_ENOMEM, "%s: no memory for the request", show);
    }
    set_up(h, r->url, list, errbuf);
    const CURLcode c = curl_easy_perform(h->curl);
    curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(list);
    curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &status);
    r->status = (int)status;
    if (!curl_easy_getinfo(h->curl, CURLINFO_RETRY_AFTER, &wait) && wait > 0) r->retry_after = (double)wait;
    if (c && (status < 300 || h->rc < 0)) return transfer_failed(h, c, errbuf, show);
    if (status < 200 || status > 399) return refused(h, show);
    if (status < 300) return begin(h);
    if (status == 304 || curl_easy_getinfo(h->curl, CURLINFO_REDIRECT_URL, &next) || !next)
        return moa_fail(h->err, MOA_EFORMAT, "%s: the server answered %ld without saying where to go", show, status);
    if (strlen(next) >= sizeof r->url) return moa_fail(h->err, MOA_ELIMIT, "%s: redirected to a URL of %zu bytes", show, strlen(next));
    MOA_TRY(moa_http_may_go(r->url, next, h->err));
    h->from_origin = h->from_origin && moa_http_same_origin(h->cfg->origin, next); /* once left, the chain is not trusted again */
    memcpy(r->url, next, strlen(next) + 1);
    return 1;
}

int moa_http_get(moa_http *h, moa_http_reply *reply, const char *url, int64_t from, const char *if_range, const moa_http_sink *sink, moa_err *err) {
    *reply = (moa_http_reply){.linked_size = -1};
    h->reply = reply, h->sink = sink, h->err = err, h->rc = 0;
    h->begun = false;
    h->from_origin = h->cfg->origin && moa_http_same_origin(h->cfg->origin, url);
    if (strlen(url) >= sizeof reply->url) return moa_fail(err, MOA_ELIMIT, "a URL of %zu bytes", strlen(url));
    memcpy(reply->url, url, strlen(url) + 1);
    for (int i = 0; i <= MOA_HTTP_REDIRECTS; i++) {
        const int rc = hop(h, from, if_range);
        if (rc <= 0) return rc;
    }
    char show[256];
    moa_ref_show(show, sizeof show, url);
    return moa_fail(err, MOA_EFORMAT, "%s: more than %d redirects", show, MOA_HTTP_REDIRECTS);
}
