/* param.c - see param.h. SPDX-License-Identifier: Apache-2.0 */
#include "serve/param.h"

#include <math.h>
#include <stdio.h>

const char *moa_json_kind(const json_t *v) {
    static const char *const names[] = {[JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array", [JSON_STRING] = "a string", [JSON_INTEGER] = "an integer",
                                        [JSON_REAL] = "a number", [JSON_TRUE] = "true", [JSON_FALSE] = "false", [JSON_NULL] = "null"};
    return v ? names[json_typeof(v)] : "nothing";
}

int moa_param_wrong(moa_fault *f, const char *param, const json_t *got, const char *expected) {
    return moa_fault_set(f, 400, got && !json_is_null(got) ? "invalid_type" : "missing_value", param, "%s: got %s, expected %s", param, moa_json_kind(got), expected);
}

static int number(moa_num *to, const json_t *v, const moa_param *p, moa_fault *f) {
    const double x = json_number_value(v);
    const bool whole = p->kind == MOA_PARAM_INT;
    if (!json_is_number(v) || (whole && x != floor(x))) return moa_param_wrong(f, p->name, v, whole ? "an integer" : "a number");
    if (!(x >= p->lo && x <= p->hi)) return moa_fault_set(f, 400, "invalid_value", p->name, "%s: got %g, expected %g to %g", p->name, x, p->lo, p->hi);
    *to = (moa_num){true, x};
    return 0;
}

static int read_one(void *to, const json_t *v, const moa_param *p, moa_fault *f) {
    char *field = (char *)to + p->at;
    switch (p->kind) {
    case MOA_PARAM_NUM:
    case MOA_PARAM_INT: return number((moa_num *)(void *)field, v, p, f);
    case MOA_PARAM_FLAG:
        if (!json_is_boolean(v)) return moa_param_wrong(f, p->name, v, "true or false");
        *(moa_num *)(void *)field = (moa_num){true, json_is_true(v)};
        return 0;
    case MOA_PARAM_TEXT:
        if (!json_is_string(v)) return moa_param_wrong(f, p->name, v, "a string");
        *(const char **)(void *)field = json_string_value(v);
        return 0;
    }
    return 0;
}

int moa_params_read(void *to, const json_t *body, const moa_param *table, int n, moa_fault *f) {
    for (int i = 0; i < n; i++) {
        const json_t *v = json_object_get(body, table[i].name);
        if (v && !json_is_null(v)) MOA_TRY(read_one(to, v, &table[i], f));
    }
    return 0;
}
