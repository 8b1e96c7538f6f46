/* word_problem.c - little stories that end with a question of two to four steps.
 *
 * A story is data: wordings of its sentences, what is drawn, and its steps; a step is an equation over the drawn
 * letters and what it tells. Steps are worked out and checked (no negative number, no remainder), so a row cannot
 * give a wrong answer without being a wrong story.
 *   draw   "a5-20 b2-9": letter, least, most; "*" after: a quantity that grows with the level (sizes below); "/": a
 *          multiple of five, for clock times; neither: a factor or an age, which grows less
 *   steps  "d=a+b|after buying": equation | what the number is; "@" before the equation: clock times
 *   text   $N $M $K names, $o $p things, $a.. numbers, $A.. numbers as clock times
 * Levels: 1 two steps; 2 two steps, larger numbers; 3 three steps; 4 three or four steps, large numbers; 5 the same,
 * with products of two digits by two and sums of three digits at once, without written steps inside.
 * SPDX-License-Identifier: Apache-2.0 */
#include "task/steps.h"

#include <string.h>

typedef struct story {
    const char *text[3];  /* wordings; NULL: fewer */
    const char *draw;
    const char *step[4];
    const char *unit;     /* of the answer in the closing sentence; "" for none */
} story;

#define S(...) {__VA_ARGS__},
static const story stories[] = {
#include "task/family/stories.def"
};

enum { MAX_STEPS = 4 };

static int n_step(const story *s) {
    int n = 0;
    while (n < MAX_STEPS && s->step[n]) n++;
    return n;
}

typedef struct scene {
    int v[26];           /* by letter */
    const char *name[3]; /* N, M, K */
    const char *thing[2];
} scene;

static void clock_time(moa_buf *b, int minutes) { moa_buf_addf(b, "%d:%02d", minutes / 60 % 24, minutes % 60); }

/* How much larger than in the story's row, by level. */
static const struct { int amount, factor; } sizes[] = {{0, 0}, {1, 1}, {4, 1}, {4, 2}, {12, 2}, {30, 3}};

static void draw_numbers(scene *c, const char *p, int level, bool ages, moa_rng *r) {
    while (*p) {
        int letter = *p++ - 'a', lo = 0, hi = 0, unit = 1;
        while (*p >= '0' && *p <= '9') lo = lo * 10 + (*p++ - '0');
        for (p++; *p >= '0' && *p <= '9'; p++) hi = hi * 10 + (*p - '0');
        if (*p == '*') hi *= sizes[level].amount, p++;
        else if (*p == '/') unit = 5, p++;
        else if (!ages) hi *= sizes[level].factor;
        c->v[letter] = moa_rng_range(r, lo / unit, hi / unit) * unit;
        while (*p == ' ') p++;
    }
}

/* One side of an equation: a letter or a number. */
static int side(const scene *c, const char **p) {
    if (**p >= 'a' && **p <= 'z') return c->v[*(*p)++ - 'a'];
    int n = 0;
    while (**p >= '0' && **p <= '9') n = n * 10 + (*(*p)++ - '0');
    return n;
}

typedef struct equation { int a, b, out; char op; const char *what; bool time; } equation;

static bool work_out(equation *e, scene *c, const char *p) {
    e->time = *p == '@';
    p += e->time;
    int letter = *p - 'a';
    p += 2;
    e->a = side(c, &p);
    e->op = *p++;
    e->b = side(c, &p);
    e->what = *p == '|' ? p + 1 : "";
    if (e->op == '/' && (e->b == 0 || e->a % e->b)) return false;
    e->out = e->op == '+' ? e->a + e->b : e->op == '-' ? e->a - e->b : e->op == '*' ? e->a * e->b : e->a / e->b;
    c->v[letter] = e->out;
    return e->out > 0 && e->out < 10000 && !(e->time && e->out >= 24 * 60);
}

static void tell(moa_buf *b, const scene *c, const char *p) {
    for (;;) {
        size_t n = strcspn(p, "$");
        moa_buf_add(b, p, n);
        p += n;
        if (!*p) return;
        char k = p[1];
        p += 2;
        if (k == 'N' || k == 'M' || k == 'K') moa_buf_adds(b, c->name[k == 'N' ? 0 : k == 'M' ? 1 : 2]);
        else if (k == 'o' || k == 'p') moa_buf_adds(b, c->thing[k == 'p']);
        else if (k >= 'A' && k <= 'J') clock_time(b, c->v[k - 'A']);
        else moa_gen_int(b, c->v[k - 'a']);
    }
}

