/* tokens.c - see tokens.h. SPDX-License-Identifier: Apache-2.0 */
#include "serve/tokens.h"

#include "serve/param.h"

int moa_tokens_read(moa_ids *ids, const json_t *list, const char *param, moa_fault *f) {
    const json_t *v;
    size_t i;
    if (!json_is_array(list)) return moa_param_wrong(f, param, list, "an array of tokens");
    json_array_foreach(list, i, v) {
        const json_int_t id = json_integer_value(v);
        if (!json_is_integer(v) || id < 0 || id > INT32_MAX) return moa_param_wrong(f, param, v, "tokens: whole numbers from 0 on");
        if (moa_ids_add(ids, (int32_t)id) < 0) return moa_fault_set(f, 500, "internal_error", param, "no memory for %zu tokens", i);
    }
    return 0;
}

int moa_tokens_check(const moa_ids *ids, const moa_tokenizer *t, const char *param, moa_fault *f) {
    const int n = moa_tokenizer_n_vocab(t);
    for (int64_t i = 0; i < ids->n; i++)
        if (ids->v[i] >= n) return moa_fault_set(f, 400, "invalid_value", param, "%s: token %d at %lld, the model has 0 to %d", param, ids->v[i], (long long)i, n - 1);
    return 0;
}
