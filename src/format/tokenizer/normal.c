/* normal.c - the steps: Unicode's normal forms (UAX #15), small letters, accents, white space at the ends, one text for another, the
 * file's map of characters. Data of characters come from utf8proc.
 *
 * A normal form is made in three passes over characters: taken apart, marks behind a letter brought into the order of their
 * classes, put together. utf8proc would do the second by exchanging neighbours, which takes time of the square of the length for
 * marks in falling order; here each run of marks is sorted by counting. Between two letters of ASCII nothing can meet, so the
 * passes see only what lies between them, and plain text is copied.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/tokenizer/normal.h"

#include "base/err.h"
#include "base/utf8.h"
#include "format/tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { COMPOSE = 1, COMPAT = 2, LEFT = 4, RIGHT = 8, SMALL = 16, NO_MARKS = 32, NMT = 64 };
enum { MAX_STEPS = 32, GROWTH = 64 /* times the text: the longest published replacement of a character has 11 times its bytes */ };

typedef struct moa_normal_step {
    int (*run)(moa_buf *out, const moa_normal *m, const struct moa_normal_step *s, const char *p, size_t n);
    int how;
    moa_str from, to; /* of replace; in the file */
} step;

/* ---- characters ---- */

static bool is_space(uint32_t c) {
    return c == ' ' || (c >= 9 && c <= 13) || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
           c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

size_t moa_space_at(const char *p, size_t n) {
    uint32_t c;
    const int w = moa_utf8_next(&c, p, n);
    return is_space(c) ? (size_t)w : 0;
}

size_t moa_space_before(const char *p, size_t n) {
    for (size_t w = 1; w <= 3 && w <= n; w++) /* no white space has four bytes */
        if (((uint8_t)p[n - w] & 0xC0) != 0x80) return moa_space_at(p + n - w, w) == w ? w : 0;
    return 0;
}

/* Appends p[0 .. n), of each character what `each` says. */
static int map_chars(moa_buf *out, const char *p, size_t n, void (*each)(moa_buf *out, uint32_t c)) {
    for (size_t i = 0, w; i < n; i += w) {
        uint32_t c;
        w = (size_t)moa_utf8_next(&c, p + i, n - i);
        if (w == 1 && c == MOA_UTF8_BAD) moa_buf_add(out, p + i, 1);
        else each(out, c);
    }
    return out->failed;
}

static void small(moa_buf *out, uint32_t c) {
    if (c == 0x130) moa_buf_adds(out, "i\xcc\x87"); /* the one character whose small form is two */
    else moa_utf8_add(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
}

/* The rule that SentencePiece calls nmt, as the tokenizers library has it: control characters go, other separators are spaces. */
static void nmt(moa_buf *out, uint32_t c) {
    const bool control = (c >= 1 && c <= 8) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
    const bool space = c == 9 || c == 10 || c == 12 || c == 13 || c == 0x1680 || (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 ||
                       c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
    if (!control) moa_utf8_add(out, space ? ' ' : c);
}

static void without_mark(moa_buf *out, uint32_t c) {
    const utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    if (k < UTF8PROC_CATEGORY_MN || k > UTF8PROC_CATEGORY_ME) moa_utf8_add(out, c);
}

static int each_char(moa_buf *out, const moa_normal *m, const step *s, const char *p, size_t n) {
    (void)m;
    return map_chars(out, p, n, s->how == SMALL ? small : s->how == NO_MARKS ? without_mark : nmt);
}

/* ---- normal forms ---- */

typedef struct chars { utf8proc_int32_t *v, *sorted; size_t n, cap; } chars;

static int room(chars *c, size_t more) {
    if (c->n + more <= c->cap) return 0;
    const size_t cap = (c->n + more) * 2;
    utf8proc_int32_t *v = realloc(c->v, cap * sizeof *v);
    if (v) c->v = v;
    utf8proc_int32_t *sorted = v ? realloc(c->sorted, cap * sizeof *sorted) : NULL;
    if (!sorted) return MOA_ENOMEM;
    c->sorted = sorted;
    c->cap = cap;
    return 0;
}

static int take_apart(chars *c, uint32_t cp, int how) {
    const utf8proc_option_t opt = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (how & COMPAT ? UTF8PROC_COMPAT : 0);
    int last = 0;
    for (utf8proc_ssize_t k = 4;;) {
        if (room(c, (size_t)k) < 0) return MOA_ENOMEM;
        const utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)cp, c->v + c->n, k, opt, &last);
        if (n < 0) c->v[c->n++] = (utf8proc_int32_t)cp;
        else if (n <= k) c->n += (size_t)n;
        if (n <= k) return 0;
        k = n;
    }
}

static int class_of(utf8proc_int32_t cp) { return utf8proc_get_property(cp)->combining_class & 0xFF; }

/* Marks in [from, to), all of a class above 0, by class; equal classes keep their order. */
static void sort_marks(chars *c, size_t from, size_t to) {
    size_t at[257] = {0};
    for (size_t i = from; i < to; i++) at[class_of(c->v[i]) + 1]++;
    for (int k = 0; k < 256; k++) at[k + 1] += at[k];
    for (size_t i = from; i < to; i++) c->sorted[at[class_of(c->v[i])]++] = c->v[i];
    memcpy(c->v + from, c->sorted, (to - from) * sizeof *c->v);
}

static void order(chars *c) {
    for (size_t i = 0, end; i < c->n; i = end + (end == i)) {
        bool falls = false;
        for (end = i; end < c->n && class_of(c->v[end]); end++) falls = falls || (end > i && class_of(c->v[end]) < class_of(c->v[end - 1]));
        if (falls) sort_marks(c, i, end);
    }
}

static void flush(moa_buf *out, chars *c, int how) {
    order(c);
    utf8proc_ssize_t n = (utf8proc_ssize_t)c->n;
    if (how & COMPOSE && n) n = utf8proc_normalize_utf32(c->v, n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    for (utf8proc_ssize_t i = 0; i < n; i++) moa_utf8_add(out, (uint32_t)c->v[i]);
    c->n = 0;
}

static int form_part(moa_buf *out, chars *c, int how, const char *p, size_t n) {
    for (size_t i = 0, w; i < n; i += w) {
        uint32_t cp;
        w = (size_t)moa_utf8_next(&cp, p + i, n - i);
        if (w == 1 && cp == MOA_UTF8_BAD) {
            flush(out, c, how);
            moa_buf_add(out, p + i, 1);
        } else if (take_apart(c, cp, how) < 0) {
            return MOA_ENOMEM;
        }
    }
    flush(out, c, how);
    return out->failed;
}

/* Below U+0300 (first bytes to 0xCB) every character is its own NFC, and only what follows can change it. */
static int form(moa_buf *out, const moa_normal *m, const step *s, const char *p, size_t n) {
    (void)m;
    const uint8_t least = s->how == COMPOSE ? 0xCC : 0x80;
    chars c = {0};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n;) {
        size_t from = i, end;
        while (from < n && (uint8_t)p[from] < least) from++;
        for (end = from; end < n && (uint8_t)p[end] >= 0x80;) end++;
        if (from < n && from > i) /* the letter before belongs to it */
            for (from--; from > i && ((uint8_t)p[from] & 0xC0) == 0x80;) from--;
        moa_buf_add(out, p + i, from - i);
        rc = form_part(out, &c, s->how, p + from, end - from);
        i = end;
    }
    free(c.v);
    free(c.sorted);
    return rc < 0 ? rc : out->failed;
}

/* ---- the other steps ---- */

static int strip(moa_buf *out, const moa_normal *m, const step *s, const char *p, size_t n) {
    (void)m;
    size_t w;
    while (s->how & LEFT && n && (w = moa_space_at(p, n))) p += w, n -= w;
    while (s->how & RIGHT && n && (w = moa_space_before(p, n))) n -= w;
    return moa_buf_add(out, p, n);
}

static int replace(moa_buf *out, const moa_normal *m, const step *s, const char *p, size_t n) {
    (void)m;
    for (size_t i = 0; i < n;) {
        const char *hit = memmem(p + i, n - i, s->from.p, s->from.n);
        const size_t to = hit ? (size_t)(hit - p) : n;
        moa_buf_add(out, p + i, to - i);
        if (hit) moa_buf_add(out, s->to.p, s->to.n);
        i = to + (hit ? s->from.n : 0);
    }
    return out->failed;
}

static int charsmap(moa_buf *out, const moa_normal *m, const step *s, const char *p, size_t n) {
    (void)s;
    for (size_t i = 0; i < n;) {
        moa_str to;
        i += moa_charsmap_next(&to, &m->map, p + i, n - i);
        moa_buf_add(out, to.p, to.n);
    }
    return out->failed;
}

static const struct { const char *name; int (*run)(moa_buf *, const moa_normal *, const step *, const char *, size_t); int how; } STEPS[] = {
    {"nfc", form, COMPOSE},         {"nfkc", form, COMPOSE | COMPAT},      {"nfd", form, 0},           {"nfkd", form, COMPAT},
    {"lowercase", each_char, SMALL}, {"strip_accents", each_char, NO_MARKS}, {"nmt", each_char, NMT},    {"charsmap", charsmap, 0},
    {"strip_left", strip, LEFT},    {"strip_right", strip, RIGHT},         {"replace", replace, 0},
};
enum { N_STEPS = sizeof STEPS / sizeof *STEPS };

/* ---- the list ---- */

/* NAME, or "replace", FROM and TO with MOA_TOK_BETWEEN between them. */
static int read_step(moa_normal *m, moa_str s, moa_err *err) {
    const char *end = memchr(s.p, *MOA_TOK_BETWEEN, s.n), *second = end ? memchr(end + 1, *MOA_TOK_BETWEEN, s.n - (size_t)(end + 1 - s.p)) : NULL;
    const size_t n = end ? (size_t)(end - s.p) : s.n;
    for (int i = 0; i < N_STEPS; i++) {
        if (strlen(STEPS[i].name) != n || memcmp(STEPS[i].name, s.p, n) != 0) continue;
        step *to = &m->step[m->n];
        *to = (step){.run = STEPS[i].run, .how = STEPS[i].how};
        if (to->run == replace) {
            if (!second || second == end + 1) break;
            to->from = (moa_str){end + 1, (size_t)(second - end - 1)};
            to->to = (moa_str){second + 1, s.n - (size_t)(second + 1 - s.p)};
        } else if (end || (to->run == charsmap && !m->map.unit)) {
            break;
        }
        m->n++;
        return 0;
    }
    return moa_fail(err, MOA_EUNSUPPORTED, "%s[%d]: '%.*s' is no step that is known", MOA_TOK_KEY_NORMAL, m->n, s.n < 64 ? (int)s.n : 64, s.p);
}

static int read_steps(moa_normal *m, const moa_gguf *g, moa_err *err) {
    const moa_gguf_kv *kv = moa_gguf_find(g, MOA_TOK_KEY_NORMAL);
    MOA_TRY(moa_charsmap_read(&m->map, g, "tokenizer.ggml.precompiled_charsmap", err));
    if (kv && (kv->type != MOA_GGUF_ARR || kv->elem != MOA_GGUF_STR || kv->count > MAX_STEPS))
        return moa_fail(err, MOA_EFORMAT, "%s: expected an array of at most %d texts", MOA_TOK_KEY_NORMAL, MAX_STEPS);
    const uint64_t n = kv ? kv->count : m->map.unit ? 1 : 0;
    if (!n) return 0;
    if (!(m->step = calloc(n, sizeof *m->step))) return moa_fail(err, MOA_ENOMEM, "no memory for the tokenizer");
    if (!kv) return read_step(m, (moa_str){"charsmap", 8}, err);
    for (uint64_t i = 0; i < n; i++) MOA_TRY(read_step(m, moa_gguf_arr_str(kv, i), err));
    return 0;
}

int moa_normal_open(moa_normal *m, const moa_gguf *g, moa_err *err) {
    *m = (moa_normal){0};
    const int rc = read_steps(m, g, err);
    if (rc < 0) moa_normal_close(m);
    return rc;
}

void moa_normal_close(moa_normal *m) {
    free(m->step);
    moa_charsmap_deinit(&m->map);
    *m = (moa_normal){0};
}

int moa_normal_run(moa_buf *out, const moa_normal *m, const char *p, size_t n) {
    const size_t most = n < SIZE_MAX / 2 / GROWTH ? n * GROWTH + 4096 : SIZE_MAX / 2;
    moa_buf b[2];
    int rc = 0;
    for (int i = 0; i < 2; i++) moa_buf_init(&b[i], most);
    for (int i = 0; rc == 0 && i < m->n; i++) {
        moa_buf_clear(&b[i % 2]);
        rc = m->step[i].run(&b[i % 2], m, &m->step[i], p, n);
        p = moa_buf_str(&b[i % 2]);
        n = b[i % 2].len;
    }
    if (rc == 0) rc = moa_buf_add(out, p, n);
    for (int i = 0; i < 2; i++) moa_buf_deinit(&b[i]);
    return rc;
}
