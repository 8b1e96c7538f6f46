/* test_train.c - whole runs of a very small model: the loss falls, runs repeat, resume bit for bit, survive a full disk, a
 * stop, a broken checkpoint; what cannot work is refused.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/training.h"

#include "base/json.h"
#include "tensor/dense.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define SHORT TRAIN_HEAD "checkpoint: {steps: 5}\nstages:\n" \
    " - {name: a, steps: 12, batch_tokens: 512, seq_len: 128, lr: 3e-3, " TRAIN_DATA "}\n" \
    " - {name: b, steps: 8, batch_tokens: 512, seq_len: 128, lr: 1e-2, optimizer: muon, " TRAIN_DATA "}\n"

static void test_loss_falls(void **state) {
    (void)state;
    train_probe a = {0}, b = {0};
    train_ok("fall", TRAIN_HEAD "stages: [{name: a, steps: 60, batch_tokens: 2048, seq_len: 256, lr: 1e-2, snapshots: [0.5], " TRAIN_DATA "}]\n", false, &a);
    assert_true(a.last < 0.75 * a.first);
    train_ok("fall-muon", TRAIN_HEAD "stages: [{name: a, steps: 60, batch_tokens: 2048, seq_len: 256, lr: 3e-2, optimizer: muon, dtype: f32, " TRAIN_DATA "}]\n",
           false, &b);
    assert_true(b.last < 0.75 * b.first);
    assert_int_equal(a.steps, 60);
    static const char *const files[] = {"log.jsonl", "loss.svg", "tokenizer.gguf", "t.gguf", "t-a-50.gguf", "checkpoint-0.moa"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        size_t n;
        free(train_content("fall", files[i], &n));
        assert_true(n > 0);
    }
}

static void test_repeats(void **state) {
    (void)state;
    train_probe p = {0}, q = {0};
    train_ok("one", SHORT, false, &p);
    train_ok("two", SHORT, false, &q);
    train_same_log("one", "two");
    train_same_file("one", "two", "t.gguf");
    train_probe s = {0};
    train_ok("seed", "seed: 2\n" SHORT, false, &s);
    assert_true(s.last != p.last);
}

/* Stopped in the first stage and in the second; "one" is the run that never stopped. */
static void test_resume(void **state) {
    (void)state;
    moa_err err;
    train_probe p = {.stop_at = 7}, q = {.stop_at = 8}, r = {0};
    assert_int_equal(train_in("res", SHORT, &p, false, 1, &err), MOA_ECANCELED);
    assert_non_null(strstr(err.text, "step 7 of stage 'a'"));
    assert_non_null(strstr(err.hint, "moa train t.yaml --resume --out "));
    assert_int_equal(train_in("res", SHORT, &q, false, 1, &err), MOA_EUSAGE); /* would throw the run away */
    assert_non_null(strstr(err.text, "unfinished run"));
    assert_int_equal(train_in("res", SHORT, &q, true, 1, &err), MOA_ECANCELED);
    assert_non_null(strstr(err.text, "step 3 of stage 'b'"));
    train_ok("res", SHORT, true, &r);
    assert_int_equal(p.steps + q.steps + r.steps, 20);
    train_same_log("one", "res");
    train_same_file("one", "res", "t.gguf");
}

/* Killed between checkpoints: the log has lines of steps that will be done again. */
static void test_resume_after_crash(void **state) {
    (void)state;
    moa_err err;
    train_probe p = {.stop_at = 10}, r = {0};
    assert_int_equal(train_in("crash", SHORT, &p, false, 1, &err), MOA_ECANCELED);
    const char *path = train_path("crash", "log.jsonl");
    FILE *f = fopen(path, "a");
    fprintf(f, "{\"step\":11,\"loss\":9}\n{\"step\":12,\"lo");
    fclose(f);
    train_ok("crash", SHORT, true, &r);
    train_same_log("one", "crash");
    train_same_file("one", "crash", "t.gguf");
}

static void spoil(const char *name, int slot, bool cut) {
    FILE *f = fopen(train_path(name, slot ? "checkpoint-1.moa" : "checkpoint-0.moa"), "r+b");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    if (cut) assert_int_equal(ftruncate(fileno(f), n / 2), 0);
    else {
        fseek(f, n / 2, SEEK_SET);
        int c = fgetc(f);
        fseek(f, n / 2, SEEK_SET);
        fputc(c ^ 1, f);
    }
    fclose(f);
}

