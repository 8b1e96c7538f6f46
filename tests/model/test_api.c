/* test_api.c - section 3 of moa.h as a program would use it: the public calls alone decode what the generator decodes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/support.h"

static void test_decode_loop(void **state) {
    (void)state;
    char path[4096];
    moa_err err = {0};
    moa_model *m = NULL;
    moa_session *s = NULL;
    moa_sampler *sampler = NULL;
    int32_t *ids;
    int64_t n;
    shared_path(path, sizeof path, "data/models/stories260k/stories260K-f32.gguf");
    OK(moa_model_open(&m, path, &err));
    assert_int_equal(moa_model_n_vocab(m), 512);
    OK(moa_model_tokenize(&ids, &n, m, "Once upon a time", 16, true, false, &err));
    assert_int_equal(ids[0], 1);
    moa_sampling greedy = moa_sampling_defaults();
    greedy.temperature = 0;
    OK(moa_session_open(&s, m, 64, 2, 1, &err));
    OK(moa_sampler_new(&sampler, &greedy, moa_model_n_vocab(m), &err));
    const int seq = moa_seq_new(s, &err);
    int32_t got[12];
    for (int64_t i = 0; i < n; i++) OK(moa_session_step(s, &(moa_row){seq, ids[i], i + 1 == n}, 1, &err));
    for (int i = 0; i < 12; i++) {
        got[i] = moa_sampler_next(sampler, moa_session_logits(s, 0), NULL);
        assert_false(moa_model_is_end(m, got[i]));
        OK(moa_session_step(s, &(moa_row){seq, got[i], true}, 1, &err));
    }
    assert_int_equal(moa_seq_len(s, seq), n + 12);
    char *text;
    size_t len;
    OK(moa_model_detokenize(&text, &len, m, got, 12, &err));
    assert_non_null(strstr(text, "there was a little girl"));
    free(text);
    free(ids);
    moa_sampler_free(sampler);
    moa_session_free(s);
    moa_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_decode_loop)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
