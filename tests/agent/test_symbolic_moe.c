/* test_symbolic_moe.c - profiles, recruits, what each is asked; keywords that a model names; a batch on a shelf, where each model is opened once.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/kit.h"

#include "agent/backend/shelf.h"
#include "agent/strategy.h"
#include "base/clock.h"
#include "task/task.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* a knows letters, b sums, c Velu. */
static int subject(const char *q) { return strstr(q, "letters") ? 0 : strstr(q, "plus") ? 1 : 2; }
static const char *knows(player *p, int i, const moa_call *c) {
    (void)i;
    return subject(c->msg[c->n_msg - 1].content) == p->base.id[0] - 'a' ? "Answer: right" : "Answer: wrong";
}
static const char *merges(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return "Answer: merged"; }
static double right(void *ctx, const char *s, size_t n) { (void)ctx, (void)n; return strstr(s, "right") != NULL; }

static void question_of(char q[100], int i) {
    static const char *const form[] = {"Sort the letters %c %c", "What is %c plus %c?", "Say it in Velu: %c %c"};
    snprintf(q, 100, form[i % 3], 'a' + i % 26, 'a' + i / 3 % 26);
}

static void learn_profile(kit *k) {
    char q[100];
    assert_int_equal(moa_mix_set(&k->cfg, "profile", "write", NULL), 0);
    for (int i = 0; i < 60; i++) {
        question_of(q, i);
        moa_run *r = kit_run(k, q, (uint64_t)i);
        moa_err err = {0};
        assert_int_equal(r->rc, 0);
        if (moa_run_learn(r, right, NULL, &err) < 0) fail_msg("%s", err.text);
        moa_run_free(r);
    }
    assert_int_equal(moa_mix_set(&k->cfg, "profile", "read", NULL), 0);
}

static void test_profile_and_recruits(void **state) {
    (void)state;
    kit k;
    char q[100], *v;
    kit_init(&k, "symbolic-moe", "", 3, knows);
    player *agg = kit_aggregator(&k, "agg", merges);
    learn_profile(&k);
    assert_int_equal(agg->calls, 0); /* profiles are paid for once: no merging */
    assert_int_equal(k.p[0].calls + k.p[1].calls + k.p[2].calls, 180);
    assert_int_equal(moa_store_get(&v, k.cfg.store, "symbolic-moe/skill", "letters", NULL), 0);
    assert_string_equal(v, "20 0 a\n0 20 b\n0 20 c\n");
    free(v);
    assert_int_equal(moa_store_get(&v, k.cfg.store, "symbolic-moe/model", "all", NULL), 0);
    assert_string_equal(v, "20 40 a\n20 40 b\n20 40 c\n");
    free(v);
    for (int i = 70; i < 76; i++) {
        char want[8];
        static const char *const ref[] = {"Answer: right", "Answer: right", "Answer: right"};
        moa_buf prompt;
        question_of(q, i);
        moa_run *r = kit_run(&k, q, (uint64_t)i);
        assert_string_equal(moa_run_answer(r), "Answer: merged");
        assert_int_equal(r->n_node, 5); /* recruit, three samples of the one that knows, the aggregator */
        for (int j = 1; j <= 3; j++) {
            assert_int_equal(r->node[j].backend->id[0], 'a' + i % 3);
            assert_int_equal(r->node[j].n_msg, 1);
            assert_string_equal(r->node[j].msg[0].content, q);
        }
        snprintf(want, sizeof want, "m%d.3", i % 3 + 1);
        assert_string_equal(r->node[3].name, want);
        moa_buf_init(&prompt, 1 << 16);
        assert_true(moa_aggregate_prompt(&prompt, q, ref, 3) >= 0);
        assert_string_equal(r->node[4].msg[0].content, moa_buf_str(&prompt));
        moa_buf_deinit(&prompt);
        moa_run_free(r);
    }
    kit_deinit(&k);
}

