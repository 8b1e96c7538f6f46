/* recipe.c - the schema of a recipe, loading, hashing. The schema below is the whole list of keys.
 * SPDX-License-Identifier: Apache-2.0 */
#include "train/recipe.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- schema ---- */
enum { OPT = CYAML_FLAG_OPTIONAL, STR_MAX = 4096, TEXT_MAX = 1 << 16 };
#define STR(type, key) CYAML_FIELD_STRING_PTR(#key, OPT | CYAML_FLAG_POINTER, type, key, 0, STR_MAX)
#define INT(type, key) CYAML_FIELD_INT(#key, OPT, type, key)
#define NUM(type, key) CYAML_FIELD_FLOAT(#key, OPT, type, key)
#define BOOL(type, key) CYAML_FIELD_BOOL(#key, OPT, type, key)
#define SEQ(type, key, entry, max) CYAML_FIELD_SEQUENCE(#key, OPT | CYAML_FLAG_POINTER, type, key, entry, 0, max)

static const cyaml_schema_value_t v_string = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 1, STR_MAX)};
static const cyaml_schema_value_t v_int = {CYAML_VALUE_INT(CYAML_FLAG_DEFAULT, int)};
static const cyaml_schema_value_t v_num = {CYAML_VALUE_FLOAT(CYAML_FLAG_DEFAULT, double)};

static const cyaml_schema_field_t f_model[] = {
    STR(moa_recipe_model, arch),    INT(moa_recipe_model, n_layer),   INT(moa_recipe_model, d_model),
    INT(moa_recipe_model, n_head),  INT(moa_recipe_model, n_kv),      INT(moa_recipe_model, head_dim),
    INT(moa_recipe_model, d_ff),    INT(moa_recipe_model, n_ctx),     NUM(moa_recipe_model, rope_base),
    NUM(moa_recipe_model, norm_eps), BOOL(moa_recipe_model, tied),    CYAML_FIELD_END,
};
static const cyaml_schema_field_t f_init[] = {STR(moa_recipe_init, gguf), STR(moa_recipe_init, run), CYAML_FIELD_END};
static const cyaml_schema_field_t f_lora[] = {INT(moa_recipe_lora, rank), NUM(moa_recipe_lora, alpha), CYAML_FIELD_END};
static const cyaml_schema_field_t f_tok[] = {
    STR(moa_recipe_tokenizer, gguf), INT(moa_recipe_tokenizer, n_vocab), INT(moa_recipe_tokenizer, items),
    SEQ(moa_recipe_tokenizer, special, &v_string, 256), CYAML_FIELD_END,
};
static const cyaml_strval_t targets[] = {{"copy", MOA_AGG_COPY}, {"list", MOA_AGG_LIST}, {"answer", MOA_AGG_ANSWER}, {"solution", MOA_AGG_SOLUTION},
                                           {"rate", MOA_AGG_RATE}, {"choose", MOA_AGG_CHOOSE}, {"compare", MOA_AGG_COMPARE},
                                           {"consistent", MOA_AGG_CONSISTENT}, {"critique", MOA_AGG_CRITIQUE}, {"revise", MOA_AGG_REVISE}};
