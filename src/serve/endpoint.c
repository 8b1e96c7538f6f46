/* endpoint.c - see endpoint.h. SPDX-License-Identifier: Apache-2.0 */
#include "serve/endpoint.h"

#include <stdio.h>
#include <string.h>

#define ENDPOINT(x) extern const moa_endpoint moa_endpoint_##x;
#include "serve/endpoints.def"
#undef ENDPOINT

static const moa_endpoint *const table[] = {
#define ENDPOINT(x) &moa_endpoint_##x,
#include "serve/endpoints.def"
#undef ENDPOINT
};

const moa_endpoint *const *moa_endpoints(int *n) {
    *n = (int)(sizeof table / sizeof *table);
    return table;
}

/* Where the rest of the path begins; NULL: it is another path. */
static const char *match(const moa_endpoint *e, const char *path) {
    const size_t n = strlen(e->path);
    if (e->path[n - 1] == '/' && n > 1) return strncmp(path, e->path, n) == 0 && path[n] ? path + n : NULL;
    if (strncmp(path, e->path, n) != 0) return NULL;
    if (path[n] == '/' && n > 1) path++; /* one slash more is no other path */
    return path[n] ? NULL : path + n;
}

const moa_endpoint *moa_endpoint_find(const char *method, const char *path, const char **rest, bool *known, char allow[64]) {
    if (strncmp(path, "/v1/", 4) == 0) path += 3;
    const bool head = strcmp(method, "HEAD") == 0;
    size_t used = 0;
    *known = false;
    allow[0] = 0;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const char *r = match(table[i], path);
        if (!r) continue;
        *rest = r;
        if (strcmp(table[i]->method, head ? "GET" : method) == 0) return table[i];
        const int n = snprintf(allow + used, 64 - used, "%s%s", *known ? ", " : "", table[i]->method);
        if (n > 0 && (size_t)n < 64 - used) used += (size_t)n;
        *known = true;
    }
    return NULL;
}