static void test_without_profile(void **state) {
    (void)state;
    kit k;
    kit_init(&k, "symbolic-moe", "", 3, knows);
    player *agg = kit_aggregator(&k, "agg", merges);
    moa_run *r = kit_run(&k, "Sort the letters b a", 1);
    assert_int_equal(k.p[0].calls, 1);
    assert_int_equal(k.p[1].calls, 1);
    assert_int_equal(k.p[2].calls, 1);
    assert_int_equal(agg->calls, 1);
    assert_non_null(strstr(r->node[0].note, "no profile"));
    assert_int_equal(moa_run_learn(r, right, NULL, NULL), 0); /* read: what is asked teaches nothing */
    moa_run_free(r);
    char *v;
    assert_int_equal(moa_store_get(&v, k.cfg.store, "symbolic-moe/model", "all", NULL), 0);
    assert_null(v);
    kit_deinit(&k);
}

/* Equal weights: all are drawn; under a twentieth: never; best: always the first of the best. */
static void test_drawing(void **state) {
    (void)state;
    int times[3] = {0};
    kit k;
    for (int best = 0; best < 2; best++) {
        kit_init(&k, "symbolic-moe", best ? "recruit=best,n=1" : "n=1", 3, knows);
        assert_int_equal(moa_store_put(k.cfg.store, "symbolic-moe/model", "all", "50 50 a\n50 50 b\n50 50 c\n", NULL), 0);
        assert_int_equal(moa_store_put(k.cfg.store, "symbolic-moe/skill", "letters", "20 0 a\n20 0 b\n11 10 c\n", NULL), 0);
        times[0] = times[1] = times[2] = 0;
        for (uint64_t i = 0; i < 200; i++) {
            moa_run *r = kit_run(&k, "letters", i);
            assert_int_equal(r->n_node, 2); /* one recruit is the answer */
            times[r->node[1].backend->id[0] - 'a']++;
            moa_run_free(r);
        }
        if (best) assert_int_equal(times[0], 200);
        else assert_in_range(times[0], 70, 130);
        assert_int_equal(times[0] + times[1], 200);
        kit_deinit(&k);
    }
}

/* What is in the store is input like any other. */
static void test_bad_profile(void **state) {
    (void)state;
    static const char *const bad[] = {"", "x", "1 2", "1 2 ", "-1 2 a\n", "nan nan a\ninf 0 b\n", "1e300 1 a\n", "\n\n\n", "5 5 a", "0 0 a\n0 0 b\n0 0 c\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kit k;
        kit_init(&k, "symbolic-moe", "", 3, knows);
        assert_int_equal(moa_store_put(k.cfg.store, "symbolic-moe/model", "all", i % 2 ? "50 50 a\n50 50 b\n50 50 c\n" : bad[i], NULL), 0);
        assert_int_equal(moa_store_put(k.cfg.store, "symbolic-moe/skill", "letters", bad[i], NULL), 0);
        moa_run *r = kit_run(&k, "letters", 1);
        assert_int_equal(r->rc, 0);
        moa_run_free(r);
        kit_deinit(&k);
    }
}

static const char *names(player *p, int i, const moa_call *c) {
    (void)p, (void)c;
    static const char *const said[] = {"Sorting, Letters", "1. sorting\n2. spelling", "- letters; a keyword that is longer than twenty bytes", "Sums", ""};
    return said[i % 5];
}

static void test_named_skills(void **state) {
    (void)state;
    kit k;
    kit_init(&k, "symbolic-moe", "tags=model,n=1,profile=write", 3, knows);
    player *judge = kit_judge(&k, "tagger", names);
    moa_run *r = kit_run(&k, "Sort the letters b a", 1);
    assert_int_equal(judge->calls, 5);
    const moa_agent_node *t = kit_node(r, "tags1");
    assert_int_equal(t->n_msg, 2);
    assert_string_equal(t->msg[0].role, "system");
    assert_non_null(strstr(t->msg[0].content, "2 to 5 skills"));
    assert_string_equal(t->msg[1].content, "Sort the letters b a");
    assert_true(t->sampling.temperature == 0.7f);
    assert_int_equal(moa_run_learn(r, right, NULL, NULL), 0);
    moa_run_free(r);
    static const char *const tag[] = {"sorting", "letters", "sums", "spelling", "sort"};
    for (int i = 0; i < 5; i++) { /* those that were named twice */
        char *v;
        assert_int_equal(moa_store_get(&v, k.cfg.store, "symbolic-moe/skill", tag[i], NULL), 0);
        if (i < 2) assert_string_equal(v, "1 0 a\n0 1 b\n0 1 c\n");
        else assert_null(v);
        free(v);
    }
    kit_deinit(&k);
}

