/* test_data.c - documents and batches: what is learned is exactly what the assistant says, nothing is cut, lost or seen by a
 * neighbour, and everything follows from counters.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "train/pack.h"
#include "train/samples.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64];
static moa_gguf *meta;
static moa_tokenizer *tok;
static moa_chat_template *chat;

static const char recipe_text[] =
    "name: t\n"
    "stages:\n"
    " - name: a\n   steps: 4\n   batch_tokens: 4096\n   seq_len: 512\n   accumulate: 2\n   data: [{family: all, weight: 3}, {family: talk}]\n"
    " - name: s\n   kind: sample\n   items: 4\n   data: [{family: all}]\n"
    " - name: g\n   steps: 4\n   batch_tokens: 2048\n   seq_len: 1024\n   data: [{aggregate: s, k_min: 2, k_max: 4, mixed: 1}]\n";

static moa_recipe *recipe(void) {
    moa_err err = {0};
    moa_recipe *r;
    if (moa_recipe_parse(&r, recipe_text, sizeof recipe_text - 1, "t.yaml", &err) < 0) fail_msg("%s", err.text);
    return r;
}

typedef struct corpus { char *text[4000]; size_t len[4000]; int64_t n; } corpus;
static int add(void *ctx, const char *text, size_t n) {
    corpus *c = ctx;
    if (c->n == 4000) return 0;
    c->text[c->n] = strndup(text, n);
    c->len[c->n++] = n;
    return 0;
}

static int setup(void **state) {
    (void)state;
    static corpus c;
    static const char *const special[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    const moa_bpe_train cfg = {.n_vocab = 400, .pre = "moa", .special = special, .n_special = 3, .bos = -1, .eos = 2, .pad = 0};
    char path[128];
    moa_err err = {0};
    moa_recipe *r = recipe();
    snprintf(dir, sizeof dir, "/tmp/moa-test-XXXXXX");
    if (!mkdtemp(dir)) return -1;
    snprintf(path, sizeof path, "%s/tok.gguf", dir);
    moa_gguf_out *o = moa_gguf_out_new();
    int rc = moa_data_texts(r, 500, add, &c, &err);
    if (rc == 0) rc = moa_bpe_train_run(o, &cfg, (const char *const *)c.text, c.len, c.n, &err);
    if (rc == 0) rc = moa_gguf_write(o, path, &err);
    if (rc == 0) rc = moa_gguf_open(&meta, path, &err);
    if (rc == 0) rc = moa_tokenizer_open(&tok, meta, &err);
    if (rc == 0) rc = moa_chat_template_parse(&chat, moa_recipe_chat_template, strlen(moa_recipe_chat_template), &err);
    if (rc < 0) fprintf(stderr, "%s\n", err.text);
    moa_gguf_out_free(o);
    for (int64_t i = 0; i < c.n; i++) free(c.text[i]);
    moa_recipe_free(r);
    unlink(path);
    return rc;
}

static int teardown(void **state) {
    (void)state;
    moa_chat_template_free(chat);
    moa_tokenizer_close(tok);
    moa_gguf_close(meta);
    rmdir(dir);
    return 0;
}

static char *text_of(const int32_t *id, int64_t n) {
    char *s;
    size_t len;
    assert_int_equal(moa_detokenize(&s, &len, tok, id, n, true, NULL), 0);
    return s;
}

/* Text of the tokens of d whose mark is `learn`. */
static char *part(const moa_doc *d, int learn) {
    int32_t *id = malloc((size_t)d->n * sizeof *id);
    int64_t m = 0;
    for (int64_t i = 0; i < d->n; i++)
        if (d->learn[i] == learn) id[m++] = d->id[i];
    char *s = text_of(id, m);
    free(id);
    return s;
}

