/* test_engine.c - a generator that lives: requests come and are canceled at any step, from any thread, beside too little KV; each
 * text is that of the request alone, everything is told once, no block is lost. Order, fairness, the bound of a stall.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/guard.h"
#include "model/engine.h"
#include "model/generating.h"
#include "model/kv_check.h"

#include <unistd.h>

bool moa_guard_works(void);

enum { N = 40, LONGEST = 150 };

static moa_gguf *meta;
static moa_model *plain, *sliding;
static int32_t prompt[N][LONGEST];
static moa_gen_req req[N];
static moa_grammar *digits;

static moa_model *sliding_model(void) {
    moa_model *m = NULL;
    moa_err err = {0};
    const moa_arch *a = moa_arch_find("gemma2", 6);
    moa_hparams h = arch_hparams(a);
    h.n_ctx = 256;
    OK(moa_model_make(&m, a->name, &h, meta, 5, &err));
    grow_weights(m, 6.0f);
    return m;
}

static int setup(void **state) {
    (void)state;
    static const char *const text[] = {"the cat sat on the mat and the dog sat on the log", "one two three four five six seven, the end."};
    static const char *const stop[] = {"th", "zz"};
    static const char gbnf[] = "root ::= [0-9]+ \".\"";
    moa_err err = {0};
    moa_rng r;
    meta = learn_words(text, 2, 320);
    moa_hparams h = tiny_hparams();
    h.n_ctx = 256;
    plain = tiny_model(h, meta, 11);
    sliding = sliding_model();
    OK(moa_grammar_parse(&digits, gbnf, sizeof gbnf - 1, "digits", &err));
    moa_rng_seed(&r, 5);
    for (int i = 0; i < N; i++) {
        for (int t = 0; t < LONGEST; t++) prompt[i][t] = 2 + (int32_t)moa_rng_below(&r, 300);
        if (i % 4) memcpy(prompt[i], prompt[i / 4 * 4], (i % 4 == 1 ? LONGEST : 45) * sizeof(int32_t));
        req[i] = (moa_gen_req){.prompt = prompt[i], .n_prompt = 20 + (int)moa_rng_below(&r, LONGEST - 20), .sampling = moa_sampling_defaults(),
                               .max_tokens = 1 + (int)moa_rng_below(&r, 50), .priority = (int)moa_rng_below(&r, 3) - 1};
        req[i].sampling.seed = (uint64_t)i;
        req[i].sampling.temperature = 1;
        if (i % 3 == 0) req[i].sampling.temperature = i % 2 ? 0 : 0.3f; /* they repeat themselves: drafts come true */
        if (i % 5 == 0) req[i].sampling.repeat_penalty = 1.2f;
        if (i % 7 == 0) req[i].stop = stop, req[i].n_stop = 2;
        if (i % 6 == 5) req[i].grammar = digits;
    }
    return 0;
}

static int teardown(void **state) {
    (void)state;
    moa_grammar_free(digits);
    moa_model_close(plain);
    moa_model_close(sliding);
    moa_gguf_close(meta);
    return 0;
}

/* ---- what is heard ---- */

typedef struct ear {
    moa_buf text;
    moa_gen_res res;
    _Atomic int ended;
    _Atomic bool cancel;
} ear;

static bool hear_text(void *ctx, const char *text, size_t n) {
    ear *e = ctx;
    assert_int_equal(atomic_load(&e->ended), 0);
    moa_buf_add(&e->text, text, n);
    return true;
}

static void hear_end(void *ctx, moa_gen_res *res) {
    ear *e = ctx;
    e->res = *res;
    atomic_fetch_add(&e->ended, 1);
}

static moa_gen_sink sink_of(ear *e) { return (moa_gen_sink){hear_text, hear_end, e}; }

static void ear_open(ear *e) {
    *e = (ear){0};
    moa_buf_init(&e->text, 1 << 20);
}

static void ear_close(ear *e) {
    moa_buf_deinit(&e->text);
    moa_gen_res_deinit(&e->res);
}

static void alone(moa_gen_res *want, const moa_model *m) {
    moa_err err = {0};
    for (int i = 0; i < N; i++) {
        moa_generator *g = generator_of(m, 256, 1, 19);
        OK(moa_generate(g, &want[i], &req[i], 1, NULL, NULL, &err));
        moa_generator_free(g);
    }
}

