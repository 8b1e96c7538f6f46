/* test_journal.c - finished calls are found again: across mixes, inside a batch, after a kill.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/scripted.h"

#include "agent/mix.h"
#include "base/file.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const moa_message question[] = {{"user", "What is 2 + 2?"}};

/* A function of the call alone, as a real model is. */
static int by_seed(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    (void)s, (void)i;
    snprintf(out, n, "t%d \"\\\n\xC3\xA4 \xFF\xC3 %llu", (int)(c->sampling.temperature * 10), (unsigned long long)c->sampling.seed);
    return 0;
}

static void run_mix(char *answer, size_t size, moa_backend *b, const char *strategy, int n) {
    moa_mix_cfg cfg = moa_mix_defaults(strategy);
    cfg.n = n;
    cfg.proposer = &b;
    cfg.n_proposer = 1;
    moa_run *r;
    moa_err err = {0};
    if (moa_run_new(&r, &cfg, question, 1, 9, &err) < 0 || moa_run_execute(r, NULL, NULL, &err) < 0) fail_msg("%s", err.text);
    snprintf(answer, size, "%s", moa_run_answer(r));
    assert_true(r->usage.calls >= n);
    assert_true(r->usage.prompt_tokens > 0);
    moa_run_free(r);
}

static moa_journal *open_at(const char *path) {
    moa_journal *j;
    moa_err err = {0};
    if (moa_journal_open(&j, path, &err) < 0) fail_msg("%s", err.text);
    return j;
}

static void test_shared_samples(void **state) {
    (void)state;
    scripted s;
    char a[256];
    scripted_init(&s, "m", by_seed);
    moa_journal *j = open_at(NULL);
    moa_backend *b;
    assert_int_equal(moa_backend_journal_open(&b, j, &s.base, NULL), 0);
    run_mix(a, sizeof a, b, "vote", 6);
    assert_int_equal(s.calls, 6);
    run_mix(a, sizeof a, b, "self-moa", 4); /* four known samples, one new aggregation */
    assert_int_equal(s.calls, 7);
    run_mix(a, sizeof a, b, "self-moa", 6);
    assert_int_equal(s.calls, 8);
    run_mix(a, sizeof a, b, "single", 1);
    assert_int_equal(s.calls, 8);
    int64_t computed, found;
    moa_journal_stats(j, &computed, &found);
    assert_int_equal(computed, 8);
    assert_int_equal(found, 4 + 6 + 1);
    moa_backend_close(b);
    moa_journal_close(j);
    scripted_deinit(&s);
}

/* Equal calls in one batch are one call; greedy calls do not depend on the seed. */
static void test_inside_a_batch(void **state) {
    (void)state;
    scripted s;
    scripted_init(&s, "m", by_seed);
    moa_journal *j = open_at(NULL);
    moa_backend *b;
    assert_int_equal(moa_backend_journal_open(&b, j, &s.base, NULL), 0);
    moa_sampling hot = moa_sampling_defaults(), cold = hot;
    cold.temperature = 0;
    moa_call c[6] = {0};
    for (int i = 0; i < 6; i++) c[i] = (moa_call){.msg = question, .n_msg = 1, .max_tokens = 5, .sampling = i < 3 ? hot : cold};
    c[1].sampling.seed = 2;
    c[4].sampling.seed = 3;
    c[5].max_tokens = 6;
    assert_int_equal(moa_backend_complete(b, c, 6, NULL, NULL, NULL), 0);
    assert_int_equal(s.calls, 4); /* 0 and 2, 1, 3 and 4, 5 */
    assert_string_equal(c[0].res.text, c[2].res.text);
    assert_string_equal(c[3].res.text, c[4].res.text);
    assert_string_not_equal(c[0].res.text, c[1].res.text);
    for (int i = 0; i < 6; i++) moa_gen_res_deinit(&c[i].res);
    moa_backend_close(b);
    moa_journal_close(j);
    scripted_deinit(&s);
}

