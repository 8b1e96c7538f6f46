/* prompt.c - a conversation as the ids that a local model reads: through its own chat template, with its own tokens.
 *
 * The template's text contains control tokens ("<|im_end|>") that must become their ids; the same characters inside a
 * message must not, or a user (or a proposal that a model wrote) could close a turn and open another. When a
 * message holds such text, it is replaced by a mark (two private-use characters round the token's number) before the
 * template runs, and turned back afterwards as plain text. Messages without it, nearly all, take the direct way and
 * are tokenized whole, exactly as other programs do.
 *
 * A model without a template (a base model) gets "User: ... Assistant:" lines.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/backend/prompt.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PROMPT = 64 << 20 };
#define MARK_OPEN "\xEE\x80\x80"  /* U+E000 */
#define MARK_CLOSE "\xEE\x80\x81" /* U+E001 */

struct moa_prompter {
    const moa_model *m;
    json_t *vars;     /* of the template, beside the conversation; NULL: none */
    int32_t *control; /* [n_control] ids of control tokens with a text */
    int n_control;
    bool first[256];  /* bytes that such texts begin with */
};

int moa_prompter_new(moa_prompter **out, const moa_model *m, moa_err *err) {
    if (!m->chat && m->chat_err.code) { /* guessing a layout would cost quality in silence */
        if (err) *err = m->chat_err;
        return moa_wrap(err, m->chat_err.code, "%s: chat template", m->path ? m->path : "model");
    }
    moa_prompter *p = calloc(1, sizeof *p);
    int n_vocab = moa_tokenizer_n_vocab(m->tok);
    if (p) p->control = malloc(((size_t)n_vocab + 1) * sizeof *p->control);
    if (!p || !p->control) {
        moa_prompter_free(p);
        return moa_fail(err, MOA_ENOMEM, "no memory for %d tokens", n_vocab);
    }
    p->m = m;
    for (int32_t id = 0; id < n_vocab; id++) {
        if (!moa_tokenizer_is_control(m->tok, id)) continue;
        moa_str s = moa_token_bytes(m->tok, id, true);
        if (!s.n) continue;
        p->control[p->n_control++] = id;
        p->first[(unsigned char)s.p[0]] = true;
    }
    *out = p;
    return 0;
}

void moa_prompter_free(moa_prompter *p) {
    if (!p) return;
    free(p->control);
    json_decref(p->vars);
    free(p);
}

int moa_prompter_vars(moa_prompter *p, const char *json, moa_err *err) {
    json_t *vars = NULL;
    if (json) MOA_TRY(moa_chat_vars_parse(&vars, json, err));
    if (vars && !p->m->chat) {
        json_decref(vars);
        return moa_fail(err, MOA_EINVAL, "%s has no chat template that could read variables", p->m->path ? p->m->path : "the model");
    }
    json_decref(p->vars);
    p->vars = vars;
    return 0;
}

/* The longest control text at s, as its id; -1: none. */
static int32_t control_at(const moa_prompter *p, const char *s, size_t n, size_t *len) {
    int32_t best = -1;
    *len = 0;
    if (!n || !p->first[(unsigned char)*s]) return -1;
    for (int i = 0; i < p->n_control; i++) {
        moa_str t = moa_token_bytes(p->m->tok, p->control[i], true);
        if (t.n <= n && t.n > *len && !memcmp(t.p, s, t.n)) best = p->control[i], *len = t.n;
    }
    return best;
}

static bool has_control(const moa_prompter *p, const char *s) {
    size_t len;
    for (size_t n = strlen(s), i = 0; i < n; i++)
        if (control_at(p, s + i, n - i, &len) >= 0) return true;
    return false;
}

static void add_marked(moa_buf *b, const moa_prompter *p, const char *s) {
    size_t len, done = 0, n = strlen(s);
    for (size_t i = 0; i < n;) {
        int32_t id = control_at(p, s + i, n - i, &len);
        if (id < 0) {
            i++;
            continue;
        }
        moa_buf_add(b, s + done, i - done);
        moa_buf_addf(b, MARK_OPEN "%d" MARK_CLOSE, (int)id);
        done = i += len;
    }
    moa_buf_add(b, s + done, n - done);
}

