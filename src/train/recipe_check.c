/* recipe_check.c - what a recipe leaves out gets its default, what it gives must be in range. A table a mapping:
 * key, kind, default, range; so that the defaults can be read in one place.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "task/task.h"
#include "train/optim.h"
#include "train/recipe.h"
#include "base/yaml.h"
#include "train/schedule.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct ctx {
    const moa_yaml_lines *l;
    const char *name;
    moa_err *err;
} ctx;

typedef struct rule {
    const char *key;
    enum { R_INT, R_I64, R_NUM, R_BOOL, R_STR } kind;
    size_t at;
    double dflt, lo, hi;
    const char *text; /* default of R_STR; NULL: stays NULL */
} rule;
#define RI(type, key, dflt, lo, hi) {#key, R_INT, offsetof(type, key), dflt, lo, hi, NULL}
#define RL(type, key, dflt, lo, hi) {#key, R_I64, offsetof(type, key), dflt, lo, hi, NULL}
#define RN(type, key, dflt, lo, hi) {#key, R_NUM, offsetof(type, key), dflt, lo, hi, NULL}
#define RB(type, key, dflt) {#key, R_BOOL, offsetof(type, key), dflt, 0, 1, NULL}
#define RS(type, key, text) {#key, R_STR, offsetof(type, key), 0, 0, 0, text}

static const rule model_rules[] = {
    RS(moa_recipe_model, arch, "llama"),         RI(moa_recipe_model, n_layer, 6, 1, 256),
    RI(moa_recipe_model, d_model, 256, 8, 16384), RI(moa_recipe_model, n_head, 8, 1, 256),
    RI(moa_recipe_model, n_kv, 0, 1, 256),       RI(moa_recipe_model, head_dim, 0, 4, 512),
    RI(moa_recipe_model, d_ff, 0, 8, 65536),     RI(moa_recipe_model, n_ctx, 1024, 16, 1 << 20),
    RN(moa_recipe_model, rope_base, 10000, 1, 1e9), RN(moa_recipe_model, norm_eps, 1e-5, 1e-12, 1e-1),
    RB(moa_recipe_model, tied, 1),
};
static const rule lora_rules[] = {RI(moa_recipe_lora, rank, 16, 1, 1024), RN(moa_recipe_lora, alpha, 0, 0, 1e6)};
static const rule tok_rules[] = {
    RI(moa_recipe_tokenizer, n_vocab, 2048, 260, 1 << 20), RI(moa_recipe_tokenizer, items, 20000, 1, 10000000),
};
#define S moa_recipe_stage
static const rule train_rules[] = {
    RS(S, tokens_text, NULL),       RS(S, batch_text, "8192"),        RL(S, steps, 0, 1, 1e9),
    RI(S, seq_len, 512, 8, 1 << 20), RI(S, accumulate, 1, 1, 4096),   RN(S, lr, 1e-3, 0, 10),
    RN(S, min_lr, 0, 0, 10),        RN(S, warmup, 0.02, 0, 1e9),      RS(S, schedule, "cosine"),
    RS(S, optimizer, "adamw"),      RS(S, dtype, "bf16"),             RN(S, beta1, 0.9, 0, 0.9999999),
    RN(S, beta2, 0.95, 0, 0.9999999), RN(S, eps, 1e-8, 1e-16, 1),     RN(S, momentum, 0.95, 0, 0.9999),
    RN(S, weight_decay, 0.1, 0, 10), RN(S, clip, 1, 0, 1e9),         RN(S, beta, 0.1, 1e-6, 100),
};
static const rule sample_rules[] = {
    RI(S, items, 1000, 1, 10000000), RI(S, samples, 6, 1, 64), RI(S, max_tokens, 256, 1, 65536),
    RN(S, temperature, 0.7, 0, 10), RN(S, top_p, 1, 0, 1),
};
#undef S
static const rule data_rules[] = {
    RN(moa_recipe_data, weight, 1, 0, 1e9), RI(moa_recipe_data, turns, 1, 1, MOA_TURNS_MAX), RI(moa_recipe_data, k_min, 2, 1, 64), RI(moa_recipe_data, k_max, 10, 1, 64),
    RN(moa_recipe_data, mixed, 0.5, 0, 1),
};
static const rule recipe_rules[] = {RL(moa_recipe, seed, 1, 0, 9e18)};
static const rule ckpt_rules[] = {
    RN(moa_recipe_checkpoint, minutes, 3, 0.01, 1e6), RI(moa_recipe_checkpoint, steps, 0, 0, 1e9),
};
static const rule out_rules[] = {RS(moa_recipe_output, path, NULL), RS(moa_recipe_output, type, "Q8_0")};
#define RULES(t) t, (int)(sizeof t / sizeof *t)

