/* glossary.c - see glossary.h. The Velu words are drawn from a constant seed: changing a list changes the language.
 * SPDX-License-Identifier: Apache-2.0 */
#include "task/glossary.h"

#include "task/gen.h"

#include <pthread.h>
#include <string.h>

static moa_lexeme nouns[] = {
    {.en = "cat"}, {.en = "dog"}, {.en = "horse"}, {.en = "bird"}, {.en = "fish", .en2 = "fishes"}, {.en = "cow"}, {.en = "goat"}, {.en = "fox"},
    {.en = "wolf", .en2 = "wolves"}, {.en = "bear"}, {.en = "mouse", .en2 = "mice"}, {.en = "snake"}, {.en = "frog"}, {.en = "duck"}, {.en = "lion"}, {.en = "rabbit"},
    {.en = "man", .en2 = "men"}, {.en = "woman", .en2 = "women"}, {.en = "child", .en2 = "children"}, {.en = "boy"}, {.en = "girl"}, {.en = "king"}, {.en = "queen"}, {.en = "friend"},
    {.en = "teacher"}, {.en = "farmer"}, {.en = "baker"}, {.en = "sailor"}, {.en = "doctor"}, {.en = "hunter"}, {.en = "singer"}, {.en = "guest"},
    {.en = "mother"}, {.en = "father"}, {.en = "sister"}, {.en = "brother"}, {.en = "neighbor"}, {.en = "guard"}, {.en = "painter"}, {.en = "cook"},
    {.en = "apple"}, {.en = "pear"}, {.en = "cake"}, {.en = "egg"}, {.en = "nut"}, {.en = "berry"}, {.en = "loaf", .en2 = "loaves"}, {.en = "onion"},
    {.en = "book"}, {.en = "letter"}, {.en = "lamp"}, {.en = "table"}, {.en = "chair"}, {.en = "knife", .en2 = "knives"}, {.en = "cup"}, {.en = "plate"},
    {.en = "bottle"}, {.en = "box"}, {.en = "basket"}, {.en = "rope"}, {.en = "key"}, {.en = "bell"}, {.en = "drum"}, {.en = "flute"},
    {.en = "coat"}, {.en = "hat"}, {.en = "shoe"}, {.en = "ring"}, {.en = "coin"}, {.en = "sword"}, {.en = "flag"}, {.en = "mirror"},
    {.en = "boat"}, {.en = "cart"}, {.en = "wheel"}, {.en = "wall"}, {.en = "door"}, {.en = "window"}, {.en = "roof"}, {.en = "bridge"},
    {.en = "tree"}, {.en = "flower"}, {.en = "stone"}, {.en = "star"}, {.en = "cloud"}, {.en = "leaf", .en2 = "leaves"}, {.en = "feather"}, {.en = "shell"},
    {.en = "picture"}, {.en = "song"}, {.en = "story"}, {.en = "dream"}, {.en = "candle"}, {.en = "clock"}, {.en = "map"}, {.en = "toy"},
};
static moa_lexeme spots[] = {
    {.en = "house"}, {.en = "garden"}, {.en = "town"}, {.en = "market"}, {.en = "forest"}, {.en = "school"}, {.en = "field"}, {.en = "street"},
    {.en = "kitchen"}, {.en = "tower"}, {.en = "village"}, {.en = "castle"}, {.en = "park"}, {.en = "cave"}, {.en = "valley"}, {.en = "harbor"},
};
static moa_lexeme verbs[] = {
    {"see", NULL, "saw", ""}, {"find", NULL, "found", ""}, {"take", NULL, "took", ""}, {"bring", NULL, "brought", ""}, {"buy", NULL, "bought", ""}, {"sell", NULL, "sold", ""},
    {"make", NULL, "made", ""}, {"break", NULL, "broke", ""}, {"hear", NULL, "heard", ""}, {"hold", NULL, "held", ""}, {"lose", NULL, "lost", ""}, {"know", NULL, "knew", ""},
    {"love", NULL, "loved", ""}, {"want", NULL, "wanted", ""}, {"need", NULL, "needed", ""}, {"help", NULL, "helped", ""}, {"follow", NULL, "followed", ""}, {"carry", NULL, "carried", ""},
    {"clean", NULL, "cleaned", ""}, {"paint", NULL, "painted", ""}, {"open", NULL, "opened", ""}, {"close", NULL, "closed", ""}, {"push", NULL, "pushed", ""}, {"pull", NULL, "pulled", ""},
    {"hide", NULL, "hid", ""}, {"steal", NULL, "stole", ""}, {"draw", NULL, "drew", ""}, {"wash", NULL, "washed", ""}, {"count", NULL, "counted", ""}, {"watch", NULL, "watched", ""},
    {"keep", NULL, "kept", ""}, {"show", NULL, "showed", ""}, {"visit", NULL, "visited", ""}, {"call", NULL, "called", ""}, {"fear", NULL, "feared", ""}, {"lift", NULL, "lifted", ""},
    {"throw", NULL, "threw", ""}, {"catch", NULL, "caught", ""}, {"leave", NULL, "left", ""}, {"choose", NULL, "chose", ""},
};
static moa_lexeme adjectives[] = {
    {.en = "red"}, {.en = "blue"}, {.en = "green"}, {.en = "white"}, {.en = "black"}, {.en = "yellow"}, {.en = "brown"}, {.en = "grey"},
    {.en = "big"}, {.en = "small"}, {.en = "old"}, {.en = "young"}, {.en = "new"}, {.en = "long"}, {.en = "short"}, {.en = "tall"},
    {.en = "good"}, {.en = "bad"}, {.en = "rich"}, {.en = "poor"}, {.en = "happy"}, {.en = "sad"}, {.en = "quick"}, {.en = "slow"},
    {.en = "strong"}, {.en = "weak"}, {.en = "clever"}, {.en = "quiet"}, {.en = "loud"}, {.en = "warm"}, {.en = "cold"}, {.en = "heavy"},
    {.en = "light"}, {.en = "dark"}, {.en = "round"}, {.en = "pretty"}, {.en = "lazy"}, {.en = "brave"}, {.en = "hungry"}, {.en = "tired"},
};
static moa_lexeme numbers[] = {{.en = "1"}, {.en = "2"}, {.en = "3"}, {.en = "4"}, {.en = "5"}, {.en = "6"}, {.en = "7"}, {.en = "8"}, {.en = "64"}};