static void with_profile(kit *k) {
    kit_aggregator(k, "agg", merges);
    assert_int_equal(moa_store_put(k->cfg.store, "symbolic-moe/model", "all", "50 50 a\n50 50 b\n50 50 c\n", NULL), 0);
    assert_int_equal(moa_store_put(k->cfg.store, "symbolic-moe/skill", "letters", "20 5 a\n20 0 b\n11 10 c\n", NULL), 0);
}
static void with_tagger(kit *k) {
    with_profile(k);
    kit_judge(k, "tagger", names);
}
static void test_torture(void **state) {
    (void)state;
    kit_torture("symbolic-moe", "", 3, knows, with_profile, "letters");
    kit_torture("symbolic-moe", "tags=model", 3, knows, with_tagger, "letters");
    kit_torture("symbolic-moe", "profile=write", 3, knows, NULL, "letters");
}

/* ---- a batch on a shelf ---- */

enum { N_FAKE = 5 };
typedef struct fake { moa_backend base; char id[8]; } fake;
static struct { pthread_mutex_t lock; int open, opened[N_FAKE], most, calls; } world = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void fake_start(moa_backend *b, moa_call *const *call, int n) {
    for (int i = 0; i < n; i++) {
        moa_call *c = call[i];
        char text[64];
        pthread_mutex_lock(&world.lock);
        world.calls++;
        pthread_mutex_unlock(&world.lock);
        snprintf(text, sizeof text, "Answer: %s%llu", b->id, (unsigned long long)(c->sampling.seed % 7));
        c->res.text = strdup(text), c->res.text_len = strlen(text), c->res.why = MOA_STOP_EOS;
        c->on_text(c, text, strlen(text));
        c->on_end(c);
    }
}
static void fake_close(moa_backend *b) {
    pthread_mutex_lock(&world.lock);
    world.open--;
    pthread_mutex_unlock(&world.lock);
    free(b);
}
static int fake_open(void *ctx, moa_backend **out, const char *name, moa_err *err) {
    static const moa_backend_ops ops = {.name = "fake", .help = "", .start = fake_start, .close = fake_close};
    if (!strcmp(name, "z") && ctx && ++*(int *)ctx > 1) return moa_fail(err, MOA_EIO, "z is gone"); /* it was there when it was looked at */
    fake *f = calloc(1, sizeof *f);
    assert_non_null(f);
    snprintf(f->id, sizeof f->id, "%s", name);
    f->base = (moa_backend){.ops = &ops, .id = f->id, .fingerprint = 5};
    pthread_mutex_lock(&world.lock);
    world.open++;
    if (name[0] >= 'a' && name[0] < 'a' + N_FAKE) world.opened[name[0] - 'a']++;
    if (world.open > world.most) world.most = world.open;
    pthread_mutex_unlock(&world.lock);
    *out = &f->base;
    return 0;
}

/* 40 questions to three models and an aggregator: what is answered without a shelf. */
static void run_batch(char answer[40][64], moa_backend *const *b, moa_backend *agg, moa_store *store) {
    moa_mix_cfg cfg = moa_mix_defaults("symbolic-moe");
    char q[40][100];
    moa_message m[40];
    moa_run *r[40];
    cfg.proposer = b, cfg.n_proposer = 3, cfg.aggregator = agg, cfg.store = store;
    for (int i = 0; i < 40; i++) {
        question_of(q[i], i);
        m[i] = (moa_message){"user", q[i]};
        assert_int_equal(moa_run_new(&r[i], &cfg, &m[i], 1, (uint64_t)i, NULL), 0);
    }
    assert_int_equal(moa_run_execute_many(r, 40, NULL, NULL, NULL), 0);
    for (int i = 0; i < 40; i++) {
        assert_int_equal(r[i]->rc, 0);
        snprintf(answer[i], 64, "%s", moa_run_answer(r[i]));
        moa_run_free(r[i]);
    }
}

