/* bpe_train.c - learns a byte-level BPE from texts (Sennrich et al. 2016, section 3.2).
 *
 * Texts are cut into words by the pre-tokenizer; equal words are counted once. Then, until the vocabulary is full:
 * join the pair of neighbours that occurs most often, ties going to the lower ids, so that equal input gives an equal
 * file on every machine. Counts are kept up to date instead of taken again: a join only changes the words in the pair's
 * list, and in them only the pairs beside it. The heap may hold old counts; they only fall, except of pairs that a join
 * makes, which are pushed again, so an entry that disagrees with the table is put back with the true count.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"
#include "base/err.h"
#include "base/rng.h"
#include "format/tokenizer/pretokenize.h"
#include "format/tokenizer/vocab.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_WORD = 256, /* bytes; a longer word teaches nothing and is cut */
    MIN_COUNT = 2,  /* a pair seen once is no pattern */
    MAX_VOCAB = 1 << 22,
};

typedef struct word { const char *p; uint32_t n; int64_t count; size_t at; } word; /* at: of its symbols; n: bytes, then symbols */

typedef struct pair { uint64_t ids; int64_t count; int32_t *in; uint32_t n, cap, stamp; } pair; /* in: words; cap 0: none */
#define FREE UINT64_MAX

typedef struct entry { int64_t count; uint64_t ids; } entry;

typedef struct trainer {
    const moa_bpe_train *cfg;
    moa_arena *arena;
    moa_pre *pre;
    moa_specials special;
    word *words;
    int64_t n_words, cap_words;
    moa_strtab by_word;
    int32_t *sym;
    pair *pairs;
    uint64_t n_pairs, mask;
    uint64_t *touched; /* pairs whose count has grown in this join */
    size_t n_touched, cap_touched;
    uint32_t stamp;
    entry *heap;
    size_t n_heap, cap_heap;
    moa_str *text;     /* [n_vocab] as stored */
    int32_t *type;
    moa_strtab by_text;
    int n_vocab;
    moa_str *merge;
    int n_merge;
    moa_err *err;
} trainer;

static int no_memory(moa_err *err) { return moa_fail(err, MOA_ENOMEM, "no memory to train a tokenizer"); }

static int grow(void **v, size_t *cap, size_t n, size_t row) {
    if (n < *cap) return 0;
    size_t more = *cap ? *cap * 2 : 1024;
    void *p = realloc(*v, more * row);
    if (!p) return MOA_ENOMEM;
    *v = p;
    *cap = more;
    return 0;
}

/* ---- words ---- */

static int index_words(trainer *t, int64_t room) {
    moa_strtab bigger;
    if (moa_strtab_init(&bigger, (uint64_t)room) < 0) return MOA_ENOMEM;
    for (int64_t i = 0; i < t->n_words; i++) moa_strtab_add(&bigger, t->words[i].p, t->words[i].n, (int32_t)i);
    moa_strtab_deinit(&t->by_word);
    t->by_word = bigger;
    return 0;
}

static int count_word(trainer *t, const char *p, size_t n) {
    if (t->n_words == t->cap_words) {
        int64_t cap = t->cap_words ? t->cap_words * 2 : 4096;
        void *w = cap < INT32_MAX ? realloc(t->words, (size_t)cap * sizeof *t->words) : NULL;
        if (!w) return no_memory(t->err);
        t->words = w;
        t->cap_words = cap;
        if (index_words(t, cap) < 0) return no_memory(t->err);
    }
    int32_t old = moa_strtab_add(&t->by_word, p, n, (int32_t)t->n_words);
    if (old >= 0) t->words[old].count++;
    else t->words[t->n_words++] = (word){p, (uint32_t)n, 1, 0};
    return 0;
}

static int on_word(void *ctx, const char *p, size_t n) {
    for (size_t k; n > 0; p += k, n -= k) {
        k = n < MAX_WORD ? n : MAX_WORD;
        MOA_TRY(count_word(ctx, p, k));
    }
    return 0;
}

static int count_text(trainer *t, const char *text, size_t n) {
    for (size_t at = 0; at < n;) {
        int32_t id;
        size_t len = 0, to = moa_specials_next(&id, &len, &t->special, text, n, at);
        if (to > at) MOA_TRY(moa_pre_split(t->pre, text + at, to - at, on_word, t, t->err));
        at = to + len;
    }
    return 0;
}

/* ---- pairs ---- */