static void test_resume(void **state) {
    (void)state;
    char path[] = "/tmp/moa-journal-XXXXXX", a[256], again[256];
    close(mkstemp(path));
    scripted s;
    scripted_init(&s, "m", by_seed);
    moa_journal *j = open_at(path), *j2;
    moa_backend *b;
    assert_int_equal(moa_backend_journal_open(&b, j, &s.base, NULL), 0);
    run_mix(a, sizeof a, b, "self-moa", 5);
    assert_int_equal(s.calls, 6);
    assert_true(moa_journal_open(&j2, path, NULL) < 0); /* one writer */
    moa_backend_close(b);
    moa_journal_close(j);
    /* The process died in the middle of a seventh line. */
    FILE *f = fopen(path, "a");
    fputs("{\"key\":\"0123", f);
    fclose(f);
    j = open_at(path);
    assert_int_equal(moa_backend_journal_open(&b, j, &s.base, NULL), 0);
    run_mix(again, sizeof again, b, "self-moa", 5);
    assert_string_equal(again, a);
    assert_int_equal(s.calls, 6); /* nothing computed twice */
    run_mix(again, sizeof again, b, "vote", 6);
    assert_int_equal(s.calls, 7);
    moa_backend_close(b);
    moa_journal_close(j);
    j = open_at(path);
    moa_journal_close(j);
    /* Another model has other replies. */
    s.base.fingerprint++;
    j = open_at(path);
    assert_int_equal(moa_backend_journal_open(&b, j, &s.base, NULL), 0);
    run_mix(again, sizeof again, b, "single", 1);
    assert_int_equal(s.calls, 8);
    moa_backend_close(b);
    moa_journal_close(j);
    unlink(path);
    scripted_deinit(&s);
}

/* What is no journal is refused, where a line shows it with its number, and stays as it is: a last line without an end is cut off only where a
 * process died that wrote calls down. */
static void test_foreign_file(void **state) {
    (void)state;
    char path[] = "/tmp/moa-journal-XXXXXX";
    close(mkstemp(path));
    static const struct { const char *text, *says; } bad[] = {
        {"{\"key\":\"xyz\",\"text\":\"a\"}\n", ":1"},
        {"{\"key\":\"00000000000000000000000000000000\",\"text\":\"a\"}\n", ":1"},
        {"{\"key\":\"-0000000000000010000000000000001\",\"text\":\"a\"}\n", ":1"},
        {"{\"key\":\"00000000000000010000000000000001\",\"text\":\"a\",\"why\":77}\n", ":1"},
        {"{\"key\":\"00000000000000010000000000000001\",\"text\":\"a\",\"completion_tokens\":-1}\n", ":1"},
        {"{\"key\":\"00000000000000010000000000000001\",\"text\":\"a\",\"hex\":\"+1\"}\n", ":1"},
        {"{\"key\":\"00000000000000010000000000000001\",\"text\":\"a\",\"hex\":\"410\"}\n", ":1"},
        {"{\"key\":\"x\",\"text\":\"a\"}\n{\"key\":\"0", ":1"},
        {"notes", "its last line"},
        {"{\"question\": \"a\", \"answer\": \"b\"}", "its last line"},
        {"one line\nand half of ano", ":1"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        FILE *f = fopen(path, "w");
        fputs(bad[i].text, f);
        fclose(f);
        moa_journal *j = NULL;
        moa_err err = {0};
        char *back;
        if (moa_journal_open(&j, path, &err) != MOA_EFORMAT) fail_msg("taken: %s", bad[i].text);
        assert_non_null(strstr(err.text, bad[i].says));
        assert_non_null(strstr(err.hint, "not a journal"));
        assert_null(j);
        assert_int_equal(moa_read_file(&back, NULL, path, 1 << 10, NULL), 0);
        assert_string_equal(back, bad[i].text);
        free(back);
    }
    unlink(path);
}

/* 5 tokens of prompt and 3 of a reply; what the end of the context cut off, or would have, is asked again elsewhere. */
static int three_words(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    (void)s, (void)i, (void)c;
    return snprintf(out, n, "one two three") < 0;
}

static void test_context(void **state) {
    (void)state;
    static const struct { int n_ctx, why; bool found; } steps[] = {
        {8, MOA_STOP_EOS, false},      {8, MOA_STOP_EOS, true},     {100, MOA_STOP_EOS, true},    {0, MOA_STOP_EOS, true},
        {7, MOA_STOP_CONTEXT, false},                               /* it would not have fitted */
        {9, MOA_STOP_CONTEXT, false},  {8, MOA_STOP_CONTEXT, true}, {100, MOA_STOP_EOS, false},   {100, MOA_STOP_EOS, true},
    };
    scripted s;
    scripted_init(&s, "m", three_words);
    moa_journal *j = open_at(NULL);
    moa_backend *b;
    assert_int_equal(moa_backend_journal_open(&b, j, &s.base, NULL), 0);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        const int before = s.calls;
        moa_call c = {.msg = question, .n_msg = 1, .max_tokens = 5, .sampling = moa_sampling_defaults()};
        s.base.n_ctx = steps[i].n_ctx;
        s.why = (moa_stop)steps[i].why;
        assert_int_equal(moa_backend_complete(b, &c, 1, NULL, NULL, NULL), 0);
        if ((s.calls == before) != steps[i].found) fail_msg("step %zu: %s", i, steps[i].found ? "asked again" : "found");
        moa_gen_res_deinit(&c.res);
    }
    moa_backend_close(b);
    moa_journal_close(j);
    scripted_deinit(&s);
}