/* Is s a mark of a control token? Its id and length. Anything else that looks like one is a user's text and stays it. */
static bool mark_at(const moa_prompter *p, const char *s, size_t n, int32_t *id, size_t *len) {
    if (n < 7 || memcmp(s, MARK_OPEN, 3)) return false;
    int64_t v = 0;
    size_t i = 3;
    for (; i < n && i < 13 && s[i] >= '0' && s[i] <= '9'; i++) v = v * 10 + (s[i] - '0');
    if (i == 3 || n - i < 3 || memcmp(s + i, MARK_CLOSE, 3)) return false;
    if (v >= moa_tokenizer_n_vocab(p->m->tok) || !moa_tokenizer_is_control(p->m->tok, (int32_t)v)) return false;
    *id = (int32_t)v;
    *len = i + 3;
    return true;
}

static int tokenize_marked(moa_ids *ids, const moa_prompter *p, const char *s, size_t n, int flags, moa_err *err) {
    size_t done = 0, len;
    int32_t id;
    for (size_t i = 0; i < n;) {
        if (!mark_at(p, s + i, n - i, &id, &len)) {
            i++;
            continue;
        }
        if (i > done || flags & MOA_TOK_BOS) MOA_TRY(moa_tokenize(ids, p->m->tok, s + done, i - done, flags, err));
        flags &= ~MOA_TOK_BOS;
        moa_str t = moa_token_bytes(p->m->tok, id, true);
        MOA_TRY(moa_tokenize(ids, p->m->tok, t.p, t.n, 0, err));
        done = i += len;
    }
    return n > done ? moa_tokenize(ids, p->m->tok, s + done, n - done, flags, err) : 0;
}

static int render_plain(char **out, size_t *len, const moa_message *msg, int n_msg, moa_err *err) {
    moa_buf b;
    moa_buf_init(&b, MAX_PROMPT);
    for (int i = 0; i < n_msg; i++) {
        if (!strcmp(msg[i].role, "system")) moa_buf_addf(&b, "%s\n\n", msg[i].content);
        else moa_buf_addf(&b, "%s: %s\n", !strcmp(msg[i].role, "assistant") ? "Assistant" : "User", msg[i].content);
    }
    moa_buf_adds(&b, "Assistant:");
    int rc = b.failed;
    *len = b.len;
    *out = rc ? NULL : moa_buf_take(&b);
    moa_buf_deinit(&b);
    return rc ? moa_fail(err, rc, "a prompt of over %d MiB", MAX_PROMPT >> 20) : 0;
}

static moa_str token_text(const moa_prompter *p, int32_t id) {
    return id < 0 ? (moa_str){"", 0} : moa_token_bytes(p->m->tok, id, true);
}

static int render(moa_ids *ids, const moa_prompter *p, const moa_message *msg, int n_msg, bool marked, moa_err *err) {
    moa_str bos = token_text(p, moa_tokenizer_bos(p->m->tok)), eos = token_text(p, moa_tokenizer_eos(p->m->tok));
    char *b0 = strndup(bos.p, bos.n), *e0 = strndup(eos.p, eos.n), *text = NULL;
    size_t len = 0;
    int rc = b0 && e0 ? 0 : moa_fail(err, MOA_ENOMEM, "no memory for a prompt");
    if (rc >= 0) rc = p->m->chat ? moa_chat_render_with(&text, &len, p->m->chat, msg, n_msg, b0, e0, true, p->vars, err) : render_plain(&text, &len, msg, n_msg, err);
    const int flags = MOA_TOK_SPECIAL | MOA_TOK_BOS; /* where the template writes the BOS itself, the tokenizer adds none */
    if (rc >= 0) rc = marked ? tokenize_marked(ids, p, text, len, flags, err) : moa_tokenize(ids, p->m->tok, text, len, flags, err);
    free(text);
    free(b0);
    free(e0);
    return rc;
}

