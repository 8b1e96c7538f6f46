/* families.c - the registry of task families: families.def, one line a file of family/.
 * SPDX-License-Identifier: Apache-2.0 */
#include "task/task.h"

#include <string.h>

#define FAMILY(name) extern const moa_family moa_family_##name;
#include "task/families.def"
#undef FAMILY

static const moa_family *const table[] = {
#define FAMILY(name) &moa_family_##name,
#include "task/families.def"
#undef FAMILY
};

const moa_family *const *moa_families(int *n) {
    *n = (int)(sizeof table / sizeof *table);
    return table;
}

const moa_family *moa_family_find(const char *name) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i]->name, name) == 0) return table[i];
    return NULL;
}
