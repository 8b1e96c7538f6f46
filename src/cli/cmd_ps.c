/* cmd_ps.c - moa ps: what a running server works on. SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/json.h"
#include "base/utf8.h"
#include "cli/cli.h"
#include "fetch/http.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_REPLY = 16 << 20, V_URL = 0, V_JSON };
static const moa_opt opts[] = {
    {"--url", "-u", MOA_OPT_STR, "URL", "of the server (default http://127.0.0.1:8080); its key: $MOA_API_KEY", 0, 0},
    {"--json", NULL, MOA_OPT_FLAG, NULL, "what the server says, as it is", 0, 0},
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_ps = {.name = "ps", .usage = "[--url URL] [--json]", .help = "the requests that a running server works on", .opts = opts, .run = run};

static int on_data(void *ctx, const void *p, size_t n, moa_err *err) {
    moa_buf *b = ctx;
    return moa_buf_add(b, p, n) < 0 ? moa_fail(err, MOA_ELIMIT, "a list of over %d MiB", MAX_REPLY >> 20) : 0;
}

static int fetch(moa_buf *b, const char *base, moa_err *err) {
    char url[2000];
    const char *key = getenv("MOA_API_KEY");
    moa_http_reply r;
    moa_http *h;
    size_t n = strlen(base);
    while (n && base[n - 1] == '/') n--;
    if (snprintf(url, sizeof url, "%.*s/ps", (int)n, base) >= (int)sizeof url) return moa_fail(err, MOA_EUSAGE, "a URL of over %zu bytes", sizeof url);
    const moa_http_cfg cfg = {.origin = url, .token = key && *key ? key : NULL, .connect_s = 5, .stall_s = 10};
    const moa_http_sink sink = {.data = on_data, .ctx = b};
    MOA_TRY(moa_http_open(&h, &cfg, err));
    const int rc = moa_http_get(h, &r, url, 0, NULL, &sink, err);
    moa_http_close(h);
    return rc < 0 && !r.status ? moa_hint(err, rc, "is a server running? moa serve starts one; --url names another") : rc;
}

static const char *text_of(const json_t *o, const char *key) {
    const char *s = json_string_value(json_object_get(o, key));
    return s && *s ? s : "-";
}

static void print_rows(const json_t *list) {
    const json_t *v;
    size_t i;
    printf("%-22s %-12s %-8s %9s %7s  %s\n", "ID", "ENDPOINT", "STATE", "SECONDS", "TEXTS", "MODEL");
    json_array_foreach(list, i, v) {
        char model[200];
        snprintf(model, sizeof model, "%s", text_of(v, "model"));
        moa_utf8_tame(model, false);
        printf("%-22.40s %-12.20s %-8.10s %9.1f %7lld  %s\n", text_of(v, "id"), text_of(v, "endpoint"), text_of(v, "state"), json_number_value(json_object_get(v, "seconds")),
               (long long)json_integer_value(json_object_get(v, "texts")), model);
    }
    if (!json_array_size(list)) printf("(none)\n");
}

static int run(int argc, char **argv) {
    moa_optval v[sizeof opts / sizeof *opts];
    const char *pos[1];
    int n_pos, rc = moa_opt_parse(&moa_command_ps, argc, argv, v, pos, 0, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    moa_err err = {0};
    moa_buf b;
    json_t *o = NULL;
    moa_buf_init(&b, MAX_REPLY);
    rc = fetch(&b, v[V_URL].set ? v[V_URL].s : "http://127.0.0.1:8080", &err);
    if (rc >= 0) rc = moa_json_parse(&o, moa_buf_str(&b), b.len, MAX_REPLY, "the server's reply", &err);
    if (rc >= 0 && !json_is_array(json_object_get(o, "data"))) rc = moa_fail(&err, MOA_EFORMAT, "the server's reply has no list: is it moa serve?");
    if (rc >= 0 && v[V_JSON].set) printf("%s", moa_buf_str(&b));
    else if (rc >= 0) print_rows(json_object_get(o, "data"));
    json_decref(o);
    moa_buf_deinit(&b);
    return rc < 0 ? moa_cli_fail(&err) : 0;
}