static pair *slot_of(pair *v, uint64_t mask, uint64_t ids) {
    for (uint64_t h = moa_mix64(ids);; h++) {
        pair *p = &v[h & mask];
        if (p->ids == ids || p->ids == FREE) return p;
    }
}

static int grow_pairs(trainer *t) {
    if (t->pairs && t->n_pairs * 2 < t->mask) return 0;
    uint64_t size = t->pairs ? (t->mask + 1) * 2 : 1 << 14;
    pair *v = malloc(size * sizeof *v);
    if (!v) return MOA_ENOMEM;
    for (uint64_t i = 0; i < size; i++) v[i] = (pair){.ids = FREE};
    for (uint64_t i = 0; t->pairs && i <= t->mask; i++)
        if (t->pairs[i].ids != FREE) *slot_of(v, size - 1, t->pairs[i].ids) = t->pairs[i];
    free(t->pairs);
    t->pairs = v;
    t->mask = size - 1;
    return 0;
}

static uint64_t ids_of(int32_t a, int32_t b) { return (uint64_t)a << 32 | (uint32_t)b; }

static void lose(trainer *t, int32_t a, int32_t b, int64_t count) { slot_of(t->pairs, t->mask, ids_of(a, b))->count -= count; }

static int gain(trainer *t, int32_t a, int32_t b, int32_t w) {
    if (grow_pairs(t) < 0) return MOA_ENOMEM;
    pair *p = slot_of(t->pairs, t->mask, ids_of(a, b));
    if (p->ids == FREE) {
        p->ids = ids_of(a, b);
        t->n_pairs++;
    }
    p->count += t->words[w].count;
    if (p->stamp != t->stamp) {
        p->stamp = t->stamp;
        if (grow((void **)&t->touched, &t->cap_touched, t->n_touched, sizeof *t->touched) < 0) return MOA_ENOMEM;
        t->touched[t->n_touched++] = p->ids;
    }
    if (p->n && p->in[p->n - 1] == w) return 0;
    if (p->n == p->cap) {
        uint32_t cap = p->cap ? p->cap * 2 : 4;
        void *v = realloc(p->in, cap * sizeof *p->in);
        if (!v) return MOA_ENOMEM;
        p->in = v;
        p->cap = cap;
    }
    p->in[p->n++] = w;
    return 0;
}

/* ---- heap: most frequent first, then lower ids ---- */

static bool before(entry a, entry b) { return a.count != b.count ? a.count > b.count : a.ids < b.ids; }

static int push(trainer *t, entry e) {
    if (grow((void **)&t->heap, &t->cap_heap, t->n_heap, sizeof *t->heap) < 0) return MOA_ENOMEM;
    size_t i = t->n_heap++;
    for (; i > 0 && before(e, t->heap[(i - 1) / 2]); i = (i - 1) / 2) t->heap[i] = t->heap[(i - 1) / 2];
    t->heap[i] = e;
    return 0;
}

static entry pop(trainer *t) {
    entry top = t->heap[0], last = t->heap[--t->n_heap];
    size_t i = 0, n = t->n_heap;
    for (size_t k; (k = 2 * i + 1) < n; i = k) {
        if (k + 1 < n && before(t->heap[k + 1], t->heap[k])) k++;
        if (!before(t->heap[k], last)) break;
        t->heap[i] = t->heap[k];
    }
    t->heap[i] = last;
    return top;
}

static int push_touched(trainer *t) {
    for (size_t i = 0; i < t->n_touched; i++) {
        int64_t count = slot_of(t->pairs, t->mask, t->touched[i])->count;
        if (count >= MIN_COUNT && push(t, (entry){count, t->touched[i]}) < 0) return MOA_ENOMEM;
    }
    t->n_touched = 0;
    t->stamp++;
    return 0;
}

/* ---- vocabulary ---- */

static int check(const moa_bpe_train *c, moa_err *err) {
    if (c->n_special < 0 || c->n_vocab < 256 + c->n_special || c->n_vocab > MAX_VOCAB)
        return moa_fail(err, MOA_EINVAL, "vocabulary of %d tokens, expected %d (256 bytes and %d special) to %d", c->n_vocab,
                        256 + c->n_special, c->n_special, MAX_VOCAB);
    const int role[] = {c->bos, c->eos, c->pad};
    for (int i = 0; i < 3; i++)
        if (role[i] < -1 || role[i] >= c->n_special)
            return moa_fail(err, MOA_EINVAL, "bos, eos or pad is special token %d, expected -1 to %d", role[i], c->n_special - 1);
    for (int i = 0; i < c->n_special; i++)
        if (!*c->special[i] || strlen(c->special[i]) > MOA_TOKEN_MAX)
            return moa_fail(err, MOA_EINVAL, "special token %d is empty or longer than %d bytes", i, MOA_TOKEN_MAX);
    return 0;
}

