/* test_embed.c - embeddings against an independent definition (reference/embed_ref.py, float64 in numpy): encoders and decoders, every
 * pooling; a text's vector is the same to the bit alone and in any company, on every instruction set, out of a folder and of the file
 * written from it; what does not fit is refused with its numbers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "format/hf.h"
#include "model/embed.h"
#include "model/reference.h"

enum { MAX_TEXT = 16 };
static const double tolerance = 1e-5; /* of numbers of a vector of length 1; measured: 3e-7 */

typedef struct set { moa_model *m; moa_ids text[MAX_TEXT]; int n; } set;

/* Texts of a case: ids with -1 behind each. */
static set open_set(const ref_case *c) {
    set s = {0};
    moa_err err = {0};
    char path[PATH_MAX];
    ref_path(path, sizeof path, c->name, ".gguf");
    OK(moa_model_open(&s.m, path, &err));
    for (int i = 0; i < c->n; i++) {
        if (c->ids[i] < 0) s.n++;
        else assert_int_equal(moa_ids_add(&s.text[s.n], c->ids[i]), 0);
    }
    assert_int_equal(s.n, c->rows);
    assert_int_equal(s.m->h.d_model, c->cols);
    return s;
}

static void close_set(set *s) {
    for (int i = 0; i < s->n; i++) moa_ids_deinit(&s->text[i]);
    moa_model_close(s->m);
}

static float *embed(const set *s, int first, int n, moa_embed_cfg cfg) {
    moa_embedder *e;
    moa_err err = {0};
    float *v = malloc((size_t)n * (size_t)s->m->h.d_model * sizeof *v);
    OK(moa_embedder_new(&e, s->m, &cfg, &err));
    OK(moa_embed_ids(e, v, s->text + first, n, &err));
    moa_embedder_free(e);
    return v;
}

static void test_reference(void **state) {
    (void)state;
    for (int i = 0; i < ref_n(); i++) {
        const ref_case *c = ref_at(i);
        set s = open_set(c);
        moa_embed_cfg cfg = moa_embed_defaults();
        cfg.exact = true;
        float *v = embed(&s, 0, s.n, cfg);
        const double d = max_difference(v, c->want, (size_t)c->rows * (size_t)c->cols);
        printf("   %-12s %d texts, %d numbers each, largest difference %.2e\n", c->name, c->rows, c->cols, d);
        if (!(d <= tolerance)) fail_msg("%s differs by %g, expected at most %g", c->name, d, tolerance);
        free(v);
        close_set(&s);
    }
}

static void test_alone(void **state) {
    (void)state;
    for (int i = 0; i < ref_n(); i++) {
        set s = open_set(ref_at(i));
        const size_t d = (size_t)s.m->h.d_model;
        moa_embed_cfg one = moa_embed_defaults(), many = one;
        one.n_threads = 1;
        many.n_threads = 3;
        many.n_batch = 48; /* texts are cut into steps, or stand beside others */
        float *all = embed(&s, 0, s.n, many);
        for (int t = 0; t < s.n; t++) {
            float *v = embed(&s, t, 1, one);
            if (memcmp(v, all + (size_t)t * d, d * sizeof *v) != 0) fail_msg("%s: text %d differs when it is alone", ref_at(i)->name, t);
            free(v);
        }
        free(all);
        close_set(&s);
    }
}

/* Plain C and every instruction set of this machine, in reference mode and with int8 activations. */
static void test_isas(void **state) {
    (void)state;
    for (int i = 0; i < ref_n(); i++) {
        set s = open_set(ref_at(i));
        for (int exact = 0; exact < 2; exact++) {
            moa_embed_cfg cfg = moa_embed_defaults();
            cfg.exact = exact, cfg.isa = MOA_ISA_REF;
            float *want = embed(&s, 0, s.n, cfg);
            for (int isa = MOA_ISA_REF + 1; isa <= (int)moa_isa_best(); isa++) {
                cfg.isa = (moa_isa)isa;
                float *got = embed(&s, 0, s.n, cfg);
                if (memcmp(got, want, (size_t)s.n * (size_t)s.m->h.d_model * sizeof *got)) fail_msg("%s differs between %s and ref", ref_at(i)->name, moa_isa_name(cfg.isa));
                free(got);
            }
            free(want);
        }
        close_set(&s);
    }
}

