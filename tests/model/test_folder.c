/* test_folder.c - a Hugging Face folder, the GGUF file that is written from it, and the GGUF file that the numpy models were
 * stored in give the same bits: views into shards, experts one by one, permuted rows, MXFP4 blocks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/hf.h"
#include "model/support.h"
#include "support/scratch.h"

/* Logits [n][n_vocab] of tokens that every model has. */
static float *run(const char *name, const char *ending, int n, size_t *count) {
    moa_model *m = NULL;
    moa_err err = {0};
    int32_t ids[64];
    OK(moa_model_open(&m, scratch_path(name, ending), &err));
    for (int i = 0; i < n; i++) ids[i] = 1 + i * 7 % (m->h.n_vocab - 1);
    moa_session_cfg cfg = moa_session_defaults();
    cfg.exact = true;
    float *v = logits_of(m, ids, n, n, cfg);
    *count = (size_t)n * (size_t)m->h.n_vocab;
    moa_model_close(m);
    return v;
}

static void check(const char *name) {
    size_t n = 0, n_folder = 0, n_written = 0;
    moa_err err = {0};
    const moa_hf_convert how = {0};
    const bool near = strstr(name, "-mx"); /* blocks against their values as F32 */
    float *want = run(name, ".gguf", 40, &n), *folder = run(name, "", 40, &n_folder);
    OK(moa_hf_write(scratch_path(name, ""), scratch_path(name, ".out.gguf"), &how, &err));
    float *written = run(name, ".out.gguf", 40, &n_written);
    assert_int_equal(n, n_folder);
    assert_int_equal(n, n_written);
    if (memcmp(folder, written, n * sizeof *folder) != 0) fail_msg("%s: the folder and the file written from it differ", name);
    const double d = max_difference(folder, want, n);
    printf("   %-20s %.1e from the F32 file\n", name, d);
    if (!(d <= (near ? 2e-3 : 0))) fail_msg("%s: %g away from the file of the reference, expected %s", name, d, near ? "2e-3" : "the same bits");
    free(want);
    free(folder);
    free(written);
}

static void test_folders(void **state) {
    (void)state;
    char name[64];
    run_numpy("tests/format/hf_make.py arch '%s'", scratch_dir());
    FILE *f = fopen(scratch_path("cases", ".txt"), "r");
    assert_non_null(f);
    while (fscanf(f, "%63s", name) == 1) check(name);
    fclose(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_folders)};
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
