/* text.c - small jobs on words and numbers: sort, reverse, count, pick, extract.
 *
 * One row of `jobs` for each job: the levels it belongs to and the function that writes it. Words are spelled out in
 * solutions ("s-t-o-n-e") where letters matter, since a tokenizer hides them. The key is the job and its material.
 * SPDX-License-Identifier: Apache-2.0 */
#include "task/gen.h"

#include <string.h>

enum { MAX_LIST = 10 };
static const char *word_at(int i) { return moa_words[i]; }

static void draw_words(const char **w, int n, moa_rng *r) {
    int id[MAX_LIST];
    moa_gen_sample(r, id, n, moa_n_words);
    for (int i = 0; i < n; i++) w[i] = word_at(id[i]);
}

static void add_list(moa_buf *b, const char *const *w, int n, const char *between) {
    for (int i = 0; i < n; i++) {
        if (i) moa_buf_adds(b, between);
        moa_buf_adds(b, w[i]);
    }
}

static void add_numbers(moa_buf *b, const int *v, int n, const char *between) {
    for (int i = 0; i < n; i++) {
        if (i) moa_buf_adds(b, between);
        moa_gen_int(b, v[i]);
    }
}

/* "s-t-o-n-e" */
static void spell(moa_buf *b, const char *w, bool backwards) {
    int n = (int)strlen(w);
    for (int i = 0; i < n; i++) {
        if (i) moa_buf_adds(b, "-");
        moa_buf_add(b, w + (backwards ? n - 1 - i : i), 1);
    }
}

static void ask(moa_item *it, moa_rng *r, const char *const *pattern, int n_pattern, const char *const *arg, int n_arg) {
    moa_gen_fill(&it->question, pattern[moa_rng_below(r, (uint32_t)n_pattern)], arg, n_arg);
}
#define ASK(it, r, arg, ...)                                                                       \
    do {                                                                                           \
        static const char *const any_[] = {__VA_ARGS__};                                           \
        ask(it, r, any_, MOA_COUNT(any_), arg, MOA_COUNT(arg));                                    \
    } while (0)
#define SAY(it, r, arg, ...)                                                                       \
    do {                                                                                           \
        static const char *const any_[] = {__VA_ARGS__};                                           \
        moa_gen_fill(&(it)->solution, MOA_PICK(r, any_), arg, MOA_COUNT(arg));                     \
    } while (0)

/* A job's material as text that patterns can take as an argument. */
typedef struct text { moa_buf b; } text;
static const char *str(text *t) { return moa_buf_str(&t->b); }
static void text_init(text *t) { moa_buf_init(&t->b, 1024); }
static void text_deinit(text *t) { moa_buf_deinit(&t->b); }

/* ---- sorting ------------------------------------------------------------------------------------ */

static void sort_numbers(moa_item *it, int level, moa_rng *r) {
    int v[MAX_LIST], n = level < 3 ? 2 + level : level + 2, most = level < 2 ? 20 : level < 4 ? 99 : 999;
    moa_gen_sample(r, v, n, most);
    for (int i = 0; i < n; i++) v[i]++;
    bool down = moa_gen_chance(r, 40);
    text t;
    text_init(&t);
    add_numbers(&t.b, v, n, moa_gen_chance(r, 50) ? ", " : " ");
    const char *arg[] = {str(&t), down ? "from largest to smallest" : "from smallest to largest", down ? "descending" : "ascending"};
    ASK(it, r, arg, "Sort these numbers $1: $0", "Put the numbers $0 in order $1.", "Sort in $2 order: $0", "Write $0 $1.");
    moa_buf_adds(&it->key, down ? "sort down " : "sort up ");
    add_numbers(&it->key, v, n, " ");
    for (int k = 0; k < n; k++)
        for (int j = k + 1; j < n; j++)
            if (down ? v[j] > v[k] : v[j] < v[k]) {
                int x = v[j];
                v[j] = v[k];
                v[k] = x;
            }
    if (moa_gen_chance(r, 50)) {
        for (int i = 0; i < n; i++) {
            char d[24];
            const char *one[] = {moa_gen_dec(d, v[i])};
            moa_gen_fill(&it->solution, i ? ", then $0" : down ? "Largest: $0" : "Smallest: $0", one, 1);
        }
        moa_buf_adds(&it->solution, ".");
    } else {
        moa_buf_adds(&it->solution, down ? "Take the largest each time: " : "Take the smallest each time: ");
        add_numbers(&it->solution, v, n, ", ");
        moa_buf_adds(&it->solution, ".");
    }
    add_numbers(&it->answer, v, n, " ");
    text_deinit(&t);
}