/* "stages[0]." + "lr": where a key stands, 0 if absent. tokens_text and batch_text have shorter names in the file. */
static int line_of(const ctx *c, const char *where, const char *key) {
    if (!strcmp(key, "tokens_text")) key = "tokens";
    if (!strcmp(key, "batch_text")) key = "batch_tokens";
    return moa_yaml_line(c->l, "%s%s", where, key);
}

static int set_default(const ctx *c, void *at, const rule *r) {
    switch (r->kind) {
    case R_INT: *(int *)at = (int)r->dflt; break;
    case R_I64: *(int64_t *)at = (int64_t)r->dflt; break;
    case R_NUM: *(double *)at = r->dflt; break;
    case R_BOOL: *(bool *)at = r->dflt != 0; break;
    case R_STR:
        if (r->text && !(*(char **)at = strdup(r->text))) return moa_fail(c->err, MOA_ENOMEM, "%s: no memory for the recipe", c->name);
    }
    return 0;
}

static int apply_rules(const ctx *c, void *base, const char *where, const rule *r, int n) {
    for (int i = 0; i < n; i++) {
        void *at = (char *)base + r[i].at;
        int line = line_of(c, where, r[i].key);
        if (!line) {
            MOA_TRY(set_default(c, at, &r[i]));
            continue;
        }
        double v = r[i].kind == R_INT ? *(int *)at : r[i].kind == R_I64 ? (double)*(int64_t *)at : r[i].kind == R_NUM ? *(double *)at : r[i].lo;
        if (!(v >= r[i].lo && v <= r[i].hi))
            return moa_fail(c->err, MOA_EINVAL, "%s:%d: %s is %g, expected %g to %g", c->name, line, r[i].key, v, r[i].lo, r[i].hi);
    }
    return 0;
}

static int check_model(const ctx *c, moa_recipe *r) {
    moa_recipe_model *m = &r->model;
    MOA_TRY(apply_rules(c, m, "model.", RULES(model_rules)));
    int line = moa_yaml_line(c->l, "model");
    if (line && r->init.gguf)
        return moa_fail(c->err, MOA_EINVAL, "%s:%d: model has no meaning beside init.gguf: the shape is that of %.200s", c->name, line, r->init.gguf);
    if (!line) line = 1;
    if (m->n_kv == 0) m->n_kv = m->n_head;
    if (m->head_dim == 0) m->head_dim = m->d_model / m->n_head;
    if (m->d_ff == 0) m->d_ff = 3 * m->d_model;
    if (m->n_head % m->n_kv)
        return moa_fail(c->err, MOA_EINVAL, "%s:%d: n_head %d is no multiple of n_kv %d", c->name, line, m->n_head, m->n_kv);
    if (m->head_dim < 2 || m->head_dim % 2)
        return moa_fail(c->err, MOA_EINVAL, "%s:%d: head_dim %d, expected an even number", c->name, line, m->head_dim);
    if (!moa_arch_find(m->arch, strlen(m->arch)))
        return moa_fail(c->err, MOA_EUNSUPPORTED, "%s:%d: unknown arch '%.64s'", c->name, line_of(c, "model.", "arch"), m->arch);
    return 0;
}