static void test_mask(void **state) {
    (void)state;
    const moa_message msg[] = {{"system", "Be brief."}, {"user", "How are you?"}, {"assistant", "Well. And you?"},
                               {"user", "Fine."},       {"assistant", "Good."}};
    moa_render r;
    moa_doc d = {0};
    moa_err err = {0};
    assert_int_equal(moa_render_init(&r, tok, chat, &err), 0);
    if (moa_render_conversation(&d, &r, msg, 5, &err) < 0) fail_msg("%s", err.text);
    char *learned = part(&d, 1), *given = part(&d, 0);
    assert_string_equal(learned, "Well. And you?<|im_end|>Good.<|im_end|>");
    assert_string_equal(given, "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHow are you?<|im_end|>\n<|im_start|>assistant\n"
                               "\n<|im_start|>user\nFine.<|im_end|>\n<|im_start|>assistant\n\n");
    free(learned);
    free(given);
    moa_doc_deinit(&d);
    moa_render_deinit(&r);
}

static moa_data *open_stage(moa_recipe *r, int stage) {
    moa_data *d;
    moa_err err = {0};
    if (moa_data_open(&d, r, stage, tok, chat, dir, &err) < 0) fail_msg("%s", err.text);
    return d;
}

/* Document `number` as a text of what is learned; the batch must hold the same. */
static void check_rows(const moa_train_batch *b, const moa_recipe_stage *s, moa_data *d, uint64_t n_doc) {
    int64_t part_len = b->n / s->accumulate, learned = 0, docs = 0, used = 0;
    for (int64_t i = 0; i < b->n; i++) {
        int64_t start = i / part_len * part_len + b->doc_start[i];
        assert_true(start <= i && start / s->seq_len == i / s->seq_len); /* within its row */
        assert_int_equal(b->pos[i], b->weight[i] > 0 || b->pos[i] ? i - start : 0);
        learned += b->weight[i] > 0;
        if (i + 1 < b->n && b->pos[i + 1] == b->pos[i] + 1) assert_int_equal(b->target[i], b->id[i + 1]);
    }
    assert_int_equal(learned, b->n_learned);
    moa_doc doc = {0};
    for (uint64_t k = 0; k < n_doc; k++) { /* each document stands whole in one row, or waits */
        bool waits = false;
        for (uint64_t j = 0; j < b->after.n_waiting; j++) waits |= b->after.waiting[j] == k;
        if (waits) continue;
        assert_int_equal(moa_data_doc(&doc, d, k, NULL), 0);
        docs++;
        used += doc.n - 1;
        bool found = false;
        for (int64_t i = 0; i + doc.n - 1 <= b->n && !found; i++) {
            if (b->pos[i] != 0 || memcmp(b->id + i, doc.id, (size_t)(doc.n - 1) * 4) != 0) continue;
            found = b->target[i + doc.n - 2] == doc.id[doc.n - 1] && b->pos[i + doc.n - 2] == doc.n - 2;
            for (int64_t j = 0; j + 1 < doc.n && found; j++) found = (b->weight[i + j] > 0) == doc.learn[j + 1];
        }
        if (!found) fail_msg("document %llu is not in the batch", (unsigned long long)k);
    }
    assert_int_equal(docs, b->n_doc);
    assert_int_equal(used, b->n_used);
    moa_doc_deinit(&doc);
}

static void test_packing(void **state) {
    (void)state;
    moa_recipe *r = recipe();
    moa_data *d = open_stage(r, 0);
    moa_train_batch b;
    moa_doc doc = {0};
    moa_err err = {0};
    assert_int_equal(moa_batch_init(&b, &r->stages[0], &err), 0);
    moa_pack_state st = {0};
    if (moa_batch_fill(&b, &doc, d, &r->stages[0], &st, &err) < 0) fail_msg("%s", err.text);
    check_rows(&b, &r->stages[0], d, b.after.next);
    assert_true((double)b.n_used > 0.9 * (double)b.n);
    assert_true(b.n_learned > 0 && b.n_learned < b.n_used);
    moa_batch_deinit(&b);
    moa_doc_deinit(&doc);
    moa_data_close(d);
    moa_recipe_free(r);
}

