/* schema_merge.h - schemas as data: which keywords there are, references, allOf as one schema, disjointness of oneOf.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FORMAT_SCHEMA_MERGE_H
#define MOA_FORMAT_SCHEMA_MERGE_H

#include "format/schema_impl.h"

int moa_schema_check_keywords(moa_schema *s, const json_t *v);       /* every keyword is known and can be expressed */
const char *const *moa_schema_implied_types(const json_t *v);       /* of a schema without type; NULL ends the list */
const char *moa_schema_beside_values(const json_t *v);              /* a keyword that enum or const cannot have beside it; NULL */
bool moa_schema_only_ref(const json_t *v);                          /* $ref, and nothing else that counts */
const json_t *moa_schema_only_part(const json_t *v);                /* the one schema of an allOf with nothing beside it; NULL */
bool moa_schema_has_string(const json_t *list, const char *text);
bool moa_schema_has_type(const json_t *type, const json_t *value);  /* value is of that type, or of one of them */
bool moa_schema_is_never(const json_t *v);                           /* false, or the negation of everything */
const json_t *moa_schema_look(moa_schema *s, const json_t *v);     /* v with its references followed, to look at; NULL: not to be seen through */
int moa_schema_resolve(const json_t **to, moa_schema *s, const json_t *v); /* where v's $ref points to */
/* v with its $ref and allOf put into it. The result belongs to s->made. */
int moa_schema_merge_all(const json_t **out, moa_schema *s, const json_t *v);
/* One branch of v's anyOf or oneOf, with what stands beside the keyword. */
int moa_schema_with_base(const json_t **out, moa_schema *s, const json_t *v, const char *keyword, const json_t *branch);
const char *moa_schema_tag(const json_t *v);                        /* the property that v's discriminator names; NULL */
int moa_schema_check_disjoint(moa_schema *s, const json_t *v);      /* no value can match two branches of oneOf, as far as can be seen */

#endif
