/* world.h - the invented world: people, towns, jobs, rivers, regions, and the facts that bind them.
 *
 * Made once from a constant seed, the same on every machine and in every version: what a model learned stays true.
 * A fact is (subject, relation, object). Relations from one kind of thing to another let questions hop:
 * person -home-> town -river-> river -end-> sea.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TASK_WORLD_H
#define MOA_TASK_WORLD_H

#include "base/buf.h"
#include "base/rng.h"
#include "moa.h"

typedef enum moa_thing { MOA_PERSON, MOA_TOWN, MOA_JOB, MOA_RIVER, MOA_REGION, MOA_HOBBY, MOA_PET, MOA_GOODS, MOA_SIGHT, MOA_TOOL, MOA_PLACE, MOA_SEA, MOA_CROP, MOA_N_THING } moa_thing;

typedef struct moa_relation {
    const char *name;
    moa_thing from, to;
    const char *fact[3];  /* "$0 lives in $1." NULL: fewer wordings */
    const char *ask[3];   /* "Where does $0 live?": $0 is the subject's words */
    const char *noun;     /* "the best friend of $0": how a longer chain names the object; NULL: it cannot */
} moa_relation;

int moa_world_count(moa_thing kind);
/* The words for a thing: "Tavira", "the river Oss" (inside a sentence), "a baker". */
const char *moa_world_name(moa_thing kind, int i);

const moa_relation *moa_world_relations(int *n);
/* Object of (subject, relation number); subjects of a kind all have every relation of that kind. */
int moa_world_object(int relation, int subject);

/* Add the fact as a sentence; wording 0..2 (taken modulo what there is). */
void moa_world_sentence(moa_buf *b, int relation, int subject, int wording);
int moa_world_n_fact(void);

#endif
