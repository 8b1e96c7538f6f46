/* archs.c - the registry of architectures.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/model.h"

#include <string.h>

#define ARCH(x) extern const moa_arch moa_arch_##x;
#include "model/archs.def"
#undef ARCH

static const moa_arch *const table[] = {
#define ARCH(x) &moa_arch_##x,
#include "model/archs.def"
#undef ARCH
};

const moa_arch *const *moa_archs(int *n) {
    *n = (int)(sizeof table / sizeof *table);
    return table;
}

const moa_arch *moa_arch_find(const char *name, size_t n) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strlen(table[i]->name) == n && !memcmp(table[i]->name, name, n)) return table[i];
    return NULL;
}