static void test_counters(void **state) {
    (void)state;
    moa_recipe *r = recipe();
    const moa_recipe_stage *s = &r->stages[0];
    moa_data *d = open_stage(r, 0), *d2 = open_stage(r, 0);
    moa_err err = {0};
    moa_doc doc = {0};
    moa_train_batch b;
    moa_feed *f, *f2 = NULL;
    int64_t docs = 0;
    assert_int_equal(moa_batch_init(&b, s, &err), 0);
    moa_pack_state st = {0};
    assert_int_equal(moa_feed_start(&f, d2, s, &st, 6, &err), 0);
    for (int i = 0; i < 6; i++) { /* alone, through the thread, and through a thread that starts in the middle */
        const moa_train_batch *t;
        assert_int_equal(moa_batch_fill(&b, &doc, d, s, &st, &err), 0);
        if (i == 3) {
            moa_feed_stop(f);
            assert_int_equal(moa_feed_start(&f2, d2, s, &st, 3, &err), 0);
        }
        assert_int_equal(moa_feed_take(&t, i < 3 ? f : f2, &err), 0);
        assert_memory_equal(t->id, b.id, (size_t)b.n * 4);
        assert_memory_equal(t->target, b.target, (size_t)b.n * 4);
        assert_memory_equal(t->weight, b.weight, (size_t)b.n * 4);
        assert_memory_equal(&t->after, &b.after, sizeof b.after);
        st = b.after;
        docs += b.n_doc;
        assert_int_equal(docs + (int64_t)st.n_waiting, (int64_t)st.next); /* none lost, none twice */
    }
    moa_feed_stop(f2);
    moa_batch_deinit(&b);
    moa_doc_deinit(&doc);
    moa_data_close(d);
    moa_data_close(d2);
    moa_recipe_free(r);
}

/* One stage of arithmetic; more: further keys of its source, each with a comma before it. */
static moa_recipe *recipe_of(int seq_len, const char *more) {
    char text[512];
    moa_err err = {0};
    moa_recipe *r;
    int n = snprintf(text, sizeof text, "name: t\nstages: [{name: a, steps: 4, batch_tokens: 4096, seq_len: %d, data: [{family: arithmetic, levels: [1]%s}]}]\n",
                     seq_len, more);
    if (moa_recipe_parse(&r, text, (size_t)n, "t.yaml", &err) < 0) fail_msg("%s", err.text);
    return r;
}

static int count(const char *s, const char *what) {
    int n = 0;
    for (; (s = strstr(s, what)); s += strlen(what)) n++;
    return n;
}

/* Turns of a document: each question is given, each answer is learned up to its end. */
static int turns_of(const moa_doc *d) {
    char *given = part(d, 0), *learned = part(d, 1);
    const int n = count(given, "<|im_start|>user\n");
    assert_int_equal(count(given, "<|im_start|>assistant\n"), n);
    assert_int_equal(count(learned, "Answer: "), n);
    assert_int_equal(count(learned, "<|im_end|>"), n);
    free(given);
    free(learned);
    return n;
}

enum { N_DOC = 240 };
static void histogram(int n[MOA_TURNS_MAX + 1], int seq_len, const char *more) {
    moa_recipe *r = recipe_of(seq_len, more);
    moa_data *d = open_stage(r, 0);
    moa_doc doc = {0};
    memset(n, 0, (MOA_TURNS_MAX + 1) * sizeof *n);
    for (uint64_t i = 0; i < N_DOC; i++) {
        assert_int_equal(moa_data_doc(&doc, d, i, NULL), 0);
        assert_true(doc.n <= seq_len + 1);
        const int turns = turns_of(&doc);
        assert_true(turns >= 1 && turns <= MOA_TURNS_MAX);
        n[turns]++;
    }
    assert_int_equal(moa_data_dropped(d), 0); /* cut between turns, not thrown away and drawn again */
    moa_doc_deinit(&doc);
    moa_data_close(d);
    moa_recipe_free(r);
}