static const struct { moa_lexeme *word; int n; } classes[] = {
    [MOA_NOUN] = {nouns, MOA_COUNT(nouns)}, [MOA_VERB] = {verbs, MOA_COUNT(verbs)}, [MOA_ADJECTIVE] = {adjectives, MOA_COUNT(adjectives)},
    [MOA_NUMBER] = {numbers, MOA_COUNT(numbers)}, [MOA_SPOT] = {spots, MOA_COUNT(spots)}};
static pthread_once_t once = PTHREAD_ONCE_INIT;

static bool taken(const char *w) {
    for (int c = 0; c < MOA_COUNT(classes); c++)
        for (int i = 0; i < classes[c].n; i++)
            if (strcmp(classes[c].word[i].velu, w) == 0) return true;
    return false;
}

static void coin_word(char *w, const char *shape, moa_rng *r) {
    static const char consonant[] = "bdfghjklmnprstvz", vowel[] = "aeiou";
    int i = 0;
    for (; shape[i]; i++)
        w[i] = shape[i] == 'C' ? consonant[moa_rng_below(r, 16)] : shape[i] == 'V' ? vowel[moa_rng_below(r, 5)] : shape[i];
    w[i] = 0;
}

static void make_language(void) {
    static const char *const shape[] = {[MOA_NOUN] = "CVCV", [MOA_VERB] = "CVCan", [MOA_ADJECTIVE] = "CVCik", [MOA_NUMBER] = "CVC", [MOA_SPOT] = "CVCV"};
    moa_rng r;
    moa_rng_seed(&r, 7);
    for (int c = 0; c < MOA_COUNT(classes); c++)
        for (int i = 0; i < classes[c].n; i++) {
            char w[8];
            do coin_word(w, shape[c], &r);
            while (taken(w) || strcmp(w, "nek") == 0);
            memcpy(classes[c].word[i].velu, w, sizeof w);
        }
}

const moa_lexeme *moa_glossary(moa_word_class c, int *n) {
    pthread_once(&once, make_language);
    *n = classes[c].n;
    return classes[c].word;
}
