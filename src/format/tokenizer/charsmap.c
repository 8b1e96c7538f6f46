/* charsmap.c - the map is a double array (Aoe 1989, as Darts-clone packs it), read as it is stored:
 *
 *   u32     bytes of the array, 4 n; little-endian, as the units
 *   u32[n]  units. Of a unit u: label = u & 0x800000FF, has a value = bit 8, offset = (u >> 10) << (bit 9 ? 8 : 0)
 *   bytes   replacements, each ended by a zero byte
 *
 * From a node at unit i, byte c leads to unit k = i ^ offset(i) ^ c when label(k) = c. Where a node has a value, unit
 * i ^ offset(i) holds it: 2^31 + place of the replacement. It comes out of a model file, so every unit that a text could reach is
 * checked when the file is opened, and no match goes on for longer than published maps need.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/tokenizer/charsmap.h"

#include "base/err.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_UNITS = 1 << 20, MAX_MATCH = 128, MAX_TO = 256 };

static uint32_t offset(uint32_t u) { return (u >> 10) << ((u & (1u << 9)) >> 6); }
static uint32_t label(uint32_t u) { return u & 0x800000FFu; }
static bool has_value(uint32_t u) { return u >> 8 & 1; }

void moa_charsmap_deinit(moa_charsmap *m) {
    free(m->unit);
    *m = (moa_charsmap){0};
}

static uint32_t u32(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }

static bool value_is_text(const moa_charsmap *m, uint32_t unit) {
    const size_t at = unit & 0x7FFFFFFFu;
    if (at >= m->n_to) return false;
    const size_t left = m->n_to - at;
    return memchr(m->to + at, 0, left < MAX_TO ? left : MAX_TO) != NULL;
}

/* Every unit that can be reached, each once: nodes may share their followers. */
static bool is_sound(const moa_charsmap *m) {
    uint8_t *seen = calloc(m->n, 1);
    uint32_t *todo = malloc(m->n * sizeof *todo), n = 0;
    bool ok = seen && todo;
    if (ok) todo[n++] = 0, seen[0] = 1;
    while (ok && n) {
        const uint32_t i = todo[--n], u = m->unit[i], base = i ^ offset(u);
        ok = base < m->n && (!has_value(u) || value_is_text(m, m->unit[base]));
        for (uint32_t c = 1; ok && c < 256; c++) {
            const uint32_t k = base ^ c;
            if (k >= m->n || seen[k] || label(m->unit[k]) != c) continue;
            seen[k] = 1;
            todo[n++] = k;
        }
    }
    free(seen);
    free(todo);
    return ok;
}

int moa_charsmap_read(moa_charsmap *m, const moa_gguf *g, const char *key, moa_err *err) {
    *m = (moa_charsmap){0};
    const moa_gguf_kv *kv = moa_gguf_find(g, key);
    if (!kv || (kv->type == MOA_GGUF_ARR && kv->count == 0)) return 0;
    if (kv->type != MOA_GGUF_ARR || (kv->elem != MOA_GGUF_U8 && kv->elem != MOA_GGUF_I8))
        return moa_fail(err, MOA_EFORMAT, "%s: expected an array of bytes", key);
    const uint8_t *p = kv->data;
    const uint64_t bytes = kv->count >= 4 ? u32(p) : 0;
    if (kv->count < 9 || bytes % 4 || bytes < 4 || bytes > kv->count - 5)
        return moa_fail(err, MOA_EFORMAT, "%s: an array of %llu bytes in %llu, expected a multiple of 4 and replacements behind it", key,
                        (unsigned long long)bytes, (unsigned long long)kv->count);
    if (bytes / 4 > MAX_UNITS)
        return moa_fail(err, MOA_ELIMIT, "%s: %llu units, at most %d are read", key, (unsigned long long)(bytes / 4), MAX_UNITS);
    m->n = (uint32_t)(bytes / 4);
    m->to = (const char *)p + 4 + bytes;
    m->n_to = (size_t)(kv->count - 4 - bytes);
    m->unit = malloc(m->n * sizeof *m->unit);
    if (!m->unit) return moa_fail(err, MOA_ENOMEM, "%s: no memory for %u units", key, m->n);
    for (uint32_t i = 0; i < m->n; i++) m->unit[i] = u32(p + 4 + 4 * (size_t)i);
    if (is_sound(m)) return 0;
    moa_charsmap_deinit(m);
    return moa_fail(err, MOA_EFORMAT, "%s: leads out of its array or to no replacement: the file is damaged", key);
}

/* The longest match: its length, 0 for none. */
static size_t match(moa_str *to, const moa_charsmap *m, const char *p, size_t n) {
    size_t len = 0;
    uint32_t at = offset(m->unit[0]), value = 0;
    if (n > MAX_MATCH) n = MAX_MATCH;
    for (size_t i = 0; i < n && p[i]; i++) {
        const uint8_t c = (uint8_t)p[i];
        at ^= c;
        if (at >= m->n || label(m->unit[at]) != c) break;
        const uint32_t u = m->unit[at];
        at ^= offset(u);
        if (!has_value(u)) continue;
        value = m->unit[at] & 0x7FFFFFFFu;
        len = i + 1;
    }
    if (len) *to = (moa_str){m->to + value, strlen(m->to + value)};
    return len;
}

size_t moa_charsmap_next(moa_str *to, const moa_charsmap *m, const char *p, size_t n) {
    const size_t len = m->unit ? match(to, m, p, n) : 0;
    if (len) return len;
    uint32_t cp;
    const int w = moa_utf8_next(&cp, p, n);
    *to = w == 1 && cp == MOA_UTF8_BAD ? (moa_str){"\xef\xbf\xbd", 3} : (moa_str){p, (size_t)w};
    return (size_t)w;
}