static void test_pooling(void **state) {
    (void)state;
    set s = open_set(ref_find("bert-mean"));
    moa_embed_cfg cfg = moa_embed_defaults();
    float *v[4];
    moa_embedder *e;
    moa_err err = {0};
    for (int p = MOA_POOL_DEFAULT; p <= MOA_POOL_LAST; p++) {
        cfg.pooling = (moa_pooling)p;
        v[p] = embed(&s, 0, s.n, cfg);
    }
    const size_t d = (size_t)s.m->h.d_model, bytes = (size_t)s.n * d * sizeof(float);
    assert_memory_equal(v[MOA_POOL_DEFAULT], v[MOA_POOL_MEAN], bytes); /* the file says mean */
    assert_true(max_difference(v[MOA_POOL_MEAN], v[MOA_POOL_CLS], d) > 0.01);
    assert_true(max_difference(v[MOA_POOL_CLS], v[MOA_POOL_LAST], d) > 0.01);
    for (int p = 0; p <= MOA_POOL_LAST; p++) {
        for (int t = 0; t < s.n; t++) {
            double square = 0;
            for (size_t c = 0; c < d; c++) square += (double)v[p][(size_t)t * d + c] * (double)v[p][(size_t)t * d + c];
            assert_true(fabs(square - 1) < 1e-6);
        }
        free(v[p]);
    }
    assert_int_equal(moa_embedder_open(&e, s.m, "median", 1, &err), MOA_EUSAGE);
    assert_non_null(strstr(err.text, "median"));
    close_set(&s);
}

/* int8 activations: near to the reference in direction. f32 weights of these models are not quantised. */
static void test_fast(void **state) {
    (void)state;
    for (int i = 0; i < ref_n(); i++) {
        const ref_case *c = ref_at(i);
        set s = open_set(c);
        float *v = embed(&s, 0, s.n, moa_embed_defaults());
        for (int t = 0; t < s.n; t++) {
            double cosine = 0;
            for (int k = 0; k < c->cols; k++) cosine += (double)v[t * c->cols + k] * (double)c->want[t * c->cols + k];
            if (!(cosine > 0.999)) fail_msg("%s: text %d has a cosine of %.5f to the reference", c->name, t, cosine);
        }
        free(v);
        close_set(&s);
    }
}

static void test_refused(void **state) {
    (void)state;
    moa_err err = {0};
    for (int i = 0; i < ref_n(); i++) {
        set s = open_set(ref_at(i));
        moa_embedder *e;
        float v[72];
        OK(moa_embedder_open(&e, s.m, NULL, 1, &err));
        assert_int_equal(moa_embedder_max_len(e), 64);
        moa_ids text[2] = {{0}, {0}};
        assert_int_equal(moa_ids_add(&text[0], 5), 0);
        assert_int_equal(moa_embed_ids(e, v, text, 2, &err), MOA_EINVAL); /* the second is empty */
        for (int k = 0; k < 65; k++) assert_int_equal(moa_ids_add(&text[1], 5), 0);
        assert_int_equal(moa_embed_ids(e, v, text, 2, &err), MOA_ELIMIT);
        if (!strstr(err.text, "text 2") || !strstr(err.text, "65") || !strstr(err.text, "64")) fail_msg("the message lacks a number: %s", err.text);
        text[0].v[0] = s.m->h.n_vocab;
        assert_int_equal(moa_embed_ids(e, v, text, 1, &err), MOA_EINVAL);
        text[0].v[0] = 5;
        OK(moa_embed_ids(e, v, text, 1, &err)); /* and it still works */
        moa_ids_deinit(&text[0]);
        moa_ids_deinit(&text[1]);
        moa_embedder_free(e);
        close_set(&s);
    }
}

/* ---- encoders as folders ---- */

