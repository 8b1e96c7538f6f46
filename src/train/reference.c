/* reference.c - what a dpo stage compares with: the log-probabilities of both replies of every pair under the model as the stage began. They are computed
 * once, before the first step, and kept in the run folder, so that a run that goes on compares with the same.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/file.h"
#include "base/rng.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1 << 30 };
static const char magic[8] = "moadpo1";
typedef struct header { char magic[8]; uint64_t n, hash; } header;

static void path_of(char *path, size_t n, const moa_trainer *t, const moa_recipe_stage *s) { snprintf(path, n, "%s/reference-%s.bin", t->dir, s->name); }

static int save_reference(const moa_trainer *t, const char *path, moa_err *err) {
    const size_t bytes = 2 * (size_t)t->n_reference * sizeof *t->reference;
    header h = {.n = (uint64_t)t->n_reference, .hash = moa_hash64(t->reference, bytes, 0)};
    moa_writer *w;
    memcpy(h.magic, magic, sizeof magic);
    MOA_TRY(moa_writer_open(&w, path, err));
    moa_writer_add(w, &h, sizeof h);
    moa_writer_add(w, t->reference, bytes);
    return moa_writer_commit(w, err);
}

static int load_reference(moa_trainer *t, const char *path, moa_err *err) {
    const size_t bytes = 2 * (size_t)t->n_reference * sizeof *t->reference;
    char *text;
    size_t n;
    header h = {.n = 0};
    MOA_TRY(moa_read_file(&text, &n, path, MOST, err));
    if (n >= sizeof h) memcpy(&h, text, sizeof h);
    const bool ok = n == sizeof h + bytes && !memcmp(h.magic, magic, sizeof magic) && h.n == (uint64_t)t->n_reference && h.hash == moa_hash64(text + sizeof h, bytes, 0);
    if (ok) memcpy(t->reference, text + sizeof h, bytes);
    free(text);
    return ok ? 0 : moa_fail(err, MOA_EFORMAT, "%s: damaged, or of other preferences; %llu pairs, expected %lld", path, (unsigned long long)h.n, (long long)t->n_reference);
}

static int compute(moa_trainer *t, const moa_recipe_stage *s, moa_data *d, moa_err *err) {
    double *sum = calloc(2 * (size_t)t->n_reference, sizeof *sum);
    moa_train_batch b = {0};
    moa_doc doc = {0};
    int rc = sum ? moa_batch_init(&b, s, err) : moa_fail(err, MOA_ENOMEM, "the reference of %lld pairs", (long long)t->n_reference);
    for (int64_t next = 0; rc >= 0 && next < t->n_reference;) {
        rc = moa_trainer_stopped(t) ? moa_fail(err, MOA_ECANCELED, "stopped before the first step of stage '%s'", s->name) : moa_batch_pairs(&b, &doc, d, s, &next, err);
        if (rc >= 0) rc = moa_trainer_log_probs(sum, t->n_reference, t, s, &b, err);
    }
    for (int64_t i = 0; rc >= 0 && i < 2 * t->n_reference; i++) {
        t->reference[i] = (float)sum[i];
        if (!isfinite(sum[i])) rc = moa_fail(err, MOA_EINVAL, "stage '%s': the reference gives a reply of pair %lld no probability", s->name, (long long)i / 2 + 1);
    }
    moa_batch_deinit(&b);
    moa_doc_deinit(&doc);
    free(sum);
    return rc;
}

int moa_reference_open(moa_trainer *t, const moa_recipe_stage *s, moa_data *d, moa_err *err) {
    char path[1200];
    if (s->loss != MOA_LOSS_DPO) return 0;
    t->n_reference = moa_data_pairs(d);
    t->reference = calloc(2 * (size_t)t->n_reference, sizeof *t->reference);
    if (!t->reference) return moa_fail(err, MOA_ENOMEM, "the reference of %lld pairs", (long long)t->n_reference);
    path_of(path, sizeof path, t, s);
    if (t->at.step > 0) {
        const int rc = load_reference(t, path, err);
        return rc < 0 ? moa_hint(err, rc, "without the reference the stage cannot go on; --fresh begins the run anew") : 0;
    }
    MOA_TRY(compute(t, s, d, err));
    return save_reference(t, path, err);
}

void moa_reference_close(moa_trainer *t) {
    free(t->reference);
    t->reference = NULL;
    t->n_reference = 0;
}