/* An adapter is one of a model, and written in a type of whole numbers a row: a rank fills no block of the quantised ones. */
static int check_lora(const ctx *c, moa_recipe *r) {
    const int line = moa_yaml_line(c->l, "lora"), type = moa_yaml_line(c->l, "output.type");
    if (!line) return 0;
    MOA_TRY(apply_rules(c, &r->lora, "lora.", RULES(lora_rules)));
    if (!(r->lora.alpha > 0)) r->lora.alpha = r->lora.rank;
    if (!r->init.gguf) return moa_fail(c->err, MOA_EINVAL, "%s:%d: lora needs init.gguf, the model that it adapts", c->name, line);
    if (!type) {
        free(r->output.type);
        if (!(r->output.type = strdup("F16"))) return moa_fail(c->err, MOA_ENOMEM, "%s: no memory for the recipe", c->name);
    }
    if (strcmp(r->output.type, "F16") != 0 && strcmp(r->output.type, "BF16") != 0 && strcmp(r->output.type, "F32") != 0)
        return moa_fail(c->err, MOA_EINVAL, "%s:%d: output type '%.32s': an adapter is written as F16, BF16 or F32", c->name, type, r->output.type);
    return 0;
}

/* A tokenizer that is taken from somewhere is not trained. */
static int check_tokenizer(const ctx *c, moa_recipe *r) {
    static const char *const keys[] = {"n_vocab", "items", "special"};
    const char *from = r->tokenizer.gguf ? "tokenizer.gguf" : r->init.gguf ? "init.gguf" : r->init.run ? "init.run" : NULL;
    MOA_TRY(apply_rules(c, &r->tokenizer, "tokenizer.", RULES(tok_rules)));
    for (size_t i = 0; from && i < sizeof keys / sizeof *keys; i++) {
        const int line = line_of(c, "tokenizer.", keys[i]);
        if (line) return moa_fail(c->err, MOA_EINVAL, "%s:%d: %s has no meaning beside %s, which gives the tokenizer", c->name, line, keys[i], from);
    }
    return 0;
}

/* Keys of another kind of source would be ignored in silence. */
static int check_data_keys(const ctx *c, const moa_recipe_data *d, moa_stage_kind stage, const char *where) {
    static const struct { const char *key; bool family; } only[] = {{"levels", true}, {"turns", true}, {"k_min", false}, {"k_max", false},
                                                                    {"mixed", false}, {"target", false}};
    for (size_t i = 0; i < sizeof only / sizeof *only; i++) {
        int line = line_of(c, where, only[i].key);
        if (line && !(only[i].family ? d->family : d->aggregate))
            return moa_fail(c->err, MOA_EINVAL, "%s:%d: %s is for %s sources; this one is '%s'", c->name, line, only[i].key,
                            only[i].family ? "family" : "aggregate", d->family ? "family" : d->file ? "file" : "aggregate");
    }
    const int learn = line_of(c, where, "learn");
    if (d->turns > 1 && stage != MOA_STAGE_TRAIN)
        return moa_fail(c->err, MOA_EINVAL, "%s:%d: turns has no meaning in a sample stage, which asks one question at a time", c->name,
                        line_of(c, where, "turns"));
    if (learn && stage != MOA_STAGE_TRAIN)
        return moa_fail(c->err, MOA_EINVAL, "%s:%d: learn has no meaning in a sample stage, where nothing is learned", c->name, learn);
    if (learn && d->file && !moa_recipe_is_jsonl(d->file))
        return moa_fail(c->err, MOA_EINVAL, "%s:%d: learn has no meaning for %.200s: all of a plain text is learned", c->name, learn, d->file);
    return 0;
}