static moa_model *open_model(const char *name, const char *ending) {
    moa_model *m;
    moa_err err = {0};
    char path[PATH_MAX];
    ref_path(path, sizeof path, name, ending);
    OK(moa_model_open(&m, path, &err));
    return m;
}

static void convert(const char *name) {
    char from[PATH_MAX], to[PATH_MAX];
    moa_err err = {0};
    const moa_hf_convert how = {0};
    ref_path(from, sizeof from, name, "");
    ref_path(to, sizeof to, name, ".out.gguf");
    OK(moa_hf_write(from, to, &how, &err));
}

/* Vectors of the case's ids: from the folder's own pooling, reference mode or not. */
static float *vectors(moa_model *m, const set *s, bool exact, moa_pooling expected) {
    set here = {.m = m, .n = s->n};
    memcpy(here.text, s->text, sizeof here.text);
    moa_embed_cfg cfg = moa_embed_defaults();
    cfg.exact = exact;
    moa_embedder *e;
    moa_err err = {0};
    OK(moa_embedder_new(&e, m, &cfg, &err));
    assert_int_equal(moa_embedder_pooling(e), expected);
    moa_embedder_free(e);
    return embed(&here, 0, s->n, cfg);
}

static void check_folder(const ref_case *c, moa_pooling pooling) {
    set s = open_set(c);
    const size_t n = (size_t)c->rows * (size_t)c->cols;
    convert(c->name);
    moa_model *folder = open_model(c->name, ""), *file = open_model(c->name, ".out.gguf");
    for (int exact = 0; exact < 2; exact++) {
        float *want = vectors(s.m, &s, exact, pooling), *a = vectors(folder, &s, exact, pooling), *b = vectors(file, &s, exact, pooling);
        if (memcmp(a, want, n * sizeof *a) != 0) fail_msg("%s: the folder gives other bits than the file of the reference", c->name);
        if (memcmp(b, want, n * sizeof *b) != 0) fail_msg("%s: the file written from the folder gives other bits", c->name);
        const double d = max_difference(a, c->want, n);
        if (exact && !(d <= tolerance)) fail_msg("%s differs by %g, expected at most %g", c->name, d, tolerance);
        free(want), free(a), free(b);
    }
    moa_model_close(folder);
    moa_model_close(file);
    close_set(&s);
}

/* [CLS] and [SEP] around it, words of the folder's vocabulary: 57 the, 58 cat, 59 sat, 60 ##ting, 61 the full stop, 64 cafe (or The, Cat, café). */
static void check_text(const char *name, const char *text, const int32_t *want, int64_t n) {
    static const char *const ENDINGS[] = {"", ".out.gguf"};
    float v[2][128];
    for (int i = 0; i < 2; i++) {
        moa_model *m = open_model(name, ENDINGS[i]);
        moa_embedder *e;
        moa_ids ids = {0};
        moa_err err = {0};
        OK(moa_embedder_open(&e, m, NULL, 1, &err));
        OK(moa_embed_tokenize(&ids, e, text, strlen(text), &err));
        assert_int_equal(ids.n, n);
        assert_memory_equal(ids.v, want, (size_t)n * sizeof *want);
        OK(moa_embedder_run(e, v[i], &text, NULL, 1, &err));
        moa_ids_deinit(&ids);
        moa_embedder_free(e);
        moa_model_close(m);
    }
    assert_memory_equal(v[0], v[1], 72 * sizeof(float));
}

static void test_folders(void **state) {
    (void)state;
    static const struct { const char *name; moa_pooling pooling; } CASES[] = {
        {"bert-mean", MOA_POOL_MEAN}, {"bert-cls", MOA_POOL_CLS}, {"nomic-bert", MOA_POOL_MEAN}, {"nomic-last", MOA_POOL_LAST}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        const ref_case *c = ref_find(CASES[i].name);
        assert_non_null(c);
        check_folder(c, CASES[i].pooling);
    }
    check_text("bert-mean", "The cat sat. Caf\xc3\xa9 sitting", (const int32_t[]){2, 57, 58, 59, 61, 64, 23, 39, 50, 60, 3}, 11);
    check_text("bert-cls", "The cat sat. Caf\xc3\xa9 caf\xc3\xa9", (const int32_t[]){2, 57, 7, 31, 50, 59, 61, 1, 64, 3}, 10); /* cased: no C */
}

