/* hf_pooling.c - what sentence-transformers put behind a model to make one vector of a text: modules.json lists the parts in their
 * order, the part that pools has a folder with its configuration.
 *
 * Vectors have length 1 in moa, so a part that normalises changes nothing, and the sum over the square root of the length is the mean.
 * Anything else (a dense layer, weights of positions, two poolings side by side) would give other vectors and is refused by its name.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "format/hf_impl.h"

#include <stdio.h>
#include <string.h>

enum { NONE, MEAN = 1, CLS = 2, LAST = 3 }; /* the numbers of ARCH.pooling_type */

static const struct { const char *key; uint32_t kind; } MODES[] = {
    {"pooling_mode_mean_tokens", MEAN}, {"pooling_mode_mean_sqrt_len_tokens", MEAN}, {"pooling_mode_cls_token", CLS}, {"pooling_mode_lasttoken", LAST},
    {"pooling_mode_max_tokens", NONE},  {"pooling_mode_weightedmean_tokens", NONE}};

/* 0 and *out NULL where the file is not there. */
static int read_beside(json_t **out, char path[4200], const hf_model *m, const char *folder, const char *name, moa_err *err) {
    snprintf(path, 4200, "%.4000s/%.80s%s%s", m->folder, folder, *folder ? "/" : "", name);
    const int rc = moa_json_read(out, path, HF_MAX_CONFIG, err);
    if (rc != MOA_ENOTFOUND) return rc;
    if (err) *err = (moa_err){0};
    return 0;
}

static int put_pooling(hf_model *m, const json_t *config, const char *path, moa_err *err) {
    const char *chosen = NULL;
    uint32_t kind = NONE;
    for (size_t i = 0; i < sizeof MODES / sizeof *MODES; i++) {
        if (!json_is_true(json_object_get(config, MODES[i].key))) continue;
        if (!MODES[i].kind) return moa_fail(err, MOA_EUNSUPPORTED, "%s: %s is set, only mean, cls and last can be run", path, MODES[i].key);
        if (chosen) return moa_fail(err, MOA_EUNSUPPORTED, "%s: both %s and %s are set, one can be run", path, chosen, MODES[i].key);
        chosen = MODES[i].key;
        kind = MODES[i].kind;
    }
    if (kind) hf_put_u32(m, "pooling_type", kind);
    return 0;
}

static bool is_module(const char *type, const char *name) {
    const char *dot = strrchr(type, '.');
    return strcmp(dot ? dot + 1 : type, name) == 0;
}

/* Where the part that pools has its folder: beside the others, nowhere else. */
static int find_pooling(char folder[80], const json_t *modules, const char *path, moa_err *err) {
    size_t i;
    json_t *part;
    *folder = 0;
    if (!json_is_array(modules)) return moa_fail(err, MOA_EFORMAT, "%s: expected a JSON array", path);
    json_array_foreach((json_t *)(uintptr_t)modules, i, part) {
        const char *type = json_string_value(json_object_get(part, "type")), *where = json_string_value(json_object_get(part, "path"));
        if (!type || !where) return moa_fail(err, MOA_EFORMAT, "%s: part %zu has no type or no path", path, i);
        if (is_module(type, "Transformer") || is_module(type, "Normalize")) continue;
        if (!is_module(type, "Pooling")) return moa_fail(err, MOA_EUNSUPPORTED, "%s: part %zu is '%.80s', only Transformer, Pooling and Normalize can be run", path, i, type);
        if (!*where || *where == '.' || strpbrk(where, "/\\") || strlen(where) >= 80)
            return moa_fail(err, MOA_EFORMAT, "%s: part %zu is said to be in '%.80s', expected a folder of the same folder", path, i, where);
        snprintf(folder, 80, "%s", where);
    }
    return 0;
}

int hf_pooling_read(hf_model *m, moa_err *err) {
    char path[4200], folder[80] = "1_Pooling";
    json_t *modules = NULL, *config = NULL;
    int rc = read_beside(&modules, path, m, "", "modules.json", err);
    if (rc >= 0 && modules) rc = find_pooling(folder, modules, path, err);
    if (rc >= 0 && *folder) rc = read_beside(&config, path, m, folder, "config.json", err);
    if (rc >= 0 && modules && *folder && !config) rc = moa_fail(err, MOA_ENOTFOUND, "%s: modules.json names this file, it is not there", path);
    if (rc >= 0 && config) rc = put_pooling(m, config, path, err);
    json_decref(modules);
    json_decref(config);
    return rc;
}
