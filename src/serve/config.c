/* config.c - see config.h. SPDX-License-Identifier: Apache-2.0 */
#include "serve/config.h"

#include "agent/mix.h"
#include "base/file.h"
#include "base/yaml.h"
#include "model/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- schema: the whole list of keys ---- */
enum { OPT = CYAML_FLAG_OPTIONAL, STR_MAX = 4096, TEXT_MAX = 1 << 16, LIST_MAX = 64 };
#define STR(type, key) CYAML_FIELD_STRING_PTR(#key, OPT | CYAML_FLAG_POINTER, type, key, 0, STR_MAX)
#define TEXT(type, key) CYAML_FIELD_STRING_PTR(#key, OPT | CYAML_FLAG_POINTER, type, key, 0, TEXT_MAX)
#define INT(type, key) CYAML_FIELD_INT(#key, OPT, type, key)
#define NUM(type, key) CYAML_FIELD_FLOAT(#key, OPT, type, key)
#define SEQ(type, key, entry, max) CYAML_FIELD_SEQUENCE(#key, OPT | CYAML_FLAG_POINTER, type, key, entry, 0, max)

static const cyaml_schema_value_t v_string = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 1, STR_MAX)};
#define M moa_config_model
static const cyaml_schema_field_t f_model[] = {
    STR(M, id), STR(M, file), SEQ(M, adapters, &v_string, LIST_MAX), INT(M, ctx), INT(M, threads), STR(M, kv), STR(M, repack), STR(M, draft), TEXT(M, chat_template_kwargs), CYAML_FIELD_END,
};
static const cyaml_schema_value_t v_model = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, M, f_model)};
#undef M
#define M moa_config_backend
static const cyaml_schema_field_t f_backend[] = {
    STR(M, id), STR(M, url), STR(M, model), STR(M, key_env), INT(M, ctx), INT(M, max_concurrent), INT(M, retries), INT(M, requests_per_minute), INT(M, tokens_per_minute),
    NUM(M, timeout), NUM(M, timeout_connect), NUM(M, timeout_first), NUM(M, timeout_whole), NUM(M, price_prompt), NUM(M, price_completion), NUM(M, hedge), INT(M, breaker), NUM(M, cooldown), STR(M, tools), CYAML_FIELD_BOOL("images", OPT, M, images), CYAML_FIELD_END,
};
static const cyaml_schema_value_t v_backend = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, M, f_backend)};
#undef M
#define M moa_config_mix
static const cyaml_schema_field_t f_mix[] = {
    STR(M, id), STR(M, about), STR(M, mix), SEQ(M, proposers, &v_string, MOA_MAX_PROPOSERS), STR(M, aggregator), TEXT(M, propose_system), TEXT(M, aggregate_system), CYAML_FIELD_END,
};
static const cyaml_schema_value_t v_mix = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, M, f_mix)};
#undef M
static const cyaml_schema_field_t f_config[] = {
    SEQ(moa_config, models, &v_model, LIST_MAX), SEQ(moa_config, backends, &v_backend, LIST_MAX), SEQ(moa_config, mixes, &v_mix, 256), STR(moa_config, housekeeping), CYAML_FIELD_END,
};
static const cyaml_schema_value_t v_config = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, moa_config, f_config)};

/* ---- what a schema cannot say ---- */

static bool good_id(const char *id) {
    return *id && strlen(id) < 128 && strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-/") == strlen(id);
}

static int check_models(const moa_config *c, const moa_yaml_lines *l, const char *name, moa_err *err) {
    for (unsigned i = 0; i < c->models_count; i++) {
        const moa_config_model *m = &c->models[i];
        const int line = moa_yaml_line(l, "models[%u].id", i), at = line ? line : moa_yaml_line(l, "models");
        if (!m->file || !*m->file) return moa_fail(err, MOA_EFORMAT, "%s:%d: model %u has no file", name, at, i + 1);
        if (m->id && !good_id(m->id)) return moa_fail(err, MOA_EFORMAT, "%s:%d: id '%.64s': expected letters, digits, '_', '.', '-' or '/'", name, at, m->id);
        for (unsigned k = 0; k < i; k++)
            if (m->id && c->models[k].id && !strcmp(m->id, c->models[k].id)) return moa_fail(err, MOA_EFORMAT, "%s:%d: two models have the id '%s'", name, at, m->id);
        if (m->ctx < 0 || m->ctx > 1 << 28) return moa_fail(err, MOA_EFORMAT, "%s:%d: ctx %d, expected 0 to %d", name, moa_yaml_line(l, "models[%u].ctx", i), m->ctx, 1 << 28);
        moa_session_cfg unused;
        moa_err e = {0};
        if (m->kv && moa_session_kv_type(&unused, m->kv, &e) < 0) return moa_fail(err, MOA_EFORMAT, "%s:%d: %s", name, moa_yaml_line(l, "models[%u].kv", i), e.text);
        if (moa_repack_parse(&unused.repack, m->repack, &e) < 0) return moa_fail(err, MOA_EFORMAT, "%s:%d: %s", name, moa_yaml_line(l, "models[%u].repack", i), e.text);
        if (m->threads < 0 || m->threads > 1024) return moa_fail(err, MOA_EFORMAT, "%s:%d: threads %d, expected 0 to 1024", name, moa_yaml_line(l, "models[%u].threads", i), m->threads);
    }
    return 0;
}

