/* json.h - what every layer needs around jansson: parsing of hostile text with limits and an error that
 * names the line and column, escaping of one string, and files with one JSON value a line.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_BASE_JSON_H
#define MOA_BASE_JSON_H

#include "base/buf.h"
#include "moa.h"

#include <jansson.h>

enum {
    MOA_JSON_DEPTH = 256 /* nesting allowed: below jansson's own 2048, so that recursive users are safe */
};

/* Parse n bytes of text (any JSON value, whole text) into *out (json_decref it). name stands in errors
 * ("models.json", "request body"). More than max bytes: MOA_ELIMIT. Duplicate keys and strings with an
 * escaped U+0000 are refused with MOA_EFORMAT, since two readers would disagree about them. */
int moa_json_parse(json_t **out, const char *text, size_t n, size_t max, const char *name, moa_err *err);
int moa_json_read(json_t **out, const char *path, size_t max, moa_err *err); /* a file; "-" is standard input */

/* Append s as a JSON string with its quotes. Bad UTF-8 and U+0000, which a model can write as any byte, become U+FFFD: the result always
 * parses, here too. */
int moa_json_add_str(moa_buf *b, const char *s, size_t n);
/* A JSON string of any bytes in the same way (json_decref it). NULL: no memory. */
json_t *moa_json_str(const char *s, size_t n);
/* Append a value in one line, keys in their order. */
int moa_json_add(moa_buf *b, const json_t *v);

/* One value a line (JSONL). Empty lines are skipped. Zero-initialise is not enough: use open. */
typedef struct moa_jsonl {
    const char *name, *at, *end;
    size_t line; /* of the value read last, from 1 */
    void *own;   /* text to free, or NULL */
} moa_jsonl;
int moa_jsonl_open(moa_jsonl *r, const char *path, size_t max, moa_err *err); /* path is borrowed for errors */
void moa_jsonl_text(moa_jsonl *r, const char *text, size_t n, const char *name); /* borrows text */
/* 1 and a value (json_decref it), 0 at the end, or an error naming file and line. */
int moa_jsonl_next(json_t **out, moa_jsonl *r, moa_err *err);
void moa_jsonl_close(moa_jsonl *r);

/* Typed members of an object, so that readers are one line a field. Missing: dflt. Wrong type: MOA_EFORMAT that
 * names `where` and the key. Strings are borrowed from the object. */
int moa_json_get_str(const char **out, const json_t *obj, const char *key, const char *dflt, const char *where, moa_err *err);
int moa_json_get_int(long long *out, const json_t *obj, const char *key, long long dflt, const char *where, moa_err *err);
int moa_json_get_num(double *out, const json_t *obj, const char *key, double dflt, const char *where, moa_err *err);
int moa_json_get_bool(bool *out, const json_t *obj, const char *key, bool dflt, const char *where, moa_err *err);

#endif
