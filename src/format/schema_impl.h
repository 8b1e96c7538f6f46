/* schema_impl.h - between the files that turn a JSON schema into rules. Only schema*.c include it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FORMAT_SCHEMA_IMPL_H
#define MOA_FORMAT_SCHEMA_IMPL_H

#include "base/buf.h"
#include "base/json.h"
#include "format/grammar_impl.h"

typedef struct moa_schema {
    moa_rules r;
    const char *name;
    json_t *doc, *made;    /* made: array that owns schemas which were put together from others */
    moa_buf at;            /* JSON pointer of the schema at hand, as "#/properties/a" */
    moa_err *err;
    struct moa_schema_ref { const json_t *target; const char *tag; uint32_t rule; } *ref; size_t n_ref, cap_ref; /* tag: see alternatives */
    uint32_t ws, character, string, number, any; /* expressions; any is a call */
    int depth;
    int64_t work;          /* schemas looked at */
} moa_schema;

/* "name: #/properties/a/minimum: ..." keyword NULL: the schema itself. Returns code. */
int moa_schema_fail(moa_schema *s, int code, const char *keyword, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* What may be between the quotes of a string, with the least and the most characters of it (UINT32_MAX: no end). */
typedef struct moa_schema_text { uint32_t x; uint64_t least, most; } moa_schema_text;
uint32_t moa_schema_character(moa_rules *r);  /* one character in any spelling JSON has for it */
int moa_schema_pattern(moa_schema_text *out, moa_schema *s, const char *keyword, const char *regex);
/* *x, what is between the quotes, with least to most (UINT32_MAX: no end) characters only. keyword: for errors. */
int moa_schema_length(uint32_t *x, moa_schema *s, const char *keyword, uint32_t least, uint32_t most);
const char *moa_schema_format(const char *name); /* a format as an anchored pattern, "" of one that any string has; NULL: not known */
extern const char moa_schema_formats[];          /* their names, for errors */

/* What stands between the brackets of an array of different items; most -1: no end. comma: what stands between two of them; fixed: a value's text. */
int moa_schema_unique(uint32_t *x, moa_schema *s, const json_t *items, int64_t least, int64_t most, uint32_t comma, int (*fixed)(uint32_t *, moa_schema *, const json_t *));

int moa_schema_integer(uint32_t *x, moa_schema *s, const json_t *v);
bool moa_schema_number_format(const char *name);
int moa_schema_number(uint32_t *x, moa_schema *s, const json_t *v);

#endif
