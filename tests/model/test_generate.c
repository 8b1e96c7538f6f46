/* test_generate.c - many requests as one batch: the same text alone and in any company, with and without shared
 * prefixes, a cache, a KV store too small for all; stop strings, streaming, cancel, limits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/guard.h"
#include "base/utf8.h"
#include "model/generating.h"
#include "model/stream.h"
#include "model/weights.h"

bool moa_guard_works(void);

static moa_gguf *meta;
static moa_model *model;

static int setup(void **state) {
    (void)state;
    static const char *const text[] = {"the cat sat on the mat and the dog sat on the log", "one two three four five six seven, the end."};
    meta = learn_words(text, 2, 320);
    moa_hparams h = tiny_hparams();
    h.n_ctx = 256;
    model = tiny_model(h, meta, 11);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    moa_model_close(model);
    moa_gguf_close(meta);
    return 0;
}

static moa_generator *generator(int n_ctx, int n_seq, int n_batch) { return generator_of(model, n_ctx, n_seq, n_batch); }

enum { N_REQ = 24 };
typedef struct load { int32_t prompt[N_REQ][80]; moa_gen_req req[N_REQ]; } load;

/* Groups of 4 with a common beginning; some prompts are equal, with other seeds. */
static load *make_load(void) {
    load *l = calloc(1, sizeof *l);
    moa_rng r;
    moa_rng_seed(&r, 77);
    for (int i = 0; i < N_REQ; i++) {
        for (int t = 0; t < 80; t++) l->prompt[i][t] = 2 + (int32_t)moa_rng_below(&r, 300);
        if (i % 4) memcpy(l->prompt[i], l->prompt[i / 4 * 4], (i % 4 == 1 ? 80 : 40) * sizeof(int32_t));
        l->req[i] = (moa_gen_req){.prompt = l->prompt[i], .n_prompt = 50 + i % 4, .sampling = moa_sampling_defaults(), .max_tokens = 30 + i};
        l->req[i].sampling.seed = (uint64_t)i;
        l->req[i].sampling.temperature = 1;
    }
    return l;
}

static void assert_same(const moa_gen_res *a, const moa_gen_res *b) {
    assert_int_equal(a->n_ids, b->n_ids);
    assert_memory_equal(a->ids, b->ids, (size_t)a->n_ids * sizeof(int32_t));
    assert_string_equal(a->text, b->text);
    assert_int_equal(a->why, b->why);
    assert_true(a->sum_logprob == b->sum_logprob); /* the same logits, bit for bit */
}

static void test_company(void **state) {
    (void)state;
    load *l = make_load();
    moa_gen_res want[N_REQ], got[N_REQ];
    moa_err err = {0};
    for (int i = 0; i < N_REQ; i++) {
        moa_generator *g = generator(256, 1, 7);
        OK(moa_generate(g, &want[i], &l->req[i], 1, NULL, NULL, &err));
        assert_int_equal(want[i].n_reused, 0);
        moa_generator_free(g);
    }
    /* Plenty of room; few sequences at once; a KV store that holds about two; tiny steps. */
    static const struct { int n_ctx, n_seq, n_batch; } shape[] = {{8192, 32, 64}, {2048, 5, 256}, {256, 32, 64}, {320, 6, 9}};
    for (size_t k = 0; k < sizeof shape / sizeof *shape; k++) {
        moa_generator *g = generator(shape[k].n_ctx, shape[k].n_seq, shape[k].n_batch);
        for (int round = 0; round < 2; round++) { /* the second finds its prompts in the cache, and runs in reverse */
            moa_gen_req req[N_REQ];
            int64_t reused = 0;
            for (int i = 0; i < N_REQ; i++) req[i] = l->req[round ? N_REQ - 1 - i : i];
            OK(moa_generate(g, got, req, N_REQ, NULL, NULL, &err));
            for (int i = 0; i < N_REQ; i++) {
                assert_same(&got[i], &want[round ? N_REQ - 1 - i : i]);
                reused += got[i].n_reused;
                moa_gen_res_deinit(&got[i]);
            }
            if (k == 0) assert_true(reused >= (round ? N_REQ * 49 : 18 * 39)); /* 3 of 4 share 40 or more tokens */
        }
        moa_generator_free(g);
    }
    for (int i = 0; i < N_REQ; i++) moa_gen_res_deinit(&want[i]);
    free(l);
}

