/* echo.c - say it again: repeat a list, collect the answers of several lines, name what is said most often, find the
 * choice that says a thing, tell the last value of names.
 *
 * Not scored. Copying from the text before is the skill under most others (lists to sort, replies to merge), and a small
 * model learns it late from tasks that mix it with harder things. Here it stands alone. Material: words, numbers, and
 * made-up syllables, which no model can know by heart. The key is the material.
 * SPDX-License-Identifier: Apache-2.0 */
#include "task/gen.h"

#include <string.h>

enum { MAX_THING = 10, THING_BYTES = 48 };
typedef struct list { char at[MAX_THING][THING_BYTES]; int n; } list;

static void made_up(moa_buf *b, moa_rng *r) {
    static const char consonant[] = "bdfghjklmnprstvz", vowel[] = "aeiou";
    for (int n = moa_rng_range(r, 2, 4); n-- > 0;) {
        char pair[2] = {consonant[moa_rng_below(r, 16)], 0};
        pair[1] = vowel[moa_rng_below(r, 5)];
        moa_buf_add(b, pair, 2);
    }
}

static void one_thing(moa_buf *b, int kind, moa_rng *r) {
    static const int most[] = {9, 99, 999, 9999};
    if (kind == 0) moa_gen_int(b, moa_rng_range(r, 0, MOA_PICK(r, most)));
    else if (kind == 1) moa_buf_adds(b, moa_words[moa_rng_below(r, (uint32_t)moa_n_words)]);
    else made_up(b, r);
}

/* n things of one kind, each of one to three parts. */
static void draw_list(list *l, int n, moa_rng *r) {
    int kind = moa_rng_range(r, 0, 2), parts = moa_gen_chance(r, 50) ? 1 : moa_rng_range(r, 2, 3);
    moa_buf b;
    moa_buf_init(&b, THING_BYTES);
    for (l->n = 0; l->n < n; l->n++) {
        moa_buf_clear(&b);
        for (int i = 0; i < parts; i++) {
            if (i) moa_buf_adds(&b, " ");
            one_thing(&b, kind, r);
        }
        size_t k = 0;
        for (const char *s = moa_buf_str(&b); s[k] && k + 1 < THING_BYTES; k++) l->at[l->n][k] = s[k];
        l->at[l->n][k] = 0;
    }
    moa_buf_deinit(&b);
}

static void add_list(moa_buf *b, const list *l, const int *order, const char *between) {
    for (int i = 0; i < l->n; i++) {
        if (i) moa_buf_adds(b, between);
        moa_buf_adds(b, l->at[order ? order[i] : i]);
    }
}

static void again(moa_item *it, moa_rng *r) {
    static const char *const ask[] = {"Repeat this: $0", "Say this again: $0", "Copy the line: $0", "Write once more: $0"}, *const between[] = {", ", " ", " | "};
    list l;
    draw_list(&l, moa_rng_range(r, 3, MAX_THING), r);
    add_list(&it->solution, &l, NULL, MOA_PICK(r, between));
    const char *arg[] = {moa_buf_str(&it->solution)};
    moa_gen_fill(&it->question, MOA_PICK(r, ask), arg, 1);
}

/* Three different things, each some times, in random order; which is there most often. -1: no single one is. */
static int crowd(list *l, int order[MAX_THING], moa_rng *r) {
    int count[3] = {moa_rng_range(r, 1, 5), moa_rng_range(r, 1, 3), moa_rng_range(r, 0, 2)}, n = 0, best = 0;
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < count[i]; k++) order[n++] = i;
    for (int i = 1; i < 3; i++)
        if (count[i] > count[best]) best = i;
    draw_list(l, 3, r);
    l->n = n;
    moa_gen_shuffle(r, order, n);
    for (int i = 0; i < 3; i++) {
        if (i != best && count[i] == count[best]) return -1;
        for (int k = 0; k < i; k++) /* two alike would be counted as one, and might be said more often than the best */
            if (strcmp(l->at[i], l->at[k]) == 0) return -1;
    }
    return best;
}

static int most_often(moa_item *it, moa_rng *r) {
    static const char *const ask[] = {"What is said most often? $0", "Which of these occurs most often? $0", "Find the most common one: $0"};
    int order[MAX_THING], best;
    list l;
    if ((best = crowd(&l, order, r)) < 0) return MOA_EINVAL;
    add_list(&it->solution, &l, order, " | ");
    const char *arg[] = {moa_buf_str(&it->solution)};
    moa_gen_fill(&it->question, MOA_PICK(r, ask), arg, 1);
    moa_buf_clear(&it->solution);
    moa_buf_addf(&it->solution, "Answer: %s", l.at[best]);
    return MOA_OK;
}

