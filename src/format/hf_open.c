/* hf_open.c - finds the files of a folder, reads them all, and hands them out in the form of a GGUF file.
 *
 * What is mapped stays mapped: a tensor that GGUF stores as the checkpoint does is a view. Derived tensors are made when the
 * model is opened, in one anonymous mapping: a page that is computed on first touch would need a fault handler, and the first
 * token reads them all anyway. Sizes: of a Llama the matrices of q and k, of a Gemma its norms, of gpt-oss its experts.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/file.h"
#include "format/hf_impl.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { MAX_SHARD = 4096, MAX_INDEX = 64 << 20, ALIGN = 64 };

static bool ends(const char *s, const char *with) {
    const size_t n = strlen(s), k = strlen(with);
    return n >= k && strcmp(s + n - k, with) == 0;
}

static char *join(const char *folder, const char *name) {
    const size_t n = strlen(folder) + strlen(name) + 2;
    char *p = malloc(n);
    if (p) snprintf(p, n, "%s/%s", folder, name);
    return p;
}

static bool is_regular(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool holds(const char *folder, const char *name) {
    char *p = join(folder, name);
    const bool yes = p && is_regular(p);
    free(p);
    return yes;
}

static const char *name_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool moa_hf_is(const char *path) {
    struct stat st;
    if (stat(path, &st) < 0) return false;
    if (S_ISDIR(st.st_mode)) return holds(path, "config.json");
    return S_ISREG(st.st_mode) && (ends(path, ".safetensors") || ends(path, ".safetensors.index.json") || strcmp(name_of(path), "config.json") == 0);
}

/* ---- shards ---- */

static int add_shard(hf_model *m, const char *name, moa_err *err) {
    if (m->n_shard == MAX_SHARD) return moa_fail(err, MOA_ELIMIT, "%s: more than %d weight files", m->folder, MAX_SHARD);
    moa_safetensors **v = realloc(m->shard, (size_t)(m->n_shard + 1) * sizeof *v);
    if (!v) return moa_fail(err, MOA_ENOMEM, "%s: no memory for the list of weight files", m->folder);
    m->shard = v;
    char *path = join(m->folder, name);
    int rc = path ? moa_safetensors_open(&v[m->n_shard], path, err) : moa_fail(err, MOA_ENOMEM, "%s: no memory", m->folder);
    free(path);
    if (rc >= 0) m->n_shard++;
    return rc;
}

/* A file beside the index: nothing of it may lead elsewhere. */
static int check_name(const char *index, const char *tensor, const char *name, moa_err *err) {
    if (*name && *name != '.' && !strchr(name, '/') && !strchr(name, '\\') && strlen(name) < 256 && ends(name, ".safetensors")) return 0;
    return moa_fail(err, MOA_EFORMAT, "%s: weight_map: '%.60s' is said to be in '%.80s', expected a .safetensors file of the same folder",
                    index, tensor, name);
}

/* In the order of their names, each once. */
static int read_index(hf_model *m, const char *index, moa_err *err) {
    json_t *all = NULL, *names = json_object();
    const char *tensor, *name;
    json_t *v;
    int rc = names ? moa_json_read(&all, index, MAX_INDEX, err) : moa_fail(err, MOA_ENOMEM, "%s: no memory", index);
    const json_t *map = json_object_get(all, "weight_map");
    if (rc >= 0 && !json_object_size(map)) rc = moa_fail(err, MOA_EFORMAT, "%s: weight_map is missing or empty", index);
    json_object_foreach((json_t *)(uintptr_t)map, tensor, v) {
        if (rc < 0) break;
        rc = json_is_string(v) ? check_name(index, tensor, json_string_value(v), err)
                               : moa_fail(err, MOA_EFORMAT, "%s: weight_map: '%.60s' has no file name", index, tensor);
        if (rc >= 0 && json_object_get(names, json_string_value(v))) continue;
        if (rc >= 0 && json_object_set_new(names, json_string_value(v), json_integer(m->n_shard)) < 0)
            rc = moa_fail(err, MOA_ENOMEM, "%s: no memory", index);
        if (rc >= 0) rc = add_shard(m, json_string_value(v), err);
        if (rc == MOA_ENOTFOUND) moa_hint(err, rc, "%s says that there is such a file; fetch it too", index);
    }
    json_object_foreach((json_t *)(uintptr_t)map, tensor, v) {
        if (rc < 0) break;
        name = json_string_value(v);
        const moa_safetensors *s = m->shard[json_integer_value(json_object_get(names, name))];
        if (!moa_safetensors_find(s, tensor))
            rc = moa_fail(err, MOA_EFORMAT, "%s: tensor '%.100s' is said to be in %.80s, which has no such tensor", index, tensor, name);
    }
    json_decref(names);
    json_decref(all);
    return rc;
}

