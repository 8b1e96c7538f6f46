/* sha256.c - see sha256.h. Two block functions: plain C, which is the definition, and the CPU's SHA instructions, which
 * turn the second reading of a resumed 40 GB file from minutes into what the disk takes. Source: FIPS 180-4; for the
 * instructions Gulley et al., "Intel SHA Extensions" (2013): two rounds an instruction, the state held as ABEF and CDGH.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/sha256.h"

#include <immintrin.h>
#include <string.h>
#include <strings.h>

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t ror(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void blocks_plain(uint32_t h[8], const uint8_t *p, size_t n_block) {
    for (; n_block; n_block--, p += 64) {
        uint32_t w[64], v[8];
        for (int i = 0; i < 16; i++)
            w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
        for (int i = 16; i < 64; i++) {
            const uint32_t a = w[i - 15], b = w[i - 2];
            w[i] = w[i - 16] + (ror(a, 7) ^ ror(a, 18) ^ a >> 3) + w[i - 7] + (ror(b, 17) ^ ror(b, 19) ^ b >> 10);
        }
        memcpy(v, h, sizeof v);
        for (int i = 0; i < 64; i++) { /* v = a b c d e f g h */
            const uint32_t t1 = v[7] + (ror(v[4], 6) ^ ror(v[4], 11) ^ ror(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) + K[i] + w[i];
            const uint32_t t2 = (ror(v[0], 2) ^ ror(v[0], 13) ^ ror(v[0], 22)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
            memmove(v + 1, v, 7 * sizeof *v);
            v[4] += t1;
            v[0] = t1 + t2;
        }
        for (int i = 0; i < 8; i++) h[i] += v[i];
    }
}

__attribute__((target("sha,sse4.1,ssse3"))) static void blocks_sha(uint32_t h[8], const uint8_t *p, size_t n_block) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bll, 0x0405060700010203ll);
    /* h is a b c d | e f g h from low to high; the instructions want f e b a and h g d c. */
    __m128i dcba = _mm_shuffle_epi32(_mm_loadu_si128((const void *)h), 0xB1), hgfe = _mm_shuffle_epi32(_mm_loadu_si128((const void *)(h + 4)), 0x1B);
    __m128i abef = _mm_alignr_epi8(dcba, hgfe, 8), cdgh = _mm_blend_epi16(hgfe, dcba, 0xF0);
    for (; n_block; n_block--, p += 64) {
        const __m128i abef0 = abef, cdgh0 = cdgh;
        __m128i w[4]; /* the last 16 words of the schedule */
        for (int i = 0; i < 4; i++) w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const void *)(p + 16 * i)), swap);
        for (int i = 0; i < 16; i++) {
            __m128i now = w[i & 3];
            if (i >= 4) { /* w[t] of four t: sigma0 and w[t-16] by msg1, w[t-7] by the shift, sigma1 by msg2 */
                const __m128i last = w[(i + 3) & 3], seven = _mm_alignr_epi8(last, w[(i + 2) & 3], 4);
                now = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(now, w[(i + 1) & 3]), seven), last);
                w[i & 3] = now;
            }
            const __m128i wk = _mm_add_epi32(now, _mm_loadu_si128((const void *)(K + 4 * i)));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, wk);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(wk, 0x0E));
        }
        abef = _mm_add_epi32(abef, abef0);
        cdgh = _mm_add_epi32(cdgh, cdgh0);
    }
    const __m128i feba = _mm_shuffle_epi32(abef, 0x1B), dchg = _mm_shuffle_epi32(cdgh, 0xB1);
    _mm_storeu_si128((void *)h, _mm_blend_epi16(feba, dchg, 0xF0));
    _mm_storeu_si128((void *)(h + 4), _mm_alignr_epi8(dchg, feba, 8));
}

/* CPUID leaf 7, EBX bit 29; asked once, because a virtual machine may take microseconds for it. */
static bool has_sha(void) {
    static _Atomic int known; /* 0: not asked yet */
    if (!known) {
        unsigned a, b, c, d;
        __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
        known = (b >> 29 & 1) && __builtin_cpu_supports("sse4.1") ? 2 : 1;
    }
    return known == 2;
}

static void blocks(moa_sha256 *s, const uint8_t *p, size_t n_block) {
    if (!s->plain && has_sha()) blocks_sha(s->h, p, n_block);
    else blocks_plain(s->h, p, n_block);
}

void moa_sha256_init(moa_sha256 *s) {
    *s = (moa_sha256){.h = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void moa_sha256_add(moa_sha256 *s, const void *data, size_t n) {
    const uint8_t *p = data;
    const size_t held = s->n % 64;
    s->n += n;
    if (held) {
        const size_t k = n < 64 - held ? n : 64 - held;
        memcpy(s->tail + held, p, k);
        p += k, n -= k;
        if (held + k < 64) return;
        blocks(s, s->tail, 1);
    }
    if (n / 64) blocks(s, p, n / 64);
    if (n % 64) memcpy(s->tail, p + n / 64 * 64, n % 64);
}

void moa_sha256_hex(char out[MOA_SHA256_HEX], const moa_sha256 *s) {
    static const char digit[] = "0123456789abcdef";
    moa_sha256 t = *s;
    uint8_t pad[72] = {0x80};
    const size_t zeros = (119 - s->n % 64) % 64 + 1; /* up to 8 bytes before the end of a block */
    for (int i = 0; i < 8; i++) pad[zeros + i] = (uint8_t)(s->n * 8 >> (56 - 8 * i));
    moa_sha256_add(&t, pad, zeros + 8);
    for (int i = 0; i < 64; i++) out[i] = digit[t.h[i / 8] >> (28 - 4 * (i % 8)) & 15];
    out[64] = 0;
}

bool moa_sha256_parse(char out[MOA_SHA256_HEX], const char *text) {
    if (!strncasecmp(text, "sha256:", 7)) text += 7;
    for (int i = 0; i < 64; i++) {
        const char c = text[i];
        if (c >= 'A' && c <= 'F') out[i] = (char)(c - 'A' + 'a');
        else if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')) out[i] = c;
        else return false;
    }
    out[64] = 0;
    return text[64] == 0;
}