/* A document holds 1 to `turns` items, each number as often as the others; as many as fit where that is fewer. */
static void test_turns(void **state) {
    (void)state;
    int one[MOA_TURNS_MAX + 1], six[MOA_TURNS_MAX + 1], tight[MOA_TURNS_MAX + 1];
    histogram(one, 1024, "");
    assert_int_equal(one[1], N_DOC);
    histogram(six, 1024, ", turns: 6");
    for (int i = 1; i <= 6; i++) assert_true(six[i] > N_DOC / 6 / 2 && six[i] < N_DOC / 6 * 2);
    histogram(tight, 100, ", turns: 6");
    assert_true(tight[2] > 0);               /* two short ones fit */
    assert_true(tight[1] > six[1]);          /* what was drawn longer is cut at the end of a turn */
    assert_int_equal(tight[6], 0);
    assert_int_equal(six[1] + six[2] + six[3] + six[4] + six[5] + six[6], N_DOC);
}

typedef struct turn { const char *question, *answer; } turn;

/* The turns of a document, out of its text (which is cut up). */
static int split_turns(turn *t, char *text) {
    int n = 0;
    for (char *s = text; (s = strstr(s, "<|im_start|>user\n")); n++) {
        char *q = s + 17, *q_end = strstr(q, "<|im_end|>"), *a = strstr(q, "<|im_start|>assistant\n");
        assert_true(n < MOA_TURNS_MAX && a && q_end && q_end < a);
        a += 22;
        char *a_end = strstr(a, "<|im_end|>");
        assert_non_null(a_end);
        *q_end = *a_end = 0;
        t[n] = (turn){q, a};
        s = a_end + 1;
    }
    return n;
}

/* One turn in three after the first asks once more what any of those before it asked, and the reply is the same, byte for byte. Of some 600
 * such turns a third is 200 with a deviation of 12; by chance questions of level 1 hardly meet (it has thousands). */
static void test_repeats(void **state) {
    (void)state;
    moa_recipe *r = recipe_of(1024, ", turns: 6");
    moa_data *d = open_stage(r, 0);
    moa_doc doc = {0};
    int later = 0, again = 0, from_first = 0, back[MOA_TURNS_MAX] = {0};
    for (uint64_t i = 0; i < N_DOC; i++) {
        turn t[MOA_TURNS_MAX];
        assert_int_equal(moa_data_doc(&doc, d, i, NULL), 0);
        char *text = text_of(doc.id, doc.n);
        const int n = split_turns(t, text);
        for (int k = 1; k < n; k++, later++) {
            int j = k;
            while (j > 0 && strcmp(t[j - 1].question, t[k].question) != 0) j--;
            if (j == 0) continue;
            assert_string_equal(t[j - 1].answer, t[k].answer);
            again++;
            from_first += j == 1 && k > 1;
            back[k - j + 1]++;
        }
        free(text);
    }
    assert_in_range(later, 450, 750);
    if (again * 3 < later - 3 * 60 || again * 3 > later + 3 * 60) fail_msg("%d of %d later turns are repeats", again, later);
    assert_true(back[1] > 0 && back[2] > 0 && back[3] > 0 && from_first > 0); /* of the turn before, and from far back */
    moa_doc_deinit(&doc);
    moa_data_close(d);
    moa_recipe_free(r);
}

/* The same documents, once with the replies learned, once all of them: then no token is left out, whoever says it, in the document and
 * in the batch; and nothing else is another. */
