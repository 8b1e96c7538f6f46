/* metrics.h - counters and histograms of the server, as Prometheus reads them (its text format 0.0.4).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_METRICS_H
#define MOA_SERVE_METRICS_H

#include "base/buf.h"

#include <pthread.h>
#include <stdint.h>

enum { MOA_METRIC_ROWS = 256, MOA_METRIC_BUCKETS = 10 };

/* Rows are made as their labels are met; where MOA_METRIC_ROWS are in use a family's others are one row, labelled overflow: a client cannot fill the memory. */
typedef struct moa_metric {
    const char *name;            /* of the family; static */
    char label[160];             /* `model="a",code="200"`; "": none */
    double value;                /* counter, or sum of a histogram */
    uint64_t count, bucket[MOA_METRIC_BUCKETS];
} moa_metric;
typedef struct moa_metrics {
    pthread_mutex_t lock;
    moa_metric row[MOA_METRIC_ROWS];
    int n;
} moa_metrics;

void moa_metrics_init(moa_metrics *m);
void moa_metrics_deinit(moa_metrics *m);
/* family: a name that metrics.c knows. Values of labels are escaped here; v NULL: that label is none. */
void moa_metric_add(moa_metrics *m, const char *family, const char *k1, const char *v1, const char *k2, const char *v2, double value);
void moa_metrics_write(moa_buf *out, moa_metrics *m);

#endif
