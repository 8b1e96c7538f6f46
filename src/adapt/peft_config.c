/* peft_config.c - adapter_config.json of PEFT (Hugging Face) and of MLX: which modules, which rank, which scale.
 *
 * PEFT's rules, from its documentation and behaviour: the first key of rank_pattern (alpha_pattern) that is a regular expression for
 * the end of the module's name, from a dot on, gives its rank (alpha); else r (lora_alpha). s = alpha / r, with use_rslora
 * alpha / sqrt(r). target_modules is a list of endings, one regular expression for whole names, or "all-linear"; layers_to_transform
 * cuts a list down to some layers. target_parameters is a list of endings of parameters, mostly tensors of all experts. What would make
 * the file mean something else than y = W x + s B A x is refused by its name.
 *
 * MLX: lora_parameters has rank and scale; the scale multiplies B A as it is.
 *
 * Regular expressions come from the file: their length, number and effort are bounded.
 * SPDX-License-Identifier: Apache-2.0 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "adapt/adapt_impl.h"
#include "base/err.h"
#include "base/json.h"

#include <math.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_REGEX = 4096, MATCH_LIMIT = 20000, HEAP_KIB = 256 };

typedef struct pattern { pcre2_code *re; double value; } pattern;
typedef struct patterns { pattern *v; int n; } patterns;

struct peft_config {
    char *path;
    json_t *root;
    bool mlx, rslora, dora, all_linear;
    long long r;
    double alpha, mlx_scale;
    const char *base;
    patterns rank, alphas, layers, target, exclude; /* target, exclude: of one expression, or none */
    const json_t *targets, *excludes, *indices, *parameters; /* lists, or NULL */
    pcre2_match_data *match;
    pcre2_match_context *limits;
};

/* ---- regular expressions ---- */

static int add_regex(peft_config *c, patterns *p, const char *before, const char *text, const char *after, double value, const char *key, moa_err *err) {
    char full[MAX_REGEX + 64];
    int code = 0;
    size_t at = 0;
    if (p->n == MOA_ADAPT_MAX_PATTERN) return moa_fail(err, MOA_ELIMIT, "%s: %s has more than %d entries", c->path, key, MOA_ADAPT_MAX_PATTERN);
    if (strlen(text) > MAX_REGEX) return moa_fail(err, MOA_ELIMIT, "%s: %s: an expression of %zu bytes, expected at most %d", c->path, key, strlen(text), MAX_REGEX);
    snprintf(full, sizeof full, "%s%s%s", before, text, after);
    pattern *v = realloc(p->v, (size_t)(p->n + 1) * sizeof *v);
    if (!v) return moa_fail(err, MOA_ENOMEM, "%s: no memory", c->path);
    p->v = v;
    v[p->n] = (pattern){pcre2_compile((PCRE2_SPTR)full, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_ANCHORED | PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL), value};
    if (!v[p->n].re) return moa_fail(err, MOA_EFORMAT, "%s: %s: '%.80s' is no regular expression (error %d at byte %zu)", c->path, key, text, code, at);
    p->n++;
    return 0;
}

/* 1, 0, or an error for an expression that takes too long. whole: up to the end of s. */
static int matches(const peft_config *c, const pattern *p, const char *s, bool whole, moa_err *err) {
    const int rc = pcre2_match(p->re, (PCRE2_SPTR)s, strlen(s), 0, whole ? PCRE2_ENDANCHORED : 0, c->match, c->limits);
    if (rc >= 0) return 1;
    return rc == PCRE2_ERROR_NOMATCH ? 0 : moa_fail(err, MOA_ELIMIT, "%s: an expression takes too much work on '%.100s' (error %d)", c->path, s, rc);
}

static int first_match(double *value, const peft_config *c, const patterns *p, const char *s, moa_err *err) {
    for (int i = 0; i < p->n; i++) {
        const int hit = matches(c, &p->v[i], s, true, err);
        if (hit < 0) return hit;
        if (hit) return *value = p->v[i].value, 1;
    }
    return 0;
}

static void free_patterns(patterns *p) {
    for (int i = 0; i < p->n; i++) pcre2_code_free(p->v[i].re);
    free(p->v);
}

