/* gen.c - see gen.h. SPDX-License-Identifier: Apache-2.0 */
#include "task/gen.h"

#include <ctype.h>
#include <string.h>

void moa_gen_shuffle(moa_rng *r, int *v, int n) {
    for (int i = n - 1; i > 0; i--) {
        int j = (int)moa_rng_below(r, (uint32_t)i + 1), t = v[i];
        v[i] = v[j];
        v[j] = t;
    }
}

void moa_gen_sample(moa_rng *r, int *out, int k, int n) {
    moa_assert(k <= n && k <= 64);
    for (int i = 0; i < k;) {
        int c = (int)moa_rng_below(r, (uint32_t)n), seen = 0;
        for (int j = 0; j < i; j++) seen |= out[j] == c;
        if (!seen) out[i++] = c;
    }
}

void moa_gen_fill(moa_buf *b, const char *p, const char *const *arg, int n_arg) {
    for (;;) {
        size_t n = strcspn(p, "$");
        moa_buf_add(b, p, n);
        p += n;
        if (!*p) return;
        if (p[1] == '$') {
            moa_buf_adds(b, "$");
        } else {
            moa_assert(p[1] >= '0' && p[1] - '0' < n_arg);
            moa_buf_adds(b, arg[p[1] - '0']);
        }
        p += 2;
    }
}

const char *moa_gen_article(const char *noun) { return strchr("aeiouAEIOU", *noun) ? "an" : "a"; }

const char *moa_gen_dec(char t[24], long long n) {
    int i = 23;
    unsigned long long u = n < 0 ? 0ull - (unsigned long long)n : (unsigned long long)n;
    t[i] = 0;
    do t[--i] = (char)('0' + u % 10);
    while (u /= 10);
    if (n < 0) t[--i] = '-';
    return t + i;
}

void moa_gen_int(moa_buf *b, long long n) {
    char t[24];
    moa_buf_adds(b, moa_gen_dec(t, n));
}

void moa_gen_capital(moa_buf *b, const char *s) {
    char c = (char)toupper((unsigned char)*s);
    if (!*s) return;
    moa_buf_add(b, &c, 1);
    moa_buf_adds(b, s + 1);
}

const char *const moa_first_names[] = {
    "Ada", "Ben", "Cora", "Dan", "Ella", "Finn", "Gina", "Hugo", "Ida", "Jack", "Kate", "Leo", "Mia", "Nick", "Olga",
    "Paul", "Rosa", "Sam", "Tina", "Max", "Vera", "Will", "Zoe", "Anna", "Bob", "Emma", "Fred", "Lily", "Tom", "Nora",
    "Omar", "Lena", "Ivan", "Ruth", "Carl", "Amy", "Joe", "Sara", "Luke", "Eva",
};
const int moa_n_first_names = MOA_COUNT(moa_first_names);

const char *const moa_words[] = {
    "ant", "arm", "art", "bag", "bat", "bed", "bee", "box", "boy", "bus", "cap", "car", "cat", "cow", "cup", "day",
    "dog", "ear", "egg", "eye", "fan", "fig", "fox", "gas", "hat", "hen", "ice", "ink", "jam", "jar", "key", "kit",
    "leg", "lip", "log", "map", "mud", "net", "nut", "oak", "oil", "owl", "pan", "pen", "pie", "pig", "pot", "rat",
    "sea", "sky", "sun", "tea", "toy", "van", "wax", "web", "zoo",
    "ball", "band", "bank", "barn", "bean", "bear", "bell", "belt", "bird", "boat", "bone", "book", "boot", "bowl",
    "cake", "camp", "card", "cave", "coal", "coat", "coin", "cook", "corn", "crab", "desk", "dish", "door", "duck",
    "dust", "farm", "fire", "fish", "flag", "foot", "fork", "frog", "game", "gate", "gift", "goat", "gold", "hand",
    "hill", "horn", "king", "kite", "lake", "lamp", "leaf", "lion", "milk", "mill", "moon", "nail", "nest", "note",
    "oven", "park", "path", "pear", "pine", "pipe", "plum", "pond", "rain", "ring", "road", "rock", "roof", "room",
    "rope", "rose", "sail", "salt", "sand", "seed", "ship", "shoe", "shop", "silk", "snow", "soap", "song", "soup",
    "star", "swan", "tent", "tree", "vase", "wall", "well", "wind", "wing", "wolf", "wood", "wool", "yard",
    "apple", "beach", "berry", "bread", "brick", "broom", "brush", "chair", "chalk", "cheek", "chess", "clock",
    "cloud", "coast", "crown", "daisy", "dance", "dream", "drum", "eagle", "earth", "field", "flame", "floor",
    "flute", "fruit", "glass", "glove", "grain", "grape", "grass", "green", "heart", "honey", "horse", "house",
    "knife", "lemon", "light", "maple", "melon", "metal", "money", "mouse", "music", "night", "ocean", "olive",
    "onion", "paint", "panda", "paper", "peach", "pearl", "phone", "piano", "plane", "plant", "plate", "queen",
    "radio", "river", "robin", "sheep", "shirt", "smoke", "snake", "spoon", "steam", "stone", "storm", "stove",
    "sugar", "table", "tiger", "torch", "tower", "track", "train", "truck", "water", "whale", "wheat", "wheel",
    "anchor", "basket", "branch", "bridge", "bucket", "butter", "button", "candle", "canvas", "carpet", "carrot",
    "castle", "cheese", "cherry", "church", "circle", "copper", "cotton", "donkey", "engine", "farmer", "feather",
    "finger", "flower", "forest", "garden", "ginger", "guitar", "hammer", "harbor", "helmet", "island", "jacket",
    "kettle", "ladder", "letter", "lizard", "marble", "market", "meadow", "mirror", "needle", "orange", "pencil",
    "pepper", "pillow", "planet", "pocket", "potato", "rabbit", "ribbon", "rocket", "saddle", "school", "shadow",
    "silver", "spider", "spring", "stream", "street", "summer", "temple", "tomato", "tunnel", "turtle", "valley",
    "velvet", "violin", "wagon", "walnut", "window", "winter",
    "balloon", "blanket", "cabbage", "captain", "chicken", "cottage", "crystal", "curtain", "diamond", "dolphin",
    "evening", "factory", "gallery", "hallway", "holiday", "journey", "kitchen", "lantern", "library", "machine",
    "morning", "mustard", "orchard", "package", "painter", "penguin", "picture", "pumpkin", "rainbow", "sailor",
    "station", "teacher", "thunder", "traffic", "village", "volcano", "weather", "whistle",
    "airplane", "building", "calendar", "daughter", "elephant", "festival", "hospital", "keyboard", "mountain",
    "notebook", "postcard", "sandwich", "shoulder", "squirrel", "sunshine", "umbrella", "butterfly", "chocolate",
    "crocodile", "gardener", "newspaper", "pineapple", "telephone", "waterfall", "blackbird", "snowflake",
};
const int moa_n_words = MOA_COUNT(moa_words);