/* The whole text, or its beginning where it was canceled; and what was shown is what there is. */
static void assert_heard(const ear *e, const moa_gen_res *want) {
    assert_int_equal(atomic_load(&e->ended), 1);
    assert_string_equal(e->res.text, moa_buf_str(&e->text));
    if (e->res.why != MOA_STOP_CANCELED) {
        assert_int_equal(e->res.n_ids, want->n_ids);
        assert_int_equal(e->res.why, want->why);
        assert_int_equal(e->res.rc, want->rc);
        assert_true(e->res.sum_logprob == want->sum_logprob);
        assert_string_equal(e->res.text, want->text);
    }
    assert_true(e->res.n_ids <= want->n_ids);
    assert_memory_equal(e->res.ids, want->ids, (size_t)e->res.n_ids * sizeof(int32_t));
}

/* ---- one thread, every step looked at ---- */

static void add(moa_generator *g, const moa_gen_req *q, ear *e, int number) {
    moa_job *j;
    moa_err err = {0};
    moa_gen_req mine = *q;
    const moa_gen_sink sink = sink_of(e);
    mine.cancel = &e->cancel;
    OK(moa_job_new(&j, g->m, moa_session_max_len(g->s), &mine, &sink, number, &err));
    g->n_open++;
    OK(moa_engine_add(g, j, &err));
}

static void check_turn(moa_generator *g) {
    check_kv(g->s, &g->cache);
    int live = 0;
    for (int q = 0; q < moa_session_kv(g->s)->n_seq; q++) live += moa_session_kv(g->s)->seq[q].live;
    assert_int_equal(live, g->n_run);
    for (int i = 0; i < g->n_run; i++) assert_true(g->run[i]->n_tok > moa_seq_len(g->s, g->run[i]->seq));
    for (int i = 1; i < g->n_wait; i++) assert_true(g->wait[i - 1]->order <= g->wait[i]->order);
}

/* small: NULL, or guesses. Returns how many hundredths of the drafts came true where no grammar bound the text (guesses know of none). */
static int live_with(const moa_model *small, const moa_model *m, const moa_gen_res *want, uint64_t seed, int n_ctx, int n_seq, int n_batch, moa_gen_cfg cfg) {
    moa_generator *g = generator_of(m, n_ctx, n_seq, n_batch);
    moa_err err = {0};
    moa_rng r;
    ear e[N];
    int come = 0, turns = 0;
    moa_rng_seed(&r, seed);
    OK(moa_generator_set(g, &cfg, &err));
    OK(moa_generator_draft(g, small, &err));
    for (int i = 0; i < N; i++) ear_open(&e[i]);
    while (come < N || !moa_engine_idle(g)) {
        while (come < N && (moa_engine_idle(g) || !moa_rng_below(&r, 6))) {
            add(g, &req[come], &e[come], come);
            come++;
        }
        if (!moa_rng_below(&r, 15)) atomic_store(&e[moa_rng_below(&r, (uint32_t)come)].cancel, true);
        moa_engine_turn(g);
        check_turn(g);
        assert_true(++turns < 20000);
    }
    int canceled = 0, accepted = 0, drafted = 0, free_accepted = 0, free_drafted = 0;
    for (int i = 0; i < N; i++) {
        accepted += e[i].res.n_accepted, drafted += e[i].res.n_drafted;
        if (!req[i].grammar) free_accepted += e[i].res.n_accepted, free_drafted += e[i].res.n_drafted;
        assert_heard(&e[i], &want[i]);
        canceled += e[i].res.why == MOA_STOP_CANCELED;
        ear_close(&e[i]);
    }
    assert_true(canceled > 0 && canceled < N * 2 / 3);
    assert_int_equal(g->n_open, 0);
    assert_true(accepted <= drafted && (!cfg.draft_always || accepted > 0) && (cfg.drafts >= 0 || !drafted));
    while (moa_prefix_evict(&g->cache)) continue;
    assert_int_equal(moa_session_free_positions(g->s), n_ctx);
    if (g->drafter) assert_int_equal(moa_session_free_positions(g->drafter->s), n_ctx);
    moa_generator_free(g);
    return free_drafted ? free_accepted * 100 / free_drafted : 0;
}