static void sort_strings(const char **w, int n) {
    for (int k = 0; k < n; k++)
        for (int j = k + 1; j < n; j++)
            if (strcmp(w[j], w[k]) < 0) {
                const char *x = w[j];
                w[j] = w[k];
                w[k] = x;
            }
}

static void initials(moa_buf *b, const char *const *w, int n, const char *between) {
    for (int i = 0; i < n; i++) {
        if (i) moa_buf_adds(b, between);
        moa_buf_add(b, w[i], 1);
    }
}

static void sort_words(moa_item *it, int level, moa_rng *r) {
    const char *w[MAX_LIST];
    int n = level < 3 ? 2 + level : level + 1;
    draw_words(w, n, r);
    text t;
    text_init(&t);
    add_list(&t.b, w, n, moa_gen_chance(r, 50) ? ", " : " ");
    const char *arg[] = {str(&t)};
    ASK(it, r, arg, "Sort these words alphabetically: $0", "Put the words in alphabetical order: $0", "Sort from a to z: $0", "In which order does a dictionary list these words? $0");
    moa_buf_adds(&it->key, "sort ");
    add_list(&it->key, w, n, " ");
    if (moa_gen_chance(r, 60)) {
        moa_buf_adds(&it->solution, "First letters: ");
        initials(&it->solution, w, n, ", ");
        sort_strings(w, n);
        moa_buf_adds(&it->solution, ". In order: ");
        initials(&it->solution, w, n, ", ");
        moa_buf_adds(&it->solution, ".");
    } else {
        sort_strings(w, n);
        for (int i = 0; i < n; i++) {
            if (i) moa_buf_adds(&it->solution, ", ");
            moa_buf_add(&it->solution, w[i], 1);
            moa_buf_addf(&it->solution, " for %s", w[i]);
        }
        moa_buf_adds(&it->solution, ".");
    }
    add_list(&it->answer, w, n, " ");
    text_deinit(&t);
}

static void sort_initials(moa_item *it, int level, moa_rng *r) {
    const char *w[MAX_LIST];
    int n = level;
    draw_words(w, n, r);
    text t;
    text_init(&t);
    add_list(&t.b, w, n, ", ");
    const char *arg[] = {str(&t)};
    ASK(it, r, arg, "Sort the words $0 from a to z, then write the last letter of each.", "Put $0 in alphabetical order and give the last letter of each word.");
    moa_buf_adds(&it->key, "sort last ");
    add_list(&it->key, w, n, " ");
    sort_strings(w, n);
    moa_buf_adds(&it->solution, moa_gen_chance(r, 50) ? "Sorted: " : "In order: ");
    for (int i = 0; i < n; i++) {
        moa_buf_addf(&it->solution, i ? ", %s (%c)" : "%s (%c)", w[i], w[i][strlen(w[i]) - 1]);
        if (i) moa_buf_adds(&it->answer, " ");
        moa_buf_add(&it->answer, w[i] + strlen(w[i]) - 1, 1);
    }
    moa_buf_adds(&it->solution, ".");
    text_deinit(&t);
}

/* ---- reversing ---------------------------------------------------------------------------------- */

static const char *word_of_length(int lo, int hi, moa_rng *r) {
    for (;;) {
        const char *w = word_at((int)moa_rng_below(r, (uint32_t)moa_n_words));
        if ((int)strlen(w) >= lo && (int)strlen(w) <= hi) return w;
    }
}

/* Words of the list at low levels; from the third on two words in one, so that the space is large. */
static void draw_long_word(moa_buf *b, int level, moa_rng *r) {
    if (level <= 1 && moa_gen_chance(r, 40)) moa_buf_adds(b, word_of_length(3, 5, r));
    else if (level <= 2) {
        static const char consonant[] = "bcdfghklmnprstvw", vowel[] = "aeiou";
        int n = moa_rng_range(r, level + 2, level + 4);
        for (int i = 0; i < n; i++) {
            char c = i % 2 ? vowel[moa_rng_below(r, 5)] : consonant[moa_rng_below(r, 16)];
            moa_buf_add(b, &c, 1);
        }
    } else {
        moa_buf_adds(b, word_of_length(3, level + 1, r));
        moa_buf_adds(b, word_of_length(3, level + 1, r));
    }
}

