/* world.c - multiple choice over the invented world: one fact, two or three facts in a chain, or one of four people.
 *
 * Levels: 1 one fact; 2 a chain of two; 3 a chain of three; 4 "which of these people ...", four facts to recall.
 * Wrong choices are things of the same kind, and first of all what a wrong turn would give (the same relation of the
 * person asked about instead of her friend). The solution recalls the facts and then goes through the choices one by
 * one: finding a letter by its words in one look is harder for a small model than all the facts. The key is the chain,
 * without wording, choices and their order, so a held-out question was asked in no form in training; its facts were told
 * by the family world_facts.
 * SPDX-License-Identifier: Apache-2.0 */
#include "task/gen.h"
#include "task/world.h"

#include <string.h>

enum { MAX_HOP = 3, N_CHOICE = 4 };
typedef struct chain { int rel[MAX_HOP], at[MAX_HOP + 1], n; } chain; /* at[0] -rel[0]-> at[1] ... */

static int pick_relation(moa_rng *r, moa_thing from, bool goes_on) {
    int n, fit[32], k = 0;
    const moa_relation *rel = moa_world_relations(&n);
    for (int i = 0; i < n; i++)
        if (rel[i].from == from && (!goes_on || rel[i].noun)) fit[k++] = i;
    return k ? fit[moa_rng_below(r, (uint32_t)k)] : -1;
}

static bool draw_chain(chain *c, int hops, moa_rng *r) {
    static const moa_thing start[] = {MOA_PERSON, MOA_PERSON, MOA_PERSON, MOA_PERSON, MOA_PERSON, MOA_TOWN, MOA_TOWN, MOA_REGION, MOA_JOB, MOA_RIVER};
    int n;
    const moa_relation *rel = moa_world_relations(&n);
    moa_thing kind = MOA_PICK(r, start);
    c->at[0] = (int)moa_rng_below(r, (uint32_t)moa_world_count(kind));
    for (c->n = 0; c->n < hops; c->n++) {
        int x = pick_relation(r, kind, c->n + 1 < hops);
        if (x < 0) return false;
        c->rel[c->n] = x;
        c->at[c->n + 1] = moa_world_object(x, c->at[c->n]);
        kind = rel[x].to;
    }
    /* A chain that comes back to where it was asks less than it seems to. */
    for (int i = 0; i < hops; i++)
        for (int j = i + 1; j <= hops; j++)
            if (c->at[i] == c->at[j] && (i ? rel[c->rel[i - 1]].to : rel[c->rel[0]].from) == rel[c->rel[j - 1]].to) return false;
    return true;
}

static void add_choice(int *choice, int *n, int o) {
    for (int i = 0; i < *n; i++)
        if (choice[i] == o) return;
    if (*n < N_CHOICE) choice[(*n)++] = o;
}

/* The right thing first; then what wrong turns give; then any of the kind. */
static void draw_choices(int *choice, const chain *c, moa_rng *r) {
    int n_rel, n = 0, last = c->rel[c->n - 1];
    const moa_relation *rel = moa_world_relations(&n_rel);
    moa_thing kind = rel[last].to;
    add_choice(choice, &n, c->at[c->n]);
    for (int h = 0; h < c->n - 1; h++) {
        moa_thing at = h ? rel[c->rel[h - 1]].to : rel[c->rel[0]].from;
        if (rel[last].from == at && moa_gen_chance(r, 60)) add_choice(choice, &n, moa_world_object(last, c->at[h]));
    }
    while (n < N_CHOICE) {
        int o = (int)moa_rng_below(r, (uint32_t)moa_world_count(kind));
        bool kin = kind == MOA_PERSON && o / 4 == c->at[c->n] / 4; /* a family has two sisters: only one may be listed */
        if (!kin) add_choice(choice, &n, o);
    }
}

static void write_choices(moa_buf *b, moa_thing kind, const int *choice, const int *order) {
    for (int i = 0; i < N_CHOICE; i++) {
        moa_buf_addf(b, "\n%c) ", 'A' + i);
        moa_buf_adds(b, moa_world_name(kind, choice[order[i]]));
    }
}

/* " A Kelston no. B Branford yes." up to the one that fits. The verdict stands behind the copied words, so it is a comparison of
 * what was just written with what was found before. */
static void scan_choices(moa_buf *b, moa_thing kind, const int *choice, const int *order, moa_rng *r) {
    static const char *const no[] = {" $0 $1 no.", " $0) $1: no."}, *const yes[] = {" $0 $1 yes.", " $0) $1: yes."};
    uint32_t style = moa_rng_below(r, MOA_COUNT(no));
    for (int i = 0; i < N_CHOICE; i++) {
        char letter[2] = {(char)('A' + i), 0};
        const char *arg[] = {letter, moa_world_name(kind, choice[order[i]])};
        moa_gen_fill(b, order[i] ? no[style] : yes[style], arg, 2);
        if (order[i] == 0) return;
    }
}

