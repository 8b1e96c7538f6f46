/* test_stories.c - a real, trained model against llama2.c: token ids, logits after the last token, 200 greedy tokens, and
 * the mean loss on 300 stories (MOA_TEST_LONG=1) or a few of them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "model/support.h"
#include "model/generate.h"

static moa_model *open_stories(json_t **golden) {
    char path[4096];
    moa_err err = {0};
    moa_model *m = NULL;
    shared_path(path, sizeof path, "data/models/stories260k/golden.json");
    if (golden) OK(moa_json_read(golden, path, 1 << 24, &err));
    shared_path(path, sizeof path, "data/models/stories260k/stories260K-f32.gguf");
    OK(moa_model_open(&m, path, &err));
    return m;
}

static void test_ids_and_logits(void **state) {
    (void)state;
    json_t *golden = NULL, *one;
    size_t i;
    moa_err err = {0};
    moa_model *m = open_stories(&golden);
    double worst = 0;
    json_array_foreach(json_object_get(golden, "cases"), i, one) {
        const char *text = json_string_value(json_object_get(one, "text"));
        const json_t *want_ids = json_object_get(one, "ids"), *want = json_object_get(one, "logits_after_last");
        moa_ids ids = {0};
        OK(moa_tokenize(&ids, m->tok, text, strlen(text), MOA_TOK_BOS, &err));
        assert_int_equal(ids.n, json_array_size(want_ids));
        for (int64_t k = 0; k < ids.n; k++) assert_int_equal(ids.v[k], json_integer_value(json_array_get(want_ids, (size_t)k)));
        moa_session_cfg cfg = moa_session_defaults();
        float *got = logits_of(m, ids.v, (int)ids.n, (int)ids.n, cfg);
        for (size_t v = 0; v < json_array_size(want); v++) {
            const double d = fabs((double)got[(size_t)(ids.n - 1) * (size_t)m->h.n_vocab + v] - json_number_value(json_array_get(want, v)));
            if (!(d <= 2e-3)) fail_msg("%s: logit %zu differs by %g", text, v, d); /* also for NaN, which `worst` would not see */
            worst = d > worst ? d : worst;
        }
        free(got);
        moa_ids_deinit(&ids);
    }
    printf("   %zu texts, largest difference of a logit %.6f\n", json_array_size(json_object_get(golden, "cases")), worst);
    assert_true(i > 0 && worst <= 2e-3);
    json_decref(golden);
    moa_model_close(m);
}

static void test_greedy(void **state) {
    (void)state;
    char path[4096], *want;
    size_t len;
    moa_err err = {0};
    moa_generator *g = NULL;
    moa_gen_res res = {0};
    moa_ids ids = {0};
    moa_model *m = open_stories(NULL);
    shared_path(path, sizeof path, "data/models/stories260k/expected_greedy_200.txt");
    OK(moa_read_file(&want, &len, path, 1 << 20, &err));
    while (len && want[len - 1] == '\n') want[--len] = 0;
    OK(moa_tokenize(&ids, m->tok, "Once upon a time", 16, MOA_TOK_BOS, &err));
    OK(moa_generator_new(&g, m, NULL, &err));
    moa_gen_req req = {.prompt = ids.v, .n_prompt = ids.n, .sampling = moa_sampling_defaults(), .max_tokens = 199};
    req.sampling.temperature = 0;
    OK(moa_generate(g, &res, &req, 1, NULL, NULL, &err));
    assert_true(!strncmp(want, "Once upon a time", 16));
    if (res.text_len < len - 16 || strncmp(res.text, want + 16, len - 16)) fail_msg("got '%s'\nexpected '%s'", res.text, want + 16);
    printf("   greedy text equal over %zu bytes, %d tokens in %.3f s\n", len - 16, res.n_ids, res.seconds);
    moa_gen_res_deinit(&res);
    moa_generator_free(g);
    moa_ids_deinit(&ids);
    free(want);
    moa_model_close(m);
}

/* Sum of -log p of tokens 1 .. n - 1. */
static double sum_loss(moa_session *s, const moa_ids *ids, int n) {
    moa_err err = {0};
    moa_row row[512];
    const int n_vocab = moa_session_model(s)->h.n_vocab, seq = moa_seq_new(s, &err);
    double loss = 0;
    for (int i = 0; i < n; i++) row[i] = (moa_row){seq, ids->v[i], i + 1 < n};
    OK(moa_session_step(s, row, n, &err));
    for (int i = 0; i + 1 < n; i++) {
        const float *l = moa_session_logits(s, i);
        double sum = 0;
        for (int v = 0; v < n_vocab; v++) sum += exp((double)l[v]);
        loss += log(sum) - (double)l[ids->v[i + 1]];
    }
    moa_seq_free(s, seq);
    return loss;
}

/* The whole run's 1.50897 is llama2.c's; the part's was taken from the run that agreed on the whole. */
#define MEAN_30 1.26215
static void test_loss(void **state) {
    (void)state;
    char path[4096], command[4200];
    moa_err err = {0};
    moa_session *s = NULL;
    moa_model *m = open_stories(NULL);
    shared_path(path, sizeof path, "data/packs/en-tinystories-2MiB.txt.xz");
    snprintf(command, sizeof command, "xz -dc '%s'", path);
    FILE *f = popen(command, "r");
    static char text[3 << 20];
    const size_t len = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f) pclose(f);
    if (!len) {
        printf("skip: xz is not installed\n");
        moa_model_close(m);
        skip();
    }
    const moa_session_cfg cfg = {.n_batch = 512, .n_seq = 1, .isa = MOA_ISA_COUNT, .kv_type = MOA_F32};
    OK(moa_session_new(&s, m, &cfg, &err));
    const int n_story = getenv("MOA_TEST_LONG") ? 300 : 30;
    double loss = 0;
    long long tokens = 0;
    char *at = text;
    for (int i = 0; i < n_story; i++) {
        while (*at == '\n') at++;
        char *end = strstr(at, "<|endoftext|>");
        assert_non_null(end);
        moa_ids ids = {0};
        OK(moa_tokenize(&ids, m->tok, at, (size_t)(end - at), MOA_TOK_BOS, &err));
        const int n = ids.n < 512 ? (int)ids.n : 512;
        loss += sum_loss(s, &ids, n);
        tokens += n;
        moa_ids_deinit(&ids);
        at = end + strlen("<|endoftext|>");
    }
    const double mean = loss / (double)(tokens - n_story), want = n_story == 300 ? 1.50897 : MEAN_30;
    printf("   %d stories, %lld tokens predicted: mean loss %.5f, expected %.5f\n", n_story, tokens - n_story, mean, want);
    assert_true(fabs(mean - want) <= 1e-3);
    moa_session_free(s);
    moa_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ids_and_logits), cmocka_unit_test(test_greedy), cmocka_unit_test(test_loss)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
