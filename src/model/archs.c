/* archs.c - the registry of architectures.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "model/model.h"

#include <stdio.h>
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

int moa_arch_unknown(const char *name, size_t n, moa_err *err) {
    char list[400] = "";
    for (size_t i = 0, at = 0; i < sizeof table / sizeof *table && at < sizeof list; i++) {
        const int more = snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", table[i]->name);
        at += more > 0 ? (size_t)more : 0;
    }
    moa_fail(err, MOA_EUNSUPPORTED, "architecture '%.*s' is not known", (int)(n < 64 ? n : 64), name);
    return moa_hint(err, MOA_EUNSUPPORTED, "known: %s", list);
}