static int check_data(const ctx *c, const moa_recipe *r, unsigned stage, moa_recipe_data *d, const char *where) {
    MOA_TRY(apply_rules(c, d, where, RULES(data_rules)));
    const char *key[3] = {"family", "file", "aggregate"};
    const char *val[3] = {d->family, d->file, d->aggregate};
    int n = 0;
    for (int i = 0; i < 3; i++)
        if (val[i]) n++, d->line = line_of(c, where, key[i]);
    if (n != 1) {
        int line = d->line;
        for (const char *k = "weight"; !line && k; k = NULL) line = line_of(c, where, k);
        if (!line) line = r->stages[stage].line;
        return moa_fail(c->err, MOA_EINVAL, "%s:%d: a data source has one of family, file, aggregate; this has %d", c->name, line, n);
    }
    MOA_TRY(check_data_keys(c, d, r->stages[stage].kind, where));
    bool group = d->family && (!strcmp(d->family, "all") || !strcmp(d->family, "talk"));
    const moa_family *f = d->family && !group ? moa_family_find(d->family) : NULL;
    if (d->family && !group && !f) {
        moa_fail(c->err, MOA_ENOTFOUND, "%s:%d: unknown family '%.64s'", c->name, d->line, d->family);
        return moa_hint(c->err, MOA_ENOTFOUND, "'all' stands for every scored family, 'talk' for the others");
    }
    for (unsigned i = 0; i < d->levels_count; i++)
        if (d->levels[i] < 1 || (f && d->levels[i] > f->n_level))
            return moa_fail(c->err, MOA_EINVAL, "%s:%d: level %d, expected 1 to %d", c->name, line_of(c, where, "levels"), d->levels[i],
                            f ? f->n_level : 64);
    if (d->k_max < d->k_min)
        return moa_fail(c->err, MOA_EINVAL, "%s:%d: k_max %d is below k_min %d", c->name, d->line, d->k_max, d->k_min);
    if (d->aggregate && !moa_recipe_source_path(d)) {
        for (unsigned i = 0; i < stage; i++)
            if (r->stages[i].kind == MOA_STAGE_SAMPLE && !strcmp(r->stages[i].name, d->aggregate)) return 0;
        return moa_fail(c->err, MOA_ENOTFOUND, "%s:%d: no sample stage '%.64s' before this one", c->name, d->line, d->aggregate);
    }
    return 0;
}

/* What a slip of the pen makes of the learning rate: one that rises to min_lr, or never gets out of its warm-up. */
static int check_rate(const ctx *c, const moa_recipe_stage *s, const char *where) {
    if (s->min_lr > s->lr)
        return moa_fail(c->err, MOA_EINVAL, "%s:%d: min_lr %g is above lr %g", c->name, line_of(c, where, "min_lr"), s->min_lr, s->lr);
    int line = line_of(c, where, "warmup");
    if (s->warmup >= 1 && s->warmup > floor(s->warmup))
        return moa_fail(c->err, MOA_EINVAL, "%s:%d: warmup %g, expected whole steps, or a share of the stage below 1", c->name, line, s->warmup);
    if (s->warmup > (double)s->steps)
        return moa_fail(c->err, MOA_EINVAL, "%s:%d: warmup of %g steps is longer than stage '%s' of %lld", c->name, line, s->warmup, s->name,
                        (long long)s->steps);
    return 0;
}