/* model-00001-of-00003.safetensors: a part, which is no model without the others. */
static bool is_shard(const char *name) { return ends(name, ".safetensors") && strstr(name, "-of-"); }

static bool has_shards(const char *folder) {
    DIR *d = opendir(folder);
    const struct dirent *e;
    bool any = false;
    while (d && !any && (e = readdir(d))) any = is_shard(e->d_name);
    if (d) closedir(d);
    return any;
}

static int no_weights(const hf_model *m, moa_err *err) {
    moa_fail(err, MOA_ENOTFOUND, "%s: neither model.safetensors nor model.safetensors.index.json is there", m->folder);
    if (has_shards(m->folder)) return moa_hint(err, MOA_ENOTFOUND, "its weights are in parts: fetch model.safetensors.index.json, which names them all");
    return moa_hint(err, MOA_ENOTFOUND, holds(m->folder, "pytorch_model.bin") || holds(m->folder, "pytorch_model.bin.index.json")
                    ? "only safetensors are read: pytorch_model.bin can run code when it is loaded" : "fetch the weights as well");
}

static int open_shards(hf_model *m, const char *path, moa_err *err) {
    if (ends(path, ".safetensors.index.json")) return read_index(m, path, err);
    const char *one = name_of(path);
    const bool index_there = holds(m->folder, "model.safetensors.index.json");
    if (ends(path, ".safetensors") && is_regular(path) && !(is_shard(one) && index_there)) return add_shard(m, one, err);
    if (index_there) {
        char *index = join(m->folder, "model.safetensors.index.json");
        const int rc = index ? read_index(m, index, err) : moa_fail(err, MOA_ENOMEM, "%s: no memory", m->folder);
        free(index);
        return rc;
    }
    return holds(m->folder, "model.safetensors") ? add_shard(m, "model.safetensors", err) : no_weights(m, err);
}

/* ---- the small files ---- */

static int read_json(json_t **out, const hf_model *m, const char *name, size_t max, bool needed, moa_err *err) {
    if (!needed && !holds(m->folder, name)) return 0;
    char *path = join(m->folder, name);
    int rc = path ? moa_json_read(out, path, max, err) : moa_fail(err, MOA_ENOMEM, "%s: no memory", m->folder);
    if (rc >= 0 && !json_is_object(*out)) rc = moa_fail(err, MOA_EFORMAT, "%s: expected a JSON object", path);
    free(path);
    return rc;
}

static int read_text(char **out, size_t *n, const hf_model *m, const char *name, size_t max, moa_err *err) {
    char *path = join(m->folder, name);
    const int rc = path ? moa_read_file(out, n, path, max, err) : moa_fail(err, MOA_ENOMEM, "%s: no memory", m->folder);
    free(path);
    return rc;
}

/* A SentencePiece model, by the names that published folders give it, a list of words, or the two files of a byte-level BPE. */
static int open_pieces(hf_model *m, moa_err *err) {
    static const char *const NAMES[] = {"tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.txt", "vocab.json"};
    size_t i = 0;
    while (i < sizeof NAMES / sizeof *NAMES && !holds(m->folder, NAMES[i])) i++;
    if (i == sizeof NAMES / sizeof *NAMES) return 0;
    char *path = join(m->folder, NAMES[i]);
    int rc = path ? moa_map_open(&m->pieces_file, path, err) : moa_fail(err, MOA_ENOMEM, "%s: no memory", m->folder);
    if (rc >= 0 && m->pieces_file.size > HF_MAX_TOKENIZER)
        rc = moa_fail(err, MOA_ELIMIT, "%s: %zu bytes, at most %d are read", path, m->pieces_file.size, HF_MAX_TOKENIZER);
    free(path);
    m->pieces = m->pieces_file.data;
    m->n_pieces = m->pieces_file.size;
    m->pieces_name = NAMES[i];
    if (rc >= 0 && strcmp(NAMES[i], "vocab.json") == 0) rc = read_text(&m->merges, &m->n_merges, m, "merges.txt", HF_MAX_TOKENIZER, err);
    if (rc == MOA_ENOTFOUND && m->pieces) moa_hint(err, rc, "vocab.json needs it beside it: fetch it as well");
    return rc < 0 ? rc : read_json(&m->added, m, "added_tokens.json", HF_MAX_CONFIG, false, err);
}