typedef struct heard { moa_buf text; size_t cut[256]; int calls, stop_after; } heard;

static bool hear(void *ctx, int req, const char *text, size_t n) {
    heard *h = ctx;
    assert_int_equal(req, 0);
    moa_buf_add(&h->text, text, n);
    h->cut[h->calls % 256] = h->text.len;
    return ++h->calls != h->stop_after;
}

/* Every piece ends where a character of the whole text ends (a bad byte is a character). */
static void assert_whole_characters(const heard *h) {
    size_t at = 0;
    uint32_t cp;
    for (int i = 0; i < h->calls; i++) {
        while (at < h->cut[i]) at += (size_t)moa_utf8_next(&cp, h->text.data + at, h->text.len - at);
        assert_int_equal(at, h->cut[i]);
    }
}

static void test_stream_and_stop(void **state) {
    (void)state;
    load *l = make_load();
    moa_generator *g = generator(512, 4, 64);
    moa_gen_res all, res;
    moa_err err = {0};
    heard h = {.stop_after = -1};
    moa_buf_init(&h.text, 1 << 20);
    OK(moa_generate(g, &all, l->req, 1, hear, &h, &err));
    assert_string_equal(all.text, moa_buf_str(&h.text));
    assert_true(h.calls > 5);
    assert_whole_characters(&h);
    assert_int_equal(all.why, MOA_STOP_LENGTH);
    assert_int_equal(all.n_ids, 30);
    /* A stop string taken from the middle of the text: spans tokens wherever it falls. */
    for (size_t at = 5; at + 4 < all.text_len; at += 7) {
        char stop[5] = {0};
        memcpy(stop, all.text + at, 4);
        if (strlen(stop) < 4) continue;
        const char *stops[] = {"never to be seen", stop};
        moa_gen_req req = l->req[0];
        req.stop = stops;
        req.n_stop = 2;
        moa_buf_clear(&h.text);
        OK(moa_generate(g, &res, &req, 1, hear, &h, &err));
        const size_t first = (size_t)(strstr(all.text, stop) - all.text);
        assert_int_equal(res.why, MOA_STOP_STRING);
        assert_true(res.text_len <= first && first - res.text_len < 4); /* an unfinished character before it goes */
        assert_memory_equal(res.text, all.text, res.text_len);
        assert_string_equal(res.text, moa_buf_str(&h.text)); /* nothing of it was ever shown */
        moa_gen_res_deinit(&res);
    }
    h.calls = 0;
    h.stop_after = 3;
    assert_int_equal(moa_generate(g, &res, l->req, 1, hear, &h, &err), MOA_ECANCELED);
    assert_int_equal(res.why, MOA_STOP_CANCELED);
    assert_true(res.n_ids < 30);
    moa_gen_res_deinit(&res);
    moa_gen_res_deinit(&all);
    moa_buf_deinit(&h.text);
    moa_generator_free(g);
    free(l);
}

/* Between two pieces of a reply the whole generator makes no heap call: not the session, the sampler or the text. */
static bool hear_guarded(void *ctx, int req, const char *text, size_t n) {
    int *pieces = ctx;
    (void)req, (void)n;
    if (text && ++*pieces == 3) moa_guard_enter("decoding by the generator");
    if (!text || *pieces == 5) moa_guard_leave();
    return true;
}

static void test_no_heap(void **state) {
    (void)state;
    if (!moa_guard_works()) {
        printf("skip: sanitizers bring their own allocator\n");
        skip();
    }
    load *l = make_load();
    moa_generator *g = NULL;
    moa_gen_res res;
    moa_err err = {0};
    int pieces = 0;
    moa_session_cfg cfg = moa_session_defaults();
    cfg.n_ctx = 512;
    cfg.n_threads = 1; /* a change of team size may allocate inside the OpenMP runtime */
    OK(moa_generator_new(&g, model, &cfg, &err));
    OK(moa_generate(g, &res, l->req, 1, hear_guarded, &pieces, &err));
    assert_true(pieces >= 5);
    moa_gen_res_deinit(&res);
    moa_generator_free(g);
    free(l);
}