static int check_train(const ctx *c, const moa_recipe *r, moa_recipe_stage *s, const char *where) {
    MOA_TRY(apply_rules(c, s, where, RULES(train_rules)));
    moa_err e = {0};
    if (moa_count_parse(&s->batch_tokens, s->batch_text, &e) < 0)
        return moa_fail(c->err, MOA_EFORMAT, "%s:%d: batch_tokens: %s", c->name, line_of(c, where, "batch_text"), e.text);
    if (!!s->tokens_text == (s->steps > 0))
        return moa_fail(c->err, MOA_EINVAL, "%s:%d: stage '%s' needs either tokens or steps", c->name, s->line, s->name);
    if (s->tokens_text && moa_count_parse(&s->tokens, s->tokens_text, &e) < 0)
        return moa_fail(c->err, MOA_EFORMAT, "%s:%d: tokens: %s", c->name, line_of(c, where, "tokens_text"), e.text);
    int64_t unit = (int64_t)s->seq_len * s->accumulate;
    int line = line_of(c, where, "batch_text");
    if (!line) line = s->line;
    if (s->batch_tokens < unit || s->batch_tokens > (1 << 24))
        return moa_fail(c->err, MOA_EINVAL, "%s:%d: batch_tokens %lld, expected %lld (seq_len x accumulate) to %d", c->name, line,
                        (long long)s->batch_tokens, (long long)unit, 1 << 24);
    s->batch_tokens -= s->batch_tokens % unit; /* whole rows, alike in every part */
    if (s->tokens_text) s->steps = (s->tokens + s->batch_tokens - 1) / s->batch_tokens;
    s->tokens = s->steps * s->batch_tokens;
    MOA_TRY(check_rate(c, s, where));
    if (s->seq_len > r->model.n_ctx && !r->init.gguf) /* whose n_ctx is known when it is opened */
        return moa_fail(c->err, MOA_EINVAL, "%s:%d: seq_len %d is beyond the model's n_ctx %d", c->name, s->line, s->seq_len, r->model.n_ctx);
    if (!moa_schedule_find(s->schedule))
        return moa_fail(c->err, MOA_ENOTFOUND, "%s:%d: unknown schedule '%.64s'", c->name, line_of(c, where, "schedule"), s->schedule);
    if (!moa_optimizer_find(s->optimizer))
        return moa_fail(c->err, MOA_ENOTFOUND, "%s:%d: unknown optimizer '%.64s'", c->name, line_of(c, where, "optimizer"), s->optimizer);
    if (line_of(c, where, "momentum") && !moa_optimizer_find(s->optimizer)->has_momentum)
        return moa_fail(c->err, MOA_EINVAL, "%s:%d: momentum has no meaning for %s", c->name, line_of(c, where, "momentum"), s->optimizer);
    if (strcmp(s->dtype, "bf16") && strcmp(s->dtype, "f32"))
        return moa_fail(c->err, MOA_EINVAL, "%s:%d: dtype '%.64s', expected bf16 or f32", c->name, line_of(c, where, "dtype"), s->dtype);
    for (unsigned i = 0; i < s->snapshots_count; i++)
        if (!(s->snapshots[i] > 0 && s->snapshots[i] <= 1))
            return moa_fail(c->err, MOA_EINVAL, "%s:%d: snapshot %g, expected more than 0 to 1", c->name,
                            line_of(c, where, "snapshots"), s->snapshots[i]);
    return 0;
}

/* Preferences come in files of their own; where their keys mean nothing they are a slip of the pen. */
static int check_loss(const ctx *c, const moa_recipe_stage *s, const char *where) {
    const int loss = line_of(c, where, "loss"), beta = line_of(c, where, "beta");
    if (loss && s->kind != MOA_STAGE_TRAIN) return moa_fail(c->err, MOA_EINVAL, "%s:%d: loss has no meaning in a sample stage", c->name, loss);
    if (beta && s->kind == MOA_STAGE_TRAIN && s->loss != MOA_LOSS_DPO) return moa_fail(c->err, MOA_EINVAL, "%s:%d: beta is for loss dpo", c->name, beta);
    for (unsigned i = 0; s->loss == MOA_LOSS_DPO && i < s->data_count; i++) {
        const moa_recipe_data *d = &s->data[i];
        if (!d->file || !moa_recipe_is_jsonl(d->file))
            return moa_fail(c->err, MOA_EINVAL, "%s:%d: loss dpo learns from files of preferences (.jsonl of {\"prompt\", \"chosen\", \"rejected\"}, as moa distill writes them)", c->name, d->line);
        if (d->learn != MOA_LEARN_REPLY) return moa_fail(c->err, MOA_EINVAL, "%s:%d: learn has no meaning for loss dpo, which compares replies", c->name, d->line);
    }
    return 0;
}

static int check_name(const ctx *c, const char *s, const char *what, int line) {
    size_t n = s ? strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") : 0;
    if (n && n <= 64 && !s[n] && s[0] != '.') return 0;
    return moa_fail(c->err, MOA_EINVAL, "%s:%d: %s needs a name of letters, digits, '-', '_', '.'%s%.40s%s", c->name, line ? line : 1, what,
                    s ? ", got '" : "", s ? s : "", s ? "'" : "");
}

static int first_line(const ctx *c, unsigned stage) {
    static const char *const keys[] = {"name", "kind", "tokens", "steps", "data", "lr", "batch_tokens", "items", "samples"};
    int best = 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        int l = moa_yaml_line(c->l, "stages[%u].%s", stage, keys[i]);
        if (l && (!best || l < best)) best = l;
    }
    return best ? best : moa_yaml_line(c->l, "stages");
}