static void test_learn_all(void **state) {
    (void)state;
    moa_recipe *some = recipe_of(512, ", turns: 3"), *all = recipe_of(512, ", turns: 3, learn: all");
    moa_data *d = open_stage(some, 0), *e = open_stage(all, 0);
    moa_doc a = {0}, b = {0};
    moa_err err = {0};
    for (uint64_t i = 0; i < 60; i++) {
        assert_int_equal(moa_data_doc(&a, d, i, &err), 0);
        assert_int_equal(moa_data_doc(&b, e, i, &err), 0);
        char *given = part(&a, 0), *whole = text_of(b.id, b.n), *learned = part(&b, 1);
        assert_non_null(strstr(given, "<|im_start|>user\n"));
        assert_string_equal(learned, whole);
        assert_memory_equal(whole, "<|im_start|>user\n", 17);
        assert_true(b.n >= a.n && b.n <= a.n + 1); /* the line end after the last turn is nobody's reply */
        assert_memory_equal(b.id, a.id, (size_t)a.n * sizeof *a.id);
        free(given);
        free(whole);
        free(learned);
    }
    moa_train_batch batch;
    const moa_pack_state st = {0};
    assert_int_equal(moa_batch_init(&batch, &all->stages[0], &err), 0);
    assert_int_equal(moa_batch_fill(&batch, &b, e, &all->stages[0], &st, &err), 0);
    check_rows(&batch, &all->stages[0], e, batch.after.next);
    assert_int_equal(batch.n_learned, batch.n_used);
    moa_batch_deinit(&batch);
    moa_doc_deinit(&a);
    moa_doc_deinit(&b);
    moa_data_close(d);
    moa_data_close(e);
    moa_recipe_free(some);
    moa_recipe_free(all);
}

/* By number alone: another handle, in another order, gives the same. */
static void test_turns_by_number(void **state) {
    (void)state;
    moa_recipe *r = recipe_of(512, ", turns: 4");
    moa_data *d = open_stage(r, 0), *e = open_stage(r, 0);
    moa_doc a = {0}, b = {0};
    bool differ = false;
    for (uint64_t i = 0; i < 40; i++) {
        assert_int_equal(moa_data_doc(&a, d, i, NULL), 0);
        for (uint64_t j = 39; j > i; j -= 13) { /* something else in between */
            assert_int_equal(moa_data_doc(&b, e, j, NULL), 0);
            differ |= a.n != b.n || memcmp(a.id, b.id, (size_t)a.n * sizeof *a.id) != 0;
            if (j < 13) break;
        }
        assert_int_equal(moa_data_doc(&b, e, i, NULL), 0);
        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.id, b.id, (size_t)a.n * sizeof *a.id);
        assert_memory_equal(a.learn, b.learn, (size_t)a.n);
    }
    assert_true(differ);
    moa_doc_deinit(&a);
    moa_doc_deinit(&b);
    moa_data_close(d);
    moa_data_close(e);
    moa_recipe_free(r);
}

/* The split: an item that is made for training must not be one of the held-out. */
static void test_train_split(void **state) {
    (void)state;
    moa_recipe *r = recipe();
    moa_item it;
    moa_item_init(&it);
    for (uint64_t i = 0; i < 200; i++) {
        moa_err err = {0};
        if (moa_data_item(&it, r, 1, i, &err) < 0) fail_msg("%s", err.text);
        assert_true(it.id % 8 != 0); /* what hashes to 0 is held out */
    }
    moa_item_deinit(&it);
    moa_recipe_free(r);
}

static void write_samples(const char *path, const char *tail) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    moa_item it;
    moa_buf b;
    moa_item_init(&it);
    moa_buf_init(&b, 1 << 20);
    static const char *const cand[] = {"One.\nAnswer: 1", "Two \"2\".\nAnswer: 2", "It is two.\nAnswer: 2", "Nothing"};
    static const bool right[] = {false, true, true, false}, none[] = {false, false, false, false};
    int n;
    it.family = moa_families(&n)[0];
    it.level = 1;
    for (int i = 0; i < 2; i++) {
        moa_buf_clear(&it.question);
        moa_buf_adds(&it.question, i ? "Unsolved?" : "What is 1 + 1?");
        moa_buf_clear(&it.solution);
        moa_buf_adds(&it.solution, "1 + 1 = 2\nAnswer: 2");
        assert_int_equal(moa_samples_line(&b, &it, (uint64_t)i, cand, i ? none : right, 4), 0);
    }
    fprintf(f, "%s%s", moa_buf_str(&b), tail);
    fclose(f);
    moa_buf_deinit(&b);
    moa_item_deinit(&it);
}

