/* param.h - fields of a request's body. Wrong types and ranges are a 400 whose param names the field; null counts as absent; fields that
 * nobody knows are ignored, since clients send extras. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_PARAM_H
#define MOA_SERVE_PARAM_H

#include "serve/fault.h"

#include <jansson.h>

/* Numbers, flags and texts that a table describes; a row writes into a struct of the caller's. */
typedef struct moa_num { bool set; double v; } moa_num;
typedef struct moa_param {
    const char *name;
    enum { MOA_PARAM_NUM, MOA_PARAM_INT, MOA_PARAM_FLAG, MOA_PARAM_TEXT } kind;
    size_t at;               /* offset of a moa_num, or of a const char * (borrowed from the body) for TEXT */
    double lo, hi;
} moa_param;
int moa_params_read(void *to, const json_t *body, const moa_param *table, int n, moa_fault *f);

/* "field: got X, expected WHAT" as a fault. */
int moa_param_wrong(moa_fault *f, const char *param, const json_t *got, const char *expected);
const char *moa_json_kind(const json_t *v); /* "a string" ... */

#endif