static void test_broken_checkpoint(void **state) {
    (void)state;
    moa_err err;
    train_probe p = {.stop_at = 7}, q = {.stop_at = 1}, r = {0};
    assert_int_equal(train_in("broken", SHORT, &p, false, 1, &err), MOA_ECANCELED); /* slot 0: step 5, slot 1: step 7 */
    spoil("broken", 1, false);
    assert_int_equal(train_in("broken", SHORT, &q, true, 1, &err), MOA_ECANCELED);
    assert_int_equal(q.warnings, 1);
    assert_non_null(strstr(q.warning, "checkpoint-1.moa: corrupt"));
    assert_non_null(strstr(err.text, "step 6 of stage 'a'")); /* 5 + 1, written over the broken one */
    spoil("broken", 0, true);
    train_ok("broken", SHORT, true, &r);
    assert_non_null(strstr(r.warning, "checkpoint-0.moa: truncated"));
    train_same_log("one", "broken");
    train_same_file("one", "broken", "t.gguf");
    spoil("broken", 0, false);
    spoil("broken", 1, true);
    train_probe s = {0};
    assert_true(train_in("broken", SHORT, &s, true, 1, &err) < 0);
    assert_non_null(strstr(err.hint, "no sound checkpoint"));
    assert_int_equal(train_in("broken", SHORT, &s, false, 1, &err), MOA_EFORMAT); /* and nothing is removed unasked */
    assert_non_null(strstr(err.hint, "--fresh"));
}

static void test_other_recipe(void **state) {
    (void)state;
    moa_err err;
    train_probe p = {.stop_at = 2}, q = {0};
    assert_int_equal(train_in("other", SHORT, &p, false, 1, &err), MOA_ECANCELED);
    static const char changed[] = "seed: 5\n" SHORT;
    assert_int_equal(train_in("other", changed, &q, true, 1, &err), MOA_EINVAL);
    assert_non_null(strstr(err.text, "is of recipe 't' ("));
    assert_non_null(strstr(err.text, "not of 't' ("));
    assert_int_equal(train_in("nothing", SHORT, &q, true, 1, &err), MOA_ENOTFOUND);
}