/* The learned part of document 0 of the aggregate stage. */
static char *learned_with(moa_recipe *r, moa_agg_target target) {
    moa_doc doc = {0};
    r->stages[2].data[0].target = target;
    moa_data *d = open_stage(r, 2);
    assert_int_equal(moa_data_doc(&doc, d, 0, NULL), 0);
    char *learned = part(&doc, 1);
    moa_data_close(d);
    moa_doc_deinit(&doc);
    return learned;
}

static void test_aggregate(void **state) {
    (void)state;
    char path[128];
    moa_recipe *r = recipe();
    snprintf(path, sizeof path, "%s/samples-s.jsonl", dir);
    write_samples(path, "");
    moa_data *d = open_stage(r, 2);
    moa_doc doc = {0};
    for (uint64_t i = 0; i < 200; i++) { /* the first correct one of those shown; a draw without one is left out */
        assert_int_equal(moa_data_doc(&doc, d, i, NULL), 0);
        char *learned = part(&doc, 1), *given = part(&doc, 0);
        const char *a = strstr(given, "Two \"2\"."), *b = strstr(given, "It is two.");
        assert_non_null(strstr(given, "What is 1 + 1?")); /* mixed: 1 takes only items with right and wrong ones */
        assert_true(a || b);
        assert_string_equal(learned, a && (!b || a < b) ? "Two \"2\".\nAnswer: 2<|im_end|>" : "It is two.\nAnswer: 2<|im_end|>");
        free(learned);
        free(given);
    }
    moa_data_close(d);
    moa_doc_deinit(&doc);
    char *answer = learned_with(r, MOA_AGG_ANSWER), *list = learned_with(r, MOA_AGG_LIST), *solution = learned_with(r, MOA_AGG_SOLUTION);
    assert_string_equal(answer, "Answer: 2<|im_end|>");
    assert_string_equal(solution, "1 + 1 = 2\nAnswer: 2<|im_end|>");
    const char *end = strchr(list, '\n'); /* the answers of those shown, then a correct one */
    assert_non_null(end);
    assert_true(!strncmp(list, "Replies say: ", 13) && memchr(list, '2', (size_t)(end - list)));
    assert_string_equal(end + 1, "Answer: 2<|im_end|>");
    free(answer);
    free(list);
    free(solution);
    moa_recipe_free(r);
    unlink(path);
}

/* Nothing to copy from: the worked solution. */
static void test_aggregate_unsolved(void **state) {
    (void)state;
    char path[128], *text, *second;
    moa_recipe *r = recipe();
    snprintf(path, sizeof path, "%s/samples-s.jsonl", dir);
    write_samples(path, "");
    assert_int_equal(moa_read_file(&text, NULL, path, 1 << 16, NULL), 0);
    second = strchr(text, '\n') + 1;
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(second, f);
    fclose(f);
    char *learned = learned_with(r, MOA_AGG_COPY);
    assert_string_equal(learned, "1 + 1 = 2\nAnswer: 2<|im_end|>");
    free(learned);
    free(text);
    moa_recipe_free(r);
    unlink(path);
}

static void test_bad_samples(void **state) {
    (void)state;
    static const struct { const char *tail, *want; } bad[] = {
        {"{\"question\":\n", ":3"}, {"[]\n", ":3"}, {"{\"question\":\"q\",\"solution\":\"s\",\"candidates\":[\"a\"],\"correct\":[]}\n", ":3"},
        {"{\"question\":\"q\",\"solution\":\"s\",\"candidates\":[1],\"correct\":[true]}\n", ":3"},
    };
    char path[128];
    snprintf(path, sizeof path, "%s/samples-s.jsonl", dir);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        moa_samples *s;
        moa_err err = {0};
        write_samples(path, bad[i].tail);
        assert_true(moa_samples_load(&s, path, &err) < 0);
        if (!strstr(err.text, bad[i].want)) fail_msg("case %zu: %s", i, err.text);
    }
    unlink(path);
}

