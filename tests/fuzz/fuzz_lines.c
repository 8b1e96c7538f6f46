/* fuzz_lines.c - any bytes as each of the files of lines that moa reads: a task set, a journal of calls, the samples of a run. Refused
 * with a message and left as they are, or every item can be asked and answered, and only a line without its end is cut off.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/backend/recorded.h"
#include "agent/run.h"
#include "base/err.h"
#include "base/file.h"
#include "task/taskset.h"
#include "train/samples.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A reply that ends with the answer is right, where a checker compares answers. */
static void check_item(const moa_item *it) {
    static const char *const by_answer[] = {"answer", "number", "choice"};
    bool compares = !it->checker;
    moa_buf reply;
    for (size_t i = 0; it->checker && i < 3; i++) compares |= !strcmp(it->checker->name, by_answer[i]);
    moa_buf_init(&reply, 2 * MOA_ANSWER_MAX);
    moa_buf_addf(&reply, "So.\nAnswer: %s", moa_buf_str(&it->answer));
    const bool right = moa_item_check(it, moa_buf_str(&reply), reply.len);
    moa_assert(it->question.len && (right || !compares || !moa_item_scored(it)));
    moa_buf_deinit(&reply);
}

static void task_set(const char *path, const moa_task_format *format) {
    moa_taskset *t;
    moa_recorded *r;
    moa_err err = {0}, of_replies = {0};
    if (moa_taskset_open_as(&t, path, format, 1, 0, &err) < 0) {
        moa_assert(!t && err.code < 0 && err.text[0]);
        return;
    }
    moa_assert(moa_taskset_count(t) > 0);
    for (int i = 0; i < moa_taskset_count(t); i++) {
        check_item(moa_taskset_item(t, i));
        moa_assert(moa_taskset_group(t, i) < moa_taskset_group_count(t));
    }
    if (moa_recorded_new(&r, t, &of_replies) == 0) {
        const int rc = moa_recorded_add(r, path, &of_replies);
        moa_assert(rc == 0 ? moa_recorded_count(r) > 0 : of_replies.text[0] != 0);
        moa_recorded_free(r);
    }
    moa_taskset_free(t);
}

static void journal(const char *path, const uint8_t *data, size_t size) {
    moa_journal *j;
    moa_err err = {0};
    char *left;
    size_t n, whole = size;
    const int rc = moa_journal_open(&j, path, &err);
    if (rc < 0) moa_assert(!j && err.text[0] && err.hint[0]);
    moa_journal_close(j);
    while (rc >= 0 && whole && data[whole - 1] != '\n') whole--;
    moa_assert_eq(moa_read_file(&left, &n, path, size + 1, NULL), 0);
    moa_assert_eq(n, whole);
    moa_assert(n == 0 || !memcmp(left, data, n));
    free(left);
}

static void samples(const char *path) {
    moa_samples *s;
    moa_err err = {0};
    if (moa_samples_load(&s, path, &err) < 0) {
        moa_assert(!s && err.text[0]);
        return;
    }
    for (int64_t i = 0; i < s->n; i++) {
        int right = 0;
        moa_assert(s->item[i].n >= 1 && s->item[i].n <= MOA_CANDIDATES_MAX);
        for (int k = 0; k < s->item[i].n; k++) right += s->item[i].correct[k] != 0 && s->item[i].cand[k] != NULL;
        moa_assert_eq(right, s->item[i].n_correct);
    }
    moa_assert(s->n > 0 && s->n_mixed <= s->n);
    moa_samples_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[32];
    const int fd = memfd_create("lines", 0);
    moa_assert(fd >= 0 && (size == 0 || write(fd, data, size) == (ssize_t)size));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int n_format;
    const moa_task_format *const *format = moa_task_formats(&n_format);
    for (int i = -1; i < n_format; i++) task_set(path, i < 0 ? NULL : format[i]);
    samples(path);
    journal(path, data, size);
    close(fd);
    return 0;
}