static int read_patterns(peft_config *c, patterns *p, const char *key, moa_err *err) {
    const char *name;
    json_t *v, *all = json_object_get(c->root, key);
    if (!all || json_is_null(all)) return 0;
    if (!json_is_object(all)) return moa_fail(err, MOA_EFORMAT, "%s: %s: expected an object", c->path, key);
    json_object_foreach(all, name, v) {
        if (!json_is_number(v) || !isfinite(json_number_value(v))) return moa_fail(err, MOA_EFORMAT, "%s: %s: '%.80s' has no number", c->path, key, name);
        MOA_TRY(add_regex(c, p, "(?:.*\\.)?(?:", name, ")", json_number_value(v), key, err));
    }
    return 0;
}

/* ---- reading ---- */


static bool given(const json_t *v) {
    return v && !json_is_null(v) && !json_is_false(v) && !(json_is_array(v) && !json_array_size(v)) && !(json_is_object(v) && !json_object_size(v));
}

/* The first string in a list, object or string: what an error names. */
static const char *first_name(json_t *v) {
    const char *key;
    json_t *x;
    if (json_is_array(v)) v = json_array_get(v, 0);
    if (json_is_object(v)) json_object_foreach(v, key, x) return key;
    return json_is_string(v) ? json_string_value(v) : "";
}

static int check_kind(const peft_config *c, moa_err *err) {
    static const struct { const char *key, *why; } none[] = {
        {"layer_replication", "layers that are used more than once"},
        {"trainable_token_indices", "single rows of the embedding"}, {"kasa_config", "a base without its least singular values"},
        {"monteclora_config", "samples of matrices"},
        {"alora_invocation_tokens", "adapters that begin at a token"}, {"use_qalora", "QA-LoRA's pooled input"},
        {"use_bdlora", "block-diagonal matrices"}, {"arrow_config", "routing between adapters"}};
    const json_t *saved = json_object_get(c->root, "modules_to_save");
    if (given(saved) && !json_is_array(saved)) return moa_fail(err, MOA_EFORMAT, "%s: modules_to_save: expected a list of names", c->path);
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        json_t *v = json_object_get(c->root, none[i].key);
        if (given(v))
            return moa_fail(err, MOA_EUNSUPPORTED, "%s: %s%s%.100s: %s are not supported", c->path, none[i].key, *first_name(v) ? " names " : "", first_name(v), none[i].why);
    }
    /* These begin with another base: W less what the first A and B make. */
    static const char *const changed[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};
    const char *init = json_string_value(json_object_get(c->root, "init_lora_weights"));
    for (size_t i = 0; init && i < sizeof changed / sizeof *changed; i++)
        if (strncmp(init, changed[i], strlen(changed[i])) == 0)
            return moa_fail(err, MOA_EUNSUPPORTED, "%s: init_lora_weights is '%.40s', which changed the base's weights too; expected an adapter for the base as published", c->path, init);
    return 0;
}

static int read_parameters(peft_config *c, moa_err *err) {
    json_t *list = json_object_get(c->root, "target_parameters"), *v;
    size_t i;
    if (!given(list)) return 0;
    json_array_foreach(list, i, v)
        if (!json_is_string(v)) return moa_fail(err, MOA_EFORMAT, "%s: target_parameters: expected a list of names", c->path);
    if (!json_is_array(list)) return moa_fail(err, MOA_EFORMAT, "%s: target_parameters: expected a list of names", c->path);
    c->parameters = list;
    return 0;
}

