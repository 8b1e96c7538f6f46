/* jinja.h - the Jinja2 template language, as far as chat templates of published models use it: statements, the
 * whole expression grammar, filters, tests, methods of strings, lists and dicts, with Python's notion of values.
 *
 * Settings are those of Hugging Face's chat templates: trim_blocks, lstrip_blocks, break and continue, tojson
 * without HTML escapes, raise_exception and strftime_now. Source: the Jinja 3.1 template designer documentation.
 * A template comes out of a model file, so it is hostile input: steps, nesting, memory and output are bounded, and
 * nothing outside of the given values (but the clock, by strftime_now) can be reached.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FORMAT_JINJA_H
#define MOA_FORMAT_JINJA_H

#include "moa.h"

#include <jansson.h>

typedef struct moa_jinja moa_jinja;

typedef struct moa_jinja_limits {
    uint64_t steps;  /* nodes evaluated, and one more for each 32 bytes or values they work through; 0: 20 million, about two seconds */
    size_t memory;   /* bytes of values; 0: 256 MiB */
    size_t output;   /* bytes of result; 0: 64 MiB */
    int64_t now;     /* seconds since 1970 that strftime_now sees (local time); 0: the clock */
} moa_jinja_limits;

/* name stands in errors as "name:line: what". Copies text and name. At most 4 MiB of text. */
int moa_jinja_parse(moa_jinja **out, const char *text, size_t n, const char *name, moa_err *err);
void moa_jinja_free(moa_jinja *t);
/* Does a variable of this name occur in it? */
bool moa_jinja_names(const moa_jinja *t, const char *name);

/* Render with the members of the object `vars` as global variables. free(*out); len may be NULL.
 * Thread-safe on one template. raise_exception(text) gives MOA_EINVAL; limits give MOA_ELIMIT. lim may be NULL. */
int moa_jinja_render(char **out, size_t *len, const moa_jinja *t, const json_t *vars, const moa_jinja_limits *lim, moa_err *err);

#endif
