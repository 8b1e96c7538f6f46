/* test_constrain.c - replies that follow a grammar: every text of a babbling model is a sentence of it, alone and in company,
 * within its tokens; no heap call once the masks are there; failures are told.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/guard.h"
#include "format/grammar.h"
#include "model/generating.h"

bool moa_guard_works(void);

static moa_gguf *meta;
static moa_model *model;
static moa_grammar *json;

/* All of JSON, with the white space that models write. */
static const char json_gbnf[] =
    "root ::= value\n"
    "value ::= object | array | string | number | \"true\" | \"false\" | \"null\"\n"
    "object ::= \"{\" ws (pair (\",\" ws pair)*)? \"}\"\n"
    "pair ::= string \":\" ws value\n"
    "array ::= \"[\" ws (value (\",\" ws value)*)? \"]\"\n"
    "string ::= \"\\\"\" ([^\"\\\\\\x00-\\x1f] | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" [0-9a-fA-F]{4}))* \"\\\"\"\n"
    "number ::= \"-\"? (\"0\" | [1-9] [0-9]{0,15}) (\".\" [0-9]{1,9})?\n"
    "ws ::= [ ]?\n";

static moa_grammar *grammar(const char *text) {
    moa_grammar *g = NULL;
    moa_err err = {0};
    OK(moa_grammar_parse(&g, text, strlen(text), "test", &err));
    return g;
}

static int setup(void **state) {
    (void)state;
    static const char *const text[] = {"{\"name\": \"cat\", \"age\": 12} [1, 2, 3] true false null yes no", "the cat sat on the mat"};
    meta = learn_words(text, 2, 300);
    moa_hparams h = tiny_hparams();
    h.n_ctx = 512;
    model = tiny_model(h, meta, 11);
    json = grammar(json_gbnf);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    moa_grammar_free(json);
    moa_model_close(model);
    moa_gguf_close(meta);
    return 0;
}

static moa_generator *generator(int n_ctx, int n_seq, int n_batch) { return generator_of(model, n_ctx, n_seq, n_batch); }

static const int32_t prompt[] = {1, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50};

static moa_gen_req request(const moa_grammar *g, uint64_t seed, int max_tokens) {
    moa_gen_req q = {.prompt = prompt, .n_prompt = 12, .sampling = moa_sampling_defaults(), .max_tokens = max_tokens, .grammar = g};
    q.sampling.seed = seed;
    q.sampling.temperature = 1.5f;
    return q;
}

static void assert_sentence(const moa_grammar *g, const char *text) {
    moa_matcher *m = NULL;
    moa_err err = {0};
    OK(moa_matcher_new(&m, g, NULL, &err));
    const int s = moa_matcher_open(m, &err);
    if (moa_matcher_feed(m, s, text, strlen(text), &err) != 1 || !moa_matcher_complete(m, s)) fail_msg("'%s' is no sentence", text);
    moa_matcher_free(m);
}

static void assert_json(const char *text) {
    json_t *v = json_loads(text, JSON_DECODE_ANY, NULL); /* an independent reader */
    if (!v) fail_msg("'%s' is not JSON", text);
    json_decref(v);
}

enum { N = 24 };

/* Whatever the model says, the text is JSON and complete within its tokens; the same alone as in any company. */
static void test_always_json(void **state) {
    (void)state;
    moa_gen_req req[N];
    moa_gen_res res[N], one;
    moa_err err = {0};
    for (int i = 0; i < N; i++) req[i] = request(json, (uint64_t)i, 8 + 5 * i);
    static const struct { int n_ctx, n_seq, n_batch; } shape[] = {{8192, 32, 64}, {640, 3, 9}};
    for (int k = 0; k < 2; k++) {
        moa_generator *g = generator(shape[k].n_ctx, shape[k].n_seq, shape[k].n_batch);
        OK(moa_generate(g, res, req, N, NULL, NULL, &err));
        for (int i = 0; i < N; i++) {
            if (res[i].rc < 0) fail_msg("request %d: %s: %s", i, res[i].err.text, res[i].text);
            assert_json(res[i].text);
            assert_true(res[i].n_ids <= req[i].max_tokens);
            moa_generator *alone = generator(512, 1, 32);
            OK(moa_generate(alone, &one, &req[i], 1, NULL, NULL, &err));
            assert_string_equal(one.text, res[i].text);
            moa_gen_res_deinit(&one);
            moa_generator_free(alone);
            moa_gen_res_deinit(&res[i]);
        }
        moa_generator_free(g);
    }
}

