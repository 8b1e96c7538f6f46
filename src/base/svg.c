/* svg.c - see svg.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/svg.h"

#include "base/utf8.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

void moa_svg_fixed(moa_buf *b, double v, int decimals, bool all) {
    static const double pow10[] = {1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9};
    double scaled = v * pow10[decimals];
    if (!(fabs(scaled) < 9e17)) {
        moa_buf_addf(b, "%lld", (long long)fmax(-9e17, fmin(9e17, v)));
        return;
    }
    long long n = llround(scaled), d = (long long)pow10[decimals];
    while (!all && decimals > 0 && n % 10 == 0) n /= 10, d /= 10, decimals--;
    unsigned long long u = (unsigned long long)(n < 0 ? -n : n), ud = (unsigned long long)d;
    moa_buf_addf(b, "%s%llu", n < 0 ? "-" : "", u / ud);
    if (decimals) moa_buf_addf(b, ".%0*llu", decimals, u % ud);
}

void moa_svg_escape(moa_buf *b, const char *s) {
    size_t n = strlen(s);
    for (uint32_t cp; n;) {
        size_t k = (size_t)moa_utf8_next(&cp, s, n);
        if (cp == '&') moa_buf_adds(b, "&amp;");
        else if (cp == '<') moa_buf_adds(b, "&lt;");
        else if (cp == '>') moa_buf_adds(b, "&gt;");
        else if (cp == '"') moa_buf_adds(b, "&quot;");
        else if (cp < 0x20) moa_buf_adds(b, " ");
        else if (cp == 0xFFFE || cp == 0xFFFF) moa_utf8_add(b, MOA_UTF8_BAD); /* no XML characters */
        else moa_utf8_add(b, cp);
        s += k, n -= k;
    }
}

double moa_svg_width(const char *s, double size) { return 0.56 * size * (double)moa_utf8_count(s, strlen(s)); }