int moa_prompter_ids(moa_ids *ids, const moa_prompter *p, const moa_message *msg, int n_msg, moa_err *err) {
    bool hostile = false;
    for (int i = 0; i < n_msg && !hostile; i++) hostile = has_control(p, msg[i].content);
    if (!hostile) return render(ids, p, msg, n_msg, false, err);
    moa_message *safe = malloc((size_t)n_msg * sizeof *safe);
    moa_buf *b = malloc((size_t)n_msg * sizeof *b);
    int rc = safe && b ? 0 : moa_fail(err, MOA_ENOMEM, "no memory for %d messages", n_msg);
    for (int i = 0; rc >= 0 && i < n_msg; i++) moa_buf_init(&b[i], MAX_PROMPT);
    for (int i = 0; safe && b && i < n_msg; i++) {
        add_marked(&b[i], p, msg[i].content);
        if (b[i].failed) rc = moa_fail(err, b[i].failed, "message %d is too long", i + 1);
        safe[i] = (moa_message){msg[i].role, moa_buf_str(&b[i])};
    }
    if (rc >= 0) rc = render(ids, p, safe, n_msg, true, err);
    for (int i = 0; safe && b && i < n_msg; i++) moa_buf_deinit(&b[i]);
    free(safe);
    free(b);
    return rc;
}

int moa_prompter_go_on(moa_ids *ids, const moa_prompter *p, const char *reply, moa_err *err) {
    return moa_tokenize(ids, p->m->tok, reply, strlen(reply), MOA_TOK_GOES_ON, err);
}

const char *const *moa_prompter_stop(const moa_prompter *p, int *n) {
    static const char *const stop[] = {"\nUser:"};
    *n = p->m->chat ? 0 : 1;
    return p->m->chat ? NULL : stop;
}

/* ---- conversations as JSON ---- */

/* Is there text of a control token in a value? Negative: in a key, where it cannot be told apart. */
static int json_control(const moa_prompter *p, const json_t *v) {
    const char *key;
    json_t *c;
    size_t i;
    int any = json_is_string(v) && has_control(p, json_string_value(v));
    if (json_is_object(v)) json_object_foreach((json_t *)(uintptr_t)v, key, c) {
            const int k = has_control(p, key) ? -1 : json_control(p, c);
            if (k < 0) return k;
            any |= k;
        }
    json_array_foreach(v, i, c) {
        const int k = json_control(p, c);
        if (k < 0) return k;
        any |= k;
    }
    return any;
}

/* A copy whose strings are marked; roles stay what they are. NULL: no memory, or too long. */
static json_t *json_marked(const moa_prompter *p, const json_t *v) {
    const char *key;
    json_t *c, *out;
    size_t i;
    if (json_is_string(v)) {
        moa_buf b;
        moa_buf_init(&b, MAX_PROMPT);
        add_marked(&b, p, json_string_value(v));
        out = b.failed ? NULL : json_stringn(moa_buf_str(&b), b.len);
        moa_buf_deinit(&b);
        return out;
    }
    if (!json_is_object(v) && !json_is_array(v)) return json_deep_copy(v);
    bool ok = (out = json_is_object(v) ? json_object() : json_array()) != NULL;
    if (json_is_object(v)) json_object_foreach((json_t *)(uintptr_t)v, key, c) ok = ok && json_object_set_new(out, key, json_marked(p, c)) == 0;
    json_array_foreach(v, i, c) ok = ok && json_array_append_new(out, json_marked(p, c)) == 0;
    if (ok) return out;
    json_decref(out);
    return NULL;
}

/* Without a template: the texts of the conversation. */
static int render_texts(char **text, size_t *len, const json_t *messages, moa_err *err) {
    const size_t n = json_array_size(messages);
    moa_message *msg = malloc((n + 1) * sizeof *msg);
    if (!msg) return moa_fail(err, MOA_ENOMEM, "%zu messages", n);
    for (size_t i = 0; i < n; i++) {
        const json_t *m = json_array_get(messages, i);
        const char *role = json_string_value(json_object_get(m, "role")), *content = json_string_value(json_object_get(m, "content"));
        msg[i] = (moa_message){role ? role : "user", content ? content : ""};
    }
    const int rc = render_plain(text, len, msg, (int)n, err);
    free(msg);
    return rc;
}