static int read_small(hf_model *m, moa_err *err) {
    MOA_TRY(read_json(&m->config, m, "config.json", HF_MAX_CONFIG, true, err));
    MOA_TRY(read_json(&m->generation, m, "generation_config.json", HF_MAX_CONFIG, false, err));
    MOA_TRY(read_json(&m->tokenizer_config, m, "tokenizer_config.json", 16 << 20, false, err));
    MOA_TRY(read_json(&m->sentence, m, "sentence_bert_config.json", HF_MAX_CONFIG, false, err));
    MOA_TRY(read_json(&m->special_map, m, "special_tokens_map.json", HF_MAX_CONFIG, false, err));
    MOA_TRY(read_json(&m->tokenizer, m, "tokenizer.json", HF_MAX_TOKENIZER, false, err));
    if (!m->tokenizer) MOA_TRY(open_pieces(m, err));
    return holds(m->folder, "chat_template.jinja") ? read_text(&m->chat_template, NULL, m, "chat_template.jinja", HF_MAX_TEMPLATE, err) : 0;
}

void hf_model_free(void *p) {
    hf_model *m = p;
    if (!m) return;
    for (int i = 0; i < m->n_shard; i++) moa_safetensors_close(m->shard[i]);
    free(m->shard);
    json_decref(m->config);
    json_decref(m->generation);
    json_decref(m->tokenizer_config);
    json_decref(m->tokenizer);
    free(m->merges);
    free(m->chat_template);
    free(m->tensor);
    free(m->slot);
    free(m->folder);
    free(m->config_path);
    json_decref(m->special_map);
    json_decref(m->sentence);
    json_decref(m->added);
    moa_map_close(&m->pieces_file);
    moa_arena_free(m->arena);
    moa_gguf_out_free(m->keys);
    moa_buf_deinit(&m->head);
    if (m->made) munmap(m->made, m->made_bytes);
    free(m);
}

static int set_folder(hf_model *m, const char *path) {
    struct stat st;
    const char *slash = strrchr(path, '/');
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        size_t n = strlen(path);
        while (n > 1 && path[n - 1] == '/') n--;
        m->folder = strndup(path, n);
    }
    else m->folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    m->config_path = m->folder ? join(m->folder, "config.json") : NULL;
    m->arena = moa_arena_new(0, 0);
    m->keys = moa_gguf_out_new();
    moa_buf_init(&m->head, SIZE_MAX / 2);
    return m->config_path && m->arena && m->keys ? 0 : MOA_ENOMEM;
}

int hf_model_new(hf_model **out, const char *path, moa_err *err) {
    hf_model *m = *out = calloc(1, sizeof *m);
    if (m && set_folder(m, path) == 0) return 0;
    hf_model_free(m);
    *out = NULL;
    return moa_fail(err, MOA_ENOMEM, "%s: no memory for handle", path);
}

int hf_model_open(hf_model **out, const char *path, moa_err *err) {
    hf_model *m = NULL;
    *out = NULL;
    int rc = hf_model_new(&m, path, err);
    if (rc >= 0) rc = read_small(m, err);
    if (rc >= 0) rc = hf_config_read(m, err);
    if (rc >= 0) rc = open_shards(m, path, err);
    if (rc >= 0) rc = hf_tensors_plan(m, err);
    if (rc >= 0) rc = hf_tokenizer_read(m, err);
    if (rc < 0) {
        hf_model_free(m);
        return rc;
    }
    json_decref(m->tokenizer); /* a tree of small values: many times the text, and not needed any more */
    m->tokenizer = NULL;
    *out = m;
    return 0;
}

/* ---- as a GGUF file ---- */

static bool apart(const hf_tensor *t) {
    const uint8_t *end = NULL;
    for (int i = 0; i < t->n_piece; i++) {
        const uint8_t *p = hf_direct(t, &t->piece[i]);
        if (i && p != end) return true;
        end = p + (size_t)t->piece[i].n * moa_row_bytes(t->dtype, t->shape[t->n_dim - 1]);
    }
    return false;
}