static void reverse_word(moa_item *it, int level, moa_rng *r) {
    text t;
    text_init(&t);
    draw_long_word(&t.b, level, r);
    const char *arg[] = {str(&t)};
    ASK(it, r, arg, "Write the word $0 backwards.", "Reverse the letters of $0.", "What is $0 spelled backwards?", "Spell $0 from the end to the start.");
    moa_buf_addf(&it->key, "reverse %s", str(&t));
    spell(&it->solution, str(&t), false);
    moa_buf_adds(&it->solution, moa_gen_chance(r, 50) ? " becomes " : ". Backwards: ");
    spell(&it->solution, str(&t), true);
    moa_buf_adds(&it->solution, ".");
    for (size_t i = t.b.len; i-- > 0;) moa_buf_add(&it->answer, t.b.data + i, 1);
    text_deinit(&t);
}

static void reverse_list(moa_item *it, int level, moa_rng *r) {
    const char *w[MAX_LIST], *v[MAX_LIST] = {0};
    int n = level + 2;
    draw_words(w, n, r);
    text t;
    text_init(&t);
    add_list(&t.b, w, n, moa_gen_chance(r, 50) ? ", " : " ");
    const char *arg[] = {str(&t)};
    ASK(it, r, arg, "Write these words in reverse order: $0", "Reverse the list: $0", "Say the words from last to first: $0");
    moa_buf_adds(&it->key, "reverse ");
    add_list(&it->key, w, n, " ");
    for (int i = 0; i < n; i++) v[i] = w[n - 1 - i];
    const char *ends[] = {v[0], v[n - 1]};
    SAY(it, r, ends, "The last word is $0, so it comes first.", "Start with $0 and end with $1.", "From $0 back to $1.");
    add_list(&it->answer, v, n, " ");
    text_deinit(&t);
}

/* ---- counting ----------------------------------------------------------------------------------- */

static void count_letter(moa_item *it, int level, moa_rng *r) {
    text t;
    text_init(&t);
    draw_long_word(&t.b, level, r);
    const char *s = str(&t);
    char c[2] = {moa_gen_chance(r, 85) ? s[moa_rng_below(r, (uint32_t)t.b.len)] : "aeirst"[moa_rng_below(r, 6)], 0};
    const char *arg[] = {s, c};
    ASK(it, r, arg, "How many times is the letter $1 in $0?", "Count the letter $1 in the word $0.", "How often does $1 occur in $0?");
    moa_buf_addf(&it->key, "letter %s %s", s, c);
    int n = 0;
    bool count_along = moa_gen_chance(r, 60);
    for (const char *p = s; *p; p++) {
        n += *p == *c;
        if (p > s) moa_buf_adds(&it->solution, "-");
        moa_buf_add(&it->solution, p, 1);
        if (count_along && *p == *c) moa_buf_addf(&it->solution, "(%d)", n);
    }
    moa_buf_addf(&it->solution, n == 1 ? ". It is there once." : n ? ". It is there %d times." : ". It is not there.", n);
    moa_gen_int(&it->answer, n);
    text_deinit(&t);
}

static void count_words(moa_item *it, int level, moa_rng *r) {
    const char *w[MAX_LIST];
    int n = moa_rng_range(r, 2 + level, level == 1 ? 6 : 8);
    draw_words(w, n, r);
    text t;
    text_init(&t);
    add_list(&t.b, w, n, " ");
    const char *arg[] = {str(&t)};
    ASK(it, r, arg, "How many words are in this line: $0", "Count the words: $0", "How many words do you see here? $0");
    moa_buf_addf(&it->key, "words %s", str(&t));
    for (int i = 0; i < n; i++) {
        if (i) moa_buf_adds(&it->solution, ", ");
        moa_buf_addf(&it->solution, "%d %s", i + 1, w[i]);
    }
    moa_buf_adds(&it->solution, ".");
    moa_gen_int(&it->answer, n);
    text_deinit(&t);
}