static void live_randomly(const moa_model *m, const moa_gen_res *want, uint64_t seed, int n_ctx, int n_seq, int n_batch, moa_gen_cfg cfg) {
    live_with(NULL, m, want, seed, n_ctx, n_seq, n_batch, cfg);
}

static void test_random_life(void **state) {
    (void)state;
    const moa_model *m[] = {plain, sliding};
    for (int k = 0; k < 2; k++) {
        moa_gen_res want[N];
        alone(want, m[k]);
        live_randomly(m[k], want, 1, 8192, 16, 64, (moa_gen_cfg){0});
        live_randomly(m[k], want, 2, 512, 16, 64, (moa_gen_cfg){.stall_s = 1e-9});          /* KV for about three */
        live_randomly(m[k], want, 3, 256, 5, 9, (moa_gen_cfg){.age_s = 1e-3});              /* for one; tiny steps */
        live_randomly(m[k], want, 5, 2048, 8, 64, (moa_gen_cfg){.draft_always = true});
        live_randomly(m[k], want, 6, 320, 6, 9, (moa_gen_cfg){.draft_always = true, .drafts = 3});
        live_randomly(m[k], want, 7, 1024, 8, 64, (moa_gen_cfg){.drafts = -1});
        live_randomly(m[k], want, 4, 1024, 3, 33, (moa_gen_cfg){.cache_bytes = 200000});
        for (int i = 0; i < N; i++) moa_gen_res_deinit(&want[i]);
    }
}

/* A model that guesses for itself is nearly always right (grammars are not guessed), a stranger rarely; the texts are the same. */
static void test_drafter(void **state) {
    (void)state;
    moa_gen_res want[N];
    moa_err err = {0};
    moa_hparams h = tiny_hparams();
    h.n_ctx = 200; /* shorter than some texts */
    moa_model *stranger = tiny_model(h, meta, 99);
    const moa_gen_cfg always = {.draft_always = true, .drafts = 4, .stall_s = 1000}; /* however slow the machine: mirrors keep up */
    alone(want, plain);
    assert_true(live_with(plain, plain, want, 1, 4096, 8, 64, always) > 55); /* while a mirror reads, what follows is guessed from the text: seen 74 to 100 */
    assert_true(live_with(stranger, plain, want, 2, 4096, 8, 64, always) < 20);
    live_with(plain, plain, want, 3, 320, 6, 19, always);
    live_with(sliding, plain, want, 4, 512, 6, 33, always);
    live_with(plain, plain, want, 5, 1024, 6, 64, (moa_gen_cfg){0});
    for (int i = 0; i < N; i++) moa_gen_res_deinit(&want[i]);
    moa_model_close(stranger);
    static const char *const text[] = {"other words make other tokens, many of them, as one can see"};
    moa_gguf *keys = learn_words(text, 1, 320);
    stranger = tiny_model(tiny_hparams(), keys, 1);
    moa_generator *g = generator_of(plain, 256, 2, 16);
    assert_int_equal(moa_generator_draft(g, stranger, &err), MOA_EINVAL);
    assert_non_null(strstr(err.text, "draft model: "));
    moa_generator_free(g);
    moa_model_close(stranger);
    moa_gguf_close(keys);
}