static int read_targets(peft_config *c, moa_err *err) {
    json_t *t = json_object_get(c->root, "target_modules"), *x = json_object_get(c->root, "exclude_modules"), *p = json_object_get(c->root, "layers_pattern"), *v;
    size_t i;
    if (json_is_string(t) && strcmp(json_string_value(t), "all-linear") == 0) c->all_linear = true;
    else if (json_is_string(t)) MOA_TRY(add_regex(c, &c->target, "(?:", json_string_value(t), ")", 0, "target_modules", err));
    else if (json_is_array(t)) c->targets = t;
    else if (!c->parameters || given(t))
        return moa_fail(err, MOA_EFORMAT, "%s: target_modules: expected a list of names or one regular expression", c->path);
    if (json_is_string(x)) MOA_TRY(add_regex(c, &c->exclude, "(?:", json_string_value(x), ")", 0, "exclude_modules", err));
    if (json_is_array(x)) c->excludes = x;
    v = json_object_get(c->root, "layers_to_transform");
    if (given(v) || json_is_integer(v)) c->indices = v;
    if (json_is_string(p) && *json_string_value(p)) MOA_TRY(add_regex(c, &c->layers, ".*?\\.(?:", json_string_value(p), ")\\.(\\d+)\\.", 0, "layers_pattern", err));
    json_array_foreach(p, i, v) {
        if (!json_is_string(v)) return moa_fail(err, MOA_EFORMAT, "%s: layers_pattern: expected names", c->path);
        MOA_TRY(add_regex(c, &c->layers, ".*?\\.(?:", json_string_value(v), ")\\.(\\d+)\\.", 0, "layers_pattern", err));
    }
    return c->layers.n ? 0 : add_regex(c, &c->layers, "", ".*?\\.[^.]*\\.(\\d+)\\.", "", 0, "layers_pattern", err);
}

static int bad_number(const peft_config *c, const char *key, double got, const char *want, moa_err *err) {
    return moa_fail(err, MOA_EFORMAT, "%s: %s is %g, expected %s", c->path, key, got, want);
}

static int read_peft(peft_config *c, moa_err *err) {
    const char *kind;
    MOA_TRY(moa_json_get_str(&kind, c->root, "peft_type", "", c->path, err));
    if (strcmp(kind, "LORA") != 0) return moa_fail(err, MOA_EUNSUPPORTED, "%s: peft_type is '%.40s', expected 'LORA'", c->path, kind);
    MOA_TRY(check_kind(c, err));
    if (!json_object_get(c->root, "r")) return moa_fail(err, MOA_ENOTFOUND, "%s: r is missing, expected the rank", c->path);
    if (!json_object_get(c->root, "lora_alpha")) return moa_fail(err, MOA_ENOTFOUND, "%s: lora_alpha is missing, so the scale is not known", c->path);
    MOA_TRY(moa_json_get_int(&c->r, c->root, "r", 0, c->path, err));
    MOA_TRY(moa_json_get_num(&c->alpha, c->root, "lora_alpha", 0, c->path, err));
    if (c->r < 1 || c->r > MOA_ADAPT_MAX_RANK) return bad_number(c, "r", (double)c->r, "1 to 16384", err);
    if (!json_is_null(json_object_get(c->root, "use_rslora"))) MOA_TRY(moa_json_get_bool(&c->rslora, c->root, "use_rslora", false, c->path, err));
    if (!json_is_null(json_object_get(c->root, "use_dora"))) MOA_TRY(moa_json_get_bool(&c->dora, c->root, "use_dora", false, c->path, err));
    c->base = json_string_value(json_object_get(c->root, "base_model_name_or_path"));
    MOA_TRY(read_parameters(c, err));
    MOA_TRY(read_patterns(c, &c->rank, "rank_pattern", err));
    MOA_TRY(read_patterns(c, &c->alphas, "alpha_pattern", err));
    return read_targets(c, err);
}

static int read_mlx(peft_config *c, const json_t *p, moa_err *err) {
    const char *kind = json_string_value(json_object_get(c->root, "fine_tune_type"));
    c->mlx = true;
    if ((kind && strcmp(kind, "lora") != 0) || json_is_true(json_object_get(c->root, "use_dora")))
        return moa_fail(err, MOA_EUNSUPPORTED, "%s: fine_tune_type is '%.40s', expected 'lora'", c->path, kind ? kind : "dora");
    if (!json_object_get(p, "scale")) return moa_fail(err, MOA_ENOTFOUND, "%s: lora_parameters.scale is missing, so the scale is not known", c->path);
    MOA_TRY(moa_json_get_num(&c->mlx_scale, p, "scale", 0, c->path, err));
    MOA_TRY(moa_json_get_int(&c->r, p, "rank", 0, c->path, err));
    if (c->r < 1 || c->r > MOA_ADAPT_MAX_RANK) return bad_number(c, "lora_parameters.rank", (double)c->r, "1 to 16384", err);
    c->base = json_string_value(json_object_get(c->root, "model"));
    return 0;
}