static void write_side(moa_buf *b, int v, bool time) {
    if (time) clock_time(b, v);
    else moa_gen_int(b, v);
}

/* Four ways to write a step; the whole solution keeps one, so that it reads as one person's work. */
static void write_step(moa_buf *b, const equation *e, const scene *c, int style, int i, int n) {
    static const char *const count[] = {"First, ", "Then ", "Next, ", "Last, "};
    if (i) moa_buf_adds(b, style == 3 ? "\n" : " ");
    if (style == 1) moa_buf_adds(b, i && i == n - 1 ? count[3] : count[i]);
    if (style == 2 && *e->what) {
        size_t at = b->len;
        tell(b, c, e->what);
        if (b->data[at] >= 'a' && b->data[at] <= 'z') b->data[at] = (char)(b->data[at] - 'a' + 'A');
        moa_buf_adds(b, ": ");
    }
    write_side(b, e->a, e->time && e->a > 59);
    moa_buf_add(b, &e->op, 1);
    write_side(b, e->b, e->time && e->op == '-' && e->b > 59);
    moa_buf_adds(b, "=");
    write_side(b, e->out, e->time);
    if (style == 3 && *e->what) {
        moa_buf_adds(b, " (");
        tell(b, c, e->what);
        moa_buf_adds(b, ")");
    }
    moa_buf_adds(b, ".");
}

static void tell_unit(moa_buf *b, const scene *c, const story *s, const char *answer) {
    moa_buf_addf(b, " That makes %s ", answer);
    tell(b, c, s->unit);
    moa_buf_adds(b, ".");
}

static const story *pick_story(int level, moa_rng *r) {
    int steps = level <= 2 ? 2 : level == 3 ? 3 : moa_rng_range(r, 3, 4);
    for (;;) {
        const story *s = &stories[moa_rng_below(r, MOA_COUNT(stories))];
        if (n_step(s) == steps) return s;
    }
}

static void cast(scene *c, moa_rng *r) {
    static const char *const things[] = {"apples", "books", "ribbons", "marbles", "stamps", "cards", "shells", "pens", "eggs", "cookies", "stones",
                                         "flowers", "buttons", "balls", "plums", "candles", "nuts", "toys", "beads", "lemons"};
    int id[3];
    moa_gen_sample(r, id, 3, moa_n_first_names);
    for (int i = 0; i < 3; i++) c->name[i] = moa_first_names[id[i]];
    moa_gen_sample(r, id, 2, MOA_COUNT(things));
    c->thing[0] = things[id[0]];
    c->thing[1] = things[id[1]];
}

static int make(moa_item *it, int level, moa_rng *r) {
    const story *s = pick_story(level, r);
    scene c = {.v = {0}};
    equation e[MAX_STEPS];
    int n = n_step(s), style = (int)moa_rng_below(r, 4);
    cast(&c, r);
    draw_numbers(&c, s->draw, level, strcmp(s->unit, "years") == 0, r);
    moa_buf_addf(&it->key, "%d", (int)(s - stories));
    for (const char *p = s->draw; *p; p++)
        if (*p >= 'a' && *p <= 'z') moa_buf_addf(&it->key, " %d", c.v[*p - 'a']);
    for (int i = 0; i < n; i++)
        if (!work_out(&e[i], &c, s->step[i])) return MOA_EINVAL;
    tell(&it->question, &c, s->text[moa_rng_below(r, s->text[2] ? 3 : s->text[1] ? 2 : 1)]);
    for (int i = 0; i < n; i++) write_step(&it->solution, &e[i], &c, style, i, n);
    write_side(&it->answer, e[n - 1].out, e[n - 1].time);
    if (*s->unit && style < 2 && moa_gen_chance(r, 40)) tell_unit(&it->solution, &c, s, moa_buf_str(&it->answer));
    moa_buf_adds(&it->solution, "\nAnswer: ");
    moa_buf_adds(&it->solution, moa_buf_str(&it->answer));
    return MOA_OK;
}

const moa_family moa_family_word_problem = {
    .name = "word_problem", .help = "stories with numbers, two to four steps", .n_level = 5, .scored = true, .make = make};