/* A line that cannot be written (here: a limit on the file's size) is told; what was written before stays. */
static void test_full_disk(void **state) {
    (void)state;
    char path[] = "/tmp/moa-journal-XXXXXX", a[256];
    close(mkstemp(path));
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    scripted s;
    scripted_init(&s, "m", by_seed);
    moa_journal *j = open_at(path);
    moa_backend *b;
    moa_err err = {0};
    assert_int_equal(moa_backend_journal_open(&b, j, &s.base, NULL), 0);
    run_mix(a, sizeof a, b, "single", 1);
    assert_int_equal(moa_journal_failure(j, &err), 0);
    small = old;
    small.rlim_cur = 700;
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    moa_call c[8] = {0};
    for (int i = 0; i < 8; i++) c[i] = (moa_call){.msg = question, .n_msg = 1, .max_tokens = 7 + i, .sampling = moa_sampling_defaults()};
    const int rc = moa_backend_complete(b, c, 8, NULL, NULL, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, before);
    assert_int_equal(rc, 0);
    assert_int_equal(c[7].rc, MOA_EIO); /* the call's */
    assert_int_equal(moa_journal_failure(j, &err), MOA_EIO);
    assert_non_null(strstr(err.text, path));
    for (int i = 0; i < 8; i++) moa_gen_res_deinit(&c[i].res);
    moa_backend_close(b);
    moa_journal_close(j);
    j = open_at(path); /* half a line at the end is cut off */
    assert_int_equal(moa_backend_journal_open(&b, j, &s.base, NULL), 0);
    s.calls = 0;
    run_mix(a, sizeof a, b, "single", 1);
    assert_int_equal(s.calls, 0);
    moa_backend_close(b);
    moa_journal_close(j);
    unlink(path);
    scripted_deinit(&s);
}

/* A failed call is not remembered. */
static int fails_once(scripted *s, int i, const moa_call *c, char *out, size_t n) { return i == 0 ? MOA_EIO : by_seed(s, i, c, out, n); }

static void test_failures_are_asked_again(void **state) {
    (void)state;
    scripted s;
    scripted_init(&s, "m", fails_once);
    moa_journal *j = open_at(NULL);
    moa_backend *b;
    assert_int_equal(moa_backend_journal_open(&b, j, &s.base, NULL), 0);
    moa_call c[2] = {{.msg = question, .n_msg = 1, .max_tokens = 5, .sampling = moa_sampling_defaults()}};
    c[1] = c[0];
    assert_int_equal(moa_backend_complete(b, c, 2, NULL, NULL, NULL), 0);
    assert_true(c[0].rc < 0 && c[1].rc < 0);
    moa_call d = {.msg = question, .n_msg = 1, .max_tokens = 5, .sampling = moa_sampling_defaults()};
    assert_int_equal(moa_backend_complete(b, &d, 1, NULL, NULL, NULL), 0);
    assert_int_equal(d.rc, 0);
    assert_int_equal(s.calls, 2);
    moa_gen_res_deinit(&d.res);
    moa_backend_close(b);
    moa_journal_close(j);
    scripted_deinit(&s);
}

/* ---- calls that join one that runs ---- */

/* A backend whose one call is ended by hand. */
typedef struct by_hand { moa_backend base; moa_call *call; } by_hand;
static void take_it(moa_backend *b, moa_call *const *call, int n) {
    assert_int_equal(n, 1);
    assert_null(((by_hand *)b)->call);
    ((by_hand *)b)->call = call[0];
}
static void no_close(moa_backend *b) { (void)b; }

typedef struct joined {
    moa_call call;         /* first */
    atomic_int ends;
    moa_call *ends_now;    /* while this one hears what was said so far, and so is about to join, that one comes to its end in another thread */
    pthread_t ender; bool ending;
    moa_buf text;
} joined;

static void *end_call(void *arg) {
    moa_call *c = arg;
    c->res.text = strdup("one two"), c->res.text_len = 7;
    c->on_end(c);
    return NULL;
}