int peft_config_new(peft_config **out, const char *text, size_t n, const char *path, moa_err *err) {
    peft_config *c = *out = calloc(1, sizeof *c);
    if (!c || !(c->path = strdup(path))) return moa_fail(err, MOA_ENOMEM, "%s: no memory", path);
    MOA_TRY(moa_json_parse(&c->root, text, n, MOA_ADAPT_MAX_CONFIG, path, err));
    if (!json_is_object(c->root)) return moa_fail(err, MOA_EFORMAT, "%s: expected a JSON object", path);
    const json_t *mlx = json_object_get(c->root, "lora_parameters");
    c->match = pcre2_match_data_create(8, NULL);
    c->limits = pcre2_match_context_create(NULL);
    if (!c->match || !c->limits) return moa_fail(err, MOA_ENOMEM, "%s: no memory", path);
    pcre2_set_match_limit(c->limits, MATCH_LIMIT);
    pcre2_set_heap_limit(c->limits, HEAP_KIB);
    return json_is_object(mlx) && !json_object_get(c->root, "peft_type") ? read_mlx(c, mlx, err) : read_peft(c, err);
}

void peft_config_free(peft_config *c) {
    if (!c) return;
    free_patterns(&c->rank);
    free_patterns(&c->alphas);
    free_patterns(&c->layers);
    free_patterns(&c->target);
    free_patterns(&c->exclude);
    pcre2_match_data_free(c->match);
    pcre2_match_context_free(c->limits);
    json_decref(c->root);
    free(c->path);
    free(c);
}

bool peft_config_mlx(const peft_config *c) { return c->mlx; }
bool peft_config_dora(const peft_config *c) { return c->dora; }
const char *peft_config_base(const peft_config *c) { return c->base ? c->base : ""; }

/* ---- tensors that stand in for the base's ---- */

int peft_config_n_saved(const peft_config *c) { return (int)json_array_size(json_object_get(c->root, "modules_to_save")); }
const char *peft_config_saved(const peft_config *c, int i) {
    const char *s = json_string_value(json_array_get(json_object_get(c->root, "modules_to_save"), (size_t)i));
    return s ? s : "";
}

static bool ends_with(const char *s, const char *with) {
    const size_t n = strlen(s), k = strlen(with);
    return k && k <= n && strcmp(s + n - k, with) == 0;
}
static bool is_saved(const char *module, const char *name) {
    for (const char *s = *name ? strstr(module, name) : NULL; s; s = strstr(s + 1, name))
        if (s[strlen(name)] == '.') return true;
    return ends_with(module, name);
}

/* PEFT saves modules whose names end so, and what is inside of them. Both embeddings are saved besides where one of them is adapted; biases where
 * "bias" says that they were trained. */
int peft_config_whole(const peft_config *c, const char *module, bool bias, int *hit, moa_err *err) {
    int found = 0;
    for (int i = 0; i < peft_config_n_saved(c); i++)
        if (is_saved(module, peft_config_saved(c, i))) hit[i]++, found = 1;
    const char *trained = json_string_value(json_object_get(c->root, "bias"));
    if (found || (bias && trained && strcmp(trained, "none") != 0)) return 0;
    if (!bias && (ends_with(module, "embed_tokens") || strcmp(module, "lm_head") == 0)) return 0;
    return moa_fail(err, MOA_EFORMAT, "%s: %s has no place for the %s of '%.120s'", c->path, bias ? "bias, nor modules_to_save," : "modules_to_save",
                    bias ? "bias" : "weight", module);
}

/* ---- a module ---- */

static bool ends_with_module(const json_t *list, const char *module) {
    const size_t n = strlen(module);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));
        const size_t k = s ? strlen(s) : 0;
        if (s && k <= n && strcmp(module + n - k, s) == 0 && (k == n || module[n - k - 1] == '.')) return true;
    }
    return false;
}

static bool exact(const json_t *list, const char *module) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));
        if (s && strcmp(s, module) == 0) return true;
    }
    return false;
}

