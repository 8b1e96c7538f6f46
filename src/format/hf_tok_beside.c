/* hf_tok_beside.c - tokens that stand beside a vocabulary which is no tokenizer.json: added_tokens.json, added_tokens_decoder of
 * tokenizer_config.json, and the special tokens that tokenizer_config.json and special_tokens_map.json name.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "format/hf_tok.h"

#include <stdlib.h>
#include <string.h>

static const char *const NAMED[] = {"bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"};
enum { N_NAMED = sizeof NAMED / sizeof *NAMED };

/* A token as a text or as an object with flags. */
static hf_added token_of(const json_t *v) {
    hf_added a = json_is_object(v) ? hf_tok_added_of(v) : (hf_added){.content = json_string_value(v), .id = -1};
    if (!a.content) a.content = "";
    a.special = true;
    return a;
}

/* The i-th special token that the file names, or false behind the last. */
static bool named_at(hf_added *out, const json_t *o, size_t i) {
    const json_t *more = json_object_get(o, "additional_special_tokens");
    if (i >= N_NAMED + json_array_size(more)) return false;
    *out = token_of(i < N_NAMED ? json_object_get(o, NAMED[i]) : json_array_get(more, i - N_NAMED));
    return true;
}

static bool is_named(const json_t *o, const char *content) {
    hf_added a;
    for (size_t i = 0; named_at(&a, o, i); i++)
        if (*a.content && strcmp(a.content, content) == 0) return true;
    return false;
}

/* added_tokens.json: text and id, nothing more. */
static int read_added(hf_tok *t) {
    const char *content;
    json_t *id;
    json_object_foreach(t->m->added, content, id) {
        if (!*content || !json_is_integer(id))
            return moa_fail(t->err, MOA_EFORMAT, "%s/added_tokens.json: token '%.40s' has no text or no whole number as id", t->m->folder, content);
        const hf_added a = {.content = content, .id = json_integer_value(id),
                            .special = is_named(t->m->tokenizer_config, content) || is_named(t->m->special_map, content)};
        MOA_TRY(hf_tok_add(t, &a));
    }
    return 0;
}

/* added_tokens_decoder: by id, with flags. What it says of an id counts, whatever the piece of that id is. */
static int read_decoder(hf_tok *t) {
    const char *key;
    json_t *o;
    json_object_foreach(json_object_get(t->m->tokenizer_config, "added_tokens_decoder"), key, o) {
        char *end;
        hf_added a = hf_tok_added_of(o);
        a.id = strtoll(key, &end, 10);
        if (!*a.content || end == key || *end)
            return moa_fail(t->err, MOA_EFORMAT, "%s/tokenizer_config.json: added_tokens_decoder: '%.20s' is no id, or has no content", t->m->folder, key);
        if (a.id >= 0 && a.id < t->n && t->name[a.id].p && strcmp(t->name[a.id].p, a.content) != 0) {
            t->name[a.id].p = NULL;
            t->type[a.id] = MOA_TOKEN_NORMAL;
        }
        MOA_TRY(hf_tok_add(t, &a));
    }
    return 0;
}

int hf_tok_read_beside(hf_tok *t) {
    MOA_TRY(read_added(t));
    return read_decoder(t);
}

int hf_tok_mark_special(hf_tok *t, const char *content) {
    const int32_t id = hf_tok_find(t, content);
    const hf_added a = {.content = content, .id = id, .special = true, .flags = id < 0 ? 0 : t->flag[id]};
    return id < 0 ? 0 : hf_tok_add(t, &a);
}

int hf_tok_mark_named(hf_tok *t) {
    const json_t *const files[] = {t->m->tokenizer_config, t->m->special_map};
    hf_added a;
    for (int f = 0; f < 2; f++)
        for (size_t i = 0; named_at(&a, files[f], i); i++) MOA_TRY(hf_tok_mark_special(t, a.content));
    return 0;
}
