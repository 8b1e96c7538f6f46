/* gguf_split.c - a model in several files: NAME-00001-of-00003.gguf and so on.
 *
 * Each part is a whole GGUF file with the keys split.no (from 0), split.count and split.tensors.count (of all parts); the
 * other keys stand in the first. Every part stays mapped where it is and the first one's table gets the views of all, so
 * a reader of tensors does not notice. Source: gguf-split of the llama.cpp project.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "format/gguf_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PART = 65535, SUFFIX = 20 }; /* "-00001-of-00003.gguf" */

typedef struct parts { moa_gguf **part; int n; } parts; /* the first one is not among them */

static void parts_free(void *p) {
    parts *all = p;
    for (int i = 0; all && i < all->n; i++) moa_gguf_close(all->part[i]);
    if (all) free(all->part);
    free(all);
}

static void suffix(char out[SUFFIX + 13], uint32_t no, uint32_t count) { snprintf(out, SUFFIX + 13, "-%05u-of-%05u.gguf", no + 1, count); }

/* Does g say that it is part `no` of `count`? */
static int check_place(const moa_gguf *g, uint32_t no, uint32_t count, moa_err *err) {
    uint32_t got_no, got_count;
    MOA_TRY(moa_gguf_need_u32(&got_no, g, "split.no", err));
    MOA_TRY(moa_gguf_need_u32(&got_count, g, "split.count", err));
    if (got_no == no && got_count == count) return 0;
    moa_fail(err, MOA_EFORMAT, "%s: is part %llu of %u (split.no, split.count), expected part %u of %u", moa_gguf_path(g),
             (unsigned long long)got_no + 1, got_count, no + 1, count);
    return moa_hint(err, MOA_EFORMAT, "parts of different models were mixed, or a file was renamed");
}

/* Every part has the number of all: one that says another is of another model. */
static int check_kin(const moa_gguf *first, const moa_gguf *g, moa_err *err) {
    uint32_t want, got;
    if (!moa_gguf_find(first, "split.tensors.count")) return 0;
    MOA_TRY(moa_gguf_u32(&want, first, "split.tensors.count", 0, err));
    MOA_TRY(moa_gguf_u32(&got, g, "split.tensors.count", want, err));
    if (got == want) return 0;
    moa_fail(err, MOA_EFORMAT, "%s: split.tensors.count = %u, the first part says %u", moa_gguf_path(g), got, want);
    return moa_hint(err, MOA_EFORMAT, "parts of different models were mixed");
}

static int check_total(const moa_gguf *first, int n, moa_err *err) {
    uint32_t want;
    if (!moa_gguf_find(first, "split.tensors.count")) return 0;
    MOA_TRY(moa_gguf_u32(&want, first, "split.tensors.count", 0, err));
    if (want == (uint32_t)n) return 0;
    return moa_fail(err, MOA_EFORMAT, "%s: the parts have %d tensors together, split.tensors.count says %u", moa_gguf_path(first), n, want);
}

/* One table for all parts. Does not take the handles over. */
static int merge(moa_gguf *first, moa_gguf *const *more, int n_more, moa_err *err) {
    uint64_t n = (uint64_t)moa_gguf_n_tensor(first);
    for (int i = 0; i < n_more; i++) {
        MOA_TRY(check_place(more[i], (uint32_t)i + 1, (uint32_t)n_more + 1, err));
        MOA_TRY(check_kin(first, more[i], err));
        n += (uint64_t)moa_gguf_n_tensor(more[i]);
    }
    if (n > INT32_MAX) return moa_fail(err, MOA_ELIMIT, "%s: the parts have %llu tensors", moa_gguf_path(first), (unsigned long long)n);
    MOA_TRY(check_total(first, (int)n, err));
    moa_tensor *all = malloc(((size_t)n + 1) * sizeof *all);
    if (!all) return moa_fail(err, MOA_ENOMEM, "%s: no memory for %llu tensors", moa_gguf_path(first), (unsigned long long)n);
    int k = 0;
    for (int p = -1; p < n_more; p++) {
        const moa_gguf *g = p < 0 ? first : more[p];
        for (int i = 0; i < moa_gguf_n_tensor(g); i++) all[k++] = *moa_gguf_tensor_at(g, i);
    }
    const int rc = moa_gguf_set_tensors(first, all, k, err);
    free(all);
    return rc;
}