/* The mirrors of one prompt's samples share it; a source of guesses that is never right is asked only now and then. */
static void test_drafter_cost(void **state) {
    (void)state;
    moa_err err = {0};
    ear e[6];
    moa_model *stranger = tiny_model(tiny_hparams(), meta, 99);
    moa_generator *g = generator_of(plain, 1024, 8, 64);
    const moa_gen_cfg always = {.draft_always = true, .drafts = 4, .stall_s = 1000};
    OK(moa_generator_set(g, &always, &err));
    OK(moa_generator_draft(g, plain, &err));
    moa_gen_req q = req[1];
    q.stop = NULL, q.n_stop = 0, q.n_prompt = 120, q.max_tokens = 30, q.sampling.temperature = 1;
    for (int i = 0; i < 6; i++) {
        ear_open(&e[i]);
        q.sampling.seed = (uint64_t)i;
        add(g, &q, &e[i], i);
    }
    int followed = 0;
    for (int turn = 0; turn < 12; turn++) {
        moa_engine_turn(g);
        int n = 0;
        for (int i = 0; i < g->n_run; i++) n += g->run[i]->mirror >= 0 && moa_seq_len(g->drafter->s, g->run[i]->mirror) >= 120;
        if (n > followed) followed = n;
        assert_true(1024 - moa_session_free_positions(g->drafter->s) <= 3 * MOA_KV_BLOCK + 6 * 3 * MOA_KV_BLOCK);
    }
    assert_int_equal(followed, 6);
    while (!moa_engine_idle(g)) moa_engine_turn(g);
    for (int i = 0; i < 6; i++) ear_close(&e[i]);
    OK(moa_generator_set(g, &(moa_gen_cfg){0}, &err));
    OK(moa_generator_draft(g, stranger, &err));
    g->drafter->hit = 0;
    ear_open(&e[0]);
    q.max_tokens = 130;
    add(g, &q, &e[0], 0);
    for (int turn = 0; turn < 140 && !moa_engine_idle(g); turn++) {
        moa_engine_turn(g);
        g->drafter->hit = 0;
        if (g->n_run) g->run[0]->guess = -1; /* nothing else is fed */
    }
    assert_true(moa_engine_idle(g) && e[0].res.n_ids > 100);
    assert_true(e[0].res.n_drafted > 0 && e[0].res.n_drafted <= 9);
    ear_close(&e[0]);
    moa_generator_free(g);
    moa_model_close(stranger);
}

/* ---- many threads ---- */

typedef struct client { moa_generator *g; const moa_gen_res *want; int first; } client;
enum { CLIENTS = 4, EACH = N / CLIENTS };

/* Submits, cancels some after a while, waits for all ends. */
static void *submit_some(void *arg) {
    client *c = arg;
    ear e[EACH];
    moa_err err = {0};
    moa_rng r;
    moa_rng_seed(&r, (uint64_t)c->first);
    for (int k = 0; k < EACH; k++) {
        ear_open(&e[k]);
        moa_gen_req q = req[c->first + k];
        const moa_gen_sink sink = sink_of(&e[k]);
        q.cancel = &e[k].cancel;
        if (moa_gen_submit(c->g, &q, &sink, &err) < 0) abort();
        usleep(moa_rng_below(&r, 2000));
        if (k && !moa_rng_below(&r, 3)) atomic_store(&e[moa_rng_below(&r, (uint32_t)k)].cancel, true);
    }
    for (int k = 0; k < EACH; k++) {
        while (!atomic_load(&e[k].ended)) usleep(200);
        assert_heard(&e[k], &c->want[c->first + k]);
        ear_close(&e[k]);
    }
    return NULL;
}

typedef struct told { int ends, pieces; } told;

static bool count_news(void *ctx, int i, const char *text, size_t n) {
    told *t = ctx;
    (void)i, (void)n;
    if (text) t->pieces++;
    else t->ends++;
    return true;
}

/* moa_generate beside them. */
static void *generate_some(void *arg) {
    client *c = arg;
    moa_gen_res got[EACH];
    moa_err err = {0};
    told t = {0};
    if (moa_generate(c->g, got, &req[c->first], EACH, count_news, &t, &err) < 0) abort();
    assert_int_equal(t.ends, EACH);
    for (int i = 0; i < EACH; i++) {
        assert_string_equal(got[i].text, c->want[c->first + i].text);
        assert_true(got[i].sum_logprob == c->want[c->first + i].sum_logprob);
        moa_gen_res_deinit(&got[i]);
    }
    return NULL;
}

static moa_generator *single_threaded(const moa_model *m, int n_ctx, int n_seq) {
    moa_generator *g = NULL;
    moa_err err = {0};
    const moa_session_cfg cfg = {.n_ctx = n_ctx, .n_seq = n_seq, .n_batch = 64, .n_threads = 1, .isa = MOA_ISA_COUNT, .kv_type = MOA_F32};
    OK(moa_generator_new(&g, m, &cfg, &err));
    return g;
}