/* Each request's end is told once, after its last text, with its result filled, while longer ones still run. */
typedef struct ends { const moa_gen_res *res; int told[N_REQ], open_at_first; bool any; } ends;

static bool hear_ends(void *ctx, int req, const char *text, size_t n) {
    ends *e = ctx;
    assert_int_equal(e->told[req], 0); /* nothing comes after the end */
    if (text) return true;
    assert_int_equal(n, 0);
    assert_non_null(e->res[req].text);
    assert_true(e->res[req].share_s > 0);
    for (int i = 0; i < N_REQ && !e->any; i++) e->open_at_first += e->res[i].text == NULL;
    e->any = true;
    e->told[req] = 1;
    return true;
}

static void test_ends(void **state) {
    (void)state;
    load *l = make_load();
    moa_generator *g = generator(8192, 32, 64);
    moa_gen_res res[N_REQ];
    moa_err err = {0};
    ends e = {.res = res};
    double share = 0, longest = 0;
    OK(moa_generate(g, res, l->req, N_REQ, hear_ends, &e, &err));
    assert_true(e.open_at_first > 0);
    for (int i = 0; i < N_REQ; i++) {
        assert_int_equal(e.told[i], 1);
        share += res[i].share_s;
        longest = res[i].seconds > longest ? res[i].seconds : longest;
        moa_gen_res_deinit(&res[i]);
    }
    assert_true(share > 0 && share <= longest); /* shares add up to the steps' time, which is part of the call's */
    moa_generator_free(g);
    free(l);
}

static void test_limits(void **state) {
    (void)state;
    load *l = make_load();
    moa_generator *g = generator(64, 4, 64);
    moa_gen_res res[2];
    moa_err err = {0};
    moa_gen_req req[2] = {l->req[0], l->req[1]};
    req[1].n_prompt = 64;
    assert_int_equal(moa_generate(g, res, req, 2, NULL, NULL, &err), MOA_ELIMIT);
    assert_non_null(strstr(err.text, "request 1"));
    assert_non_null(strstr(err.text, "64"));
    req[1].n_prompt = 63; /* room for one token */
    req[1].max_tokens = 1 << 30;
    OK(moa_generate(g, res, req, 2, NULL, NULL, &err));
    assert_int_equal(res[1].why, MOA_STOP_CONTEXT);
    assert_int_equal(res[1].n_ids, 1);
    moa_gen_res_deinit(&res[0]);
    moa_gen_res_deinit(&res[1]);
    req[0].max_tokens = 0;
    assert_int_equal(moa_generate(g, res, req, 1, NULL, NULL, &err), MOA_EINVAL);
    req[0] = l->req[0];
    req[0].n_prompt = 0;
    assert_int_equal(moa_generate(g, res, req, 1, NULL, NULL, &err), MOA_EINVAL);
    req[0] = l->req[0];
    req[0].prompt = (const int32_t[]){1, 9999};
    req[0].n_prompt = 2;
    assert_int_equal(moa_generate(g, res, req, 1, NULL, NULL, &err), MOA_EINVAL);
    req[0] = l->req[0];
    req[0].stop = (const char *const[]){""};
    req[0].n_stop = 1;
    assert_int_equal(moa_generate(g, res, req, 1, NULL, NULL, &err), MOA_EINVAL);
    OK(moa_generate(g, res, req, 0, NULL, NULL, &err));
    moa_generator_free(g);
    moa_model *mute = tiny_model(tiny_hparams(), NULL, 1);
    assert_int_equal(moa_generator_new(&g, mute, NULL, &err), MOA_EUNSUPPORTED);
    moa_model_close(mute);
    free(l);
}

/* A damaged model: an error that says so, not a token. */
static void test_no_finite_logits(void **state) {
    (void)state;
    load *l = make_load();
    moa_generator *g = generator(256, 4, 64);
    moa_gen_res res;
    moa_err err = {0};
    float *w = model->out_norm->data, keep = w[0];
    w[0] = NAN;
    OK(moa_generate(g, &res, l->req, 1, NULL, NULL, &err));
    assert_int_equal(res.rc, MOA_EFORMAT);
    assert_int_equal(res.why, MOA_STOP_FAILED);
    w[0] = keep;
    moa_gen_res_deinit(&res);
    moa_generator_free(g);
    free(l);
}