/* A file size limit stands for a full disk: the checkpoint at 5 is whole, the one at 10 cannot be written. */
static void test_full_disk(void **state) {
    (void)state;
    moa_err err;
    train_probe p = {.limit_at = 7, .stop_at = 11}, r = {0};
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old;
    getrlimit(RLIMIT_FSIZE, &old);
    int rc = train_in("full", SHORT, &p, false, 1, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(rc, MOA_EIO); /* the checkpoint of the stop */
    assert_int_equal(p.steps, 11);
    assert_int_equal(p.warnings, 1);
    assert_non_null(strstr(p.warning, strerror(EFBIG)));
    train_ok("full", SHORT, true, &r);
    assert_int_equal(r.steps, 15);
    train_same_file("one", "full", "t.gguf");
}

/* The log meets a full disk for two steps: their lines are lost, half a line is not left behind, and the log goes on. */
static void test_full_log(void **state) {
    (void)state;
    static const char recipe[] = TRAIN_HEAD "stages: [{name: a, steps: 8, batch_tokens: 512, seq_len: 128, " TRAIN_DATA "}]\n";
    moa_err err;
    size_t n;
    train_probe p = {0}, q = {.limit_at = 3, .free_at = 5};
    train_ok("log", recipe, false, &p);
    char *s = train_content("log", "log.jsonl", &n), *third = s;
    for (int i = 0; i < 3; i++) third = strchr(third, '\n') + 1;
    q.limit = (rlim_t)(third - s) + 40; /* room for a piece of the fourth line */
    free(s);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(train_in("log2", recipe, &q, false, 1, &err), 0);
    const char *path = train_path("log2", "log.jsonl");
    moa_jsonl r;
    json_t *o;
    int seen = 0, rc;
    assert_int_equal(moa_jsonl_open(&r, path, 1 << 20, &err), 0);
    while ((rc = moa_jsonl_next(&o, &r, &err)) > 0) {
        seen |= 1 << json_integer_value(json_object_get(o, "step"));
        json_decref(o);
    }
    if (rc < 0) fail_msg("%s", err.text);
    moa_jsonl_close(&r);
    assert_int_equal(seen, 0x1ce); /* 1, 2, 3, 6, 7, 8 */
}

/* A finished run is not thrown away by a second start, nor is it trained again. */
static void test_finished(void **state) {
    (void)state;
    static const char recipe[] = TRAIN_HEAD "stages: [{name: a, steps: 3, batch_tokens: 512, seq_len: 128, " TRAIN_DATA "}]\n";
    moa_err err;
    size_t n, m;
    train_probe p = {0}, again = {0}, gone = {0}, resumed = {0}, fresh = {.fresh = true};
    train_ok("done", recipe, false, &p);
    char *before = train_content("done", "checkpoint-0.moa", &n), *model = train_content("done", "t.gguf", &m);
    train_ok("done", recipe, false, &again);
    assert_int_equal(again.steps, 0);
    assert_int_equal(again.warnings, 0);
    assert_non_null(strstr(again.note, "nothing to do; --fresh trains it anew"));
    char *after = train_content("done", "checkpoint-0.moa", &m);
    assert_int_equal(n, m);
    assert_memory_equal(before, after, n);
    assert_int_equal(unlink(train_path("done", "t.gguf")), 0);
    assert_int_equal(train_in("done", recipe, &gone, false, 1, &err), MOA_EUSAGE);
    assert_non_null(strstr(err.text, "t.gguf is not there"));
    assert_non_null(strstr(err.hint, "--resume writes the model again"));
    train_ok("done", recipe, true, &resumed);
    assert_int_equal(resumed.steps, 0);
    char *written = train_content("done", "t.gguf", &m);
    assert_memory_equal(model, written, m);
    train_ok("done", recipe, false, &fresh);
    assert_int_equal(fresh.steps, 3);
    free(before);
    free(after);
    free(model);
    free(written);
}

/* The model cannot be written at the end: nothing of the training is lost. */
static void remove_at_3(void *folder, int64_t step) {
    if (step == 3) assert_int_equal(rmdir(folder), 0);
}

static void test_no_room_for_the_model(void **state) {
    (void)state;
    char text[2048], folder[128];
    moa_err err;
    snprintf(folder, sizeof folder, "%s/gone", train_root);
    snprintf(text, sizeof text, "name: t\nmodel: {n_layer: 1, d_model: 32, n_head: 2, d_ff: 64, n_ctx: 256}\ntokenizer: {n_vocab: 300, items: 100}\n"
             "output: {path: %s/t.gguf, type: F32}\nstages: [{name: a, steps: 3, batch_tokens: 512, seq_len: 128, %s}]\n", folder, TRAIN_DATA);
    train_probe p = {.at_step = remove_at_3, .ctx = folder}, q = {0}, r = {0};
    assert_int_equal(train_in("noroom", text, &p, false, 1, &err), MOA_ENOTFOUND);
    assert_non_null(strstr(err.hint, "--resume --out "));
    assert_non_null(strstr(err.hint, " writes the model"));
    assert_int_equal(train_in("noroom", text, &q, false, 1, &err), MOA_EUSAGE); /* finished, but for the model */
    train_ok("noroom", text, true, &r);
    assert_int_equal(r.steps, 0);
    size_t n;
    free(train_content("gone", "t.gguf", &n));
    assert_true(n > 0);
    char *at = strstr(text, "/t.gguf"); /* a folder is no place for a model: said before the first step */
    memmove(at, at + 7, strlen(at + 7) + 1);
    train_probe s = {.fresh = true};
    assert_int_equal(train_in("noroom", text, &s, false, 1, &err), MOA_EIO);
    assert_non_null(strstr(err.text, "not a file"));
    assert_int_equal(s.steps, 0);
}

/* Two runs in one folder would overwrite each other's checkpoints. */
static void test_one_at_a_time(void **state) {
    (void)state;
    moa_err err;
    train_probe p = {.fresh = true};
    int other = open(train_path("one", ""), O_RDONLY);
    assert_int_equal(flock(other, LOCK_EX), 0);
    assert_int_equal(train_in("one", SHORT, &p, false, 1, &err), MOA_EUSAGE);
    assert_non_null(strstr(err.text, "another run is at work"));
    close(other);
    size_t n;
    free(train_content("one", "t.gguf", &n)); /* and nothing was touched */
}

/* Killed while it wrote a checkpoint: the old one is whole, the piece goes away. Other people's files do not. */
static void test_leftovers(void **state) {
    (void)state;
    static const struct { const char *name; bool goes; } files[] = {{"checkpoint-1.moa.tmp.4711", true}, {"t.gguf.tmp.1", true}, {"loss.svg.tmp.22", true},
                                                                    {"notes.tmp.5", false}, {"t.gguf.tmp.x1", false}, {"t.gguf.tmp.", false}};
    moa_err err;
    train_probe p = {.stop_at = 7}, r = {0};
    assert_int_equal(train_in("left", SHORT, &p, false, 1, &err), MOA_ECANCELED);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        FILE *f = fopen(train_path("left", files[i].name), "w");
        assert_non_null(f);
        fputs("MOACKPT\n", f);
        fclose(f);
    }
    train_ok("left", SHORT, true, &r);
    train_same_file("one", "left", "t.gguf");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        assert_int_equal(access(train_path("left", files[i].name), F_OK) == 0, !files[i].goes);
}

