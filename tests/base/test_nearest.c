/* test_nearest.c - "did you mean": slips are mended, other words are not offered. SPDX-License-Identifier: Apache-2.0 */
#include "base/nearest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const char *const names[] = {"run", "chat", "eval", "train", "info", "quantize", "perplexity", "--temperature", "--mix", "self-moa"};

static void test_nearest(void **state) {
    (void)state;
    static const struct { const char *name, *near; } cases[] = {
        {"rnu", "run"}, {"evla", "eval"}, {"chatt", "chat"}, {"trian", "train"}, {"quantise", "quantize"}, {"perplexty", "perplexity"},
        {"--temprature", "--temperature"}, {"--mxi", "--mix"}, {"slef-moa", "self-moa"}, {"quantzie", "quantize"}, {"perlpexitty", "perplexity"},
        {"serve", NULL}, {"help", NULL}, {"ls", NULL}, {"cat", "chat"}, {"brain", "train"}, {"into", "info"}, {"moon", NULL},
        {"--max", "--mix"}, {"--top-k", NULL}, {"download", NULL}, {"", NULL}, {"x", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *near = moa_nearest(cases[i].name, names, sizeof names / sizeof *names);
        if (cases[i].near ? !near || strcmp(near, cases[i].near) != 0 : near != NULL)
            fail_msg("'%s': '%s', expected '%s'", cases[i].name, near ? near : "nothing", cases[i].near ? cases[i].near : "nothing");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nearest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
