/* translate.c - between English and the invented language Velu (glossary.h), both ways.
 *
 * Levels: 1 a noun with an adjective, plural or number; 2 a sentence of three words; 3 with adjectives, plurals and
 * numbers; 4 with past, negation, place and numbers up to 511; 5 two sentences joined. The grammar is one to one, so
 * answers are exact. Velu counts in eights, so a number has to be worked out: "37 = 4*8+5". The key is the English text:
 * the same sentence is in one split for both directions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "task/gen.h"
#include "task/glossary.h"

#include <string.h>

typedef struct phrase { const moa_lexeme *noun, *adjective; int number; bool plural; } phrase; /* number 0: none */
typedef struct clause { const moa_lexeme *verb; phrase who, whom; const moa_lexeme *spot; bool past, no; } clause;

static const moa_lexeme *draw(moa_word_class c, moa_rng *r) {
    int n;
    const moa_lexeme *w = moa_glossary(c, &n);
    return &w[moa_rng_below(r, (uint32_t)n)];
}

static bool ends(const char *s, const char *tail) {
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && strcmp(s + n - m, tail) == 0;
}

/* The regular -s of plurals and of the third person. */
static void add_s(moa_buf *b, const char *w) {
    size_t n = strlen(w);
    bool y = w[n - 1] == 'y' && !strchr("aeiou", w[n - 2]);
    moa_buf_add(b, w, n - y);
    moa_buf_adds(b, y ? "ies" : ends(w, "s") || ends(w, "x") || ends(w, "ch") || ends(w, "sh") ? "es" : "s");
}

/* ---- the two languages -------------------------------------------------------------------------- */

static void english_phrase(moa_buf *b, const phrase *p) {
    moa_buf_adds(b, "the ");
    if (p->number) moa_buf_addf(b, "%d ", p->number);
    if (p->adjective) moa_buf_addf(b, "%s ", p->adjective->en);
    if (!p->plural && !p->number) moa_buf_adds(b, p->noun->en);
    else if (p->noun->en2) moa_buf_adds(b, p->noun->en2);
    else add_s(b, p->noun->en);
}

/* How many of each: 64, 8, 1. */
static void eights(int digit[3], int n) {
    digit[0] = n / 64;
    digit[1] = n / 8 % 8;
    digit[2] = n % 8;
}

static void velu_number(moa_buf *b, int number) {
    int n, digit[3];
    const moa_lexeme *w = moa_glossary(MOA_NUMBER, &n);
    eights(digit, number);
    for (int i = 0, first = 1; i < 3; i++) {
        if (!digit[i]) continue;
        const char *unit = i < 2 ? w[8 - i].velu : "", *count = i == 2 || digit[i] > 1 ? w[digit[i] - 1].velu : "";
        moa_buf_addf(b, "%s%s%s%s", first ? "" : "-", count, *unit && *count ? "-" : "", unit);
        first = 0;
    }
}

/* "6*64+2*8+5" */
static void eights_sum(moa_buf *b, int number) {
    static const char *const unit[] = {"*64", "*8", ""};
    int digit[3];
    eights(digit, number);
    for (int i = 0, first = 1; i < 3; i++) {
        if (!digit[i]) continue;
        moa_buf_addf(b, "%s%d%s", first ? "" : "+", digit[i], unit[i]);
        first = 0;
    }
}

static void velu_phrase(moa_buf *b, const phrase *p) {
    if (p->number) velu_number(b, p->number), moa_buf_adds(b, " ");
    moa_buf_adds(b, p->noun->velu);
    if (p->plural && !p->number) moa_buf_adds(b, "ri");
    if (p->adjective) moa_buf_addf(b, " %s", p->adjective->velu);
}

static void english_verb(moa_buf *b, const clause *c) {
    bool many = c->who.plural || c->who.number;
    if (c->no) moa_buf_addf(b, "%s not %s", c->past ? "did" : many ? "do" : "does", c->verb->en);
    else if (c->past) moa_buf_adds(b, c->verb->past);
    else if (many) moa_buf_adds(b, c->verb->en);
    else add_s(b, c->verb->en);
}