/* Appends to a moa_buf. */
static int collect(void *ctx, const char *text, size_t n) { return moa_buf_add(ctx, text, n); }

static void test_files(void **state) {
    (void)state;
    char txt[128], jl[128], text[1024];
    snprintf(txt, sizeof txt, "%s/a.txt", dir);
    snprintf(jl, sizeof jl, "%s/b.jsonl", dir);
    FILE *f = fopen(txt, "w");
    for (int i = 0; i < 500; i++) fprintf(f, "Line number %d of a plain text. ", i);
    fclose(f);
    f = fopen(jl, "w");
    fprintf(f, "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"assistant\",\"content\":\"Hello there.\"}]}\n");
    fclose(f);
    snprintf(text, sizeof text, "name: t\nstages:\n - {name: a, steps: 1, seq_len: 64, batch_tokens: 512, data: [{file: %s}]}\n"
                                " - {name: b, steps: 1, seq_len: 64, batch_tokens: 512, data: [{file: %s}]}\n", txt, jl);
    moa_recipe *r;
    moa_err err = {0};
    if (moa_recipe_parse(&r, text, strlen(text), "t.yaml", &err) < 0) fail_msg("%s", err.text);
    moa_doc doc = {0};
    moa_data *d = open_stage(r, 0);
    assert_int_equal(moa_data_doc(&doc, d, 5, NULL), 0);
    assert_int_equal(doc.n, 65); /* 64 inputs */
    for (int64_t i = 0; i < doc.n; i++) assert_int_equal(doc.learn[i], 1);
    moa_data_close(d);
    d = open_stage(r, 1);
    assert_int_equal(moa_data_doc(&doc, d, 5, NULL), 0);
    char *learned = part(&doc, 1);
    assert_string_equal(learned, "Hello there.<|im_end|>");
    free(learned);
    moa_data_close(d);
    r->stages[1].data[0].learn = MOA_LEARN_ALL;
    d = open_stage(r, 1);
    assert_int_equal(moa_data_doc(&doc, d, 5, NULL), 0);
    learned = part(&doc, 1);
    assert_string_equal(learned, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello there.<|im_end|>\n");
    free(learned);
    moa_data_close(d);
    moa_buf all; /* what a tokenizer would be trained on: the texts as they are read, and no JSON */
    moa_buf_init(&all, 1 << 20);
    if (moa_data_texts(r, 10, collect, &all, &err) < 0) fail_msg("%s", err.text);
    assert_non_null(strstr(moa_buf_str(&all), "Line number 499 of a plain text. "));
    assert_non_null(strstr(moa_buf_str(&all), "user\nHi\nassistant\nHello there.\n"));
    assert_null(strchr(moa_buf_str(&all), '{'));
    moa_buf_deinit(&all);
    moa_doc_deinit(&doc);
    f = fopen(jl, "a");
    fprintf(f, "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}\n");
    fclose(f);
    assert_true(moa_data_open(&d, r, 1, tok, chat, dir, &err) < 0);
    assert_non_null(strstr(err.text, "t.yaml:4: "));
    assert_non_null(strstr(err.text, "b.jsonl:2: "));
    moa_recipe_free(r);
    unlink(txt);
    unlink(jl);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mask),      cmocka_unit_test(test_packing),     cmocka_unit_test(test_counters), cmocka_unit_test(test_train_split),
        cmocka_unit_test(test_aggregate), cmocka_unit_test(test_aggregate_unsolved), cmocka_unit_test(test_bad_samples), cmocka_unit_test(test_files),
        cmocka_unit_test(test_turns),     cmocka_unit_test(test_turns_by_number), cmocka_unit_test(test_repeats), cmocka_unit_test(test_learn_all),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
