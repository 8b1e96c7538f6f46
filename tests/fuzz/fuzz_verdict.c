/* fuzz_verdict.c - any bytes as what is compared, judged and mutated: verdicts, criteria, numbers, literals, ROUGE-L, programs. Nothing reads beyond its bytes, and
 * what is found again in its own form is the same.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/duel.h"
#include "agent/evolve.h"
#include "agent/rouge.h"
#include "base/err.h"
#include "task/check.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void forms(const char *s, size_t n) {
    moa_buf a, b;
    moa_buf_init(&a, 1 << 20), moa_buf_init(&b, 1 << 20);
    if (moa_number_last(&a, s, n)) moa_assert(moa_number_last(&b, moa_buf_str(&a), a.len) && a.len == b.len);
    moa_literal_canon(&a, s, n);
    const int found = moa_criteria_parse(&a, s, n, 3);
    moa_assert(found >= 0 && found <= 3 && (found > 0) == (a.len > 0));
    const moa_verdict v = moa_duel_parse(s, n);
    moa_assert(v >= MOA_VERDICT_NONE && v <= MOA_VERDICT_TIE);
    moa_buf_deinit(&a), moa_buf_deinit(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *s = malloc(size + 1); /* of its own size, so that a byte beyond it is seen */
    moa_err err = {0};
    double f, back;
    moa_buf p;
    moa_assert(s);
    if (size) memcpy(s, data, size);
    forms(s, size);
    s[size] = 0;
    const size_t half = size / 2;
    char *first = strndup(s, half);
    moa_assert(first && moa_rouge_l(&f, first, s, &err) == 0 && moa_rouge_l(&back, s, first, &err) == 0);
    moa_assert(f >= 0 && f <= 1 && f == back);
    const double like = moa_edit_similarity(first, s);
    moa_assert(like >= 0 && like <= 1);
    moa_buf_init(&p, 1 << 20);
    if (moa_duel_prompt(&p, "q", first, s, size % 2 ? "clarity" : NULL) == 0) moa_assert(p.len < 4 * MOA_DUEL_MAX);
    const moa_example e = {3, 10};
    const double fit = strlen(s) < MOA_EVOLVE_PROGRAM ? moa_evolve_fitness(s, &e, 1) : 0;
    moa_assert(fit >= 0 && fit <= 1);
    moa_buf_deinit(&p);
    free(first);
    free(s);
    return 0;
}
