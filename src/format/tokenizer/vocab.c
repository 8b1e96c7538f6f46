/* vocab.c - lookups that all kinds of tokenizers share: token by text, special tokens inside a text, and the
 * characters by which byte-level vocabularies write bytes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/tokenizer/vocab.h"

#include "base/err.h"
#include "base/rng.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

/* ---- string table ---- */

int moa_strtab_init(moa_strtab *t, uint64_t n) {
    uint64_t size = 16;
    while (size < n * 2) size *= 2;
    t->slot = calloc(size, sizeof *t->slot);
    t->mask = size - 1;
    t->seed = (uintptr_t)t->slot; /* a file cannot aim at collisions */
    return t->slot ? 0 : MOA_ENOMEM;
}

void moa_strtab_deinit(moa_strtab *t) {
    free(t->slot);
    *t = (moa_strtab){0};
}

static struct moa_strslot *slot_of(const moa_strtab *t, const char *p, size_t n) {
    for (uint64_t h = moa_hash64(p, n, t->seed);; h++) {
        struct moa_strslot *s = &t->slot[h & t->mask];
        if (!s->p || (s->n == n && memcmp(s->p, p, n) == 0)) return s;
    }
}

int32_t moa_strtab_find(const moa_strtab *t, const char *p, size_t n) {
    const struct moa_strslot *s = t->slot ? slot_of(t, p, n) : NULL;
    return s && s->p ? s->id : -1;
}

int32_t moa_strtab_add(moa_strtab *t, const char *p, size_t n, int32_t id) {
    struct moa_strslot *s = slot_of(t, p, n);
    if (s->p) return s->id;
    *s = (struct moa_strslot){p, (uint32_t)n, id};
    return -1;
}

/* ---- special tokens ---- */

int moa_specials_add(moa_specials *s, moa_str text, int32_t id) {
    if (s->n == s->cap) {
        int cap = s->cap ? s->cap * 2 : 16;
        void *v = realloc(s->v, (size_t)cap * sizeof *s->v);
        if (!v) return MOA_ENOMEM;
        s->v = v;
        s->cap = cap;
    }
    s->v[s->n++] = (struct moa_special){text, id};
    return 0;
}

static int by_text(const void *pa, const void *pb) {
    const struct moa_special *a = pa, *b = pb;
    size_t n = a->text.n < b->text.n ? a->text.n : b->text.n;
    int c = memcmp(a->text.p, b->text.p, n);
    if (c) return c;
    if (a->text.n != b->text.n) return a->text.n < b->text.n ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

void moa_specials_sort(moa_specials *s) {
    if (s->n) qsort(s->v, (size_t)s->n, sizeof *s->v, by_text);
    int i = 0;
    for (int c = 0; c <= 256; c++) {
        while (i < s->n && (uint8_t)s->v[i].text.p[0] < c) i++;
        s->first[c] = i;
    }
}

void moa_specials_deinit(moa_specials *s) {
    free(s->v);
    *s = (moa_specials){0};
}

/* First row in [lo, hi) whose byte at depth d is at least c; all rows share the d bytes before it. */
static int lower(const moa_specials *s, int lo, int hi, size_t d, int c) {
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        if ((uint8_t)s->v[mid].text.p[d] < c) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

/* Longest row that text[0..n) begins with: narrow the sorted rows byte by byte. */
static int longest(const moa_specials *s, const char *text, size_t n) {
    int lo = s->first[(uint8_t)*text], hi = s->first[(uint8_t)*text + 1], best = -1;
    for (size_t d = 1; lo < hi; d++) {
        if (s->v[lo].text.n == d) best = lo++;
        if (d == n) break;
        int c = (uint8_t)text[d];
        lo = lower(s, lo, hi, d, c);
        hi = lower(s, lo, hi, d, c + 1);
    }
    return best;
}

size_t moa_specials_next(int32_t *id, size_t *len, const moa_specials *s, const char *text, size_t n, size_t from) {
    if (s->n == 0) return n;
    for (size_t i = from; i < n; i++) {
        uint8_t c = (uint8_t)text[i];
        if (s->first[c] == s->first[c + 1]) continue;
        int row = longest(s, text + i, n - i);
        if (row < 0) continue;
        *id = s->v[row].id;
        *len = s->v[row].text.n;
        return i;
    }
    return n;
}

/* ---- bytes as characters ---- */

static bool plain(int b) { return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || (b >= 0xae && b <= 0xff); }

static uint32_t char_of(uint8_t byte) {
    if (plain(byte)) return byte;
    uint32_t c = 0x100;
    for (int b = 0; b < byte; b++) c += !plain(b);
    return c;
}

int moa_byte_char(char out[2], uint8_t byte) {
    uint32_t c = char_of(byte);
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = (char)(0xc0 | c >> 6);
    out[1] = (char)(0x80 | (c & 0x3f));
    return 2;
}

static int byte_of(uint32_t c) {
    if (c < 0x100) return plain((int)c) ? (int)c : -1;
    if (c < 0x121) return (int)c - 0x100;       /* 00-20 */
    if (c < 0x143) return (int)c - 0x121 + 0x7f; /* 7f-a0 */
    return c == 0x143 ? 0xad : -1;
}

int moa_bytes_of_chars(char *out, size_t *len, const char *p, size_t n) {
    size_t k = 0;
    for (size_t i = 0; i < n;) {
        uint32_t c;
        int w = moa_utf8_next(&c, p + i, n - i), b = byte_of(c);
        if (b < 0) return -1;
        out[k++] = (char)b;
        i += (size_t)w;
    }
    *len = k;
    return 0;
}

/* ---- ids ---- */

int moa_tok_put(moa_ids *ids, int32_t id, moa_err *err) {
    return moa_ids_add(ids, id) < 0 ? moa_fail(err, MOA_ENOMEM, "no memory for token ids") : 0;
}

int moa_tok_byte(moa_ids *ids, const moa_tokenizer *t, uint8_t byte, moa_err *err) {
    const int32_t id = t->byte_id[byte] >= 0 ? t->byte_id[byte] : t->unk;
    if (id >= 0) return moa_tok_put(ids, id, err);
    return moa_fail(err, MOA_EFORMAT, "%s: the vocabulary has no token for byte 0x%02X of the text and no unknown token", t->path, byte);
}