static void count_total(moa_item *it, int level, moa_rng *r) {
    const char *w[MAX_LIST];
    int n = level - 1, sum = 0;
    draw_words(w, n, r);
    text t;
    text_init(&t);
    add_list(&t.b, w, n, " ");
    const char *arg[] = {str(&t)};
    ASK(it, r, arg, "How many letters do these words have together: $0", "Count all the letters in: $0", "How long are these words in all? $0");
    moa_buf_addf(&it->key, "letters %s", str(&t));
    for (int i = 0; i < n; i++) {
        moa_buf_addf(&it->solution, "%s%s %d", i ? ", " : "", w[i], (int)strlen(w[i]));
        sum += (int)strlen(w[i]);
    }
    moa_buf_adds(&it->solution, ". ");
    for (int i = 0; i < n; i++) moa_buf_addf(&it->solution, i ? "+%d" : "%d", (int)strlen(w[i]));
    moa_buf_addf(&it->solution, "=%d.", sum);
    moa_gen_int(&it->answer, sum);
    text_deinit(&t);
}

/* ---- picking ------------------------------------------------------------------------------------ */

static const char *const ordinal[] = {"first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"};

static void nth_word(moa_item *it, int level, moa_rng *r) {
    const char *w[MAX_LIST];
    int n = level + 3, k = (int)moa_rng_below(r, (uint32_t)n);
    bool back = level > 1 && moa_gen_chance(r, 35);
    if (back && k > 2) k = (int)moa_rng_below(r, 3);
    draw_words(w, n, r);
    text t;
    text_init(&t);
    add_list(&t.b, w, n, moa_gen_chance(r, 50) ? ", " : " ");
    const char *arg[] = {str(&t), back && k == 0 ? "last" : ordinal[k], back && k ? " from the end" : ""};
    ASK(it, r, arg, "What is the $1 word$2 of this list: $0", "Give the $1 word$2: $0", "Here are some words: $0. Which is the $1$2?");
    moa_buf_addf(&it->key, "nth %d ", back ? -k - 1 : k);
    add_list(&it->key, w, n, " ");
    for (int i = 0; i <= k; i++) {
        if (i) moa_buf_adds(&it->solution, ", ");
        moa_buf_addf(&it->solution, "%d %s", i + 1, w[back ? n - 1 - i : i]);
    }
    moa_buf_adds(&it->solution, ".");
    moa_buf_adds(&it->answer, w[back ? n - 1 - k : k]);
    text_deinit(&t);
}

static void nth_letter(moa_item *it, int level, moa_rng *r) {
    text t;
    text_init(&t);
    draw_long_word(&t.b, level, r);
    const char *s = str(&t);
    int k = (int)moa_rng_below(r, (uint32_t)(t.b.len < 8 ? t.b.len : 8));
    const char *arg[] = {s, ordinal[k]};
    ASK(it, r, arg, "What is the $1 letter of $0?", "Give the $1 letter in the word $0.", "Which letter comes $1 in $0?");
    moa_buf_addf(&it->key, "letter %d %s", k, s);
    for (int i = 0; i <= k; i++) moa_buf_addf(&it->solution, i ? ", %d %c" : "%d %c", i + 1, s[i]);
    moa_buf_adds(&it->solution, ".");
    moa_buf_add(&it->answer, s + k, 1);
    text_deinit(&t);
}

static void acronym(moa_item *it, int level, moa_rng *r) {
    const char *w[MAX_LIST];
    int n = level + 2;
    draw_words(w, n, r);
    text t;
    text_init(&t);
    add_list(&t.b, w, n, " ");
    const char *arg[] = {str(&t)};
    ASK(it, r, arg, "Take the first letter of each word and make one word: $0", "What do the first letters of these words spell? $0", "Join the first letters: $0");
    moa_buf_addf(&it->key, "acronym %s", str(&t));
    for (int i = 0; i < n; i++) moa_buf_addf(&it->solution, i ? ", %s %c" : "%s %c", w[i], w[i][0]);
    moa_buf_adds(&it->solution, ".");
    initials(&it->answer, w, n, "");
    text_deinit(&t);
}