/* Requests with other grammars, and with none, share a batch. */
static void test_mixed_batch(void **state) {
    (void)state;
    static const char *const text[] = {"root ::= \"yes\" | \"no\"", "root ::= [0-9]{3} \"-\" [0-9]{3}", "root ::= (\"the \" | \"cat \"){4,6}",
                                       "root ::= \"(\" root \")\" | \"x\"", "root ::= [\xC3\xA4-\xC3\xBC]{5}", "root ::= \"\xE2\x82\xAC\" [^a-z]{2}"};
    enum { M = sizeof text / sizeof *text };
    moa_grammar *g[M];
    moa_gen_req req[2 * M];
    moa_gen_res res[2 * M], free_one;
    moa_err err = {0};
    moa_generator *gen = generator(4096, 16, 64);
    for (int i = 0; i < M; i++) g[i] = grammar(text[i]);
    for (int i = 0; i < 2 * M; i++) req[i] = request(i % 2 ? g[i / 2] : NULL, (uint64_t)i / 2, 40);
    OK(moa_generate(gen, res, req, 2 * M, NULL, NULL, &err));
    for (int i = 0; i < 2 * M; i++) {
        if (res[i].rc < 0) fail_msg("request %d: %s", i, res[i].err.text);
        if (i % 2) {
            assert_sentence(g[i / 2], res[i].text);
            assert_int_equal(res[i].why, MOA_STOP_EOS);
        } else {
            OK(moa_generate(gen, &free_one, &req[i], 1, NULL, NULL, &err));
            assert_string_equal(free_one.text, res[i].text);
            moa_gen_res_deinit(&free_one);
        }
        moa_gen_res_deinit(&res[i]);
    }
    moa_generator_free(gen);
    for (int i = 0; i < M; i++) moa_grammar_free(g[i]);
}

/* Ends: a text that can only end here costs no further step; one that cannot end within its tokens is an error of its own. */
static void test_ends(void **state) {
    (void)state;
    moa_err err = {0};
    moa_grammar *g = grammar("root ::= \"12345678901234567890\"");
    moa_gen_req req[2] = {request(g, 1, 30), request(g, 1, 3)};
    moa_gen_res res[2];
    moa_generator *gen = generator(1024, 4, 64);
    OK(moa_generate(gen, res, req, 2, NULL, NULL, &err));
    assert_int_equal(res[0].rc, 0);
    assert_string_equal(res[0].text, "12345678901234567890");
    assert_int_equal(res[0].why, MOA_STOP_EOS);
    assert_int_equal(res[1].rc, MOA_ELIMIT);
    assert_non_null(strstr(res[1].err.text, "before its grammar was complete"));
    moa_gen_res_deinit(&res[0]);
    moa_gen_res_deinit(&res[1]);
    const char *const stop[] = {"78"}; /* stop strings go before the grammar: the text is cut where they ask for it */
    req[0].stop = stop, req[0].n_stop = 1;
    OK(moa_generate(gen, res, req, 1, NULL, NULL, &err));
    assert_int_equal(res[0].why, MOA_STOP_STRING);
    assert_string_equal(res[0].text, "123456");
    moa_gen_res_deinit(&res[0]);
    moa_generator_free(gen);
    moa_grammar_free(g);
}

/* A model of five tokens, none of which is a byte. */
static moa_model *few_tokens(moa_gguf **file) {
    const moa_str text[5] = {{"<unk>", 5}, {"<bos>", 5}, {"<eos>", 5}, {"a", 1}, {"b", 1}};
    const int32_t type[5] = {2, 3, 3, 1, 1};
    const float score[5] = {0};
    moa_gguf_out *o = moa_gguf_out_new();
    moa_gguf_put_str(o, "tokenizer.ggml.model", "llama", 5);
    moa_gguf_put_strs(o, "tokenizer.ggml.tokens", text, 5);
    moa_gguf_put_arr(o, "tokenizer.ggml.token_type", MOA_GGUF_I32, type, 5);
    moa_gguf_put_arr(o, "tokenizer.ggml.scores", MOA_GGUF_F32, score, 5);
    *file = keys_of(o, "few.gguf");
    moa_hparams h = tiny_hparams();
    h.n_vocab = 5;
    return tiny_model(h, *file, 11);
}

