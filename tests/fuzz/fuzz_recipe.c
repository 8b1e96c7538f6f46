/* fuzz_recipe.c - any bytes as a recipe: it is refused with a message, or every number in it is in range.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "train/recipe.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    moa_recipe *r;
    moa_err err = {0};
    int rc = moa_recipe_parse(&r, (const char *)data, size, "fuzz.yaml", &err);
    if (rc < 0) {
        moa_assert(!r && err.code == rc && err.text[0]);
        return 0;
    }
    moa_assert(r->stages_count > 0 && r->model.n_head % r->model.n_kv == 0);
    for (unsigned i = 0; i < r->stages_count; i++) {
        const moa_recipe_stage *s = &r->stages[i];
        moa_assert(s->name && s->data_count > 0);
        if (s->kind == MOA_STAGE_TRAIN)
            moa_assert(s->steps > 0 && s->batch_tokens % ((int64_t)s->seq_len * s->accumulate) == 0 && s->lr >= 0 && s->lr <= 10);
    }
    moa_recipe_free(r);
    return 0;
}
