/* yaml.h - YAML of users into structs by a schema of libcyaml: recipes, the server's configuration. Errors name file and line; unknown and
 * repeated keys, aliases and second documents are refused. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_BASE_YAML_H
#define MOA_BASE_YAML_H

#include "base/buf.h"
#include "base/err.h"

#include <cyaml/cyaml.h>

/* Where each key stands: libcyaml fills structs and forgets lines. */
typedef struct moa_yaml_lines moa_yaml_lines;
/* what: what the text is, in one word for errors ("recipe"). */
int moa_yaml_lines_new(moa_yaml_lines **out, const char *text, size_t n, const char *name, const char *what, const cyaml_schema_value_t *schema, moa_err *err);
void moa_yaml_lines_free(moa_yaml_lines *l);
/* Line of a key by its path ("stages[2].lr"), 0 when the text does not give it. */
int moa_yaml_line(const moa_yaml_lines *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Text to a struct, whose schema is a mapping behind a pointer; moa_yaml_free it. tell (NULL: nobody) adds what a key of an enum may be. */
typedef void (*moa_yaml_tell_fn)(moa_buf *b, const char *key);
int moa_yaml_load(void **out, const char *text, size_t n, const char *name, const char *what, const cyaml_schema_value_t *schema, moa_yaml_tell_fn tell, moa_err *err);
void moa_yaml_free(void *data, const cyaml_schema_value_t *schema);

#endif
