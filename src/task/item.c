/* item.c - one item of a family: drawn until it is a good one that belongs to the asked split.
 *
 * An item depends on (family, split, seed, index) only, never on what was made before: a trainer may resume at any
 * index and several threads may make items at once.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "task/task.h"

#include <string.h>

enum {
    FIELD_MAX = 1 << 16,
    NAME_MAX_BYTES = 256,
    REFERENCE_MAX = 1 << 20,
    MAX_DRAWS = 4000, /* one draw in eight is held out: (7/8)^4000 is never */
};

void moa_item_init(moa_item *it) {
    *it = (moa_item){.level = 0};
    moa_buf_init(&it->question, FIELD_MAX);
    moa_buf_init(&it->solution, FIELD_MAX);
    moa_buf_init(&it->answer, FIELD_MAX);
    moa_buf_init(&it->key, FIELD_MAX);
    moa_buf_init(&it->follow, FIELD_MAX);
    moa_buf_init(&it->name, NAME_MAX_BYTES);
    moa_buf_init(&it->reference, REFERENCE_MAX);
}

void moa_item_deinit(moa_item *it) {
    moa_buf_deinit(&it->question);
    moa_buf_deinit(&it->solution);
    moa_buf_deinit(&it->answer);
    moa_buf_deinit(&it->key);
    moa_buf_deinit(&it->follow);
    moa_buf_deinit(&it->name);
    moa_buf_deinit(&it->reference);
}

static void clear(moa_item *it) {
    moa_buf_clear(&it->question);
    moa_buf_clear(&it->solution);
    moa_buf_clear(&it->answer);
    moa_buf_clear(&it->key);
}

/* The family wrote the answer as a person would; keep the form that the checker compares. */
static int make_canonical(moa_buf *answer) {
    char raw[MOA_ANSWER_MAX];
    size_t n = answer->len;
    if (n >= sizeof raw) return MOA_ELIMIT;
    if (n) memcpy(raw, answer->data, n);
    moa_buf_clear(answer);
    return n == 0 || moa_answer_canon(answer, raw, n) ? MOA_OK : MOA_EINVAL;
}

static int draw(moa_item *it, const moa_family *f, moa_rng *r) {
    clear(it);
    MOA_TRY(f->make(it, it->level, r));
    MOA_TRY(it->question.failed);
    MOA_TRY(it->solution.failed);
    MOA_TRY(it->key.failed);
    MOA_TRY(make_canonical(&it->answer));
    const moa_buf *k = it->key.len ? &it->key : &it->question;
    it->id = moa_hash64(moa_buf_str(k), k->len, 0);
    return MOA_OK;
}

int moa_item_make(moa_item *it, const moa_family *f, moa_split split, uint64_t seed, uint64_t index, int level, moa_err *err) {
    if (level < 0 || level > f->n_level)
        return moa_fail(err, MOA_EINVAL, "family %s has no level %d, expected 0 (drawn) to %d", f->name, level, f->n_level);
    moa_rng r;
    uint64_t stream = moa_mix64(moa_hash64(f->name, strlen(f->name), seed) + 2u * (uint64_t)level + (uint64_t)split);
    moa_rng_seed2(&r, stream, index);
    it->family = f;
    it->level = level ? level : moa_rng_range(&r, 1, f->n_level);
    for (int i = 0; i < MAX_DRAWS; i++) {
        int rc = draw(it, f, &r);
        if (rc == MOA_EINVAL) continue;
        if (rc < 0) return moa_fail(err, rc, "family %s, level %d, index %llu: %s", f->name, it->level,
                                    (unsigned long long)index, moa_strerror(rc));
        if ((it->id % 8 == 0) == (split == MOA_HELDOUT)) return MOA_OK;
    }
    return moa_fail(err, MOA_ELIMIT, "family %s, level %d: no %s item in %d draws", f->name, it->level,
                    split == MOA_HELDOUT ? "held-out" : "training", MAX_DRAWS);
}
