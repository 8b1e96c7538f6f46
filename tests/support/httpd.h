/* httpd.h - a small HTTP/1.1 server with faults, for tests of downloads: a process of its own on 127.0.0.1 (and, at the
 * same port, 127.0.0.2: another host). Routes lie in shared memory, so that a test may change them while it serves; one
 * process a connection, so that a slow reply holds up no other. It ends with the test.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_HTTPD_H
#define TESTS_SUPPORT_HTTPD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { HTTPD_ROUTES = 64, HTTPD_LOG = 256, HTTPD_TEXT = 1 << 16 };

typedef enum httpd_fault {
    HTTPD_FINE,
    HTTPD_CUT,         /* the connection ends after `at` bytes of the body */
    HTTPD_CUT_RANDOM,  /* after 1 to `at` bytes */
    HTTPD_STALL,       /* nothing comes after `at` bytes, the connection stays */
    HTTPD_SLOW,        /* `at` bytes every 10 ms */
    HTTPD_NO_RANGE,    /* 200 and the whole file, whatever was asked for */
    HTTPD_SHIFT,       /* 206 that says it begins `at` bytes later, and does */
    HTTPD_LIE,         /* 206 with the right numbers and bytes from `at` later */
    HTTPD_NO_NUMBERS,  /* 206 without Content-Range */
    HTTPD_HALF,        /* 206 of at most `at` bytes */
    HTTPD_ALWAYS_206,  /* 206 from `at` on though nothing was asked for */
    HTTPD_CORRUPT,     /* the byte `at` of the file is another */
    HTTPD_STATUS,      /* `status`, with Retry-After: `retry_after` where it is not NULL */
    HTTPD_REDIRECT,    /* `status` (302 if 0) to `to` */
    HTTPD_MORE,        /* chunked, and `at` bytes longer than the file */
    HTTPD_DROP,        /* the connection ends before any reply */
    HTTPD_MUTE,        /* no reply, and the connection stays */
    HTTPD_STAR,        /* 206 of at most `at` bytes, of a total that it does not tell */
    HTTPD_OPEN,        /* neither length nor chunks: the body ends with the connection, after `at` bytes */
    HTTPD_PAGE,        /* `status` with a page that has no end, a little at a time */
    HTTPD_HEADERS      /* header lines without end */
} httpd_fault;

typedef struct httpd_route {
    char path[256];           /* up to '?' */
    uint64_t seed;            /* content: httpd_content(seed), or text */
    int64_t size;
    char text[HTTPD_TEXT];    /* "": by seed */
    char etag[128], last_modified[64], type[64];
    char extra[512];          /* further header lines, each ending in \r\n */
    bool chunked;             /* no Content-Length */
    httpd_fault fault;
    int64_t at;
    int status;
    char retry_after[64], to[1024];
    atomic_int times;         /* requests that still meet the fault; negative: all */
    atomic_int n;             /* requests so far */
} httpd_route;

typedef struct httpd_request { char line[640], host[128], range[64], if_range[160], auth[256], secret[128]; } httpd_request;

typedef struct httpd {
    int port;
    pid_t pid;
    atomic_int n_route, n_log;
    httpd_route route[HTTPD_ROUTES];
    httpd_request log[HTTPD_LOG]; /* in the order of arrival; "X-Secret" is kept as secret */
} httpd;

httpd *httpd_start(void); /* NULL: no socket, no process */
void httpd_stop(httpd *h);
void httpd_clear(httpd *h); /* no routes, no log */
httpd_route *httpd_add(httpd *h, const char *path, uint64_t seed, int64_t size); /* with an ETag, without fault */
void httpd_fail(httpd_route *r, httpd_fault fault, int64_t at, int times);
const char *httpd_url(const httpd *h, const char *path);       /* of 127.0.0.1; two results stay valid */
const char *httpd_other_url(const httpd *h, const char *path); /* of 127.0.0.2 */
/* n bytes of the content from byte `from` on; it begins with "GGUF". */
void httpd_content(uint8_t *out, uint64_t seed, int64_t from, int64_t n);
void httpd_sha256(char out[65], uint64_t seed, int64_t size);

#endif