static void test_threads(void **state) {
    (void)state;
    moa_gen_res want[N];
    moa_err err = {0};
    alone(want, plain);
    for (int round = 0; round < 2; round++) {
        moa_generator *g = round ? generator_of(plain, 400, 8, 64) : single_threaded(plain, 4096, 8);
        OK(moa_generator_start(g, &err));
        pthread_t t[CLIENTS];
        client c[CLIENTS];
        for (int i = 0; i < CLIENTS; i++) {
            c[i] = (client){g, want, i * EACH};
            assert_int_equal(pthread_create(&t[i], NULL, i % 2 ? generate_some : submit_some, &c[i]), 0);
        }
        for (int i = 0; i < CLIENTS; i++) pthread_join(t[i], NULL);
        const moa_gen_load l = moa_generator_load(g);
        assert_true(l.steps > 0 && l.n_waiting == 0);
        moa_generator_free(g);
    }
    for (int i = 0; i < N; i++) moa_gen_res_deinit(&want[i]);
}

/* Freed while requests run and wait: each is told its end. A queue that is full says so. Idle costs nothing. */
static void test_end_and_limits(void **state) {
    (void)state;
    ear e[8];
    moa_err err = {0};
    moa_generator *g = single_threaded(plain, 512, 1);
    const moa_gen_cfg cfg = {.max_waiting = 3};
    OK(moa_generator_set(g, &cfg, &err));
    moa_gen_sink sink = sink_of(&e[0]);
    assert_int_equal(moa_gen_submit(g, &req[0], &sink, &err), MOA_EINVAL); /* not started */
    OK(moa_generator_start(g, &err));
    OK(moa_generator_set(g, &cfg, &err)); /* nothing runs: it takes the thread away */
    assert_int_equal(moa_gen_submit(g, &req[0], &sink, &err), MOA_EINVAL);
    OK(moa_generator_start(g, &err));
    int taken = 0, refused = 0;
    for (int i = 0; i < 8; i++) {
        ear_open(&e[i]);
        sink = sink_of(&e[i]);
        moa_gen_req q = req[1];
        q.max_tokens = 100000, q.n_prompt = 20;
        const int rc = moa_gen_submit(g, &q, &sink, &err);
        if (rc < 0) {
            assert_int_equal(rc, MOA_ELIMIT);
            assert_non_null(strstr(err.text, "3 requests wait"));
            refused++;
        }
        taken += rc >= 0;
        if (!i) while (moa_generator_load(g).steps == 0) usleep(100);
    }
    assert_true(taken >= 4 && refused >= 1);
    moa_gen_req bad = req[0];
    bad.priority = 99;
    assert_int_equal(moa_gen_submit(g, &bad, &sink, &err), MOA_EINVAL);
    moa_generator_free(g);
    int ended = 0;
    for (int i = 0; i < 8; i++) {
        ended += atomic_load(&e[i].ended);
        ear_close(&e[i]);
    }
    assert_int_equal(ended, taken);
    g = single_threaded(plain, 512, 1);
    OK(moa_generator_start(g, &err));
    struct timespec before, after;
    usleep(20000);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    usleep(100000);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    assert_true((double)(after.tv_sec - before.tv_sec) + 1e-9 * (double)(after.tv_nsec - before.tv_nsec) < 0.02);
    moa_generator_free(g);
}

/* ---- order ---- */

/* Whoever decodes is in every step, whatever is read beside; prompts take turns by their weight; nobody waits for ever. */
static void test_fair(void **state) {
    (void)state;
    moa_generator *g = generator_of(plain, 8192, 8, 16);
    moa_err err = {0};
    ear e[6];
    int64_t read_at[6] = {0};
    const moa_gen_cfg cfg = {.stall_s = 1e-9};
    OK(moa_generator_set(g, &cfg, &err));
    for (int i = 0; i < 6; i++) ear_open(&e[i]);
    moa_gen_req q = req[0];
    q.stop = NULL, q.n_stop = 0, q.priority = 0;
    q.n_prompt = 8, q.max_tokens = 200;
    for (int i = 0; i < 2; i++) add(g, &q, &e[i], i);
    for (int i = 0; i < 3; i++) moa_engine_turn(g);
    for (int i = 2; i < 6; i++) { /* four prompts with nothing in common; the last counts twice */
        q.prompt = prompt[4 * i], q.n_prompt = 140, q.max_tokens = 1, q.priority = i == 5;
        add(g, &q, &e[i], i);
    }
    for (int turn = 1; turn < 400 && g->n_run > 0; turn++) {
        int64_t tokens[2] = {0};
        for (int i = 0; i < g->n_run; i++)
            if (g->run[i]->number < 2) tokens[g->run[i]->number] = g->run[i]->n_tok;
        moa_engine_turn(g);
        int64_t read[6] = {0};
        for (int i = 0; i < g->n_run; i++) {
            moa_job *j = g->run[i];
            if (j->number < 2 && tokens[j->number]) assert_int_equal(j->n_tok, tokens[j->number] + 1);
            read[j->number] = moa_seq_len(g->s, j->seq);
        }
        if (read[2] && read[3] && read[4]) { /* equal ones stay within a chunk of each other */
            assert_true(read[2] - read[3] <= 16 && read[3] - read[2] <= 16 && read[3] - read[4] <= 16 && read[4] - read[3] <= 16);
            if (read[5]) assert_true(2 * read[2] - read[5] <= 32 && read[5] - 2 * read[2] <= 32);
        }
        for (int i = 2; i < 6; i++)
            if (!read_at[i] && atomic_load(&e[i].ended)) read_at[i] = turn;
    }
    for (int i = 2; i < 6; i++) assert_true(read_at[i] > 0 && (i == 5 || read_at[i] > read_at[5]));
    for (int i = 0; i < 6; i++) {
        assert_int_equal(atomic_load(&e[i].ended), 1);
        ear_close(&e[i]);
    }
    moa_generator_free(g);
}

