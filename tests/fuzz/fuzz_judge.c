/* fuzz_judge.c - any bytes as what a judge says (agent/parse.h). What is found lies within what was asked, in the bytes given; choices are places, each
 * once; a label's value is trimmed and stands where it says. First byte: candidates. SPDX-License-Identifier: Apache-2.0 */
#include "agent/parse.h"
#include "base/err.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    const int n_cand = 1 + data[0] % 32;
    const size_t n = size - 1;
    char *s = malloc(n + 1); /* a copy of its own size: a byte too far is seen */
    moa_assert(s != NULL);
    memcpy(s, data + 1, n);
    const char *value, *line[32];
    size_t len, lens[32];
    double v;
    bool flag;
    int out[32], at;
    if (moa_parse_label(&value, &len, s, n, "score")) moa_assert(value > s && len > 0 && value + len <= s + n && (unsigned char)*value > ' ' && (unsigned char)value[len - 1] > ' ');
    if (moa_parse_score(&v, s, n, 10)) moa_assert(v >= 0 && v <= 10);
    const int k = moa_parse_choice(out, &flag, s, n, n_cand);
    moa_assert(k >= 0 && k <= n_cand);
    for (int i = 0; i < k; i++) {
        moa_assert(out[i] >= 0 && out[i] < n_cand);
        for (int j = 0; j < i; j++) moa_assert(out[i] != out[j]);
    }
    moa_parse_yes(&flag, s, n, "end");
    if (moa_parse_letter(&at, s, n, "better", "AB")) moa_assert(at == 0 || at == 1);
    const int found = moa_parse_lines(line, lens, n_cand, s, n);
    int told = 0;
    for (int i = 0; i < n_cand; i++) {
        told += line[i] != NULL;
        if (line[i]) moa_assert(line[i] > s && lens[i] > 0 && line[i] + lens[i] <= s + n);
    }
    moa_assert_eq(found, told);
    free(s);
    return 0;
}