static void profile_of_fakes(moa_store **s) {
    assert_int_equal(moa_store_open(s, NULL, NULL), 0);
    assert_int_equal(moa_store_put(*s, "symbolic-moe/model", "all", "50 50 a\n50 50 b\n50 50 c\n", NULL), 0);
    assert_int_equal(moa_store_put(*s, "symbolic-moe/skill", "letters", "20 0 a\n9 9 b\n5 10 c\n", NULL), 0);
    assert_int_equal(moa_store_put(*s, "symbolic-moe/skill", "plus", "5 9 a\n19 0 b\n5 4 c\n", NULL), 0);
    assert_int_equal(moa_store_put(*s, "symbolic-moe/skill", "velu", "9 9 a\n9 8 b\n25 1 c\n", NULL), 0);
}

static void test_each_model_once(void **state) {
    (void)state;
    static char plain[40][64], shelved[40][64];
    moa_backend *b[4];
    moa_store *store;
    moa_shelf *shelf;
    profile_of_fakes(&store);
    for (int i = 0; i < 4; i++) assert_int_equal(fake_open(NULL, &b[i], (const char *[]){"a", "b", "c", "d"}[i], NULL), 0);
    run_batch(plain, b, b[3], store);
    for (int i = 0; i < 4; i++) moa_backend_close(b[i]);
    for (int own = 0; own < 2; own++) /* the aggregator is one of the recruits, or another model */
        for (int resident = 1; resident <= 2; resident++) {
            assert_int_equal(moa_shelf_new(&shelf, resident, fake_open, NULL, NULL, NULL), 0);
            for (int i = 0; i < 4; i++) assert_int_equal(moa_shelf_get(&b[i], shelf, (const char *[]){"a", "b", "c", "d"}[i], NULL), 0);
            moa_shelf_last(own ? b[3] : b[2]);
            world.most = 0;
            for (int batch = 1; batch <= 3; batch++) {
                run_batch(shelved, b, own ? b[3] : b[2], store);
                for (int i = 0; i < 40 && own; i++) assert_string_equal(plain[i], shelved[i]);
                const moa_shelf_stats st = moa_shelf_count(shelf);
                assert_int_equal(st.models, own ? 4 : 3);
                if (batch == 1) assert_int_equal(st.loads, st.models); /* each once */
                assert_true(st.loads <= batch * st.models && st.most == resident);
            }
            assert_true(world.most <= resident);
            for (int i = 0; i < 4; i++) moa_backend_close(b[i]);
            moa_shelf_free(shelf);
            assert_int_equal(world.open, 0);
        }
    moa_store_close(store);
}

static bool stop_at_once(void *ctx, moa_run *r, const moa_event *e) {
    (void)ctx, (void)r, (void)e;
    return false;
}

/* A model that cannot be opened when its calls come; runs that are canceled while their calls wait. */
static void test_shelf_failures(void **state) {
    (void)state;
    int looked = 0;
    moa_shelf *shelf;
    moa_backend *b[2];
    moa_run *r;
    moa_err err = {0};
    const moa_message m = {"user", "?"};
    moa_mix_cfg cfg = moa_mix_defaults("moa");
    assert_int_equal(moa_shelf_new(&shelf, 1, fake_open, &looked, NULL, NULL), 0);
    assert_int_equal(moa_shelf_get(&b[0], shelf, "z", NULL), 0);
    assert_int_equal(moa_shelf_get(&b[1], shelf, "a", NULL), 0);
    assert_int_equal(moa_shelf_get(&cfg.aggregator, shelf, "z", &err), MOA_EIO);
    cfg.proposer = b, cfg.n_proposer = 2, cfg.aggregator = b[1];
    assert_int_equal(moa_run_new(&r, &cfg, &m, 1, 1, NULL), 0);
    assert_int_equal(moa_run_execute(r, NULL, NULL, NULL), 0); /* without z */
    assert_non_null(strstr(r->node[0].note, "z is gone"));
    moa_run_free(r);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(moa_run_new(&r, &cfg, &m, 1, 1, NULL), 0);
        assert_int_equal(moa_run_execute(r, stop_at_once, NULL, NULL), MOA_ECANCELED);
        moa_run_free(r);
    }
    for (int i = 0; i < 2; i++) moa_backend_close(b[i]);
    moa_shelf_free(shelf);
    assert_int_equal(world.open, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_profile_and_recruits), cmocka_unit_test(test_without_profile), cmocka_unit_test(test_drawing), cmocka_unit_test(test_bad_profile),
        cmocka_unit_test(test_named_skills), cmocka_unit_test(test_torture), cmocka_unit_test(test_each_model_once), cmocka_unit_test(test_shelf_failures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