/* A token that no prompt holds and no reply says. */
static int32_t unused_token(const load *l, const moa_gen_res *res) {
    for (int32_t t = 319; t > 1; t--) {
        bool used = false;
        for (int i = 0; i < N_REQ && !used; i++) {
            for (int k = 0; k < 80; k++) used |= l->prompt[i][k] == t;
            for (int k = 0; k < res[i].n_ids; k++) used |= res[i].ids[k] == t;
        }
        if (!used) return t;
    }
    fail_msg("every token is in use");
    return -1;
}

/* One embedding is damaged, one prompt holds it: that request fails and is named, the others get what they get without it. */
static void test_fails_alone(void **state) {
    (void)state;
    enum { BAD = 5 };
    load *l = make_load();
    moa_generator *g = generator(8192, 32, 64);
    moa_gen_res want[N_REQ], got[N_REQ];
    moa_err err = {0};
    OK(moa_generate(g, want, l->req, N_REQ, NULL, NULL, &err));
    moa_generator_free(g);
    const int32_t bad = unused_token(l, want);
    float *w = (float *)model->tok_embd->data + (size_t)bad * (size_t)model->h.d_model, keep = w[0];
    l->prompt[BAD][20] = bad;
    w[0] = NAN;
    g = generator(8192, 32, 64);
    ends e = {.res = got};
    OK(moa_generate(g, got, l->req, N_REQ, hear_ends, &e, &err));
    w[0] = keep;
    for (int i = 0; i < N_REQ; i++) {
        assert_int_equal(e.told[i], 1);
        assert_int_equal(got[i].rc, i == BAD ? MOA_EFORMAT : 0);
        if (i == BAD) assert_non_null(strstr(got[i].err.text, "request 5"));
        else assert_same(&got[i], &want[i]);
        moa_gen_res_deinit(&got[i]);
        moa_gen_res_deinit(&want[i]);
    }
    moa_generator_free(g);
    free(l);
}

/* Called between the chunks of a prompt, it gives up; what was read until then stays in the cache and shows how far it came. */
static bool give_up(void *ctx, int req, const char *text, size_t n) {
    (void)req;
    assert_non_null(text);
    assert_int_equal(n, 0);
    return --*(int *)ctx > 0;
}

static void test_cancel_while_reading(void **state) {
    (void)state;
    load *l = make_load();
    moa_generator *g = generator(512, 4, 8);
    moa_gen_res res;
    moa_err err = {0};
    l->req[0].n_prompt = 80;
    for (int chunks = 1; chunks < 4; chunks++) {
        int left = chunks;
        assert_int_equal(moa_generate(g, &res, l->req, 1, give_up, &left, &err), MOA_ECANCELED);
        assert_int_equal(left, 0);
        assert_int_equal(res.n_ids, 0);
        assert_int_equal(res.why, MOA_STOP_CANCELED);
        assert_int_equal(res.n_reused, 8 * (chunks - 1) * chunks / 2);
        moa_gen_res_deinit(&res);
    }
    moa_generator_free(g);
    free(l);
}

/* ---- long-rope ---- */

enum { ORIG = 96 }; /* the original context of long_model */

static moa_model *long_model(void) {
    static float f[2][4] = {{1, 1.1f, 1.2f, 1.3f}, {1.5f, 3, 6, 9}};
    static moa_tensor list[2];
    moa_err err = {0};
    moa_hparams h = tiny_hparams();
    h.n_ctx = 256, h.n_ctx_orig = ORIG;
    moa_model *m = tiny_model(h, meta, 12);
    for (int i = 0; i < 2; i++) list[i] = moa_view1(MOA_F32, f[i], 4);
    m->rope_short = &list[0], m->rope_long = &list[1];
    OK(moa_rope_forms_make(m, &err));
    return m;
}