/* Keys that belong to the other kind of stage would be ignored in silence. */
static int check_foreign(const ctx *c, const moa_recipe_stage *s, const char *where) {
    const rule *r = s->kind == MOA_STAGE_TRAIN ? sample_rules : train_rules;
    size_t n = s->kind == MOA_STAGE_TRAIN ? sizeof sample_rules / sizeof *r : sizeof train_rules / sizeof *r;
    for (size_t i = 0; i < n; i++) {
        int line = line_of(c, where, r[i].key);
        if (line)
            return moa_fail(c->err, MOA_EINVAL, "%s:%d: %s has no meaning in a %s stage", c->name, line, r[i].key,
                            s->kind == MOA_STAGE_TRAIN ? "train" : "sample");
    }
    int line = s->kind == MOA_STAGE_SAMPLE ? line_of(c, where, "snapshots") : 0;
    return line ? moa_fail(c->err, MOA_EINVAL, "%s:%d: snapshots has no meaning in a sample stage", c->name, line) : 0;
}

static int check_stage(const ctx *c, moa_recipe *r, unsigned i) {
    moa_recipe_stage *s = &r->stages[i];
    char where[64], at[96];
    snprintf(where, sizeof where, "stages[%u].", i);
    s->line = first_line(c, i);
    MOA_TRY(check_name(c, s->name, "a stage", s->line));
    for (unsigned j = 0; j < i; j++)
        if (!strcmp(r->stages[j].name, s->name))
            return moa_fail(c->err, MOA_EINVAL, "%s:%d: a second stage named '%s'", c->name, s->line, s->name);
    MOA_TRY(check_foreign(c, s, where));
    if (s->kind == MOA_STAGE_TRAIN) MOA_TRY(check_train(c, r, s, where));
    else MOA_TRY(apply_rules(c, s, where, RULES(sample_rules)));
    if (s->data_count == 0) return moa_fail(c->err, MOA_EINVAL, "%s:%d: stage '%s' has no data", c->name, s->line, s->name);
    double sum = 0;
    for (unsigned j = 0; j < s->data_count; j++) {
        snprintf(at, sizeof at, "stages[%u].data[%u].", i, j);
        MOA_TRY(check_data(c, r, i, &s->data[j], at));
        if (s->kind == MOA_STAGE_SAMPLE && !s->data[j].family)
            return moa_fail(c->err, MOA_EINVAL, "%s:%d: a sample stage draws from families only", c->name, s->data[j].line);
        sum += s->data[j].weight;
    }
    MOA_TRY(check_loss(c, s, where));
    if (!(sum > 0)) return moa_fail(c->err, MOA_EINVAL, "%s:%d: all weights of stage '%s' are zero", c->name, s->line, s->name);
    return 0;
}

int moa_recipe_check(moa_recipe *r, const moa_yaml_lines *l, const char *name, moa_err *err) {
    ctx c = {l, name, err};
    MOA_TRY(apply_rules(&c, r, "", RULES(recipe_rules)));
    MOA_TRY(check_name(&c, r->name, "the recipe", moa_yaml_line(l, "name")));
    MOA_TRY(check_model(&c, r));
    MOA_TRY(check_tokenizer(&c, r));
    MOA_TRY(apply_rules(&c, &r->checkpoint, "checkpoint.", RULES(ckpt_rules)));
    MOA_TRY(apply_rules(&c, &r->output, "output.", RULES(out_rules)));
    MOA_TRY(check_lora(&c, r));
    if (r->init.gguf && r->init.run)
        return moa_fail(err, MOA_EINVAL, "%s:%d: init has gguf and run; expected one", name, moa_yaml_line(l, "init.run"));
    const moa_type *t = moa_type_find(r->output.type);
    if (!t || (t->id != MOA_F32 && !t->quantize))
        return moa_fail(err, MOA_EUNSUPPORTED, "%s:%d: output type '%.32s' cannot be written", name, moa_yaml_line(l, "output.type"), r->output.type);
    if (r->stages_count == 0) return moa_fail(err, MOA_EINVAL, "%s:%d: no stages", name, moa_yaml_line(l, "stages") ? moa_yaml_line(l, "stages") : 1);
    for (unsigned i = 0; i < r->stages_count; i++) MOA_TRY(check_stage(&c, r, i));
    return 0;
}