/* Priority: first among those that wait, and it takes the place of a lower one; age makes up for it. */
static void test_priority(void **state) {
    (void)state;
    moa_generator *g = generator_of(plain, 1024, 1, 64);
    moa_err err = {0};
    ear e[4];
    for (int i = 0; i < 4; i++) ear_open(&e[i]);
    moa_gen_req q = req[2];
    q.n_prompt = 30, q.max_tokens = 20, q.grammar = NULL, q.priority = 0;
    const moa_gen_cfg cfg = {.age_s = 1000};
    OK(moa_generator_set(g, &cfg, &err));
    add(g, &q, &e[0], 0);
    for (int i = 0; i < 5; i++) moa_engine_turn(g);
    assert_int_equal(g->run[0]->number, 0);
    q.prompt = prompt[8], q.priority = -1;
    add(g, &q, &e[1], 1);
    q.prompt = prompt[12], q.priority = 0;
    add(g, &q, &e[2], 2);
    moa_engine_turn(g);
    assert_int_equal(g->run[0]->number, 0); /* equals wait */
    q.prompt = prompt[16], q.priority = 3;
    add(g, &q, &e[3], 3);
    moa_engine_turn(g);
    assert_int_equal(g->run[0]->number, 3);
    static const int order[] = {3, 0, 2, 1};
    for (int i = 0; i < 4; i++) {
        for (int turn = 0; turn < 200 && !atomic_load(&e[order[i]].ended); turn++) moa_engine_turn(g);
        for (int k = 0; k < 4; k++) assert_int_equal(atomic_load(&e[order[k]].ended), k <= i);
    }
    for (int i = 0; i < 4; i++) ear_close(&e[i]);
    moa_generator_free(g);
    g = generator_of(plain, 1024, 1, 64);
    const moa_gen_cfg quick = {.age_s = 1e-9}; /* older than that many times over */
    OK(moa_generator_set(g, &quick, &err));
    for (int i = 0; i < 2; i++) ear_open(&e[i]);
    q.priority = -3;
    add(g, &q, &e[0], 0);
    usleep(1000);
    q.priority = 3, q.prompt = prompt[20];
    add(g, &q, &e[1], 1);
    moa_engine_turn(g);
    assert_int_equal(g->run[0]->number, 0);
    while (!moa_engine_idle(g)) moa_engine_turn(g);
    for (int i = 0; i < 2; i++) ear_close(&e[i]);
    moa_generator_free(g);
}

/* A long prompt of low priority cannot hold up a short request of high priority, nor can a stream of those that never ends starve it: age makes
 * up for priority. One place to run beside it, so that they compete for places as well as for rows. */