static void put(const char *name, const char *file, const char *text) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s/%s", ref_all.dir, name, file);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    fclose(f);
}

static void pooling_refused(int code, const char *says) {
    char path[PATH_MAX];
    moa_gguf *g = NULL;
    moa_err err = {0};
    ref_path(path, sizeof path, "nomic-last", "");
    const int rc = moa_hf_open(&g, path, 0, &err);
    if (rc != code || (code && !strstr(err.text, says))) fail_msg("%d '%s', expected %d '%s'", rc, err.text, code, says);
    moa_gguf_close(g);
}

/* The same folder with vocab.txt alone. */
static void test_word_list(void **state) {
    (void)state;
    static const struct { const char *config, *text; int32_t ids[8]; int n; } CASES[] = {
        {"{}", "The CAT sat", {2, 57, 58, 59, 3}, 5},
        {"{\"do_lower_case\":false}", "the cat T", {2, 57, 58, 1, 3}, 5},
        {"{\"do_lower_case\":true,\"strip_accents\":false,\"cls_token\":\"[CLS]\"}", "the \xc3\x89", {2, 57, 1, 3}, 4},
    };
    moa_buf b;
    moa_err err = {0};
    moa_buf_init(&b, 1 << 16);
    moa_buf_adds(&b, "[PAD]\r\n[UNK]\r\n[CLS]\n[SEP]\n[MASK]\n");
    for (int i = 0; i < 52; i++) moa_buf_addf(&b, "%s%c\n", i < 26 ? "" : "##", 'a' + i % 26);
    moa_buf_adds(&b, "the\ncat\nsat\n\nend");
    put("bert-mean", "vocab.txt", moa_buf_str(&b));
    moa_buf_deinit(&b);
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/bert-mean/tokenizer.json", ref_all.dir);
    unlink(path);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        put("bert-mean", "tokenizer_config.json", CASES[i].config);
        convert("bert-mean");
        check_text("bert-mean", CASES[i].text, CASES[i].ids, CASES[i].n);
    }
    put("bert-mean", "tokenizer_config.json", "{\"do_lower_case\":false}");
    put("bert-mean", "sentence_bert_config.json", "{\"do_lower_case\":true}"); /* before a tokenizer that does not */
    convert("bert-mean");
    check_text("bert-mean", "The CAT \xc3\x89", (const int32_t[]){2, 57, 58, 1, 3}, 5);
    moa_model *m = open_model("bert-mean", "");
    assert_int_equal(moa_tokenizer_find(m->tok, "\xe2\x96\x81" "end"), 61); /* an empty line counts */
    moa_model_close(m);
    put("bert-mean", "vocab.txt", "[PAD]\n[UNK]\n\xff\n");
    ref_path(path, sizeof path, "bert-mean", "");
    moa_gguf *g = NULL;
    assert_int_equal(moa_hf_open(&g, path, 0, &err), MOA_EFORMAT);
    assert_non_null(strstr(err.text, "vocab.txt: line 3 is no text in UTF-8"));
}