static void finish(moa_item *it, const int *order, moa_rng *r) {
    static const char *const last[] = {" That is $0.", " So $0.", "", " So the answer is $0."};
    char letter[2] = {'A', 0};
    while (order[letter[0] - 'A'] != 0) letter[0]++;
    const char *arg[] = {letter};
    moa_gen_fill(&it->solution, MOA_PICK(r, last), arg, 1);
    moa_buf_adds(&it->solution, "\nAnswer: ");
    moa_buf_adds(&it->solution, letter);
    moa_buf_adds(&it->answer, letter);
}

static int make_chain(moa_item *it, int hops, moa_rng *r) {
    chain c;
    int n, choice[N_CHOICE], order[N_CHOICE] = {0, 1, 2, 3};
    const moa_relation *rel = moa_world_relations(&n);
    if (!draw_chain(&c, hops, r)) return MOA_EINVAL;
    moa_buf words, inner;
    moa_buf_init(&words, 512);
    moa_buf_init(&inner, 512);
    moa_buf_adds(&words, moa_world_name(rel[c.rel[0]].from, c.at[0]));
    moa_buf_adds(&it->key, moa_buf_str(&words));
    for (int h = 0; h < hops; h++) {
        moa_buf_addf(&it->key, " %s", rel[c.rel[h]].name);
        if (h) moa_buf_adds(&it->solution, " ");
        moa_world_sentence(&it->solution, c.rel[h], c.at[h], (int)moa_rng_below(r, 6));
        const char *arg[] = {moa_buf_str(&words)};
        moa_buf_clear(&inner);
        moa_gen_fill(&inner, h + 1 < hops ? rel[c.rel[h]].noun : rel[c.rel[h]].ask[moa_rng_below(r, rel[c.rel[h]].ask[2] ? 3 : 2)], arg, 1);
        moa_buf_clear(&words);
        moa_buf_adds(&words, moa_buf_str(&inner));
    }
    moa_buf_adds(&it->question, moa_buf_str(&words));
    moa_buf_deinit(&words);
    moa_buf_deinit(&inner);
    draw_choices(choice, &c, r);
    moa_gen_shuffle(r, order, N_CHOICE);
    write_choices(&it->question, rel[c.rel[hops - 1]].to, choice, order);
    scan_choices(&it->solution, rel[c.rel[hops - 1]].to, choice, order, r);
    finish(it, order, r);
    return MOA_OK;
}

/* "Which of these people lives in Branton?": one does; each is looked up. */
static int make_who(moa_item *it, moa_rng *r) {
    static const char *const who[] = {"Which of these people lives in $0?", "Which of these people is $0?", "Which of these people likes $0?",
                                      "Which of these people has $0?", "Whose best friend is $0?", "Whose sister is $0?"};
    int n, choice[N_CHOICE], order[N_CHOICE] = {0, 1, 2, 3}, x = (int)moa_rng_below(r, 6);
    const moa_relation *rel = moa_world_relations(&n);
    choice[0] = (int)moa_rng_below(r, (uint32_t)moa_world_count(MOA_PERSON));
    int object = moa_world_object(x, choice[0]);
    for (int i = 1; i < N_CHOICE;) {
        int p = (int)moa_rng_below(r, (uint32_t)moa_world_count(MOA_PERSON)), k = i;
        if (p != choice[0] && moa_world_object(x, p) != object && !(rel[x].to == MOA_PERSON && p == object)) add_choice(choice, &k, p);
        i = k;
    }
    moa_gen_shuffle(r, order, N_CHOICE);
    const char *arg[] = {moa_world_name(rel[x].to, object)};
    moa_gen_fill(&it->question, who[x], arg, 1);
    moa_buf_addf(&it->key, "who %s %s %s", rel[x].name, arg[0], moa_world_name(MOA_PERSON, choice[0]));
    write_choices(&it->question, MOA_PERSON, choice, order);
    int wording = (int)moa_rng_below(r, 2);
    for (int i = 0; i < N_CHOICE; i++) {
        moa_buf_addf(&it->solution, i ? " %c: " : "%c: ", 'A' + i);
        moa_world_sentence(&it->solution, x, choice[order[i]], wording);
        if (order[i] == 0) break;
    }
    finish(it, order, r);
    return MOA_OK;
}

static int make(moa_item *it, int level, moa_rng *r) { return level == 4 ? make_who(it, r) : make_chain(it, level, r); }

const moa_family moa_family_world = {
    .name = "world", .help = "multiple choice about an invented world, one to three facts", .n_level = 4, .scored = true, .make = make};