static int add_token(trainer *t, moa_str text, int32_t type) {
    int32_t old = moa_strtab_add(&t->by_text, text.p, text.n, t->n_vocab);
    if (old >= 0) return moa_fail(t->err, MOA_EINVAL, "special token '%.*s' is given twice or is the text of a byte", (int)text.n, text.p);
    t->text[t->n_vocab] = text;
    t->type[t->n_vocab++] = type;
    return 0;
}

static int first_tokens(trainer *t) {
    const moa_bpe_train *c = t->cfg;
    size_t n = (size_t)c->n_vocab;
    t->text = calloc(n, sizeof *t->text);
    t->type = calloc(n, sizeof *t->type);
    t->merge = calloc(n, sizeof *t->merge);
    t->arena = moa_arena_new(0, 0);
    if (!t->text || !t->type || !t->merge || !t->arena || moa_strtab_init(&t->by_text, n) < 0) return no_memory(t->err);
    for (int b = 0; b < 256; b++) { /* bytes are looked up before special tokens, so that a clash names the special one */
        char ch[2];
        int k = moa_byte_char(ch, (uint8_t)b);
        char *p = moa_arena_strndup(t->arena, ch, (size_t)k);
        if (!p) return no_memory(t->err);
        t->text[c->n_special + b] = (moa_str){p, (size_t)k};
        t->type[c->n_special + b] = MOA_TOKEN_NORMAL;
        moa_strtab_add(&t->by_text, p, (size_t)k, c->n_special + b);
    }
    for (int i = 0; i < c->n_special; i++) {
        moa_str s = {c->special[i], strlen(c->special[i])};
        MOA_TRY(add_token(t, s, MOA_TOKEN_CONTROL));
        if (moa_specials_add(&t->special, s, i) < 0) return no_memory(t->err);
    }
    moa_specials_sort(&t->special);
    t->n_vocab = c->n_special + 256;
    return 0;
}

/* ---- joins ---- */

static int first_pairs(trainer *t) {
    size_t n = 0;
    for (int64_t i = 0; i < t->n_words; i++) n += t->words[i].n;
    t->sym = malloc((n ? n : 1) * sizeof *t->sym);
    if (!t->sym || grow_pairs(t) < 0) return MOA_ENOMEM;
    t->stamp = 1;
    size_t at = 0;
    for (int64_t i = 0; i < t->n_words; i++) {
        word *w = &t->words[i];
        w->at = at;
        for (uint32_t k = 0; k < w->n; k++) t->sym[at++] = t->cfg->n_special + (uint8_t)w->p[k];
        for (uint32_t k = 0; k + 1 < w->n; k++)
            if (gain(t, t->sym[w->at + k], t->sym[w->at + k + 1], (int32_t)i) < 0) return MOA_ENOMEM;
    }
    return push_touched(t);
}

static int join_in_word(trainer *t, int32_t wi, int32_t a, int32_t b, int32_t c) {
    word *w = &t->words[wi];
    int32_t *s = t->sym + w->at;
    uint32_t out = 0;
    for (uint32_t i = 0; i < w->n;) {
        if (i + 1 == w->n || s[i] != a || s[i + 1] != b) {
            s[out++] = s[i++];
            continue;
        }
        lose(t, a, b, w->count);
        if (out > 0) {
            lose(t, s[out - 1], a, w->count);
            if (gain(t, s[out - 1], c, wi) < 0) return MOA_ENOMEM;
        }
        if (i + 2 < w->n) {
            lose(t, b, s[i + 2], w->count);
            if (gain(t, c, s[i + 2], wi) < 0) return MOA_ENOMEM;
        }
        s[out++] = c;
        i += 2;
    }
    w->n = out;
    return 0;
}

/* The token that two make: new, or one of the same text that other parts have made before. -1: the text is that of
 * a special token, which plain text must never become. */