/* Is the module of one of layers_to_transform? */
static int right_layer(const peft_config *c, const char *module, moa_err *err) {
    for (int i = 0; i < c->layers.n; i++) {
        const int hit = matches(c, &c->layers.v[i], module, false, err);
        if (hit < 0) return hit;
        if (!hit) continue;
        const PCRE2_SIZE *at = pcre2_get_ovector_pointer(c->match);
        const uint32_t last = pcre2_get_ovector_count(c->match) > 1 ? 1 : 0;
        const long long layer = at[2 * last] == PCRE2_UNSET ? -1 : strtoll(module + at[2 * last], NULL, 10);
        if (json_is_integer(c->indices)) return json_integer_value(c->indices) == layer;
        for (size_t k = 0; k < json_array_size(c->indices); k++)
            if (json_integer_value(json_array_get(c->indices, k)) == layer) return 1;
        return 0;
    }
    return 0;
}

static int is_target(const peft_config *c, const char *module, moa_err *err) {
    double unused;
    const int out = first_match(&unused, c, &c->exclude, module, err);
    if (out) return out < 0 ? out : 0;
    if (c->excludes && ends_with_module(c->excludes, module)) return 0;
    if (c->all_linear) return 1;
    if (!c->targets) return first_match(&unused, c, &c->target, module, err);
    if (exact(c->targets, module)) return 1;
    if (!ends_with_module(c->targets, module)) return 0;
    return c->indices ? right_layer(c, module, err) : 1;
}

int peft_config_module(int *rank, float *scale, const peft_config *c, const char *module, moa_err *err) {
    if (c->mlx) {
        *rank = (int)c->r;
        *scale = (float)c->mlx_scale;
        return isfinite(*scale) ? 0 : bad_number(c, "lora_parameters.scale", c->mlx_scale, "a finite number", err);
    }
    const int hit = is_target(c, module, err);
    if (hit < 0) return hit;
    if (!hit) return moa_fail(err, MOA_EFORMAT, "%s: target_modules (with exclude_modules and layers_to_transform) has no place for '%.120s'", c->path, module);
    return peft_config_rank(rank, scale, c, module, err);
}

int peft_config_rank(int *rank, float *scale, const peft_config *c, const char *key, moa_err *err) {
    double r = (double)c->r, alpha = c->alpha;
    MOA_TRY(first_match(&r, c, &c->rank, key, err));
    MOA_TRY(first_match(&alpha, c, &c->alphas, key, err));
    if (r != floor(r) || r < 1 || r > MOA_ADAPT_MAX_RANK) return bad_number(c, "the rank of a module", r, "1 to 16384", err);
    const double s = c->rslora ? alpha / sqrt(r) : alpha / r;
    if (!isfinite((float)s)) return bad_number(c, "the scale of a module", s, "a finite number", err);
    *rank = (int)r;
    *scale = (float)s;
    return 0;
}

/* ---- parameters ---- */

/* Does this entry of target_parameters name a parameter of the module? Its name then, behind the last dot. */
static const char *parameter_of(const char *entry, const char *module) {
    const char *dot = strrchr(entry, '.');
    if (!dot) return entry;
    const size_t n = (size_t)(dot - entry), m = strlen(module);
    const bool ends = n <= m && strncmp(module + m - n, entry, n) == 0 && (n == m || module[m - n - 1] == '.');
    return ends ? dot + 1 : NULL;
}

int peft_config_parameter(const char **name, const peft_config *c, const char *module, int inner, moa_err *err) {
    static const char *const ORDER[] = {"gate_up_proj", "down_proj", "weight"}; /* the first two as modules of experts have them */
    enum { N = sizeof ORDER / sizeof *ORDER };
    const bool experts = ends_with(module, "experts"); /* others have a weight: a bare "down_proj" does not mean their modules */
    bool has[N] = {false};
    int n = 0;
    for (size_t i = 0; i < json_array_size(c->parameters); i++) {
        const char *p = parameter_of(json_string_value(json_array_get(c->parameters, i)), module);
        for (int k = 0; p && k < N; k++)
            if (experts == (k < N - 1) && strcmp(p, ORDER[k]) == 0 && !has[k]) has[k] = true, n++;
    }
    for (int k = 0, at = n - 1; k < N; k++) {
        if (!has[k]) continue;
        if (at-- == inner) return *name = ORDER[k], 1;
    }
    return inner ? moa_fail(err, MOA_EFORMAT, "%s: target_parameters names %d parameters of '%.120s', the file has wrappers of %d", c->path, n, module, inner + 1) : 0;
}

bool peft_config_ties(const peft_config *c) { return json_is_true(json_object_get(c->root, "ensure_weight_tying")); }