static void velu_verb(moa_buf *b, const clause *c) {
    if (c->no) moa_buf_adds(b, "nek ");
    moa_buf_adds(b, c->verb->velu);
    if (c->past) moa_buf_adds(b, "ta");
}

static void english_clause(moa_buf *b, const clause *c) {
    english_phrase(b, &c->who);
    moa_buf_adds(b, " ");
    english_verb(b, c);
    moa_buf_adds(b, " ");
    english_phrase(b, &c->whom);
    if (c->spot) moa_buf_addf(b, " in the %s", c->spot->en);
}

static void velu_clause(moa_buf *b, const clause *c) {
    velu_verb(b, c);
    moa_buf_adds(b, " ");
    velu_phrase(b, &c->who);
    moa_buf_adds(b, " ");
    velu_phrase(b, &c->whom);
    if (c->spot) moa_buf_addf(b, " %snu", c->spot->velu);
}

/* ---- glosses: "the cat = miku", from the language of the question ---------------------------------- */

static void gloss(moa_buf *b, bool to_velu, void (*en)(moa_buf *, const void *), void (*ve)(moa_buf *, const void *), const void *x, const char *is) {
    (to_velu ? en : ve)(b, x);
    moa_buf_adds(b, is);
    (to_velu ? ve : en)(b, x);
}
static void en_phrase(moa_buf *b, const void *x) { english_phrase(b, x); }
static void ve_phrase(moa_buf *b, const void *x) { velu_phrase(b, x); }
static void en_verb(moa_buf *b, const void *x) { english_verb(b, x); }
static void ve_verb(moa_buf *b, const void *x) { velu_verb(b, x); }
static void en_spot(moa_buf *b, const void *x) { moa_buf_addf(b, "in the %s", ((const clause *)x)->spot->en); }
static void ve_spot(moa_buf *b, const void *x) { moa_buf_addf(b, "%snu", ((const clause *)x)->spot->velu); }

/* "37 = 4*8+5 = kam-tol-rid", or from Velu the other way round; below eight there is nothing to work out. */
static void gloss_number(moa_buf *b, int number, bool to_velu, const char *is) {
    if (to_velu) moa_buf_addf(b, "%d%s", number, is);
    else velu_number(b, number), moa_buf_adds(b, is);
    if (number >= 8) eights_sum(b, number), moa_buf_adds(b, " = ");
    if (to_velu) velu_number(b, number);
    else moa_buf_addf(b, "%d", number);
}

static void gloss_words(moa_buf *b, const phrase *p, bool to_velu, const char *is) {
    if (p->number) gloss_number(b, p->number, to_velu, is);
    const moa_lexeme *w[] = {p->adjective, p->noun};
    for (int k = 0, first = !p->number; k < 2; k++) {
        const moa_lexeme *x = w[to_velu ? k : 1 - k]; /* in the order of the question */
        if (!x) continue;
        if (!first) moa_buf_adds(b, ", ");
        moa_buf_addf(b, "%s%s%s", to_velu ? x->en : x->velu, is, to_velu ? x->velu : x->en);
        first = 0;
    }
}

static void gloss_phrase(moa_buf *b, const phrase *p, bool to_velu, const char *is) {
    if (p->number >= 8) gloss_number(b, p->number, to_velu, is), moa_buf_adds(b, ", ");
    gloss(b, to_velu, en_phrase, ve_phrase, p, is);
}

