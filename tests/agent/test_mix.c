/* test_mix.c - mixes by name and parameters. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/scripted.h"

#include "agent/mix.h"
#include "base/nearest.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void test_names(void **state) {
    (void)state;
    int n;
    const moa_strategy *const *row = moa_strategies(&n);
    for (int i = 0; i < n; i++) {
        moa_mix_spec s = {0};
        assert_int_equal(moa_mix_spec_parse(&s, row[i]->name, NULL), 0);
        assert_non_null(moa_strategy_find(s.cfg.strategy));
        assert_int_equal(s.cfg.n, row[i]->n);
        moa_mix_spec_deinit(&s);
    }
    moa_mix_spec s = {0};
    moa_err err = {0};
    assert_int_equal(moa_mix_spec_parse(&s, "slef-moa", &err), MOA_EUSAGE);
    assert_non_null(strstr(err.text, "self-moa-seq"));
    assert_non_null(strstr(err.hint, "'self-moa'"));
    assert_int_equal(moa_mix_spec_parse(&s, "", &err), MOA_EUSAGE);
}

static void test_parameters(void **state) {
    (void)state;
    moa_mix_spec s = {0};
    assert_int_equal(moa_mix_spec_parse(&s, "self-moa:n=4,temperature=0.9,max_tokens=50,aggregate-temperature=0.2", NULL), 0);
    assert_int_equal(s.cfg.n, 4);
    assert_true(s.cfg.propose.temperature == 0.9f);
    assert_true(s.cfg.aggregate.temperature == 0.2f);
    assert_int_equal(s.cfg.max_tokens, 50);
    assert_string_equal(s.label, "self-moa:n=4,temperature=0.9,max_tokens=50,aggregate-temperature=0.2");
    moa_mix_spec_deinit(&s);
    assert_int_equal(moa_mix_spec_parse(&s, "moa:proposers=a.gguf+b.gguf,layers=1,aggregator=c", NULL), 0);
    assert_int_equal(s.n_proposer_name, 2);
    assert_string_equal(s.proposer_name[1], "b.gguf");
    assert_string_equal(s.aggregator_name, "c");
    moa_mix_spec_deinit(&s);
    static const char *const bad[] = {"self-moa:n=0", "self-moa:n=1.5", "self-moa:n=", "self-moa:n", "self-moa:layers=2", "single:n=3",
                                      "vote:aggregator=x", "vote:aggregate-temperature=1", "moa:proposers=a++b", "moa:temperature=nan",
                                      "self-moa:tempreature=1", "self-moa-seq:window=65", "self-moa:n=2,n=3", "self-moa:max-tokens=2,n=3,max_tokens=2",
                                      "moa:proposer=a,proposer=b", "self-moa:,n=2", "self-moa:n=2,", "self-moa:"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        moa_err err = {0};
        assert_int_equal(moa_mix_spec_parse(&s, bad[i], &err), MOA_EUSAGE);
        assert_true(err.text[0] != 0);
        assert_null(s.label);
    }
}

typedef struct opener { scripted s[3]; int n; } opener;
static int by_name(scripted *s, int i, const moa_call *c, char *out, size_t n) { (void)i, (void)c; return snprintf(out, n, "%s", s->base.id) < 0; }
static int open_scripted(void *ctx, moa_backend **out, const char *name, moa_err *err) {
    opener *o = ctx;
    if (name && !strcmp(name, "none")) return moa_fail(err, MOA_ENOTFOUND, "none");
    scripted_init(&o->s[o->n], name ? name : "default", by_name);
    *out = &o->s[o->n++].base;
    return 0;
}

static void test_bind(void **state) {
    (void)state;
    opener o = {0};
    moa_pool *p;
    assert_int_equal(moa_pool_new(&p, NULL, open_scripted, &o, NULL), 0);
    moa_mix_spec s = {0}, t = {0};
    assert_int_equal(moa_mix_spec_parse(&s, "moa:proposers=a+b+a,aggregator=b", NULL), 0);
    assert_int_equal(moa_mix_spec_bind(&s, p, NULL, NULL), 0);
    assert_int_equal(o.n, 2); /* each model once */
    assert_ptr_equal(s.cfg.proposer[0], s.cfg.proposer[2]);
    assert_ptr_equal(s.cfg.aggregator, s.cfg.proposer[1]);
    assert_int_equal(moa_mix_spec_parse(&t, "self-moa", NULL), 0);
    assert_int_equal(moa_mix_spec_bind(&t, p, NULL, NULL), 0);
    assert_string_equal(t.cfg.proposer[0]->id, "default");
    moa_mix_spec_deinit(&t);
    assert_int_equal(moa_mix_spec_parse(&t, "self-moa:proposers=a+b", NULL), 0);
    assert_int_equal(moa_mix_spec_bind(&t, p, NULL, NULL), MOA_EUSAGE);
    moa_mix_spec_deinit(&t);
    /* Numbers that do not fit each other are told before a model is opened. */
    static const struct { const char *spec, *says; } unfit[] = {{"moa:n=1,proposers=c+d", "n 1, but 2 proposers"}, {"self-moa-seq:repeat=6,proposers=c", "window of 6"}, {"self-moa-seq:window=1,proposers=c", "window of 1"},
                                                                {"self-moa-seq:window=3,repeat=3,proposers=c", "repeat 3"}};
    for (size_t i = 0; i < 3; i++) {
        moa_err err = {0};
        assert_int_equal(moa_mix_spec_parse(&t, unfit[i].spec, NULL), 0);
        assert_int_equal(moa_mix_spec_bind(&t, p, NULL, &err), MOA_EUSAGE);
        assert_non_null(strstr(err.text, unfit[i].says));
        moa_mix_spec_deinit(&t);
    }
    assert_int_equal(o.n, 3);
    assert_int_equal(moa_mix_spec_parse(&t, "self-moa:proposers=none", NULL), 0);
    assert_int_equal(moa_mix_spec_bind(&t, p, NULL, NULL), MOA_ENOTFOUND);
    moa_mix_spec_deinit(&t);
    moa_mix_spec_deinit(&s);
    moa_pool_free(p);
    for (int i = 0; i < o.n; i++) scripted_deinit(&o.s[i]);
}

