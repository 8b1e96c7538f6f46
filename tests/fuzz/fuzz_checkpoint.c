/* fuzz_checkpoint.c - any bytes as a checkpoint: refused with a message, or its counters are some that the recipe can have. What is
 * loaded fits the model, whatever the file says. SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "train/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[32], path[64];
static moa_recipe *recipe;

static void clean(void) {
    unlink(path);
    rmdir(dir);
    moa_recipe_free(recipe);
}

static void begin(void) {
    static const char text[] = "name: t\nstages:\n - {name: a, steps: 10, data: [{family: all}]}\n - {name: s, kind: sample, data: [{family: all}]}\n";
    moa_assert_eq(moa_recipe_parse(&recipe, text, sizeof text - 1, "t.yaml", NULL), 0);
    snprintf(dir, sizeof dir, "/tmp/moa-fuzz-XXXXXX");
    moa_assert(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/checkpoint-0.moa", dir);
    atexit(clean);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static moa_inputs in;
    float *w = calloc(3 * 12, sizeof *w); /* a weight of 3 x 4 and its two states, exactly */
    moa_tensor t = moa_view2(MOA_F32, w, 3, 4);
    const moa_optim_param p = {.w = &t, .state = {w + 12, w + 24}};
    moa_progress at;
    moa_err err = {0}, warn = {0};
    uint64_t sum;
    if (!recipe) begin();
    t.name = "w";
    unlink(path); /* to cut a file down and write it again would wait for the disk */
    FILE *f = fopen(path, "wb");
    moa_assert(f && (size == 0 || fwrite(data, 1, size, f) == size) && fclose(f) == 0 && w);
    if (moa_checkpoint_peek(&at, &in, dir, recipe, &err, &warn) < 0) moa_assert(err.code < 0 && err.text[0]);
    else moa_assert(at.stage >= 0 && at.stage <= 2 && at.step >= 0 && at.step <= 10 && in.n <= MOA_INPUTS_MAX && at.pack.n_waiting <= MOA_WAITING_MAX);
    if (moa_checkpoint_load(&at, dir, recipe, &p, 1, &err) < 0) moa_assert(err.text[0]);
    if (moa_checkpoint_weights(dir, &p, 1, &err) < 0) moa_assert(err.text[0]);
    if (moa_checkpoint_sum(&sum, dir, &err) < 0) moa_assert_eq(sum, 0);
    free(w);
    return 0;
}
