/* fuzz_model.c - any bytes as a model: it is refused, or it runs, whatever its numbers and weights are. The corpus has one small model
 * of every architecture, so that mutations meet each one's keys and tensors.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "model/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(const moa_model *m) {
    const moa_session_cfg cfg = {.n_ctx = 4 * MOA_KV_BLOCK, .n_batch = 8, .n_seq = 3, .n_threads = 1, .isa = MOA_ISA_COUNT, .exact = true, .kv_type = MOA_F32};
    moa_session *s = NULL;
    moa_err err;
    if (moa_session_new(&s, m, &cfg, &err) < 0) return;
    const int a = moa_seq_new(s, &err);
    moa_row row[8];
    for (int step = 0; step < 6; step++) { /* beyond a block, and beyond small windows */
        for (int i = 0; i < 8; i++) row[i] = (moa_row){a, (step * 8 + i) % m->h.n_vocab, i == 7};
        if (moa_session_step(s, row, 8, &err) < 0) break;
    }
    const int b = moa_seq_fork(s, a, moa_seq_len(s, a), &err);
    if (b >= 0 && moa_seq_len(s, b) > 0) {
        row[0] = (moa_row){b, 0, true};
        if (moa_session_step(s, row, 1, &err) == 0) moa_assert(moa_session_logits(s, 0) != NULL);
    }
    const int c = moa_seq_begin(s, 1, &err); /* of long-rope, by the other list in the same step */
    for (int i = 0; i < 2; i++) row[i] = (moa_row){i ? c : b, 0, true};
    if (b >= 0 && c >= 0 && moa_session_step(s, row, 2, &err) == 0) moa_assert(moa_session_logits(s, 1) != NULL);
    moa_session_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    moa_gguf *g = NULL;
    moa_model *m = NULL;
    moa_err err;
    if (moa_gguf_open_memory(&g, data, size, "fuzz", &err) < 0 || moa_model_open_gguf(&m, g, &err) < 0) return 0;
    if (m->h.n_layer <= 8 && !m->arch->encoder) run(m);
    moa_model_close(m);
    return 0;
}