static int request_ids(moa_ids *ids, const moa_prompter *p, const json_t *messages, const json_t *tools, bool marked, moa_err *err) {
    moa_str bos = token_text(p, moa_tokenizer_bos(p->m->tok)), eos = token_text(p, moa_tokenizer_eos(p->m->tok));
    char *b0 = strndup(bos.p, bos.n), *e0 = strndup(eos.p, eos.n), *text = NULL;
    size_t len = 0;
    const moa_chat_request r = {.messages = messages, .tools = tools, .extra = p->vars, .bos = b0, .eos = e0, .add_generation_prompt = true};
    int rc = b0 && e0 ? 0 : moa_fail(err, MOA_ENOMEM, "a prompt");
    if (rc >= 0) rc = p->m->chat ? moa_chat_render_request(&text, &len, p->m->chat, &r, err) : render_texts(&text, &len, messages, err);
    const int flags = MOA_TOK_SPECIAL | MOA_TOK_BOS;
    if (rc >= 0) rc = marked ? tokenize_marked(ids, p, text, len, flags, err) : moa_tokenize(ids, p->m->tok, text, len, flags, err);
    free(text);
    free(b0);
    free(e0);
    return rc;
}

int moa_prompter_request(moa_ids *ids, const moa_prompter *p, const json_t *messages, const json_t *tools, moa_err *err) {
    const int a = json_control(p, messages), b = tools ? json_control(p, tools) : 0;
    if (a < 0 || b < 0) return moa_fail(err, MOA_EINVAL, "the name of a field holds the text of one of the model's control tokens");
    if (!a && !b) return request_ids(ids, p, messages, tools, false, err);
    json_t *m = json_marked(p, messages), *t = tools ? json_marked(p, tools) : NULL;
    const int rc = m && (t || !tools) ? request_ids(ids, p, m, t, true, err) : moa_fail(err, MOA_ENOMEM, "a conversation of over %d MiB", MAX_PROMPT >> 20);
    json_decref(m);
    json_decref(t);
    return rc;
}

/* ---- of a call ---- */

static int add_ids(moa_ids *ids, const moa_call_extra *x, moa_err *err) {
    for (int64_t i = 0; i < x->n_ids; i++) MOA_TRY(moa_ids_add(ids, x->ids[i]));
    return x->n_ids ? 0 : moa_fail(err, MOA_EINVAL, "the prompt is empty");
}

/* The system message as the call has it: the client's own, and what the mix put behind it. */
static bool put_system(json_t *list, const char *text) {
    const char *begins = json_string_value(json_object_get(json_array_get(list, 0), "role"));
    json_t *m = json_pack("{s:s, s:o}", "role", "system", "content", moa_json_str(text, strlen(text)));
    return (begins && !strcmp(begins, "system") ? json_array_set_new(list, 0, m) : json_array_insert_new(list, 0, m)) == 0;
}

/* The client's conversation, with the last user's turn and the system message as the call has them: where references are read, they stand in one of them. */
static int add_request(moa_ids *ids, const moa_prompter *p, const moa_message *msg, int n_msg, const moa_call_extra *x, moa_err *err) {
    json_t *list = json_copy((json_t *)(uintptr_t)x->messages), *last = json_copy(json_array_get(list, json_array_size(list) - 1));
    const char *role = json_string_value(json_object_get(last, "role"));
    bool ok = list && last;
    if (ok && role && !strcmp(role, "user") && n_msg && !strcmp(msg[n_msg - 1].role, "user"))
        ok = json_object_set_new(last, "content", moa_json_str(msg[n_msg - 1].content, strlen(msg[n_msg - 1].content))) == 0 &&
             json_array_set(list, json_array_size(list) - 1, last) == 0;
    if (ok && n_msg && !strcmp(msg[0].role, "system")) ok = put_system(list, msg[0].content);
    const int rc = ok ? moa_prompter_request(ids, p, list, x->tools, err) : moa_fail(err, MOA_ENOMEM, "a conversation");
    json_decref(last);
    json_decref(list);
    return rc;
}

int moa_prompter_call(moa_ids *ids, const moa_prompter *p, const moa_message *msg, int n_msg, const moa_call_extra *x, moa_err *err) {
    if (x && x->ids) return add_ids(ids, x, err);
    if (x && x->messages) return add_request(ids, p, msg, n_msg, x, err);
    return moa_prompter_ids(ids, p, msg, n_msg, err);
}