/* The most likely token after n, all of them computed at once with one list: what the published code does, with the long one for n > ORIG. */
static int32_t greedy_after(moa_model *m, const int32_t *tok, int n, bool longer) {
    moa_session *s = NULL;
    moa_err err = {0};
    moa_row row[256];
    moa_session_cfg cfg = moa_session_defaults();
    OK(moa_session_new(&s, m, &cfg, &err));
    m->h.n_ctx_orig = longer ? 1 : m->h.n_ctx;
    const int seq = moa_seq_begin(s, n, &err);
    for (int i = 0; i < n; i++) row[i] = (moa_row){seq, tok[i], i == n - 1};
    OK(moa_session_step(s, row, n, &err));
    m->h.n_ctx_orig = ORIG;
    const float *l = moa_session_logits(s, n - 1);
    int32_t best = 0;
    for (int32_t t = 1; t < moa_tokenizer_n_vocab(m->tok); t++)
        if (l[t] > l[best]) best = t;
    moa_session_free(s);
    return best;
}

/* Each token of a reply that grows beyond the original context is the one that its whole text gives with its own list. */
static void test_long_rope_border(void **state) {
    (void)state;
    moa_model *m = long_model();
    moa_generator *g = generator_of(m, 1024, 4, 64);
    load *l = make_load();
    moa_gen_res res;
    moa_err err = {0};
    int32_t tok[256];
    int other = 0;
    l->req[0].n_prompt = 80, l->req[0].max_tokens = 40, l->req[0].sampling.temperature = 0;
    OK(moa_generate(g, &res, l->req, 1, NULL, NULL, &err));
    assert_int_equal(res.n_ids, 40);
    memcpy(tok, l->prompt[0], 80 * sizeof *tok);
    memcpy(tok + 80, res.ids, 40 * sizeof *tok);
    for (int n = 80; n < 120; n++) {
        assert_int_equal(tok[n], greedy_after(m, tok, n, n > ORIG));
        other += tok[n] != greedy_after(m, tok, n, n <= ORIG);
    }
    assert_true(other > 10); /* the lists matter */
    moa_gen_res_deinit(&res);
    /* The next turn finds what was computed with its list, nothing of the other. */
    l->req[0].prompt = tok, l->req[0].n_prompt = 120, l->req[0].max_tokens = 1;
    OK(moa_generate(g, &res, l->req, 1, NULL, NULL, &err));
    assert_int_equal(res.n_reused, 119);
    assert_int_equal(res.ids[0], greedy_after(m, tok, 120, true));
    moa_gen_res_deinit(&res);
    l->req[0].n_prompt = 90;
    OK(moa_generate(g, &res, l->req, 1, NULL, NULL, &err));
    assert_int_equal(res.n_reused, 89); /* from before the border */
    assert_int_equal(res.ids[0], tok[90]);
    moa_gen_res_deinit(&res);
    moa_generator_free(g);
    moa_model_close(m);
    free(l);
}

/* Before, at and beyond the border in one batch, with shared prompts and too little KV: each as alone. */
static void test_long_rope_company(void **state) {
    (void)state;
    enum { N = 9 };
    moa_model *m = long_model();
    load *l = make_load();
    int32_t prompt[130];
    moa_gen_req req[N];
    moa_gen_res want[N], got[N];
    moa_err err = {0};
    for (int i = 0; i < 130; i++) prompt[i] = l->prompt[i / 80][i % 80];
    for (int i = 0; i < N; i++) {
        req[i] = l->req[i];
        req[i].prompt = prompt, req[i].n_prompt = i < 5 ? 80 : i < 7 ? 40 : 90 + 5 * i; /* samples that cross together; all before; 125 and 130: all beyond */
        moa_generator *g = generator_of(m, 256, 1, 7);
        OK(moa_generate(g, &want[i], &req[i], 1, NULL, NULL, &err));
        moa_generator_free(g);
    }
    static const struct { int n_ctx, n_seq, n_batch; } shape[] = {{4096, 16, 64}, {320, 6, 9}};
    for (size_t k = 0; k < 2; k++) {
        moa_generator *g = generator_of(m, shape[k].n_ctx, shape[k].n_seq, shape[k].n_batch);
        for (int round = 0; round < 2; round++) {
            OK(moa_generate(g, got, req, N, NULL, NULL, &err));
            for (int i = 0; i < N; i++) {
                assert_same(&got[i], &want[i]);
                moa_gen_res_deinit(&got[i]);
            }
        }
        moa_generator_free(g);
    }
    for (int i = 0; i < N; i++) moa_gen_res_deinit(&want[i]);
    moa_model_close(m);
    free(l);
}

