/* api.c - the calls of section 3 of moa.h that differ from the inner ones: plain types instead of inner structs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "model/session.h"

int moa_model_n_vocab(const moa_model *m) { return m->h.n_vocab; }
int moa_model_n_ctx(const moa_model *m) { return m->h.n_ctx; }
bool moa_model_is_end(const moa_model *m, int32_t id) { return m->tok && moa_tokenizer_is_eog(m->tok, id); }

static int need_tokenizer(const moa_model *m, moa_err *err) {
    return m->tok ? 0 : moa_fail(err, MOA_EUNSUPPORTED, "%s: the model has no tokenizer", m->path ? m->path : "model");
}

int moa_model_tokenize(int32_t **ids, int64_t *n_ids, const moa_model *m, const char *text, size_t n, bool bos, bool special, moa_err *err) {
    moa_ids list = {0};
    MOA_TRY(need_tokenizer(m, err));
    const int rc = moa_tokenize(&list, m->tok, text, n, (bos ? MOA_TOK_BOS : 0) | (special ? MOA_TOK_SPECIAL : 0), err);
    if (rc < 0) {
        moa_ids_deinit(&list);
        return rc;
    }
    *ids = list.v; /* NULL for no text */
    *n_ids = list.n;
    return 0;
}

int moa_model_detokenize(char **text, size_t *n, const moa_model *m, const int32_t *ids, int64_t n_ids, moa_err *err) {
    MOA_TRY(need_tokenizer(m, err));
    return moa_detokenize(text, n, m->tok, ids, n_ids, false, err);
}

int moa_session_open(moa_session **out, const moa_model *m, int n_ctx, int n_seq, int n_threads, moa_err *err) {
    moa_session_cfg cfg = moa_session_defaults();
    cfg.n_ctx = n_ctx;
    cfg.n_seq = n_seq;
    cfg.n_threads = n_threads;
    return moa_session_new(out, m, &cfg, err);
}