int moa_gguf_join(moa_gguf *first, moa_gguf *const *more, int n_more, moa_err *err) {
    MOA_TRY(check_place(first, 0, (uint32_t)n_more + 1, err));
    parts *p = calloc(1, sizeof *p);
    moa_gguf **part = malloc(((size_t)n_more + 1) * sizeof *part);
    int rc = p && part ? merge(first, more, n_more, err) : moa_fail(err, MOA_ENOMEM, "%s: no memory for %d parts", moa_gguf_path(first), n_more);
    if (rc < 0) {
        free(p);
        free(part);
        return rc;
    }
    if (n_more) memcpy(part, more, (size_t)n_more * sizeof *part);
    *p = (parts){part, n_more};
    first->owner = p;
    first->owner_free = parts_free;
    first->n_part = n_more + 1;
    return 0;
}

/* PREFIX of the path of the first part. */
static int prefix_length(size_t *n, const moa_gguf *first, uint32_t no, uint32_t count, moa_err *err) {
    char want[SUFFIX + 13];
    const char *path = moa_gguf_path(first);
    const size_t len = strlen(path);
    suffix(want, 0, count);
    const size_t tail = strlen(want);
    *n = len > tail ? len - tail : 0;
    if (no != 0) {
        moa_fail(err, MOA_EINVAL, "%s: is part %u of %u of a model", path, no + 1, count);
        return moa_hint(err, MOA_EINVAL, "open the first part, ...%s", want);
    }
    if (len > tail && strcmp(path + *n, want) == 0) return 0;
    moa_fail(err, MOA_EINVAL, "%s: is part 1 of %u (split.count), but its name does not end with %s", path, count, want);
    return moa_hint(err, MOA_EINVAL, "the other parts are found by their names: give all parts their names back");
}

static int open_rest(moa_gguf *first, moa_gguf **more, int n_more, size_t prefix, moa_err *err) {
    const uint32_t count = (uint32_t)n_more + 1;
    for (int i = 0; i < n_more; i++) {
        char *path = malloc(prefix + SUFFIX + 13);
        if (!path) return moa_fail(err, MOA_ENOMEM, "%s: no memory for a path", moa_gguf_path(first));
        memcpy(path, moa_gguf_path(first), prefix);
        suffix(path + prefix, (uint32_t)i + 1, count);
        const int rc = moa_gguf_open_one(&more[i], path, err);
        free(path);
        if (rc == MOA_ENOTFOUND) return moa_hint(err, rc, "the model has %u parts; all must lie in one folder", count);
        if (rc < 0) return rc;
    }
    return 0;
}

int moa_gguf_open_rest(moa_gguf *first, moa_err *err) {
    uint32_t no, count;
    size_t prefix;
    MOA_TRY(moa_gguf_u32(&no, first, "split.no", 0, err));
    MOA_TRY(moa_gguf_u32(&count, first, "split.count", 1, err));
    if (count <= 1) return 0;
    if (count > MAX_PART)
        return moa_fail(err, MOA_ELIMIT, "%s: split.count is %u, at most %d parts are read", moa_gguf_path(first), count, MAX_PART);
    MOA_TRY(prefix_length(&prefix, first, no, count, err));
    const int n_more = (int)count - 1;
    moa_gguf **more = calloc((size_t)n_more, sizeof *more);
    if (!more) return moa_fail(err, MOA_ENOMEM, "%s: no memory for %d parts", moa_gguf_path(first), n_more);
    int rc = open_rest(first, more, n_more, prefix, err);
    if (rc >= 0) rc = moa_gguf_join(first, more, n_more, err);
    for (int i = 0; rc < 0 && i < n_more; i++) moa_gguf_close(more[i]);
    free(more);
    return rc;
}
