/* utf8.c - see utf8.h. The table of well-formed sequences is Unicode 15, table 3-7: only the second byte's
 * range depends on the first. SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"

#include "base/err.h"

/* Length of a sequence that starts with c, and the range of its second byte; 0 for no start byte. */
static int lead(unsigned char c, unsigned char *lo, unsigned char *hi) {
    *lo = 0x80, *hi = 0xBF;
    if (c < 0x80) return 1;
    if (c < 0xC2 || c > 0xF4) return 0;
    if (c == 0xE0) *lo = 0xA0;
    if (c == 0xED) *hi = 0x9F;
    if (c == 0xF0) *lo = 0x90;
    if (c == 0xF4) *hi = 0x8F;
    return c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
}

/* Good bytes at s: the sequence's whole length in *want, how many of them are there in the result. */
static int scan(int *want, const unsigned char *s, size_t n) {
    unsigned char lo, hi;
    *want = lead(s[0], &lo, &hi);
    if (*want == 0) return 0;
    int i = 1;
    for (; i < *want && (size_t)i < n; i++) {
        if (s[i] < lo || s[i] > hi) return 0;
        lo = 0x80, hi = 0xBF;
    }
    return i;
}

int moa_utf8_next(uint32_t *cp, const char *s, size_t n) {
    const unsigned char *u = (const unsigned char *)s;
    int want, got = scan(&want, u, n);
    if (got == 0 || got < want) {
        *cp = MOA_UTF8_BAD;
        return 1;
    }
    uint32_t c = want == 1 ? u[0] : u[0] & (0x7Fu >> want);
    for (int i = 1; i < want; i++) c = c << 6 | (u[i] & 0x3Fu);
    *cp = c;
    return want;
}

size_t moa_utf8_count(const char *s, size_t n) {
    size_t count = 0;
    for (uint32_t cp; n; count++) {
        size_t k = (size_t)moa_utf8_next(&cp, s, n);
        s += k, n -= k;
    }
    return count;
}

int moa_utf8_add(moa_buf *b, uint32_t c) {
    if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) c = MOA_UTF8_BAD;
    if (c < 0x80) return moa_buf_add(b, &(char){(char)c}, 1);
    char t[4];
    int n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--, c >>= 6) t[i] = (char)(0x80 | (c & 0x3F));
    t[0] = (char)((0xF00 >> n) | c);
    return moa_buf_add(b, t, (size_t)n);
}

int moa_utf8_add_clean(moa_buf *b, const char *s, size_t n) {
    while (n) {
        size_t good = 0;
        uint32_t cp = 0;
        while (good < n) {
            int k = moa_utf8_next(&cp, s + good, n - good);
            if (k == 1 && cp == MOA_UTF8_BAD) break;
            good += (size_t)k;
        }
        MOA_TRY(moa_buf_add(b, s, good));
        s += good, n -= good;
        if (!n) break;
        MOA_TRY(moa_utf8_add(b, MOA_UTF8_BAD));
        s++, n--;
    }
    return 0;
}

void moa_utf8_tame(char *s, bool lines) {
    for (; *s; s++) {
        const unsigned char c = (unsigned char)*s, next = (unsigned char)s[1];
        if ((c < 0x20 && !(lines && (c == '\n' || c == '\t'))) || c == 0x7F) *s = '?';
        if (c == 0xC2 && next >= 0x80 && next < 0xA0) s[0] = s[1] = '?';
    }
}

bool moa_utf8_plain(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)s[i], next = i + 1 < n ? (unsigned char)s[i + 1] : 0;
        if (c < 0x20 || c == 0x7F || (c == 0xC2 && next >= 0x80 && next < 0xA0)) return false;
    }
    return true;
}

size_t moa_utf8_ready(const char *s, size_t n) {
    const unsigned char *u = (const unsigned char *)s;
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        if ((u[n - back] & 0xC0) == 0x80) continue;
        int want, got = scan(&want, u + n - back, back);
        return got > 0 && got < want ? n - back : n;
    }
    return n;
}
