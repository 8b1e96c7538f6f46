/* chat.c - see chat.h. The template sees what Hugging Face's apply_chat_template gives it: messages, bos_token, eos_token,
 * add_generation_prompt, and tools and documents that are none.
 *
 * Some published templates drop a system message without a word, or refuse it. Instructions must not get lost, so the
 * template is asked once, at parse, with a marked system message; where the mark does not come out, the system text goes
 * in front of the first user message, with a line end between (llama.cpp has the same convention).
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/chat.h"

#include "base/err.h"
#include "base/json.h"
#include "base/utf8.h"
#include "format/jinja.h"

#include <stdlib.h>
#include <string.h>

struct moa_chat_template {
    moa_jinja *jinja;
    bool no_system; /* drops or refuses system messages, and works without them */
};

static void probe_system(moa_chat_template *t);

int moa_chat_template_parse(moa_chat_template **out, const char *text, size_t n, moa_err *err) {
    *out = NULL;
    moa_chat_template *t = calloc(1, sizeof *t);
    if (!t) return moa_fail(err, MOA_ENOMEM, "chat template: no memory");
    int rc = moa_jinja_parse(&t->jinja, text, n, "chat template", err);
    if (rc < 0) {
        free(t);
        return rc;
    }
    probe_system(t);
    *out = t;
    return 0;
}

bool moa_chat_takes_system(const moa_chat_template *t) { return !t->no_system; }

void moa_chat_template_free(moa_chat_template *t) {
    if (!t) return;
    moa_jinja_free(t->jinja);
    free(t);
}

/* The _new functions take over the value and fail on NULL: one check covers a chain of them. */
static json_t *message_value(const moa_message *m) {
    json_t *o = json_object();
    if (json_object_set_new(o, "role", moa_json_str(m->role, strlen(m->role))) == 0 && json_object_set_new(o, "content", moa_json_str(m->content, strlen(m->content))) == 0) return o;
    json_decref(o);
    return NULL;
}

static json_t *context(const moa_message *msg, int n_msg, const char *bos, const char *eos, bool prompt) {
    json_t *o = json_object(), *list = json_array();
    bool ok = o && list;
    for (int i = 0; i < n_msg && ok; i++) ok = json_array_append_new(list, message_value(&msg[i])) == 0;
    ok = ok && json_object_set(o, "messages", list) == 0 && json_object_set_new(o, "bos_token", moa_json_str(bos ? bos : "", bos ? strlen(bos) : 0)) == 0 &&
         json_object_set_new(o, "eos_token", moa_json_str(eos ? eos : "", eos ? strlen(eos) : 0)) == 0 &&
         json_object_set_new(o, "add_generation_prompt", json_boolean(prompt)) == 0 && json_object_set_new(o, "tools", json_null()) == 0 &&
         json_object_set_new(o, "documents", json_null()) == 0;
    json_decref(list);
    if (ok) return o;
    json_decref(o);
    return NULL;
}

int moa_chat_render_vars(char **out, size_t *len, const moa_chat_template *t, const json_t *vars, moa_err *err) {
    return moa_jinja_render(out, len, t->jinja, vars, NULL, err);
}

/* Does the mark come out? A template that fails for another reason (its limits, its own variables) is left alone. */
static void probe_system(moa_chat_template *t) {
    static const char mark[] = "moa-system-mark";
    const moa_jinja_limits small = {.steps = 200000, .memory = 16 << 20, .output = 1 << 20};
    const moa_message m[] = {{"system", mark}, {"user", "x"}};
    char *with = NULL, *without = NULL;
    json_t *vars = context(m, 2, "", "", true);
    if (vars && moa_jinja_render(&with, NULL, t->jinja, vars, &small, NULL) == MOA_ELIMIT) goto done;
    if (with && strstr(with, mark)) goto done;
    json_decref(vars);
    vars = context(m + 1, 1, "", "", true);
    t->no_system = vars && moa_jinja_render(&without, NULL, t->jinja, vars, &small, NULL) == 0;
done:
    json_decref(vars);
    free(with);
    free(without);
}

/* msg without its first (system) message, whose text goes into the first user message. *list and *text: to free. */
static int fold_system(moa_message **list, char **text, const moa_message *msg, int n_msg) {
    int user = 1;
    while (user < n_msg && strcmp(msg[user].role, "user")) user++;
    *text = NULL;
    *list = malloc((size_t)n_msg * sizeof **list);
    if (!*list) return -1;
    memcpy(*list, msg + 1, (size_t)(n_msg - 1) * sizeof *msg);
    if (user == n_msg) { /* nobody to carry it: it becomes the user's turn itself */
        memmove(*list + 1, *list, (size_t)(n_msg - 1) * sizeof *msg);
        (*list)[0] = (moa_message){"user", msg[0].content};
        return n_msg;
    }
    moa_buf b;
    moa_buf_init(&b, SIZE_MAX / 2);
    moa_buf_adds(&b, msg[0].content);
    moa_buf_adds(&b, "\n");
    moa_buf_adds(&b, msg[user].content);
    *text = moa_buf_take(&b);
    (*list)[user - 1].content = *text;
    return *text ? n_msg - 1 : -1;
}

bool moa_chat_names(const moa_chat_template *t, const char *name) { return moa_jinja_names(t->jinja, name); }