typedef enum form { VIEW, EACH, MADE } form;

static form form_of(const hf_tensor *t) {
    if (t->op == HF_VALUES) return VIEW;
    for (int i = 0; i < t->n_piece; i++)
        if (!hf_direct(t, &t->piece[i])) return MADE;
    if (t->n_piece == 1 || !apart(t)) return VIEW;
    return *t->each ? EACH : MADE;
}

static size_t room_of(const hf_tensor *t) {
    const moa_tensor v = moa_view(t->dtype, NULL, t->n_dim, t->shape);
    return (moa_tensor_bytes(&v) + ALIGN - 1) / ALIGN * ALIGN;
}

static int reserve(hf_model *m, int *n, moa_err *err) {
    *n = 0;
    for (int i = 0; i < m->n_tensor; i++) {
        const hf_tensor *t = &m->tensor[i];
        const form f = form_of(t);
        *n += f == EACH ? t->n_piece : 1;
        if (f == MADE) m->made_bytes += room_of(t);
    }
    if (!m->made_bytes) return 0;
    void *p = mmap(NULL, m->made_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return moa_fail(err, MOA_ENOMEM, "%s: no memory for %zu bytes of tensors that are stored otherwise", m->folder, m->made_bytes);
    m->made = p;
    return 0;
}

/* One tensor of the plan as one or more views at *v; returns how many. */
static int lay_out(moa_tensor **v, hf_model *m, const hf_tensor *t, size_t *used, int flags, moa_err *err) {
    const form f = form_of(t);
    if (f != EACH) {
        void *data = t->op == HF_VALUES ? (void *)(uintptr_t)t->values : f == VIEW ? (void *)(uintptr_t)hf_direct(t, t->piece) : m->made + *used;
        if (f == MADE) *used += room_of(t);
        **v = moa_view(t->dtype, data, t->n_dim, t->shape);
        (*v)++->name = t->name;
        return f == MADE && !(flags & MOA_HF_HEAD) ? hf_rows(data, t->dtype, t, 0, moa_rows(*v - 1), err) : 0;
    }
    for (int i = 0; i < t->n_piece; i++) {
        char name[HF_MAX_NAME + 12];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        const int len = snprintf(name, sizeof name, t->each, i);
#pragma GCC diagnostic pop
        **v = moa_view(t->dtype, (void *)(uintptr_t)hf_direct(t, &t->piece[i]), t->n_dim - 1, t->shape + 1);
        if (!((*v)++->name = moa_arena_strndup(m->arena, name, (size_t)len))) return moa_fail(err, MOA_ENOMEM, "%s: no memory", m->folder);
    }
    return 0;
}

int hf_model_gguf(moa_gguf **out, hf_model *m, const char *path, int flags, moa_err *err) {
    int n = 0;
    size_t used = 0;
    *out = NULL;
    int rc = reserve(m, &n, err);
    moa_tensor *v = rc >= 0 ? calloc((size_t)n + 1, sizeof *v) : NULL, *at = v;
    if (rc >= 0 && !v) rc = moa_fail(err, MOA_ENOMEM, "%s: no memory for %d tensors", m->folder, n);
    for (int i = 0; rc >= 0 && i < m->n_tensor; i++) rc = lay_out(&at, m, &m->tensor[i], &used, flags, err);
    if (rc >= 0) rc = moa_gguf_head(&m->head, m->keys, err);
    if (rc >= 0 && m->made) (void)mprotect(m->made, m->made_bytes, PROT_READ);
    if (rc >= 0) rc = moa_gguf_open_parts(out, m->head.data, m->head.len, v, n, path, m, hf_model_free, err);
    free(v);
    if (rc < 0) hf_model_free(m);
    return rc;
}

int moa_hf_open(moa_gguf **out, const char *path, int flags, moa_err *err) {
    hf_model *m = NULL;
    *out = NULL;
    MOA_TRY(hf_model_open(&m, path, err));
    return hf_model_gguf(out, m, path, flags, err);
}

int moa_gguf_open_any(moa_gguf **out, const char *path, int flags, moa_err *err) {
    return moa_hf_is(path) ? moa_hf_open(out, path, flags, err) : moa_gguf_open(out, path, err);
}