static void test_starve(void **state) {
    (void)state;
    enum { TURNS = 600 };
    moa_generator *g = generator_of(plain, 4096, 2, 16);
    moa_err err = {0};
    static ear e[TURNS + 1];
    OK(moa_generator_set(g, &(moa_gen_cfg){.stall_s = 1e-9, .age_s = 1e-4, .drafts = -1}, &err));
    moa_gen_req slow = req[0], quick = req[0];
    slow.grammar = quick.grammar = NULL, slow.stop = quick.stop = NULL, slow.n_stop = quick.n_stop = 0;
    slow.n_prompt = 150, slow.max_tokens = 40, slow.priority = -4;
    quick.n_prompt = 6, quick.max_tokens = 3, quick.priority = 4;
    ear_open(&e[0]);
    add(g, &slow, &e[0], 0);
    moa_engine_turn(g);
    int64_t began[TURNS + 1] = {0};
    int n = 1, longest = 0, others = 0, turn = 0;
    for (; turn < TURNS && !atomic_load(&e[0].ended); turn++) {
        for (int k = turn < 20 ? 1 : 3; k && n <= TURNS && turn % 4 == 0; k--, n++) { /* first one at a time, then more than there are places */
            quick.prompt = prompt[4 * (1 + n % 9)] + n % 50;
            ear_open(&e[n]);
            add(g, &quick, &e[n], n);
            began[n] = turn;
        }
        const int first = turn < 20;
        moa_engine_turn(g);
        check_turn(g);
        for (int i = 1; first && i < n; i++)
            if (!atomic_load(&e[i].ended) && turn - began[i] > longest) longest = (int)(turn - began[i]);
        usleep(20);
    }
    for (int i = 1; i < n; i++) others += atomic_load(&e[i].ended);
    assert_int_equal(atomic_load(&e[0].ended), 1); /* beside a stream that was still going on */
    assert_true(turn > 20 && n > turn / 4 && others > 0 && !moa_engine_idle(g));
    assert_true(longest <= 5); /* turns of a short request beside the long prompt: one to read, three to decode */
    while (!moa_engine_idle(g)) moa_engine_turn(g);
    for (int i = 0; i < n; i++) {
        assert_int_equal(atomic_load(&e[i].ended), 1);
        ear_close(&e[i]);
    }
    moa_generator_free(g);
}

/* A machine with t = a + b n: chunks settle where a step takes the bound, from either side, and follow a change. */
static void test_pace(void **state) {
    (void)state;
    static const struct { double a, b; } machine[] = {{0.002, 1e-5}, {0.03, 1e-3}, {0.0, 2e-4}, {0.045, 0.004}};
    moa_pace p = {.keep = 0.9};
    assert_true(moa_pace_row(&p) == 0 && moa_pace_at(&p, 5) == 0 && moa_pace_rows(&p, 0.05, 40, 512) == 40);
    for (size_t k = 0; k < sizeof machine / sizeof *machine; k++) {
        int n = 0;
        for (int i = 0; i < 150; i++) {
            n = moa_pace_rows(&p, 0.05, 40, 4096);
            moa_pace_note(&p, n, machine[k].a + machine[k].b * n);
        }
        const double t = machine[k].a + machine[k].b * n, best = (0.05 - machine[k].a) / machine[k].b;
        assert_true(t <= 0.05 * 1.1 && (best > 4096 ? n == 4096 : n >= 0.5 * best - 1));
    }
    p.keep = 0.97;
    /* Where rows vary, a line is told from noise: 5 % of noise, slope within a tenth. */
    moa_rng r;
    moa_rng_seed(&r, 3);
    for (int i = 0; i < 200; i++) {
        const int n = 1 + (int)moa_rng_below(&r, 8);
        moa_pace_note(&p, n, (0.01 + 0.002 * n) * (0.95 + 0.1 * moa_rng_f64(&r)));
    }
    assert_true(fabs(moa_pace_row(&p) - 0.002) < 0.0002 && fabs(moa_pace_at(&p, 4) - 0.018) < 0.001);
}