static int check_numbers(const moa_config_backend *b, const moa_yaml_lines *l, unsigned i, const char *name, moa_err *err) {
    const struct { const char *key; double v, least, most; } number[] = {
        {"ctx", b->ctx, 0, 1 << 28}, {"max_concurrent", b->max_concurrent, 0, 10000}, {"retries", b->retries, -1, 100},
        {"requests_per_minute", b->requests_per_minute, 0, 1e9}, {"tokens_per_minute", b->tokens_per_minute, 0, 2e9},
        {"timeout", b->timeout, 0, 86400}, {"timeout_connect", b->timeout_connect, 0, 86400}, {"timeout_first", b->timeout_first, 0, 86400},
        {"timeout_whole", b->timeout_whole, 0, 86400}, {"price_prompt", b->price_prompt, 0, 1e9}, {"price_completion", b->price_completion, 0, 1e9}, {"hedge", b->hedge, 0, 1}, {"breaker", b->breaker, -1, 1e6}, {"cooldown", b->cooldown, 0, 86400},
    };
    for (size_t k = 0; k < sizeof number / sizeof *number; k++) {
        if (number[k].v >= number[k].least && number[k].v <= number[k].most) continue; /* nan is neither */
        char at[64];
        snprintf(at, sizeof at, "backends[%u].%s", i, number[k].key);
        return moa_fail(err, MOA_EFORMAT, "%s:%d: %s %g, expected %g to %.0f", name, moa_yaml_line(l, "%s", at), number[k].key, number[k].v, number[k].least, number[k].most);
    }
    return 0;
}

static int check_backends(const moa_config *c, const moa_yaml_lines *l, const char *name, moa_err *err) {
    for (unsigned i = 0; i < c->backends_count; i++) {
        const moa_config_backend *b = &c->backends[i];
        const int line = moa_yaml_line(l, "backends[%u].id", i), at = line ? line : moa_yaml_line(l, "backends");
        if (!b->id || !good_id(b->id)) return moa_fail(err, MOA_EFORMAT, "%s:%d: backend %u: expected an id of letters, digits, '_', '.', '-' or '/'", name, at, i + 1);
        if (!b->url) return moa_fail(err, MOA_EFORMAT, "%s:%d: backend %s has no url", name, at, b->id);
        if (strncmp(b->url, "http://", 7) && strncmp(b->url, "https://", 8))
            return moa_fail(err, MOA_EFORMAT, "%s:%d: url '%.200s', expected http:// or https://", name, moa_yaml_line(l, "backends[%u].url", i), b->url);
        MOA_TRY(check_numbers(b, l, i, name, err));
        if (b->key_env && !getenv(b->key_env))
            return moa_fail(err, MOA_EFORMAT, "%s:%d: the environment has no variable %.100s", name, moa_yaml_line(l, "backends[%u].key_env", i), b->key_env);
        if (b->tools && strcmp(b->tools, "native") && strcmp(b->tools, "words"))
            return moa_fail(err, MOA_EFORMAT, "%s:%d: tools '%.40s', expected native or words", name, moa_yaml_line(l, "backends[%u].tools", i), b->tools);
    }
    return 0;
}

static int check_mixes(const moa_config *c, const moa_yaml_lines *l, const char *name, moa_err *err) {
    for (unsigned i = 0; i < c->mixes_count; i++) {
        const moa_config_mix *m = &c->mixes[i];
        const int line = moa_yaml_line(l, "mixes[%u].id", i), at = line ? line : moa_yaml_line(l, "mixes");
        moa_mix_spec s = {0};
        moa_err e = {0};
        if (!m->id || !good_id(m->id)) return moa_fail(err, MOA_EFORMAT, "%s:%d: mix %u: expected an id of letters, digits, '_', '.', '-' or '/'", name, at, i + 1);
        if (!m->mix) return moa_fail(err, MOA_EFORMAT, "%s:%d: mix %s does not say which mix it is (mix: NAME, or NAME:KEY=VALUE,...)", name, at, m->id);
        for (unsigned k = 0; k < i; k++)
            if (!strcmp(m->id, c->mixes[k].id)) return moa_fail(err, MOA_EFORMAT, "%s:%d: two mixes have the id '%s'", name, at, m->id);
        const int rc = moa_mix_spec_parse(&s, m->mix, &e);
        if (rc >= 0) moa_mix_spec_deinit(&s);
        else return moa_hint(err, moa_fail(err, MOA_EFORMAT, "%s:%d: %s", name, moa_yaml_line(l, "mixes[%u].mix", i), e.text), "%s", e.hint);
    }
    return 0;
}

int moa_config_parse(moa_config **out, const char *text, size_t n, const char *name, moa_err *err) {
    moa_yaml_lines *l;
    void *made = NULL;
    *out = NULL;
    if (n > MOA_CONFIG_BYTES_MAX) return moa_fail(err, MOA_ELIMIT, "%s: %zu bytes, at most %d", name, n, MOA_CONFIG_BYTES_MAX);
    MOA_TRY(moa_yaml_lines_new(&l, text, n, name, "configuration", &v_config, err));
    int rc = moa_yaml_load(&made, text, n, name, "configuration", &v_config, NULL, err);
    moa_config *c = made;
    if (rc >= 0) rc = check_models(c, l, name, err);
    if (rc >= 0) rc = check_backends(c, l, name, err);
    if (rc >= 0) rc = check_mixes(c, l, name, err);
    moa_yaml_lines_free(l);
    if (rc < 0) moa_config_free(c);
    else *out = c;
    return rc;
}

int moa_config_load(moa_config **out, const char *path, moa_err *err) {
    char *text;
    size_t n;
    *out = NULL;
    MOA_TRY(moa_read_file(&text, &n, path, MOA_CONFIG_BYTES_MAX, err));
    const int rc = moa_config_parse(out, text, n, path, err);
    free(text);
    return rc;
}

void moa_config_free(moa_config *c) {
    if (c) moa_yaml_free(c, &v_config);
}
