/* policy.h - how patient one is with a server: rate limits, the breaker, times to try again, how long replies usually take. Plain arithmetic
 * over times that are handed in (seconds of moa_now), so that tests need no clock. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_UPSTREAM_POLICY_H
#define MOA_SERVE_UPSTREAM_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- token bucket: at most `limit` in any 60 s. A sixth of it may go at once (burst b); the rest comes back at r = (limit + 1 - b) / 60 a
 * second, so that a window of 60 s holds b + 60 r - 1 = limit. */
typedef struct moa_bucket { double limit, burst, rate, level, at; } moa_bucket;
void moa_bucket_init(moa_bucket *b, double limit, double now);       /* limit 0: none, anything passes */
double moa_bucket_wait(moa_bucket *b, double cost, double now);      /* seconds until `cost` may go; 0: now. More than the burst goes when the bucket is full */
void moa_bucket_take(moa_bucket *b, double cost);                    /* negative: it was less than was taken */

/* ---- circuit breaker: closed; open after `most` failures in a row; when it has cooled down one call may try (half open), and decides. */
typedef struct moa_breaker {
    int most, failures;          /* most 0: it never opens */
    double cool_s, opened;
    enum { MOA_BREAKER_CLOSED, MOA_BREAKER_OPEN, MOA_BREAKER_HALF_OPEN } state;
} moa_breaker;
double moa_breaker_wait(const moa_breaker *b, double now); /* 0: a call may go. Otherwise seconds until the next probe, about; the call fails */
bool moa_breaker_go(moa_breaker *b);                        /* one goes; true: it is the probe */
void moa_breaker_tell(moa_breaker *b, bool worked, double now);
void moa_breaker_withdraw(moa_breaker *b, double now); /* the probe was canceled: another one may go */

/* ---- times of the last calls */
enum { MOA_LATENCIES = 200, MOA_LATENCIES_MIN = 20 };
typedef struct moa_latency { float last[MOA_LATENCIES]; int64_t n; } moa_latency;
void moa_latency_add(moa_latency *l, double seconds);
double moa_latency_quantile(const moa_latency *l, double q); /* nearest rank over the last MOA_LATENCIES; negative: fewer than MOA_LATENCIES_MIN */

/* ---- when to try again: base 2^try within the half and one and a half of it (noise: any 64 bits), 30 s at most */
double moa_backoff(double base, int tries, uint64_t noise);
/* Seconds that a header line asks to wait, or negative: it is no such line. Retry-After has seconds or a date (RFC 9110, 10.2.3); retry-after-ms,
 * which several services send, milliseconds. now: seconds since 1970. */
double moa_retry_after(const char *line, size_t n, double now);

#endif
