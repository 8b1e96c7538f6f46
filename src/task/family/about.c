/* about.c - talk: greetings, thanks, what moa is, what it can do, how it works, where it fails. Not scored.
 *
 * The words must be true of a very small model trained on a small world. Topics with wordings of question and answer
 * are data (about.def). Replies are put together from an opening, a body and sometimes a closing, so that a model
 * learns to talk and not one text by heart. The key is the whole exchange: a question may be in both splits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "task/gen.h"

#include <string.h>

typedef struct topic {
    int weight;
    const char *ask[16];
    const char *reply[10];
    const char *more[6]; /* sentences that may follow; NULL: none */
} topic;

#define TOPIC(...) {__VA_ARGS__},
static const topic topics[] = {
#include "task/family/about.def"
};

static int filled(const char *const *v, int max) {
    int n = 0;
    while (n < max && v[n]) n++;
    return n;
}

static const topic *draw_topic(moa_rng *r) {
    int sum = 0;
    for (int i = 0; i < MOA_COUNT(topics); i++) sum += topics[i].weight;
    int at = (int)moa_rng_below(r, (uint32_t)sum), i = 0;
    while ((at -= topics[i].weight) >= 0) i++;
    return &topics[i];
}

/* People write as they like: lower case, without the last sign, with a greeting before. */
static void pose(moa_buf *b, const char *ask, moa_rng *r) {
    size_t at = b->len;
    if (ask[strlen(ask) - 1] == '?' && moa_gen_chance(r, 10)) moa_buf_adds(b, moa_gen_chance(r, 50) ? "Hi, " : "Hello. ");
    moa_buf_adds(b, ask);
    bool name = ask[0] == 'I' && ask[1] == ' ';
    if (!name && moa_gen_chance(r, 20) && b->data[at] >= 'A' && b->data[at] <= 'Z') b->data[at] = (char)(b->data[at] - 'A' + 'a');
    char last = b->data[b->len - 1];
    if (moa_gen_chance(r, 20) && (last == '?' || last == '.' || last == '!')) b->data[--b->len] = 0;
}

static int make(moa_item *it, int level, moa_rng *r) {
    const topic *t = draw_topic(r);
    const char *arg[] = {moa_first_names[moa_rng_below(r, (uint32_t)moa_n_first_names)]};
    int n_more = filled(t->more, 6);
    moa_buf ask;
    moa_buf_init(&ask, 1024);
    moa_gen_fill(&ask, t->ask[moa_rng_below(r, (uint32_t)filled(t->ask, 16))], arg, 1);
    pose(&it->question, moa_buf_str(&ask), r);
    moa_buf_deinit(&ask);
    moa_gen_fill(&it->solution, t->reply[moa_rng_below(r, (uint32_t)filled(t->reply, 10))], arg, 1);
    if (n_more && moa_gen_chance(r, 60)) {
        moa_buf_adds(&it->solution, " ");
        moa_gen_fill(&it->solution, t->more[moa_rng_below(r, (uint32_t)n_more)], arg, 1);
    }
    moa_buf_addf(&it->key, "%s\n%s", moa_buf_str(&it->question), moa_buf_str(&it->solution));
    (void)level;
    return MOA_OK;
}

const moa_family moa_family_about = {
    .name = "about", .help = "greetings, what moa is and can do, its limits", .n_level = 1, .scored = false, .make = make};
