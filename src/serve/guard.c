/* guard.c - see guard.h.
 *
 * Origins: browsers send any page's "simple" requests to a server on this machine, and let a name that is bound anew (DNS rebinding) read
 * the replies too. So what names an origin that is not allowed is refused, and a body must say that it is JSON, which a page cannot
 * send across origins without asking first. A page whose name is bound anew is of one origin with this server and names none when it only reads:
 * its Host is a name of the net, which a server of this machine alone, without keys, is not called by. SPDX-License-Identifier: Apache-2.0 */
#include "serve/guard.h"

#include "base/rng.h"

#include <microhttpd.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Digests are of one length and are compared whole, so neither length nor common beginning of a key shows in the time. */
static bool same_digest(const char *a, const char *b) {
    unsigned char diff = 0;
    for (int i = 0; i < MOA_SHA256_HEX - 1; i++) diff |= (unsigned char)(a[i] ^ b[i]);
    return diff == 0;
}

int moa_guard_key(uint64_t *caller, const moa_server *s, const char *authorization, moa_fault *f) {
    const char *key = authorization && strncasecmp(authorization, "Bearer ", 7) == 0 ? authorization + 7 : "";
    while (*key == ' ') key++;
    char hex[MOA_SHA256_HEX];
    moa_sha256 h;
    moa_sha256_init(&h);
    moa_sha256_add(&h, key, strlen(key));
    moa_sha256_hex(hex, &h);
    *caller = moa_hash64(hex, sizeof hex - 1, 0); /* the same after a restart: a request that broke off is its caller's still (ledger.h) */
    if (!s->cfg.n_key) return 0;
    bool known = false;
    for (int i = 0; i < s->cfg.n_key; i++) known |= same_digest(hex, s->key_hash[i]);
    if (known) return 0;
    return moa_fault_set(f, 401, *key ? "invalid_api_key" : "missing_api_key", NULL, "%s; send the header: Authorization: Bearer KEY", *key ? "the key is not known here" : "no key was given");
}

uint64_t moa_guard_named(const char *idempotency_key) {
    if (!idempotency_key || !*idempotency_key) return 0;
    const uint64_t h = moa_hash64(idempotency_key, strlen(idempotency_key), 1);
    return h ? h : 1;
}

/* "http://name:port" -> is it a name of this machine? */
static bool is_local(const char *origin) {
    static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};
    const char *host = strstr(origin, "://");
    host = host ? host + 3 : "";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const size_t n = strlen(names[i]);
        if (strncasecmp(host, names[i], n) == 0 && (host[n] == 0 || host[n] == ':')) return true;
    }
    return false;
}

bool moa_guard_allows(const moa_server *s, const char *origin, const char *host) {
    const char *page = strstr(origin, "://");
    for (int i = 0; i < s->cfg.n_origin; i++)
        if (strcmp(s->cfg.origin[i], "*") == 0 || strcasecmp(s->cfg.origin[i], origin) == 0) return true;
    if (is_local(origin)) return true;
    return !s->local && page && host && strcasecmp(page + 3, host) == 0;
}

/* "name.of.the.net[:port]": not one of this machine, no address (which cannot be bound anew), no single word. */
static bool is_net_name(const char *host) {
    const size_t n = strcspn(host, ":");
    return host[0] != '[' && memchr(host, '.', n) && strspn(host, "0123456789.") < n;
}

static bool is_known_host(const moa_server *s, const char *host) {
    for (int i = 0; i < s->cfg.n_origin; i++) {
        const char *page = strstr(s->cfg.origin[i], "://");
        if (strcmp(s->cfg.origin[i], "*") == 0 || (page && strcasecmp(page + 3, host) == 0)) return true;
    }
    return false;
}

int moa_guard_origin(const moa_server *s, struct MHD_Connection *conn, moa_fault *f) {
    const char *origin = MHD_lookup_connection_value(conn, MHD_HEADER_KIND, "Origin"), *host = MHD_lookup_connection_value(conn, MHD_HEADER_KIND, "Host");
    if (s->local && !s->cfg.n_key && host && is_net_name(host) && !is_known_host(s, host))
        return moa_fault_set(f, 403, "host_not_allowed", NULL, "this server is not known as %.100s; behind a proxy of that name: moa serve --cors-origin https://%.100s, or --api-key", host, host);
    if (!origin || moa_guard_allows(s, origin, host)) return 0;
    return moa_fault_set(f, 403, "origin_not_allowed", NULL, "pages of %.100s may not ask here; allow them with: moa serve --cors-origin %.100s", origin, origin);
}

/* Names of headers as a preflight lists them: nothing that could end a line. */
static bool plain_list(const char *s) { return strlen(s) < 2000 && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_, ") == strlen(s); }

void moa_guard_cors(struct MHD_Response *r, const moa_server *s, struct MHD_Connection *conn) {
    const char *origin = MHD_lookup_connection_value(conn, MHD_HEADER_KIND, "Origin"), *host = MHD_lookup_connection_value(conn, MHD_HEADER_KIND, "Host");
    const char *wants = MHD_lookup_connection_value(conn, MHD_HEADER_KIND, "Access-Control-Request-Headers");
    if (!origin) return;
    MHD_add_response_header(r, "Vary", "Origin");
    if (!moa_guard_allows(s, origin, host)) return;
    MHD_add_response_header(r, "Access-Control-Allow-Origin", origin);
    MHD_add_response_header(r, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
    MHD_add_response_header(r, "Access-Control-Allow-Headers", wants && plain_list(wants) ? wants : "Authorization, Content-Type");
    MHD_add_response_header(r, "Access-Control-Expose-Headers", "x-request-id, retry-after");
    MHD_add_response_header(r, "Access-Control-Max-Age", "86400");
}

bool moa_guard_json_type(const char *type) {
    static const char json[] = "application/json";
    if (!type || strncasecmp(type, json, sizeof json - 1) != 0) return false;
    const char end = type[sizeof json - 1];
    return end == 0 || end == ';' || end == ' ';
}
