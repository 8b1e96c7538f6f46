/* test_config.c - moa.yaml: errors name their line; mixes of it answer; a new one is taken while the server runs, a broken one is not.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "serve/config.h"
#include "support/client.h"
#include "support/serving.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void test_errors(void **state) {
    static const struct { const char *text, *says; } cases[] = {
        {"", "m.yaml:1: the configuration is empty"},
        {"models:\n  - {id: a}\n", "m.yaml:2: model 1 has no file"},
        {"models:\n  - {id: 'a b', file: x}\n", "m.yaml:2: id 'a b'"},
        {"models:\n  - {id: a, file: x}\n  - {id: a, file: y}\n", "m.yaml:3: two models"},
        {"models:\n  - {id: a, file: x, ctx: -4}\n", "m.yaml:2: ctx -4"},
        {"models:\n  - {id: a, file: x, ctx: many}\n", "m.yaml:2: "},
        {"modells: []\n", "m.yaml:1: unknown key 'modells' in configuration (known: models, backends, mixes, housekeeping)"},
        {"backends:\n  - {id: a, url: 'ftp://x'}\n", "m.yaml:2: url 'ftp://x'"},
        {"backends:\n  - {id: a}\n", "m.yaml:2: backend a has no url"},
        {"backends:\n  - {id: a, url: 'http://x', key_env: MOA_NO_SUCH_VARIABLE}\n", "m.yaml:2: the environment has no variable MOA_NO_SUCH_VARIABLE"},
        {"backends:\n  - id: a\n    url: http://x\n    requests_per_minute: -1\n", "m.yaml:4: requests_per_minute -1, expected 0 to 1000000000"},
        {"backends:\n  - id: a\n    url: http://x\n    hedge: 1.5\n", "m.yaml:4: hedge 1.5, expected 0 to 1"},
        {"backends:\n  - id: a\n    url: http://x\n    timeout: nan\n", "m.yaml:4: timeout nan, expected 0 to 86400"},
        {"backends:\n  - id: a\n    url: http://x\n    timeout_first: soon\n", "m.yaml:4: "},
        {"backends:\n  - id: a\n    url: http://x\n    breaker: -2\n", "m.yaml:4: breaker -2, expected -1 to 1000000"},
        {"backends:\n  - id: a\n    url: http://x\n    tools: some\n", "m.yaml:4: tools 'some', expected native or words"},
        {"models:\n  - id: a\n    file: x\n    kv: f8\n", "m.yaml:4: KV cache of type 'f8'"},
        {"models:\n  - id: a\n    file: x\n    repack: often\n", "m.yaml:4: repack 'often': expected auto, on or off"},
        {"mixes:\n  - id: a\n    mix: moa:layers=99\n", "m.yaml:3: layers '99'"},
        {"mixes:\n  - id: a\n    mix: none-such\n", "m.yaml:3: unknown mix 'none-such'"},
        {"mixes:\n  - id: a\n", "m.yaml:2: mix a does not say"},
        {"mixes:\n  - mix: vote\n", "m.yaml:1: mix 1: expected an id"},
        {"mixes:\n  - {id: a, mix: vote}\n  - {id: a, mix: vote}\n", "m.yaml:3: two mixes"},
        {"models: &x\n  - {id: a, file: b}\nmixes: *x\n", "m.yaml:3: aliases"},
        {"models:\n  - [\n", "m.yaml:3: "},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        moa_config *c;
        moa_err err = {0};
        assert_true(moa_config_parse(&c, cases[i].text, strlen(cases[i].text), "m.yaml", &err) < 0);
        if (strncmp(err.text, cases[i].says, strlen(cases[i].says))) fail_msg("%s\n  got: %s", cases[i].says, err.text);
        assert_null(c);
    }
}

static char path[] = "/tmp/moa-test-config-XXXXXX";

static void write_config(const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int calls_of(serving *s, const char *model, const char *content, int *status) {
    char body[500];
    snprintf(body, sizeof body, "{\"model\":\"%s\",\"max_tokens\":4,\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]}", model, content);
    reply r = client_post(s->port, "/v1/chat/completions", body);
    json_t *v = reply_json(&r);
    const int n = (int)json_integer_value(json_object_get(json_object_get(json_object_get(v, "usage"), "moa"), "calls"));
    *status = r.status;
    json_decref(v);
    reply_deinit(&r);
    return n;
}

static bool becomes(serving *s, const char *model, int status) {
    int got = 0;
    for (const double end = moa_now() + 20; moa_now() < end && got != status; usleep(2000)) calls_of(s, model, "Hi", &got);
    return got == status;
}

static void test_reload(void **state) {
    serving s;
    int status;
    char id[100];
    (void)state;
    assert_true(mkstemp(path) >= 0);
    write_config("mixes:\n  - {id: pair, mix: 'self-moa:n=2,max-tokens=8', about: two drafts, propose_system: Be brief.}\n");
    serving_config(path);
    serving_start(&s, NULL);
    assert_int_equal(calls_of(&s, "pair", "Hi", &status), 3);
    assert_int_equal(calls_of(&s, "pair:n=3", "Hi", &status), 4);
    /* What chat programs ask for themselves is one call. */
    assert_int_equal(calls_of(&s, "pair", "### Task:\\nGenerate a concise title for the chat.", &status), 1);
    snprintf(id, sizeof id, "%s", s.server->catalog->model[0]->id);
    const moa_catalog_model *model = s.server->catalog->model[0];
    char text[600];
    snprintf(text, sizeof text, "mixes:\n  - {id: trio, mix: moa, proposers: [%s, %s], aggregator: %s}\nhousekeeping: %s\n", id, id, id, id);
    write_config(text);
    moa_server_reload(s.server);
    assert_true(becomes(&s, "trio", 200));
    assert_int_equal(calls_of(&s, "pair", "Hi", &status), 0);
    assert_int_equal(status, 404);
    assert_ptr_equal(s.server->catalog->model[0], model); /* the model stays open */
    write_config("mixes:\n  - {id: quartet, mix: moa, proposers: [nobody]}\n");
    moa_server_reload(s.server);
    usleep(20000);
    assert_true(becomes(&s, "trio", 200));
    assert_int_equal(calls_of(&s, "quartet", "Hi", &status), 0);
    serving_stop(&s);
    serving_config(NULL);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_errors), cmocka_unit_test(test_reload)};
    return cmocka_run_group_tests(tests, NULL, serving_teardown);
}