/* What the vectors would go through and moa has no counterpart for is not dropped. The folder is not used any more after this. */
static void test_other_modules(void **state) {
    (void)state;
#define MODULES(type, path) "[{\"type\":\"sentence_transformers.models.Transformer\",\"path\":\"\"},{\"type\":\"sentence_transformers.models." type "\",\"path\":\"" path "\"}]"
    put("nomic-last", "modules.json", MODULES("Dense", "2_Dense"));
    pooling_refused(MOA_EUNSUPPORTED, "part 1 is 'sentence_transformers.models.Dense', only Transformer, Pooling and Normalize can be run");
    put("nomic-last", "modules.json", MODULES("Pooling", "../1_Pooling"));
    pooling_refused(MOA_EFORMAT, "expected a folder of the same folder");
    put("nomic-last", "modules.json", MODULES("Pooling", "9_Pooling"));
    pooling_refused(MOA_ENOTFOUND, "9_Pooling/config.json: modules.json names this file");
    put("nomic-last", "modules.json", "{}");
    pooling_refused(MOA_EFORMAT, "modules.json: expected a JSON array");
    put("nomic-last", "modules.json", "[{\"type\":7}]");
    pooling_refused(MOA_EFORMAT, "part 0 has no type or no path");
    put("nomic-last", "modules.json", MODULES("Pooling", "1_Pooling"));
    put("nomic-last", "1_Pooling/config.json", "{\"pooling_mode_max_tokens\":true}");
    pooling_refused(MOA_EUNSUPPORTED, "pooling_mode_max_tokens is set, only mean, cls and last can be run");
    put("nomic-last", "1_Pooling/config.json", "{\"pooling_mode_cls_token\":true,\"pooling_mode_mean_tokens\":true}");
    pooling_refused(MOA_EUNSUPPORTED, "both pooling_mode_mean_tokens and pooling_mode_cls_token are set");
    put("nomic-last", "1_Pooling/config.json", "{\"pooling_mode_mean_sqrt_len_tokens\":true}");
    pooling_refused(0, "");
}

/* A file that says so of its heads would make attention read beyond its rows. */
static void test_wrong_heads(void **state) {
    (void)state;
    moa_gguf *g;
    moa_model *m;
    moa_err err = {0};
    char path[PATH_MAX];
    ref_path(path, sizeof path, "bert-mean", ".gguf");
    OK(moa_gguf_open(&g, path, &err));
    moa_gguf_out *o = moa_gguf_out_new();
    for (int i = 0; i < moa_gguf_n_kv(g); i++) moa_gguf_put_kv(o, moa_gguf_kv_at(g, i));
    for (int i = 0; i < moa_gguf_n_tensor(g); i++) moa_gguf_put_tensor(o, moa_gguf_tensor_at(g, i)->name, moa_gguf_tensor_at(g, i));
    moa_gguf_put_u32(o, "bert.attention.head_count_kv", 2);
    ref_path(path, sizeof path, "wrong-heads", ".gguf");
    OK(moa_gguf_write(o, path, &err));
    moa_gguf_out_free(o);
    moa_gguf_close(g);
    assert_int_equal(moa_model_open(&m, path, &err), MOA_EUNSUPPORTED);
    if (!strstr(err.text, "head_count_kv = 2") || !strstr(err.text, "6")) fail_msg("the message lacks a number: %s", err.text);
}

/* An encoder makes no text, a training run has none. */
static void test_not_a_decoder(void **state) {
    (void)state;
    set s = open_set(ref_find("nomic-bert"));
    moa_session *session;
    moa_model *made;
    moa_err err = {0};
    const moa_hparams h = tiny_hparams();
    assert_int_equal(moa_session_new(&session, s.m, NULL, &err), MOA_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "nomic-bert"));
    assert_int_equal(moa_model_make(&made, "bert", &h, NULL, 1, &err), MOA_EUNSUPPORTED);
    close_set(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_reference, ref_or_skip), cmocka_unit_test_setup(test_alone, ref_or_skip), cmocka_unit_test_setup(test_isas, ref_or_skip),
        cmocka_unit_test_setup(test_pooling, ref_or_skip),   cmocka_unit_test_setup(test_fast, ref_or_skip),
        cmocka_unit_test_setup(test_refused, ref_or_skip),   cmocka_unit_test_setup(test_not_a_decoder, ref_or_skip),
        cmocka_unit_test_setup(test_wrong_heads, ref_or_skip), cmocka_unit_test_setup(test_folders, ref_or_skip),
        cmocka_unit_test_setup(test_word_list, ref_or_skip),   cmocka_unit_test_setup(test_other_modules, ref_or_skip),
    };
    ref_make("embed_ref.py");
    const int rc = cmocka_run_group_tests(tests, NULL, NULL);
    ref_remove();
    return rc;
}
