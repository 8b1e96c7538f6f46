/* probe_read.h - reading memory as fast as one core can: four streams, since one core's prefetcher follows several and each alone has few
 * lines under way, and lines asked for ahead, which goes on where that prefetcher stops at the end of a page (one thread read 31 to 35 GB/s
 * without, 37 with). The including file defines V (a vector), v_load, v_or, v_any, and READ_ROW. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/probe.h"

enum { STREAMS = 4, AHEAD = 2048 };

static uint64_t read_all(const void *p, int64_t n) {
    const char *at = p;
    const int64_t each = n / STREAMS;
    V a = v_load(at), b = a, c = a, d = a;
    for (int64_t i = 0; i < each; i += 64) {
        const char *s[STREAMS] = {at + i, at + each + i, at + 2 * each + i, at + 3 * each + i};
        for (int k = 0; k < STREAMS; k++) __builtin_prefetch(s[k] + AHEAD);
        for (size_t k = 0; k < 64; k += sizeof(V)) {
            a = v_or(a, v_load(s[0] + k)), b = v_or(b, v_load(s[1] + k));
            c = v_or(c, v_load(s[2] + k)), d = v_or(d, v_load(s[3] + k));
        }
    }
    return v_any(v_or(v_or(a, b), v_or(c, d)));
}

const moa_probe READ_ROW = {.name = READ_NAME, .help = "bytes out of memory, four streams", .kind = MOA_LIMIT_READ, .isa = READ_ISA, .per_turn = 1, .run = read_all};
