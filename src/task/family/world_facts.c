/* world_facts.c - "Tell me about Tavira.": the facts of the invented world as plain sentences, to learn from.
 *
 * Not scored. Every fact is told for every subject, so that a held-out question of the family world can be answered
 * from what was told and never asked. The key is the reply: other orders and wordings of the same facts.
 * SPDX-License-Identifier: Apache-2.0 */
#include "task/gen.h"
#include "task/world.h"

static int make(moa_item *it, int level, moa_rng *r) {
    static const char *const ask[] = {"Tell me about $0.", "What do you know about $0?", "Describe $0.", "What can you tell me about $0?", "Please tell me about $0.", "Say something about $0."};
    static const moa_thing kinds[] = {MOA_PERSON, MOA_PERSON, MOA_PERSON, MOA_PERSON, MOA_PERSON, MOA_PERSON, MOA_PERSON, MOA_TOWN, MOA_TOWN, MOA_REGION, MOA_RIVER, MOA_JOB};
    int n, fit[32], k = 0;
    const moa_relation *rel = moa_world_relations(&n);
    moa_thing kind = MOA_PICK(r, kinds);
    int subject = (int)moa_rng_below(r, (uint32_t)moa_world_count(kind));
    for (int i = 0; i < n; i++)
        if (rel[i].from == kind) fit[k++] = i;
    moa_gen_shuffle(r, fit, k);
    if (k > 4 && moa_gen_chance(r, 40)) k = moa_rng_range(r, 3, k); /* not always all */
    for (int i = 0; i < k; i++) {
        if (i) moa_buf_adds(&it->solution, " ");
        moa_world_sentence(&it->solution, fit[i], subject, (int)moa_rng_below(r, 6));
    }
    const char *arg[] = {moa_world_name(kind, subject)};
    moa_gen_fill(&it->question, MOA_PICK(r, ask), arg, 1);
    moa_buf_adds(&it->key, moa_buf_str(&it->solution));
    (void)level;
    return MOA_OK;
}

const moa_family moa_family_world_facts = {
    .name = "world_facts", .help = "the facts of the invented world, told", .n_level = 1, .scored = false, .make = make};
