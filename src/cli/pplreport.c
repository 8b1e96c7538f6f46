/* pplreport.c - see pplreport.h. SPDX-License-Identifier: Apache-2.0 */
#include "cli/pplreport.h"

#include "base/err.h"
#include "base/file.h"
#include "cli/live.h"

#include <math.h>
#include <stdlib.h>

static bool progress(void *ctx, const moa_ppl *p) {
    const moa_ppl_ask *ask = ctx;
    if (p->against)
        moa_progress_line(ask->quiet, "chunk %d of %d: perplexity %.4f, reference %.4f, KL divergence %.5f", p->chunk, p->n_chunk, exp(p->nll),
                          exp(p->ref_nll), p->kl);
    else
        moa_progress_line(ask->quiet, "chunk %d of %d: perplexity %.4f", p->chunk, p->n_chunk, exp(p->nll));
    return !moa_interrupted();
}

/* What was paid for is told, but not as a result: the text's end may read otherwise than its beginning. */
static void tell_partial(const moa_ppl *p, moa_err *err) {
    char than[96] = "";
    if (p->against) snprintf(than, sizeof than, ", reference %.4f, KL divergence %.6f +- %.6f", exp(p->ref_nll), p->kl, p->kl_error);
    if (p->chunk)
        moa_fail(err, MOA_ECANCELED, "stopped after %d of %d chunks: perplexity %.4f +- %.4f%s so far", p->chunk, p->n_chunk, exp(p->nll), exp(p->nll) * p->nll_error, than);
}

int moa_ppl_measure(moa_ppl *out, moa_ppl_ask *ask, moa_err *err) {
    moa_model *m = NULL, *ref = NULL;
    char *text = NULL;
    size_t n = 0;
    ask->cfg.progress = progress;
    ask->cfg.ctx = ask;
    moa_interrupt_catch();
    int rc = moa_read_file(&text, &n, ask->text, (size_t)1 << 30, err);
    if (rc >= 0) rc = moa_model_open(&m, ask->model, err);
    if (rc >= 0 && ask->against) rc = moa_model_open(&ref, ask->against, err);
    if (rc >= 0) rc = moa_perplexity(out, m, ref, text, n, &ask->cfg, err);
    moa_progress_line(ask->quiet, NULL);
    if (rc == MOA_ECANCELED) tell_partial(out, err);
    moa_model_close(m);
    moa_model_close(ref);
    free(text);
    return rc;
}

void moa_ppl_show(const moa_ppl *p) {
    const double ppl = exp(p->nll);
    printf("perplexity      %.4f +- %.4f  (%lld tokens, %d chunks)\n", ppl, ppl * p->nll_error, (long long)p->n, p->chunk);
    if (!p->against) return;
    const double ref = exp(p->ref_nll), ratio = exp(p->nll - p->ref_nll);
    printf("of reference    %.4f\n", ref);
    printf("change          %+.4f  (%+.3f %% +- %.3f)\n", ppl - ref, 100 * (ratio - 1), 100 * ratio * p->diff_error);
    printf("KL divergence   mean %.6f +- %.6f, median %.6f, 99 %% below %.6f, largest %.6f\n", p->kl, p->kl_error, p->kl_median, p->kl_99, p->kl_max);
    printf("same best token %.2f %%\n", 100 * p->same_top);
}

void moa_ppl_json(moa_buf *b, const moa_ppl *p) {
    moa_buf_addf(b, "{\"tokens\":%lld,\"chunks\":%d,\"nll\":%.9g,\"nll_error\":%.9g,\"perplexity\":%.9g", (long long)p->n, p->chunk, p->nll,
                 p->nll_error, exp(p->nll));
    if (p->against)
        moa_buf_addf(b,
                     ",\"reference_nll\":%.9g,\"reference_perplexity\":%.9g,\"nll_change\":%.9g,\"nll_change_error\":%.9g,\"kl\":{\"mean\":%.9g,"
                     "\"error\":%.9g,\"median\":%.9g,\"p99\":%.9g,\"max\":%.9g},\"same_top\":%.9g",
                     p->ref_nll, exp(p->ref_nll), p->nll - p->ref_nll, p->diff_error, p->kl, p->kl_error, p->kl_median, p->kl_99, p->kl_max,
                     p->same_top);
    moa_buf_adds(b, "}");
}
