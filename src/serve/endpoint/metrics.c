/* metrics.c - GET /metrics: counters of the server and the load of its models, for Prometheus. endpoints.def: ENDPOINT(metrics)
 * SPDX-License-Identifier: Apache-2.0 */
#include "serve/endpoint.h"
#include "serve/catalog.h"
#include "serve/server.h"
#include "serve/upstream.h"

static void gauge(moa_buf *b, const char *name, const char *help, double v) { moa_buf_addf(b, "# HELP %s %s\n# TYPE %s gauge\n%s %.17g\n", name, help, name, name, v); }

typedef struct figure { const char *name, *type, *help; } figure;

static void of_models(moa_buf *b, const moa_catalog *c) {
    static const figure rows[] = {
        {"moa_engine_running", "gauge", "calls that are decoded"}, {"moa_engine_waiting", "gauge", "calls that wait for room in the KV cache"},
        {"moa_engine_steps_total", "counter", "steps computed"}, {"moa_engine_drafted_total", "counter", "tokens fed as guesses"},
        {"moa_engine_accepted_total", "counter", "guesses that came true"}, {"moa_engine_tokens_total", "counter", "tokens drawn"}, {"moa_kv_tokens", "gauge", "positions whose KV is held, by calls and as beginnings of others"},
        {"moa_kv_room", "gauge", "positions that there is room for"}, {"moa_context_tokens", "gauge", "tokens of one conversation"},
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        moa_buf_addf(b, "# HELP %s %s\n# TYPE %s %s\n", rows[k].name, rows[k].help, rows[k].name, rows[k].type);
        for (int i = 0; i < c->n_model; i++) {
            moa_generator *g = c->model[i]->backend ? moa_backend_local_generator(c->model[i]->backend) : NULL;
            if (!g) continue;
            const moa_gen_load l = moa_generator_load(g);
            const double v[] = {l.n_running, l.n_waiting, (double)l.steps, (double)l.drafted, (double)l.accepted, (double)l.written, (double)l.kv_tokens, (double)l.kv_room, c->model[i]->backend->n_ctx};
            moa_buf_addf(b, "%s{model=\"%s\"} %.17g\n", rows[k].name, c->model[i]->id, v[k]);
        }
    }
}

static void of_backends(moa_buf *b, const moa_catalog *c) {
    static const figure rows[] = {
        {"moa_backend_running", "gauge", "requests under way to a model behind a URL"}, {"moa_backend_waiting", "gauge", "calls that wait for their turn, or rest before another try"},
        {"moa_backend_breaker", "gauge", "0: closed, 1: open, 2: half open"}, {"moa_backend_first_seconds_p50", "gauge", "to the first word, of the last 200 requests"},
        {"moa_backend_first_seconds_p95", "gauge", "the same"}, {"moa_backend_requests_total", "counter", "requests made"},
        {"moa_backend_failures_total", "counter", "requests that failed"}, {"moa_backend_retries_total", "counter", "requests that were another try"},
        {"moa_backend_hedges_total", "counter", "second requests beside a slow one"}, {"moa_backend_hedges_won_total", "counter", "of these, those that spoke first"},
        {"moa_backend_refused_total", "counter", "calls that found the breaker open"}, {"moa_backend_canceled_total", "counter", "calls that were canceled"},
    };
    moa_upstream_stats s;
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        bool any = false;
        for (int i = 0; i < c->n_model; i++) {
            if (!c->model[i]->backend || !moa_upstream_stats_of(&s, c->model[i]->backend)) continue;
            const double v[] = {s.running, s.waiting, s.breaker, s.p50, s.p95, (double)s.requests, (double)s.failures, (double)s.retries, (double)s.hedges, (double)s.hedges_won,
                                (double)s.refused, (double)s.canceled};
            if (v[k] < 0) continue; /* too few calls to tell */
            if (!any) moa_buf_addf(b, "# HELP %s %s\n# TYPE %s %s\n", rows[k].name, rows[k].help, rows[k].name, rows[k].type);
            any = true;
            moa_buf_addf(b, "%s{backend=\"%s\"} %.17g\n", rows[k].name, c->model[i]->id, v[k]);
        }
    }
}

static void handle(moa_exchange *x) {
    int queued, running;
    moa_buf b;
    moa_buf_init(&b, 4 << 20);
    moa_queue_load(&x->server->queue, &queued, &running);
    gauge(&b, "moa_queue_depth", "requests that wait for their turn", queued);
    gauge(&b, "moa_requests_running", "requests at work", running);
    gauge(&b, "moa_connections_busy", "requests that are read, at work or written", x->server->n_open);
    of_models(&b, x->catalog);
    of_backends(&b, x->catalog);
    moa_metrics_write(&b, &x->server->metrics);
    moa_reply_text(x, 200, "text/plain; version=0.0.4; charset=utf-8", moa_buf_str(&b), b.len);
    moa_buf_deinit(&b);
}

const moa_endpoint moa_endpoint_metrics = {.name = "metrics", .help = "counters for Prometheus", .method = "GET", .path = "/metrics", .quick = true, .handle = handle};
