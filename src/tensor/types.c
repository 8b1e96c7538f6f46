/* types.c - the registry of element types.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "tensor/quant/block.h"

#include <strings.h>

static const moa_type *const table[] = {
#define TYPE(name) &moa_type_##name,
#include "tensor/quant/quants.def"
#undef TYPE
};
enum { N_TYPES = sizeof table / sizeof *table };

const moa_type *const *moa_types(int *n) {
    *n = N_TYPES;
    return table;
}

const moa_type *moa_type_get(moa_dtype id) {
    for (int i = 0; i < N_TYPES; i++)
        if (table[i]->id == id) return table[i];
    return NULL;
}

const moa_type *moa_type_find(const char *name) {
    for (int i = 0; i < N_TYPES; i++)
        if (!strcasecmp(table[i]->name, name)) return table[i];
    return NULL;
}

size_t moa_row_bytes(moa_dtype id, int64_t n) {
    const moa_type *t = moa_type_get(id);
    moa_assert(t != NULL);
    moa_assert(n >= 0);
    moa_assert_eq(n % t->block, 0);
    return (size_t)(n / t->block) * (size_t)t->bytes;
}