static void hear_text(moa_call *c, const char *text, size_t n) {
    joined *j = (joined *)c;
    moa_buf_add(&j->text, text, n);
    if (!j->ends_now) return;
    assert_int_equal(pthread_create(&j->ender, NULL, end_call, j->ends_now), 0);
    j->ends_now = NULL, j->ending = true;
    usleep(50000); /* the other thread is inside its end, and waits there for the journal */
}

static void hear_end(moa_call *c) { atomic_fetch_add(&((joined *)c)->ends, 1); }

static void joined_init(joined *j) {
    *j = (joined){.call = {.msg = question, .n_msg = 1, .max_tokens = 5, .sampling = moa_sampling_defaults(), .on_text = hear_text, .on_end = hear_end}};
    moa_buf_init(&j->text, 1000);
}

static void joined_deinit(joined *j) {
    moa_gen_res_deinit(&j->call.res);
    moa_buf_deinit(&j->text);
}

static bool ended(joined *j) {
    for (int i = 0; i < 5000 && !atomic_load(&j->ends); i++) usleep(1000);
    return atomic_load(&j->ends) == 1;
}

/* Who joins a call in the very moment of its end gets that end too. */
static void test_joins_at_the_end(void **state) {
    (void)state;
    static const moa_backend_ops ops = {.name = "by hand", .help = "", .start = take_it, .close = no_close};
    by_hand h = {.base = {.ops = &ops, .id = "m", .fingerprint = 5}};
    moa_journal *j = open_at(NULL);
    moa_backend *b;
    joined first, second;
    moa_call *start[] = {&first.call, &second.call};
    assert_int_equal(moa_backend_journal_open(&b, j, &h.base, NULL), 0);
    joined_init(&first);
    joined_init(&second);
    b->ops->start(b, &start[0], 1);
    assert_non_null(h.call);
    h.call->on_text(h.call, "one two", 7);
    second.ends_now = h.call;
    b->ops->start(b, &start[1], 1);
    assert_true(second.ending);
    pthread_join(second.ender, NULL);
    assert_true(ended(&first));
    if (!ended(&second)) fail_msg("who joined was forgotten");
    assert_string_equal(first.call.res.text, "one two");
    assert_string_equal(second.call.res.text, "one two");
    assert_string_equal(moa_buf_str(&second.text), "one two");
    joined_deinit(&first);
    joined_deinit(&second);
    moa_backend_close(b);
    moa_journal_close(j);
}

/* Who joined leaves at once, the call goes on for the other; when both have left it is canceled, and nobody joins it any more. */
static void test_joined_leave(void **state) {
    (void)state;
    static const moa_backend_ops ops = {.name = "by hand", .help = "", .start = take_it, .close = no_close};
    by_hand h = {.base = {.ops = &ops, .id = "m", .fingerprint = 5}};
    moa_journal *j = open_at(NULL);
    moa_backend *b;
    joined t[3];
    moa_call *start[] = {&t[0].call, &t[1].call, &t[2].call};
    assert_int_equal(moa_backend_journal_open(&b, j, &h.base, NULL), 0);
    for (int i = 0; i < 3; i++) joined_init(&t[i]);
    b->ops->start(b, start, 2);
    moa_call *inner = h.call;
    atomic_store(&t[1].call.cancel, true);
    moa_backend_stir(b);
    assert_true(ended(&t[1]));
    assert_int_equal(t[1].call.rc, MOA_ECANCELED);
    assert_false(atomic_load(&inner->cancel));
    atomic_store(&t[0].call.cancel, true);
    moa_backend_stir(b);
    assert_true(atomic_load(&inner->cancel));
    h.call = NULL;
    b->ops->start(b, &start[2], 1); /* what is canceled is asked again */
    assert_non_null(h.call);
    inner->rc = MOA_ECANCELED;
    inner->on_end(inner);
    assert_true(ended(&t[0]));
    assert_int_equal(t[0].call.rc, MOA_ECANCELED);
    end_call(h.call);
    assert_true(ended(&t[2]));
    assert_int_equal(t[2].call.rc, 0);
    for (int i = 0; i < 3; i++) joined_deinit(&t[i]);
    moa_backend_close(b);
    moa_journal_close(j);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_samples), cmocka_unit_test(test_inside_a_batch), cmocka_unit_test(test_resume),
        cmocka_unit_test(test_foreign_file),   cmocka_unit_test(test_failures_are_asked_again),
        cmocka_unit_test(test_joins_at_the_end), cmocka_unit_test(test_joined_leave),
        cmocka_unit_test(test_full_disk),      cmocka_unit_test(test_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