/* The table of guesses: the longer context first, the newest continuation, a walk from guess to guess; one table a prompt. */
static void test_ngrams(void **state) {
    (void)state;
    moa_ngrams *list = NULL;
    int32_t text[16] = {1, 2, 3, 4, 5, 6, 9, 9, 3, 4, 7}, out[20];
    moa_ngrams *t = moa_ngrams_open(&list, text, 11);
    assert_ptr_equal(moa_ngrams_open(&list, text, 11), t);
    assert_ptr_equal(list, t);
    assert_int_equal(moa_ngrams_guess(t, out, 20, (const int32_t[]){8, 3, 4}, 3), 1); /* 7 came later than 5, and after 4 7 nothing */
    assert_int_equal(out[0], 7);
    assert_int_equal(moa_ngrams_guess(t, out, 3, (const int32_t[]){1, 2, 3, 4}, 4), 3);
    assert_memory_equal(out, ((const int32_t[]){5, 6, 9}), 3 * sizeof *out);
    assert_int_equal(moa_ngrams_guess(t, out, 20, (const int32_t[]){7, 7}, 2), 0);
    assert_int_equal(moa_ngrams_guess(t, out, 20, (const int32_t[]){4}, 1), 0);
    text[11] = 8;
    moa_ngrams_learn(t, text, 12);
    assert_int_equal(moa_ngrams_guess(t, out, 20, (const int32_t[]){8, 3, 4}, 3), 2);
    assert_int_equal(out[1], 8);
    moa_ngrams *other = moa_ngrams_open(&list, text, 12);
    assert_true(other != t && list == other);
    moa_ngrams_close(&list, t);
    moa_ngrams_close(&list, t);
    assert_ptr_equal(list, other);
    moa_ngrams_close(&list, other);
    assert_null(list);
}

/* A step whose only request is canceled stops between two layers. */
typedef struct killer { moa_session *s; ear *e; int asked; } killer;
static killer the_killer;

static void cancel_in_step(void *ctx, const moa_tensor *w, const moa_tensor *in, moa_tensor *out) {
    killer *k = ctx;
    (void)w, (void)in, (void)out;
    if (++k->asked == 5) atomic_store(&k->e->cancel, true);
}

static void test_cancel_in_step(void **state) {
    (void)state;
    moa_generator *g = generator_of(plain, 1024, 2, 256);
    ear e;
    ear_open(&e);
    moa_gen_req q = req[2];
    q.n_prompt = 100, q.max_tokens = 20, q.grammar = NULL;
    add(g, &q, &e, 0);
    the_killer = (killer){.s = g->s, .e = &e};
    moa_session_watch(g->s, cancel_in_step, &the_killer);
    moa_engine_turn(g);
    assert_true(the_killer.asked >= 5 && the_killer.asked < 12); /* of 22 products */
    assert_int_equal(moa_seq_len(g->s, g->run[0]->seq), 0);
    moa_engine_turn(g);
    assert_int_equal(atomic_load(&e.ended), 1);
    assert_int_equal(e.res.why, MOA_STOP_CANCELED);
    check_turn(g);
    ear_close(&e);
    moa_generator_free(g);
}

/* Several jobs that decode: a turn makes no heap call. */
static void test_no_heap(void **state) {
    (void)state;
    if (!moa_guard_works()) {
        printf("skip: sanitizers bring their own allocator\n");
        skip();
    }
    moa_generator *g = single_threaded(plain, 4096, 8);
    ear e[5];
    moa_gen_req q = req[0];
    q.stop = NULL, q.n_stop = 0;
    for (int i = 0; i < 5; i++) {
        ear_open(&e[i]);
        for (int k = 0; k < 300; k++) moa_buf_add(&e[i].text, "0123456789", 10);
        moa_buf_clear(&e[i].text);
        q.sampling.seed = (uint64_t)i, q.n_prompt = 40, q.max_tokens = 60, q.prompt = prompt[i > 2 ? 8 : 0];
        add(g, &q, &e[i], i);
    }
    for (int i = 0; i < 10; i++) moa_engine_turn(g);
    assert_int_equal(g->n_run, 5);
    moa_guard_enter("a turn of five jobs");
    for (int i = 0; i < 30; i++) moa_engine_turn(g);
    moa_guard_leave();
    while (!moa_engine_idle(g)) moa_engine_turn(g);
    for (int i = 0; i < 5; i++) ear_close(&e[i]);
    moa_generator_free(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_life), cmocka_unit_test(test_drafter), cmocka_unit_test(test_drafter_cost),
        cmocka_unit_test(test_threads), cmocka_unit_test(test_end_and_limits), cmocka_unit_test(test_fair),
        cmocka_unit_test(test_priority), cmocka_unit_test(test_starve), cmocka_unit_test(test_pace), cmocka_unit_test(test_ngrams), cmocka_unit_test(test_cancel_in_step), cmocka_unit_test(test_no_heap),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