static char folder[] = "/tmp/moa-test-XXXXXX";
static int in_folder(char *out, size_t n, const char *name, moa_err *err) {
    (void)err;
    return snprintf(out, n, "%s/%s", folder, name ? name : "a.gguf") < 0;
}

/* One file under four names is one model; a file of the same content is another. */
static void test_one_file(void **state) {
    (void)state;
    opener o = {0};
    moa_pool *p;
    moa_mix_spec s = {0};
    moa_backend *b;
    char one[64], link_to[64], other[64];
    assert_non_null(mkdtemp(folder));
    snprintf(one, sizeof one, "%s/a.gguf", folder);
    snprintf(link_to, sizeof link_to, "%s/b.gguf", folder);
    snprintf(other, sizeof other, "%s/c.gguf", folder);
    fclose(fopen(one, "w"));
    fclose(fopen(other, "w"));
    assert_int_equal(symlink("a.gguf", link_to), 0);
    assert_int_equal(moa_pool_new(&p, in_folder, open_scripted, &o, NULL), 0);
    assert_int_equal(moa_mix_spec_parse(&s, "moa:proposers=a.gguf+./a.gguf+b.gguf+c.gguf,aggregator=.//a.gguf", NULL), 0);
    assert_int_equal(moa_mix_spec_bind(&s, p, NULL, NULL), 0);
    assert_int_equal(o.n, 2);
    assert_string_equal(s.cfg.proposer[0]->id, one); /* opened by the path, not by the name */
    for (int i = 1; i < 3; i++) assert_ptr_equal(s.cfg.proposer[i], s.cfg.proposer[0]);
    assert_ptr_not_equal(s.cfg.proposer[3], s.cfg.proposer[0]);
    assert_ptr_equal(s.cfg.aggregator, s.cfg.proposer[0]);
    assert_int_equal(moa_pool_get(&b, p, NULL, NULL), 0); /* the default model is one of them */
    assert_ptr_equal(b, s.cfg.proposer[0]);
    moa_mix_spec_deinit(&s);
    moa_pool_free(p);
    for (int i = 0; i < o.n; i++) scripted_deinit(&o.s[i]);
    unlink(one), unlink(link_to), unlink(other), rmdir(folder);
}

static void test_nearest(void **state) {
    (void)state;
    static const char *const names[] = {"--mix", "--model", "--max-tokens", "--json"};
    assert_string_equal(moa_nearest("--mxi", names, 4), "--mix");
    assert_string_equal(moa_nearest("--modle", names, 4), "--model");
    assert_string_equal(moa_nearest("--max-token", names, 4), "--max-tokens");
    assert_null(moa_nearest("--completely-different", names, 4));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_parameters), cmocka_unit_test(test_bind), cmocka_unit_test(test_one_file),
                                       cmocka_unit_test(test_nearest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