static const cyaml_strval_t learns[] = {{"reply", MOA_LEARN_REPLY}, {"all", MOA_LEARN_ALL}};
static const cyaml_schema_field_t f_data[] = {
    STR(moa_recipe_data, family),  STR(moa_recipe_data, file), STR(moa_recipe_data, aggregate), NUM(moa_recipe_data, weight),
    SEQ(moa_recipe_data, levels, &v_int, 64), INT(moa_recipe_data, turns), INT(moa_recipe_data, k_min), INT(moa_recipe_data, k_max),
    NUM(moa_recipe_data, mixed),
    CYAML_FIELD_ENUM("target", OPT | CYAML_FLAG_STRICT, moa_recipe_data, target, targets, sizeof targets / sizeof *targets),
    CYAML_FIELD_ENUM("learn", OPT | CYAML_FLAG_STRICT, moa_recipe_data, learn, learns, sizeof learns / sizeof *learns), CYAML_FIELD_END,
};
static const cyaml_schema_value_t v_data = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, moa_recipe_data, f_data)};
static const cyaml_strval_t losses[] = {{"likelihood", MOA_LOSS_LIKELIHOOD}, {"dpo", MOA_LOSS_DPO}};
static const cyaml_strval_t kinds[] = {{"train", MOA_STAGE_TRAIN}, {"sample", MOA_STAGE_SAMPLE}};
#define S moa_recipe_stage
static const cyaml_schema_field_t f_stage[] = {
    STR(S, name),
    CYAML_FIELD_ENUM("kind", OPT | CYAML_FLAG_STRICT, S, kind, kinds, 2),
    CYAML_FIELD_ENUM("loss", OPT | CYAML_FLAG_STRICT, S, loss, losses, 2), NUM(S, beta),
    CYAML_FIELD_STRING_PTR("tokens", OPT | CYAML_FLAG_POINTER, S, tokens_text, 0, 32), INT(S, steps),
    CYAML_FIELD_STRING_PTR("batch_tokens", OPT | CYAML_FLAG_POINTER, S, batch_text, 0, 32), INT(S, seq_len),
    INT(S, accumulate), NUM(S, lr), NUM(S, min_lr), NUM(S, warmup), STR(S, schedule), STR(S, optimizer), STR(S, dtype),
    NUM(S, beta1), NUM(S, beta2), NUM(S, eps), NUM(S, momentum), NUM(S, weight_decay), NUM(S, clip),
    SEQ(S, snapshots, &v_num, 64), SEQ(S, data, &v_data, MOA_DATA_MAX),
    INT(S, items), INT(S, samples), INT(S, max_tokens), NUM(S, temperature), NUM(S, top_p), CYAML_FIELD_END,
};
static const cyaml_schema_value_t v_stage = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, S, f_stage)};
#undef S
static const cyaml_schema_field_t f_ckpt[] = {NUM(moa_recipe_checkpoint, minutes), INT(moa_recipe_checkpoint, steps), CYAML_FIELD_END};
static const cyaml_schema_field_t f_out[] = {STR(moa_recipe_output, path), STR(moa_recipe_output, type), CYAML_FIELD_END};
static const cyaml_schema_field_t f_recipe[] = {
    STR(moa_recipe, name), STR(moa_recipe, about), STR(moa_recipe, license),
    CYAML_FIELD_INT("seed", OPT, moa_recipe, seed),
    CYAML_FIELD_MAPPING("model", OPT, moa_recipe, model, f_model),
    CYAML_FIELD_MAPPING("init", OPT, moa_recipe, init, f_init),
    CYAML_FIELD_MAPPING("lora", OPT, moa_recipe, lora, f_lora),
    CYAML_FIELD_MAPPING("tokenizer", OPT, moa_recipe, tokenizer, f_tok),
    CYAML_FIELD_STRING_PTR("chat_template", OPT | CYAML_FLAG_POINTER, moa_recipe, chat_template, 0, TEXT_MAX),
    SEQ(moa_recipe, stages, &v_stage, MOA_STAGES_MAX),
    CYAML_FIELD_MAPPING("checkpoint", OPT, moa_recipe, checkpoint, f_ckpt),
    CYAML_FIELD_MAPPING("output", OPT, moa_recipe, output, f_out), CYAML_FIELD_END,
};
static const cyaml_schema_value_t v_recipe = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, moa_recipe, f_recipe)};

/* Turns: <|im_start|>ROLE, newline, content, <|im_end|>, newline. Every role is written the same. */
const char moa_recipe_chat_template[] =
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/* ---- loading ---- */
/* A value that its key cannot have: which key, and which words it takes where they are few. */
static void tell_key(moa_buf *b, const char *key) {
    static const struct { const char *key; const cyaml_strval_t *words; size_t n; } few[] = {
        {"kind", kinds, sizeof kinds / sizeof *kinds}, {"loss", losses, sizeof losses / sizeof *losses}, {"target", targets, sizeof targets / sizeof *targets},
        {"learn", learns, sizeof learns / sizeof *learns}};
    for (size_t i = 0; i < sizeof few / sizeof *few; i++)
        for (size_t j = 0; j < few[i].n && !strcmp(few[i].key, key); j++)
            moa_buf_addf(b, "%s%s%s", j ? ", " : " (known: ", few[i].words[j].str, j + 1 == few[i].n ? ")" : "");
}

static void hash_stage(moa_buf *b, const moa_recipe_stage *s) {
    moa_buf_addf(b, "|%s,%d", s->name, (int)s->kind);
    if (s->kind == MOA_STAGE_SAMPLE)
        moa_buf_addf(b, ",%d,%d,%d,%a,%a", s->items, s->samples, s->max_tokens, s->temperature, s->top_p);
    else
        moa_buf_addf(b, ",%lld,%lld,%d,%d,%a,%a,%a,%s,%s,%s,%a,%a,%a,%a,%a,%a", (long long)s->steps, (long long)s->batch_tokens,
                     s->seq_len, s->accumulate, s->lr, s->min_lr, s->warmup, s->schedule, s->optimizer, s->dtype, s->beta1,
                     s->beta2, s->eps, s->momentum, s->weight_decay, s->clip);
    if (s->loss == MOA_LOSS_DPO) moa_buf_addf(b, ",dpo,%a", s->beta);
    for (unsigned i = 0; i < s->data_count; i++) {
        const moa_recipe_data *d = &s->data[i];
        moa_buf_addf(b, ";%s,%s,%s,%a,%d,%d,%d,%d,%a,%d", d->family ? d->family : "", d->file ? d->file : "",
                     d->aggregate ? d->aggregate : "", d->weight, d->turns, (int)d->learn, d->k_min, d->k_max, d->mixed, (int)d->target);
        for (unsigned j = 0; j < d->levels_count; j++) moa_buf_addf(b, ":%d", d->levels[j]);
    }
}