static void gloss_clause(moa_buf *b, const clause *c, bool to_velu, const char *is, moa_rng *r) {
    int order[3] = {0, 1, 2}; /* who, verb, whom */
    if (!to_velu) order[0] = 1, order[1] = 0;
    if (moa_gen_chance(r, 30)) order[0] = 1 - order[0], order[1] = 1 - order[1];
    for (int k = 0; k < 3; k++) {
        if (k) moa_buf_adds(b, ", ");
        if (order[k] == 1) gloss(b, to_velu, en_verb, ve_verb, c, is);
        else gloss_phrase(b, order[k] ? &c->whom : &c->who, to_velu, is);
    }
    if (c->spot) {
        moa_buf_adds(b, ", ");
        gloss(b, to_velu, en_spot, ve_spot, c, is);
    }
}

/* ---- items -------------------------------------------------------------------------------------- */

static phrase draw_phrase(int level, moa_rng *r) {
    static const struct { int percent, most; } number[] = {{0, 0}, {50, 63}, {0, 0}, {30, 63}, {45, 511}, {40, 511}};
    phrase p = {.noun = draw(MOA_NOUN, r)};
    if (level == 2) return p;
    if (moa_gen_chance(r, level == 1 ? 80 : 45)) p.adjective = draw(MOA_ADJECTIVE, r);
    p.plural = moa_gen_chance(r, 40);
    if (moa_gen_chance(r, number[level].percent)) p.number = moa_rng_range(r, 2, number[level].most);
    return p;
}

static clause draw_clause(int level, moa_rng *r) {
    clause c = {.verb = draw(MOA_VERB, r)};
    c.who = draw_phrase(level, r);
    do c.whom = draw_phrase(level, r);
    while (c.whom.noun == c.who.noun);
    if (level >= 4) {
        c.past = moa_gen_chance(r, 50);
        c.no = moa_gen_chance(r, 30);
        if (level == 4 && moa_gen_chance(r, 50)) c.spot = draw(MOA_SPOT, r);
    }
    return c;
}

static void pose(moa_item *it, bool to_velu, const char *text, moa_rng *r) {
    static const char *const into[] = {"Translate into Velu: $0", "How do you say this in Velu? $0", "Say in Velu: $0", "What is \"$0\" in Velu?", "Put this into Velu: $0"};
    static const char *const from[] = {"Translate into English: $0", "What does this Velu text mean? $0", "Say in English: $0", "What is \"$0\" in English?", "Put this Velu into English: $0"};
    const char *arg[] = {text};
    moa_gen_fill(&it->question, to_velu ? MOA_PICK(r, into) : MOA_PICK(r, from), arg, 1);
}

static int make(moa_item *it, int level, moa_rng *r) {
    static const char *const equals[] = {" = ", " is ", ": "};
    const char *is = MOA_PICK(r, equals);
    bool to_velu = moa_gen_chance(r, 50);
    moa_buf velu;
    moa_buf_init(&velu, 1024);
    if (level == 1) {
        phrase p = draw_phrase(1, r);
        english_phrase(&it->key, &p);
        velu_phrase(&velu, &p);
        gloss_words(&it->solution, &p, to_velu, is);
    } else {
        for (int k = 0; k < (level == 5 ? 2 : 1); k++) {
            clause c = draw_clause(level, r);
            if (k) moa_buf_adds(&it->key, " and "), moa_buf_adds(&velu, " su "), moa_buf_adds(&it->solution, ", ");
            english_clause(&it->key, &c);
            velu_clause(&velu, &c);
            gloss_clause(&it->solution, &c, to_velu, is, r);
        }
    }
    if (it->solution.len > 240) { /* more would be typing */
        moa_buf_deinit(&velu);
        return MOA_EINVAL;
    }
    const char *answer = moa_buf_str(to_velu ? &velu : &it->key);
    pose(it, to_velu, to_velu ? moa_buf_str(&it->key) : moa_buf_str(&velu), r);
    moa_buf_adds(&it->answer, answer);
    moa_buf_adds(&it->solution, ".\nAnswer: ");
    moa_buf_adds(&it->solution, answer);
    moa_buf_deinit(&velu);
    return MOA_OK;
}

const moa_family moa_family_translate = {
    .name = "translate", .help = "between English and Velu, an invented language", .n_level = 5, .scored = true, .make = make};