/* The vocabulary has no token for what the grammar wants: the request fails and says so, the others go on. */
static void test_no_token(void **state) {
    (void)state;
    static const struct { const char *grammar, *text; } cases[] = {{"root ::= \"ab\" \"c\"", "ab"}, {"root ::= \"c\"", ""}, {"root ::= [^ab]+", ""}};
    static const int32_t before[] = {3, 4};
    moa_err err = {0};
    moa_gguf *file = NULL;
    moa_model *m = few_tokens(&file);
    moa_generator *gen = NULL;
    moa_session_cfg cfg = moa_session_defaults();
    cfg.n_ctx = 256, cfg.n_threads = 1;
    OK(moa_generator_new(&gen, m, &cfg, &err));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        moa_grammar *g = grammar(cases[i].grammar), *other = grammar("root ::= \"abba\"");
        moa_gen_req req[2] = {request(g, 1, 9), request(other, 1, 9)};
        moa_gen_res res[2];
        for (int k = 0; k < 2; k++) req[k].prompt = before, req[k].n_prompt = 2;
        OK(moa_generate(gen, res, req, 2, NULL, NULL, &err));
        assert_int_equal(res[0].rc, MOA_EINVAL);
        assert_int_equal(res[0].why, MOA_STOP_FAILED);
        assert_non_null(strstr(res[0].err.text, "request 0: grammar: no token of the vocabulary can go on here"));
        assert_non_null(strstr(res[0].err.hint, "characters that the model cannot write"));
        assert_string_equal(res[0].text, cases[i].text);
        assert_int_equal(res[1].rc, 0);
        assert_string_equal(res[1].text, "abba");
        for (int k = 0; k < 2; k++) moa_gen_res_deinit(&res[k]);
        moa_grammar_free(g), moa_grammar_free(other);
    }
    moa_generator_free(gen);
    moa_model_close(m);
    moa_gguf_close(file);
}

/* A matcher takes its memory when it is made, at the first token: after that there is no heap call, whether masks are found or
 * worked out. The first run works them out, and so do the others with other seeds where they go other ways. */
typedef struct pieces { int n, from, to; } pieces;

static bool hear_guarded(void *ctx, int req, const char *text, size_t n) {
    pieces *p = ctx;
    (void)req, (void)n;
    if (text && ++p->n == p->from) moa_guard_enter("constrained decoding by the generator");
    if (!text || p->n == p->to) moa_guard_leave();
    return true;
}

static void test_no_heap(void **state) {
    (void)state;
    if (!moa_guard_works()) {
        printf("skip: sanitizers bring their own allocator\n");
        skip();
    }
    moa_err err = {0};
    moa_generator *g = NULL;
    moa_gen_res res;
    moa_session_cfg cfg = moa_session_defaults();
    cfg.n_ctx = 512;
    cfg.n_threads = 1; /* a change of team size may allocate inside the OpenMP runtime */
    moa_grammar *record = grammar("root ::= \"{\" (\"\\\"\" [a-z]{3} \"\\\":\" (number | string) \",\"){20} \"}\"\nstring ::= \"\\\"\" [^\\\"]* \"\\\"\"\n"
                                  "number ::= [1-9] [0-9]{1,6}");
    OK(moa_generator_new(&g, model, &cfg, &err));
    for (uint64_t seed = 0; seed < 3; seed++) {
        pieces p = {.from = 3, .to = 60};
        moa_gen_req q = request(record, 5 + seed, 300);
        OK(moa_generate(g, &res, &q, 1, hear_guarded, &p, &err));
        assert_true(p.n > 60);
        moa_gen_res_deinit(&res);
    }
    moa_generator_free(g);
    moa_grammar_free(record);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_always_json), cmocka_unit_test(test_mixed_batch), cmocka_unit_test(test_ends), cmocka_unit_test(test_no_token),
        cmocka_unit_test(test_no_heap),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