static void extreme(moa_item *it, int level, moa_rng *r) {
    int v[MAX_LIST], n = level + 2, best;
    moa_gen_sample(r, v, n, level == 1 ? 50 : level == 2 ? 99 : 999);
    bool small = moa_gen_chance(r, 50);
    best = v[0];
    for (int i = 1; i < n; i++)
        if (small ? v[i] < best : v[i] > best) best = v[i];
    text t;
    text_init(&t);
    add_numbers(&t.b, v, n, ", ");
    const char *arg[] = {str(&t), small ? "smallest" : "largest"};
    ASK(it, r, arg, "What is the $1 of these numbers: $0", "Which number is the $1: $0", "Find the $1 number: $0");
    moa_buf_addf(&it->key, "%s ", arg[1]);
    add_numbers(&it->key, v, n, " ");
    int run = v[0];
    moa_buf_addf(&it->solution, "Begin with %d.", run);
    for (int i = 1; i < n; i++)
        if (small ? v[i] < run : v[i] > run) {
            run = v[i];
            moa_buf_addf(&it->solution, " %d is %s.", run, small ? "smaller" : "larger");
        }
    moa_gen_int(&it->answer, best);
    text_deinit(&t);
}

/* ---- records ------------------------------------------------------------------------------------ */

static void extract(moa_item *it, int level, moa_rng *r) {
    static const char *const field[] = {"name", "age", "color", "size", "room", "price", "fruit", "animal"};
    static const char *const colors[] = {"red", "blue", "green", "black", "white", "brown", "grey", "yellow"};
    static const char *const sizes[] = {"small", "large", "medium", "tiny", "huge", "long", "short", "wide"};
    static const char *const fruits[] = {"apple", "pear", "plum", "cherry", "lemon", "melon", "grape", "peach", "orange", "fig"};
    static const char *const animals[] = {"cat", "dog", "horse", "goat", "hen", "duck", "rabbit", "mouse", "turtle", "parrot"};
    int n = level + 2, f[MAX_LIST];
    moa_gen_sample(r, f, n, MOA_COUNT(field));
    char value[MAX_LIST][24];
    const char *between = moa_gen_chance(r, 50) ? "; " : ", ", *is = moa_gen_chance(r, 50) ? ": " : " = ";
    text t;
    text_init(&t);
    moa_buf want;
    moa_buf_init(&want, 64);
    int k = (int)moa_rng_below(r, (uint32_t)n);
    for (int i = 0; i < n; i++) {
        const char *w;
        switch (f[i]) {
        case 0: w = moa_first_names[moa_rng_below(r, (uint32_t)moa_n_first_names)]; break;
        case 2: w = MOA_PICK(r, colors); break;
        case 3: w = MOA_PICK(r, sizes); break;
        case 6: w = MOA_PICK(r, fruits); break;
        case 7: w = MOA_PICK(r, animals); break;
        default: w = moa_gen_dec(value[i], moa_rng_range(r, 2, f[i] == 4 ? 400 : 90));
        }
        moa_buf_addf(&t.b, "%s%s%s%s", i ? between : "", field[f[i]], is, w);
        moa_buf_addf(&it->key, "%s %s ", field[f[i]], w);
        if (i == k) moa_buf_adds(&want, w);
    }
    const char *arg[] = {str(&t), field[f[k]], moa_buf_str(&want)};
    moa_buf_adds(&it->key, arg[1]);
    ASK(it, r, arg, "Record: $0. What is the $1?", "Read this: $0. Give the $1.", "$0. Which $1 is given?", "Find the $1 in this record: $0");
    SAY(it, r, arg, "The record says $1: $2.", "The $1 is $2.", "I look for $1 and find $2.");
    moa_buf_adds(&it->answer, arg[2]);
    moa_buf_deinit(&want);
    text_deinit(&t);
}

/* ---- the family --------------------------------------------------------------------------------- */

static const struct { int from, to; void (*make)(moa_item *, int, moa_rng *); } jobs[] = {
    {1, 5, sort_numbers}, {1, 5, sort_words}, {4, 5, sort_initials}, {1, 5, reverse_word}, {1, 5, reverse_list},
    {1, 5, count_letter}, {1, 3, count_words}, {3, 5, count_total},  {1, 4, nth_word},     {1, 5, nth_letter},
    {1, 4, acronym},      {1, 4, extreme},     {1, 3, extract},
};

static int make(moa_item *it, int level, moa_rng *r) {
    uint32_t k;
    do k = moa_rng_below(r, MOA_COUNT(jobs));
    while (level < jobs[k].from || level > jobs[k].to);
    jobs[k].make(it, level, r);
    moa_buf_adds(&it->solution, "\nAnswer: ");
    moa_buf_adds(&it->solution, moa_buf_str(&it->answer));
    return MOA_OK;
}

const moa_family moa_family_text = {
    .name = "text", .help = "sort, reverse, count, pick and extract words and numbers", .n_level = 5, .scored = true, .make = make};
