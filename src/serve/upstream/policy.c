/* policy.c - see policy.h. SPDX-License-Identifier: Apache-2.0 */
#include "serve/upstream/policy.h"

#include <ctype.h>
#include <curl/curl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void moa_bucket_init(moa_bucket *b, double limit, double now) {
    const double burst = limit > 6 ? floor(limit / 6) : 1;
    *b = (moa_bucket){.limit = limit, .burst = burst, .rate = (limit + 1 - burst) / 60, .level = burst, .at = now};
}

static void refill(moa_bucket *b, double now) {
    b->level = fmin(b->burst, b->level + b->rate * (now - b->at));
    b->at = now;
}

double moa_bucket_wait(moa_bucket *b, double cost, double now) {
    if (b->limit <= 0) return 0;
    refill(b, now);
    const double short_of = fmin(cost, b->burst) - b->level;
    return short_of > 1e-9 * b->burst ? short_of / b->rate : 0;
}

void moa_bucket_take(moa_bucket *b, double cost) {
    if (b->limit > 0) b->level = fmin(b->burst, b->level - cost);
}

double moa_breaker_wait(const moa_breaker *b, double now) {
    if (b->state == MOA_BREAKER_CLOSED) return 0;
    return b->state == MOA_BREAKER_HALF_OPEN ? b->cool_s : fmax(0, b->opened + b->cool_s - now);
}

bool moa_breaker_go(moa_breaker *b) {
    if (b->state == MOA_BREAKER_CLOSED) return false;
    b->state = MOA_BREAKER_HALF_OPEN;
    return true;
}

void moa_breaker_tell(moa_breaker *b, bool worked, double now) {
    if (worked) {
        b->failures = 0;
        b->state = MOA_BREAKER_CLOSED;
        return;
    }
    b->failures++;
    if (b->most <= 0 || (b->state != MOA_BREAKER_HALF_OPEN && b->failures < b->most)) return;
    if (b->state != MOA_BREAKER_OPEN) b->opened = now; /* calls that were under way and fail now do not prolong it */
    b->state = MOA_BREAKER_OPEN;
}

void moa_breaker_withdraw(moa_breaker *b, double now) {
    if (b->state != MOA_BREAKER_HALF_OPEN) return;
    b->state = MOA_BREAKER_OPEN;
    b->opened = now - b->cool_s;
}

void moa_latency_add(moa_latency *l, double seconds) { l->last[l->n++ % MOA_LATENCIES] = (float)seconds; }

static int by_size(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

double moa_latency_quantile(const moa_latency *l, double q) {
    float v[MOA_LATENCIES];
    const int n = l->n < MOA_LATENCIES ? (int)l->n : MOA_LATENCIES;
    if (n < MOA_LATENCIES_MIN) return -1;
    memcpy(v, l->last, (size_t)n * sizeof *v);
    qsort(v, (size_t)n, sizeof *v, by_size);
    const int rank = (int)ceil(q * n); /* 1 to n */
    return (double)v[rank < 1 ? 0 : rank > n ? n - 1 : rank - 1];
}

double moa_backoff(double base, int tries, uint64_t noise) {
    const double mean = base * (double)(1 << (tries < 16 ? tries : 16));
    return fmin(mean, 20) * (0.5 + (double)(noise >> 11) * 0x1p-53);
}

static bool named(const char *line, size_t n, const char *name) { return n > strlen(name) && !strncasecmp(line, name, strlen(name)); }

double moa_retry_after(const char *line, size_t n, double now) {
    char value[64];
    const bool ms = named(line, n, "retry-after-ms:");
    if (!ms && !named(line, n, "retry-after:")) return -1;
    const size_t skip = ms ? sizeof "retry-after-ms:" - 1 : sizeof "retry-after:" - 1;
    while (n > skip && isspace((unsigned char)line[n - 1])) n--;
    snprintf(value, sizeof value, "%.*s", (int)(n - skip < 63 ? n - skip : 63), line + skip);
    const char *v = value + strspn(value, " \t");
    char *end;
    const double number = strtod(v, &end);
    if (end != v && !*end && isfinite(number) && number >= 0) return ms ? number / 1000 : number;
    const time_t date = ms ? -1 : curl_getdate(v, NULL);
    return date < 0 ? -1 : fmax(0, (double)date - now);
}
