/* collect.h - an importance matrix from a model and a text: the mean square of every input of every weight matrix.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_COLLECT_H
#define MOA_MODEL_COLLECT_H

#include "format/imatrix.h"
#include "model/perplexity.h"

typedef struct moa_collect_event {
    int chunk, n_chunk;
    /* While experts are forced: how many of the model had no data before, and one event for each of them. */
    bool forcing;
    int n_starved;
    const char *name;      /* of a weight of that expert; NULL: an ordinary progress event */
    int expert;
    bool given_up;         /* no routing reached it: it gets the mean of the others */
} moa_collect_event;

typedef struct moa_collect_cfg {
    const char *path;      /* written every save_every chunks and at the end */
    const char *text_name; /* kept in the file */
    int n_ctx, max_chunks, n_threads, save_every; /* 0: 512, all, all cores, 10 */
    bool (*event)(void *ctx, const moa_collect_event *e); /* false: saved, then MOA_ECANCELED. NULL: none */
    void *ctx;
} moa_collect_cfg;

/* Goes on where im ends (im->chunks; it must be of this model, text and chunk size: moa_collect_fits), or begins. Experts that
 * the text never chose are then chosen by force: their router logits are lifted to the top for every second token of some
 * chunks, and what they see is recorded; the data of other experts is not touched. */
int moa_collect(moa_imatrix *im, const moa_model *m, const char *text, size_t n, const moa_collect_cfg *cfg, moa_err *err);
/* Can a collection go on in im? Fills im's head when it is new. MOA_EINVAL says what differs. */
int moa_collect_fits(moa_imatrix *im, const moa_model *m, const char *text, size_t n, const moa_collect_cfg *cfg, moa_err *err);

#endif