/* A file that the last stage needs is missed before the first step. */
static void test_missing_source(void **state) {
    (void)state;
    moa_err err;
    train_probe p = {0};
    static const char text[] = TRAIN_HEAD "stages:\n - {name: a, steps: 3, batch_tokens: 512, seq_len: 128, " TRAIN_DATA "}\n"
                                    " - {name: b, steps: 3, batch_tokens: 512, seq_len: 128,\n    data: [{aggregate: ./no-such.jsonl}]}\n";
    assert_int_equal(train_in("missing", text, &p, false, 1, &err), MOA_ENOTFOUND);
    assert_non_null(strstr(err.text, "t.yaml:8: stage 'b' will need ./no-such.jsonl"));
    assert_int_equal(p.steps, 0);
}

/* What dtype: bf16 became is said once, and only where the CPU has no such products (test_dtype.c has the other case). */
static void test_dtype_note(void **state) {
    (void)state;
    train_probe p = {0}, q = {0};
    train_ok("note", TRAIN_HEAD "stages: [{name: a, steps: 1, batch_tokens: 512, seq_len: 128, " TRAIN_DATA "}]\n", false, &p);
    train_ok("note32", TRAIN_HEAD "stages: [{name: a, steps: 1, batch_tokens: 512, seq_len: 128, dtype: f32, " TRAIN_DATA "}]\n", false, &q);
    assert_int_equal(p.f32_notes, !moa_dense_has_bf16());
    assert_int_equal(q.f32_notes, 0);
}

static void test_accumulate(void **state) {
    (void)state;
    train_probe p = {0}, q = {0};
    train_ok("acc1", TRAIN_HEAD "stages: [{name: a, steps: 5, batch_tokens: 1024, seq_len: 128, dtype: f32, accumulate: 1, " TRAIN_DATA "}]\n", false, &p);
    train_ok("acc4", TRAIN_HEAD "stages: [{name: a, steps: 5, batch_tokens: 1024, seq_len: 128, dtype: f32, accumulate: 4, " TRAIN_DATA "}]\n", false, &q);
    assert_true(fabs(p.first - q.first) < 1e-5);
    assert_true(fabs(p.last - q.last) < 1e-4);
}

#define SAMPLE TRAIN_HEAD "stages:\n - {name: a, steps: 6, batch_tokens: 512, seq_len: 256, " TRAIN_DATA "}\n" \
    " - {name: s, kind: sample, items: 5, samples: 3, max_tokens: 12, " TRAIN_DATA "}\n" \
    " - {name: g, steps: 3, batch_tokens: 512, seq_len: 256, data: [{aggregate: s, k_max: 3}]}\n"

static void test_sample_stage(void **state) {
    (void)state;
    train_probe p = {0}, q = {.stop_at = 8}, r = {0};
    train_ok("sample", SAMPLE, false, &p);
    moa_err err;
    assert_int_equal(train_in("sample2", SAMPLE, &q, false, 1, &err), MOA_ECANCELED); /* in the stage after it */
    size_t n, lines = 0;
    char *s = train_content("sample", "samples-s.jsonl", &n);
    for (size_t i = 0; i < n; i++) lines += s[i] == '\n';
    assert_int_equal(lines, 5);
    free(s);
    train_same_file("sample", "sample2", "samples-s.jsonl");
    train_ok("sample2", SAMPLE, true, &r);
    train_same_file("sample", "sample2", "t.gguf");
    train_same_log("sample", "sample2");
}