int moa_chat_vars_parse(json_t **out, const char *text, moa_err *err) {
    static const char *const OURS[] = {"messages", "bos_token", "eos_token", "add_generation_prompt"};
    enum { MAX_VARS = 1 << 20 };
    MOA_TRY(moa_json_parse(out, text, strlen(text), MAX_VARS, "variables of the chat template", err));
    int rc = json_is_object(*out) ? 0 : moa_fail(err, MOA_EINVAL, "variables of the chat template: expected a JSON object, such as {\"enable_thinking\": false}");
    for (size_t i = 0; rc == 0 && i < sizeof OURS / sizeof *OURS; i++)
        if (json_object_get(*out, OURS[i])) rc = moa_fail(err, MOA_EINVAL, "variables of the chat template: '%s' is what moa itself gives", OURS[i]);
    if (rc == 0) return 0;
    json_decref(*out);
    *out = NULL;
    return rc;
}

int moa_chat_render(char **out, size_t *len, const moa_chat_template *t, const moa_message *msg, int n_msg,
                    const char *bos, const char *eos, bool add_generation_prompt, moa_err *err) {
    return moa_chat_render_with(out, len, t, msg, n_msg, bos, eos, add_generation_prompt, NULL, err);
}

int moa_chat_render_with(char **out, size_t *len, const moa_chat_template *t, const moa_message *msg, int n_msg,
                         const char *bos, const char *eos, bool add_generation_prompt, const json_t *extra, moa_err *err) {
    *out = NULL;
    for (int i = 0; i < n_msg; i++)
        if (!msg[i].role || !msg[i].content) return moa_fail(err, MOA_EINVAL, "message %d has no %s", i, msg[i].role ? "content" : "role");
    moa_message *list = NULL;
    char *text = NULL;
    bool fold = t->no_system && n_msg > 0 && !strcmp(msg[0].role, "system");
    if (fold && (n_msg = fold_system(&list, &text, msg, n_msg)) >= 0) msg = list;
    json_t *vars = n_msg >= 0 ? context(msg, n_msg, bos, eos, add_generation_prompt) : NULL;
    free(list);
    free(text);
    if (vars && extra && json_object_update(vars, (json_t *)(uintptr_t)extra) < 0) json_decref(vars), vars = NULL;
    if (!vars) return moa_fail(err, MOA_ENOMEM, "chat template: no memory for the conversation");
    int rc = moa_chat_render_vars(out, len, t, vars, err);
    json_decref(vars);
    return rc;
}

/* ---- conversations as JSON ---- */

/* "arguments": "{...}" becomes the object; text that is none stays text. */
static void open_arguments(json_t *message) {
    size_t i;
    json_t *call;
    json_array_foreach(json_object_get(message, "tool_calls"), i, call) {
        json_t *f = json_object_get(call, "function"), *args = json_object_get(f, "arguments");
        json_t *v = json_is_string(args) ? json_loadb(json_string_value(args), json_string_length(args), 0, NULL) : NULL;
        if (v) json_object_set_new(f, "arguments", v);
    }
}

static int check_messages(const json_t *list, moa_err *err) {
    if (!json_is_array(list)) return moa_fail(err, MOA_EINVAL, "messages is not an array");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!json_is_string(json_object_get(json_array_get(list, i), "role")))
            return moa_fail(err, MOA_EINVAL, "messages[%zu] has no role", i);
    return 0;
}

/* The system text in front of the first user's, where the template would lose it; contents in parts are left alone. */
static void fold_system_json(json_t *list) {
    const json_t *first = json_array_get(list, 0);
    const char *role = json_string_value(json_object_get(first, "role")), *system = json_string_value(json_object_get(first, "content"));
    if (!role || !system || strcmp(role, "system") != 0) return;
    for (size_t i = 1; i < json_array_size(list); i++) {
        json_t *m = json_array_get(list, i);
        const char *text = json_string_value(json_object_get(m, "content"));
        if (strcmp(json_string_value(json_object_get(m, "role")), "user") != 0 || !text) continue;
        if (json_object_set_new(m, "content", json_sprintf("%s\n%s", system, text)) == 0) json_array_remove(list, 0);
        return;
    }
    json_object_set_new(json_array_get(list, 0), "role", json_string("user"));
}

int moa_chat_render_request(char **out, size_t *len, const moa_chat_template *t, const moa_chat_request *r, moa_err *err) {
    *out = NULL;
    MOA_TRY(check_messages(r->messages, err));
    json_t *list = json_deep_copy(r->messages), *m, *vars = r->extra ? json_deep_copy(r->extra) : json_object();
    size_t i;
    json_array_foreach(list, i, m) {
        open_arguments(m);
        if (!json_object_get(m, "content")) json_object_set_new(m, "content", json_null());
    }
    if (list && t->no_system) fold_system_json(list);
    json_t *base = context(NULL, 0, r->bos, r->eos, r->add_generation_prompt);
    bool ok = list && vars && base && json_object_update(vars, base) == 0 && json_object_set(vars, "messages", list) == 0;
    if (ok && r->tools) ok = json_object_set(vars, "tools", (json_t *)(uintptr_t)r->tools) == 0;
    int rc = ok ? moa_chat_render_vars(out, len, t, vars, err) : moa_fail(err, MOA_ENOMEM, "chat template: no memory for the conversation");
    json_decref(list);
    json_decref(vars);
    json_decref(base);
    return rc;
}