static int32_t joined(trainer *t, int32_t a, int32_t b) {
    if (t->n_merge == t->cfg->n_vocab) return -1; /* doubles have used up the room for merges */
    moa_str x = t->text[a], y = t->text[b];
    char *both = moa_arena_alloc(t->arena, x.n + y.n + 1), *p = moa_arena_alloc(t->arena, x.n + y.n);
    if (!both || !p) return MOA_ENOMEM;
    memcpy(both, x.p, x.n);
    both[x.n] = ' ';
    memcpy(both + x.n + 1, y.p, y.n);
    memcpy(p, x.p, x.n);
    memcpy(p + x.n, y.p, y.n);
    int32_t id = moa_strtab_add(&t->by_text, p, x.n + y.n, t->n_vocab);
    if (id >= 0 && id < t->cfg->n_special) return -1;
    t->merge[t->n_merge++] = (moa_str){both, x.n + y.n + 1};
    if (id >= 0) return id;
    t->text[t->n_vocab] = (moa_str){p, x.n + y.n};
    t->type[t->n_vocab] = MOA_TOKEN_NORMAL;
    return t->n_vocab++;
}

static int join(trainer *t, uint64_t ids) {
    int32_t a = (int32_t)(ids >> 32), b = (int32_t)(uint32_t)ids, c = joined(t, a, b);
    if (c == MOA_ENOMEM) return c;
    pair *p = slot_of(t->pairs, t->mask, ids);
    if (c < 0) {
        p->count = 0;
        return 0;
    }
    int32_t *in = p->in; /* taken out: the table moves when it grows */
    uint32_t n = p->n;
    p->in = NULL;
    p->n = p->cap = 0;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < n; i++) rc = join_in_word(t, in[i], a, b, c);
    free(in);
    return rc < 0 ? rc : push_touched(t);
}

static int learn(trainer *t) {
    while (t->n_vocab < t->cfg->n_vocab && t->n_heap) {
        entry e = pop(t);
        int64_t count = slot_of(t->pairs, t->mask, e.ids)->count;
        int rc = 0;
        if (count == e.count) rc = join(t, e.ids);
        else if (count >= MIN_COUNT && count < e.count) rc = push(t, (entry){count, e.ids});
        if (rc < 0) return no_memory(t->err);
    }
    return 0;
}

/* ---- run ---- */

static void put(trainer *t, moa_gguf_out *o, const char *pre) {
    const moa_bpe_train *c = t->cfg;
    moa_gguf_put_str(o, "tokenizer.ggml.model", "gpt2", 4);
    moa_gguf_put_str(o, "tokenizer.ggml.pre", pre, strlen(pre));
    moa_gguf_put_strs(o, "tokenizer.ggml.tokens", t->text, (uint64_t)t->n_vocab);
    moa_gguf_put_arr(o, "tokenizer.ggml.token_type", MOA_GGUF_I32, t->type, (uint64_t)t->n_vocab);
    moa_gguf_put_strs(o, "tokenizer.ggml.merges", t->merge, (uint64_t)t->n_merge);
    if (c->bos >= 0) moa_gguf_put_u32(o, "tokenizer.ggml.bos_token_id", (uint32_t)c->bos);
    if (c->eos >= 0) moa_gguf_put_u32(o, "tokenizer.ggml.eos_token_id", (uint32_t)c->eos);
    if (c->pad >= 0) moa_gguf_put_u32(o, "tokenizer.ggml.padding_token_id", (uint32_t)c->pad);
    moa_gguf_put_bool(o, "tokenizer.ggml.add_bos_token", c->bos >= 0);
}

static void deinit(trainer *t) {
    for (uint64_t i = 0; t->pairs && i <= t->mask; i++) free(t->pairs[i].in);
    moa_pre_close(t->pre);
    moa_specials_deinit(&t->special);
    moa_strtab_deinit(&t->by_word);
    moa_strtab_deinit(&t->by_text);
    free(t->words);
    free(t->sym);
    free(t->pairs);
    free(t->touched);
    free(t->heap);
    free(t->text);
    free(t->type);
    free(t->merge);
    moa_arena_free(t->arena);
}

int moa_bpe_train_run(moa_gguf_out *o, const moa_bpe_train *cfg, const char *const *text, const size_t *len, int64_t n, moa_err *err) {
    MOA_TRY(check(cfg, err));
    trainer t = {.cfg = cfg, .err = err};
    const char *pre = cfg->pre ? cfg->pre : "moa";
    int rc = moa_pre_open(&t.pre, pre, strlen(pre), err);
    if (rc == 0) rc = first_tokens(&t);
    for (int64_t i = 0; rc == 0 && i < n; i++) rc = count_text(&t, text[i], len[i]);
    if (rc == 0 && first_pairs(&t) < 0) rc = no_memory(err);
    if (rc == 0) rc = learn(&t);
    if (rc == 0) put(&t, o, pre);
    deinit(&t);
    return rc;
}