/* Lines of several people, each with an answer among other words. */
static int collect(moa_item *it, moa_rng *r) {
    static const char *const ask[] = {"Which answers are given?", "List the answers.", "What do these replies say, in order?"};
    int order[MAX_THING], best;
    list l, other;
    if ((best = crowd(&l, order, r)) < 0) return MOA_EINVAL;
    bool vote = moa_gen_chance(r, 60);
    for (int i = 0; i < l.n; i++) {
        draw_list(&other, moa_rng_range(r, 1, 4), r);
        moa_buf_addf(&it->question, "%d: ", i + 1);
        add_list(&it->question, &other, NULL, ", ");
        moa_buf_addf(&it->question, ".\nAnswer: %s\n", l.at[order[i]]);
    }
    moa_buf_adds(&it->question, MOA_PICK(r, ask));
    if (vote) moa_buf_adds(&it->question, " And which is given most often?");
    add_list(&it->solution, &l, order, " | ");
    if (vote) moa_buf_addf(&it->solution, "\nAnswer: %s", l.at[best]);
    return MOA_OK;
}

/* Four choices, gone through one by one as in the family world: is what was just copied the thing that is looked for? */
static int choose(moa_item *it, moa_rng *r) {
    static const char *const ask[] = {"Which of these is $0?", "Find $0.", "Where is $0?"};
    static const char *const no[] = {" $0 $1 no.", " $0) $1: no."}, *const yes[] = {" $0 $1 yes.", " $0) $1: yes."};
    const uint32_t style = moa_rng_below(r, MOA_COUNT(no)), right = moa_rng_below(r, 4);
    list l;
    draw_list(&l, 4, r);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < i; k++)
            if (strcmp(l.at[i], l.at[k]) == 0) return MOA_EINVAL;
    const char *thing[] = {l.at[right]};
    moa_gen_fill(&it->question, MOA_PICK(r, ask), thing, 1);
    moa_buf_addf(&it->solution, "%s.", l.at[right]);
    for (uint32_t i = 0; i < 4; i++) {
        const char *arg[] = {(char[]){(char)('A' + i), 0}, l.at[i]};
        moa_buf_addf(&it->question, "\n%s) %s", arg[0], arg[1]);
        if (i <= right) moa_gen_fill(&it->solution, i == right ? yes[style] : no[style], arg, 2);
    }
    moa_buf_addf(&it->solution, "\nAnswer: %c", 'A' + (int)right);
    return MOA_OK;
}

/* Names take values, some of them again: what each is in the end. The look that a program's trace is made of. */
static void last_value(moa_item *it, moa_rng *r) {
    static const char *const between[] = {". ", "; ", ", ", "\n"}, name[] = "abcdeijkmnpqrstuvwxyz";
    const char *const gap = MOA_PICK(r, between);
    int order[21], last[21] = {0};
    for (int i = 0; i < 21; i++) order[i] = i;
    moa_gen_shuffle(r, order, 21);
    const int n_name = moa_rng_range(r, 2, 4), n = moa_rng_range(r, n_name, MAX_THING);
    list l;
    draw_list(&l, n, r);
    moa_buf_adds(&it->question, moa_gen_chance(r, 50) ? "What are the names in the end?\n" : "Who has what now?\n");
    for (int i = 0; i < n; i++) { /* each name once, then any */
        const int k = i < n_name ? i : (int)moa_rng_below(r, (uint32_t)n_name);
        last[k] = i;
        moa_buf_addf(&it->question, "%s%c=%s", i ? gap : "", name[order[k]], l.at[i]);
    }
    int ask[4] = {0, 1, 2, 3};
    moa_gen_shuffle(r, ask, n_name);
    moa_buf_adds(&it->question, "\n");
    for (int i = 0; i < n_name; i++) {
        const char c = name[order[ask[i]]];
        moa_buf_addf(&it->question, i ? ", %c" : "%c", c);
        moa_buf_addf(&it->solution, "%s%c=%s", i ? gap : "", c, l.at[last[ask[i]]]);
    }
}

static int make(moa_item *it, int level, moa_rng *r) {
    (void)level;
    uint32_t k = moa_rng_below(r, 7);
    int rc = MOA_OK;
    if (k == 0) again(it, r);
    else if (k < 3) last_value(it, r);
    else rc = k == 3 ? most_often(it, r) : k == 4 ? collect(it, r) : choose(it, r);
    moa_buf_adds(&it->key, moa_buf_str(&it->question));
    return rc;
}

const moa_family moa_family_echo = {
    .name = "echo", .help = "repeat lists, collect answers, find a choice, look up names", .n_level = 1, .scored = false, .make = make};