/* A session refuses what would mix two rotations. */
static void test_long_rope_session(void **state) {
    (void)state;
    moa_model *m = long_model();
    moa_session *s = NULL;
    moa_err err = {0};
    moa_row row[ORIG + 1];
    moa_session_cfg cfg = moa_session_defaults();
    OK(moa_session_new(&s, m, &cfg, &err));
    const int a = moa_seq_begin(s, ORIG, &err), b = moa_seq_begin(s, ORIG + 1, &err), whole = moa_seq_new(s, &err);
    assert_true(moa_seq_kind(s, a) == moa_session_kind(s, 1) && moa_seq_kind(s, b) == moa_session_kind(s, 256));
    assert_true(moa_seq_kind(s, a) != moa_seq_kind(s, b) && moa_seq_kind(s, b) == moa_seq_kind(s, whole));
    for (int i = 0; i < ORIG + 1; i++) row[i] = (moa_row){a, i, false};
    assert_int_equal(moa_session_step(s, row, ORIG + 1, &err), MOA_ELIMIT);
    assert_non_null(strstr(err.text, "original context of 96"));
    OK(moa_session_step(s, row, ORIG, &err));
    const int fork = moa_seq_fork(s, a, 50, &err);
    assert_true(moa_seq_kind(s, fork) == moa_seq_kind(s, a));
    assert_int_equal(moa_session_step(s, &row[ORIG], 1, &err), MOA_ELIMIT);
    for (int i = 0; i < ORIG + 1; i++) row[i].seq = b;
    OK(moa_session_step(s, row, ORIG + 1, &err));
    moa_session_free(s);
    m->rope_short = NULL;
    assert_int_equal(moa_rope_forms_make(m, &err), MOA_ENOTFOUND);
    assert_non_null(strstr(err.text, "rope_factors_short.weight"));
    moa_model_close(m);
}

static void test_stream_unit(void **state) {
    (void)state;
    static const char *const stop[] = {"END", "\xe2\x82\xac!"};
    moa_stream s;
    moa_err err = {0};
    OK(moa_stream_init(&s, stop, 2, &err));
    OK(moa_stream_add(&s, "ab\xe2", 3, &err));
    assert_int_equal(s.sent = moa_stream_ready(&s), 2); /* half a character waits */
    OK(moa_stream_add(&s, "\x82\xac", 2, &err));
    assert_int_equal(moa_stream_ready(&s), 2); /* could become the second stop string */
    OK(moa_stream_add(&s, "EN", 2, &err));
    assert_int_equal(s.sent = moa_stream_ready(&s), 5);
    OK(moa_stream_add(&s, "EN", 2, &err));
    assert_int_equal(s.sent = moa_stream_ready(&s), 7);
    OK(moa_stream_add(&s, "D tail", 6, &err));
    assert_true(s.stopped);
    assert_string_equal(s.text, "ab\xe2\x82\xac" "EN");
    moa_stream_deinit(&s);
    OK(moa_stream_init(&s, NULL, 0, &err));
    OK(moa_stream_add(&s, "x\xf0\x9f", 3, &err));
    moa_stream_end(&s);
    assert_string_equal(s.text, "x");
    moa_stream_deinit(&s);
    OK(moa_stream_init(&s, stop, 2, &err)); /* another stream goes on: it gets what may become a stop string whole */
    OK(moa_stream_add(&s, "ab EN", 5, &err));
    moa_stream_break(&s);
    assert_string_equal(s.text, "ab ");
    assert_int_equal(moa_stream_ready(&s), 3);
    moa_stream_deinit(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_company), cmocka_unit_test(test_stream_and_stop), cmocka_unit_test(test_no_heap), cmocka_unit_test(test_ends), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_no_finite_logits), cmocka_unit_test(test_fails_alone), cmocka_unit_test(test_cancel_while_reading),
        cmocka_unit_test(test_long_rope_border), cmocka_unit_test(test_long_rope_company), cmocka_unit_test(test_long_rope_session),
        cmocka_unit_test(test_stream_unit),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