/* Of all that decides the weights. Name, texts about the model, output, snapshots and checkpoints do not. */
static int hash_recipe(moa_recipe *r, moa_err *err) {
    moa_buf b;
    moa_buf_init(&b, 1 << 22);
    const moa_recipe_model *m = &r->model;
    moa_buf_addf(&b, "%lld,%s,%d,%d,%d,%d,%d,%d,%d,%a,%a,%d", (long long)r->seed, m->arch, m->n_layer, m->d_model, m->n_head,
                 m->n_kv, m->head_dim, m->d_ff, m->n_ctx, m->rope_base, m->norm_eps, m->tied);
    moa_buf_addf(&b, "|%s,%s|%s,%d,%d", r->init.gguf ? r->init.gguf : "", r->init.run ? r->init.run : "",
                 r->tokenizer.gguf ? r->tokenizer.gguf : "", r->tokenizer.n_vocab, r->tokenizer.items);
    for (unsigned i = 0; i < r->tokenizer.special_count; i++) moa_buf_addf(&b, ";%s", r->tokenizer.special[i]);
    if (r->lora.rank) moa_buf_addf(&b, "|lora %d,%a", r->lora.rank, r->lora.alpha);
    moa_buf_addf(&b, "|%s", r->chat_template ? r->chat_template : moa_recipe_chat_template);
    for (unsigned i = 0; i < r->stages_count; i++) hash_stage(&b, &r->stages[i]);
    int rc = b.failed ? moa_fail(err, b.failed, "%s: cannot hash the recipe", r->path) : 0;
    r->hash = moa_hash64(moa_buf_str(&b), b.len, 1);
    moa_buf_deinit(&b);
    return rc;
}

int moa_recipe_parse(moa_recipe **out, const char *text, size_t n, const char *name, moa_err *err) {
    *out = NULL;
    moa_recipe *r = NULL;
    moa_yaml_lines *l = NULL;
    void *made = NULL;
    if (n > MOA_RECIPE_BYTES_MAX) return moa_fail(err, MOA_ELIMIT, "%s: %zu bytes, at most %d", name, n, (int)MOA_RECIPE_BYTES_MAX);
    int rc = moa_yaml_lines_new(&l, text, n, name, "recipe", &v_recipe, err);
    if (rc == 0) rc = moa_yaml_load(&made, text, n, name, "recipe", &v_recipe, tell_key, err);
    r = made;
    if (rc == 0) rc = moa_recipe_check(r, l, name, err);
    if (rc == 0 && !(r->path = strdup(name))) rc = moa_fail(err, MOA_ENOMEM, "%s: no memory for the recipe", name);
    if (rc == 0) rc = hash_recipe(r, err);
    moa_yaml_lines_free(l);
    if (rc < 0) {
        moa_recipe_free(r);
        return rc;
    }
    *out = r;
    return 0;
}

int moa_recipe_load(moa_recipe **out, const char *path, moa_err *err) {
    *out = NULL;
    char *text;
    size_t n;
    MOA_TRY(moa_read_file(&text, &n, path, MOA_RECIPE_BYTES_MAX, err));
    int rc = moa_recipe_parse(out, text, n, path, err);
    free(text);
    return rc;
}

void moa_recipe_free(moa_recipe *r) {
    if (!r) return;
    free(r->path);
    moa_yaml_free(r, &v_recipe);
}

int moa_count_parse(int64_t *out, const char *text, moa_err *err) {
    char *end;
    double v = text[0] >= '0' && text[0] <= '9' ? strtod(text, &end) : (end = (char *)(uintptr_t)text, -1.0);
    double mul = 1;
    switch (*end) {
    case 'k': mul = 1e3, end++; break;
    case 'M': mul = 1e6, end++; break;
    case 'B': mul = 1e9, end++; break;
    default: break;
    }
    v *= mul;
    if (end == text || *end || !(v >= 1 && v <= 1e15))
        return moa_fail(err, MOA_EFORMAT, "'%s' is no count (expected like 4096, 16k, 40M, 1.5B)", text);
    *out = (int64_t)v;
    return 0;
}

int64_t moa_recipe_total_tokens(const moa_recipe *r) {
    int64_t sum = 0;
    for (unsigned i = 0; i < r->stages_count; i++)
        if (r->stages[i].kind == MOA_STAGE_TRAIN) sum += r->stages[i].steps * r->stages[i].batch_tokens;
    return sum;
}

bool moa_recipe_is_jsonl(const char *path) {
    const size_t n = strlen(path);
    return n > 6 && !strcmp(path + n - 6, ".jsonl");
}

const char *moa_recipe_source_path(const moa_recipe_data *d) {
    const char *a = d->aggregate;
    return d->file ? d->file : a && (strchr(a, '/') || moa_recipe_is_jsonl(a)) ? a : NULL;
}