static void test_sample_resumes(void **state) {
    (void)state;
    train_probe p = {.stop_at = 6}, q = {0};
    moa_err err;
    assert_int_equal(train_in("cut", SAMPLE, &p, false, 1, &err), MOA_ECANCELED); /* the stage is over: stops in sampling */
    size_t n;
    char *s = train_content("sample", "samples-s.jsonl", &n);
    FILE *f = fopen(train_path("cut", "samples-s.jsonl"), "w"); /* two lines and a piece, as a killed run leaves them */
    size_t two = (size_t)(strchr(strchr(s, '\n') + 1, '\n') + 1 - s);
    fwrite(s, 1, two + 20, f);
    fclose(f);
    free(s);
    train_ok("cut", SAMPLE, true, &q);
    train_same_file("sample", "cut", "samples-s.jsonl");
    train_same_file("sample", "cut", "t.gguf");
    train_same_log("sample", "cut");
}

static void test_init(void **state) {
    (void)state;
    char text[2048];
    train_probe p = {0}, q = {0};
    snprintf(text, sizeof text, "name: u\noutput: {type: F32}\ninit: {gguf: %s/fall/t.gguf}\nstages: [{name: a, steps: 3, batch_tokens: 1024, seq_len: 128, %s}]\n",
             train_root, TRAIN_DATA);
    train_ok("init", text, false, &p);
    snprintf(text, sizeof text, "name: t\n" TRAIN_MODEL "init: {run: fall}\nstages: [{name: a, steps: 3, batch_tokens: 1024, seq_len: 128, %s}]\n", TRAIN_DATA);
    train_ok("init2", text, false, &q);
    assert_true(p.first < 4 && fabs(p.first - q.first) < 1e-6); /* a new model begins at ln 300 = 5.7 */
    /* Another tokenizer beside the weights must at least have as many tokens. */
    train_probe s = {0}, u = {0};
    moa_err err;
    static const char other[] = "name: t\n" TRAIN_MODEL "tokenizer: {n_vocab: 290, items: 100}\n"
                                "stages: [{name: a, steps: 1, batch_tokens: 512, seq_len: 128, " TRAIN_DATA "}]\n";
    train_ok("other-tokens", other, false, &s);
    snprintf(text, sizeof text, "name: u\ninit: {gguf: %s/fall/t.gguf}\ntokenizer: {gguf: %s/other-tokens/tokenizer.gguf}\n"
             "stages: [{name: a, steps: 3, batch_tokens: 1024, seq_len: 128, %s}]\n", train_root, train_root, TRAIN_DATA);
    assert_int_equal(train_in("init3", text, &u, false, 1, &err), MOA_EINVAL);
    assert_non_null(strstr(err.text, "290 tokens, but the weights of "));
    assert_non_null(strstr(err.text, "belong to 300"));
}

static const moa_tensor *weights_of(const moa_model *m, const char *name) {
    for (int i = 0; i < m->n_param; i++)
        if (!strcmp(m->param[i]->name, name)) return m->param[i];
    fail_msg("no %s", name);
    return NULL;
}

/* The bundled model's architecture: norms of q and k, heads wider than their part of d_model, another rotation. It learns, its norms too, goes on
 * bit for bit, and the file has the shape that was asked for. */
static void test_qwen3(void **state) {
    (void)state;
    static const char recipe[] =
        "name: t\nmodel: {arch: qwen3, n_layer: 1, d_model: 32, n_head: 2, n_kv: 1, head_dim: 32, d_ff: 64, n_ctx: 256, rope_base: 100000}\n"
        "tokenizer: {n_vocab: 300, items: 100}\noutput: {type: F32}\n"
        "stages: [{name: a, steps: 30, batch_tokens: 1024, seq_len: 256, lr: 2e-2, optimizer: muon, " TRAIN_DATA "}]\n";
    train_probe p = {0}, q = {.stop_at = 11}, r = {0};
    moa_model *m = NULL;
    moa_err err = {0};
    train_ok("qwen3", recipe, false, &p);
    assert_true(p.last < 0.9 * p.first);
    assert_int_equal(train_in("qwen3-cut", recipe, &q, false, 1, &err), MOA_ECANCELED);
    train_ok("qwen3-cut", recipe, true, &r);
    train_same_file("qwen3", "qwen3-cut", "t.gguf");
    train_same_log("qwen3", "qwen3-cut");
    if (moa_model_open(&m, train_path("qwen3", "t.gguf"), &err) < 0) fail_msg("%s", err.text);
    assert_string_equal(m->arch->name, "qwen3");
    assert_int_equal(m->h.head_dim, 32);
    assert_true(m->h.rope_base == 100000);
    static const char *const norms[] = {"blk.0.attn_q_norm.weight", "blk.0.attn_k_norm.weight"};
    for (int i = 0; i < 2; i++) {
        const moa_tensor *t = weights_of(m, norms[i]);
        const float *w = t->data;
        float moved = 0;
        assert_int_equal(moa_tensor_count(t), 32);
        for (int k = 0; k < 32; k++) moved = fmaxf(moved, fabsf(w[k] - 1)); /* they begin as ones */
        assert_true(moved > 1e-3f);
    }
    moa_model_close(m);
}

/* Every architecture is trained and its file read again, or refused before the first step: none that would be another model in its file. */
static void test_every_arch(void **state) {
    (void)state;
    int n, refused = 0;
    const moa_arch *const *all = moa_archs(&n);
    for (int i = 0; i < n; i++) {
        char text[1024];
        train_probe p = {0};
        moa_model *m = NULL;
        moa_err err;
        snprintf(text, sizeof text,
                 "name: %s\nmodel: {arch: %s, n_layer: 2, d_model: 32, n_head: 2, d_ff: 64, n_ctx: 256}\ntokenizer: {n_vocab: 300, items: 50}\n"
                 "output: {type: F32}\nstages: [{name: a, steps: 2, batch_tokens: 512, seq_len: 128, dtype: f32, " TRAIN_DATA "}]\n", all[i]->name, all[i]->name);
        if (train_in("arch", text, &p, false, 1, &err) < 0) {
            assert_int_equal(p.steps, 0);
            assert_non_null(strstr(err.text, all[i]->name));
            refused++;
        } else {
            char file[64];
            snprintf(file, sizeof file, "%s.gguf", all[i]->name);
            if (moa_model_open(&m, train_path("arch", file), &err) < 0) fail_msg("%s: %s", all[i]->name, err.text);
            moa_model_close(m);
        }
        for (int k = 0; k < 2; k++) unlink(train_path("arch", k ? "checkpoint-1.moa" : "checkpoint-0.moa"));
    }
    assert_in_range(refused, 3, n - 5); /* encoders and latent attention; llama, qwen and their like are trained */
}

/* Weights that are not finite: no step is done, after MOA_SKIPS_MAX the run says so, and they are in no checkpoint. */
static void test_not_finite(void **state) {
    (void)state;
    size_t n;
    char *s = train_content("fall", "t.gguf", &n), text[1024];
    memset(s + n - 4, 0xff, 4); /* the last weight of the last tensor */
    const char *path = train_path("nan.gguf", "");
    FILE *f = fopen(path, "wb");
    fwrite(s, 1, n, f);
    fclose(f);
    free(s);
    snprintf(text, sizeof text, "name: u\ninit: {gguf: %s}\ncheckpoint: {steps: 1}\nstages: [{name: a, steps: 50, batch_tokens: 512, seq_len: 128, %s}]\n",
             path, TRAIN_DATA);
    moa_err err;
    train_probe p = {0};
    assert_int_equal(train_in("nan", text, &p, false, 1, &err), MOA_ELIMIT);
    assert_int_equal(p.steps, 20);
    assert_int_equal(p.warnings, 20);
    assert_non_null(strstr(err.text, "20 steps in a row"));
    assert_int_not_equal(access(train_path("nan", "checkpoint-0.moa"), F_OK), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loss_falls),   cmocka_unit_test(test_repeats),      cmocka_unit_test(test_resume),
        cmocka_unit_test(test_resume_after_crash), cmocka_unit_test(test_broken_checkpoint), cmocka_unit_test(test_other_recipe),
        cmocka_unit_test(test_full_disk),    cmocka_unit_test(test_accumulate),   cmocka_unit_test(test_sample_stage),
        cmocka_unit_test(test_sample_resumes), cmocka_unit_test(test_init),       cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_full_log),     cmocka_unit_test(test_finished),     cmocka_unit_test(test_no_room_for_the_model),
        cmocka_unit_test(test_one_at_a_time), cmocka_unit_test(test_leftovers),   cmocka_unit_test(test_missing_source),
        cmocka_unit_test(test_dtype_note),   cmocka_unit_test(test_qwen3),
        cmocka_unit_test(test_every_arch),
    };
    return cmocka_run_group_tests(tests, train_setup, train_teardown);
}
