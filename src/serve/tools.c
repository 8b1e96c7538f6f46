/* tools.c - see tools.h. Ways to call, by the models that were taught them: <tool_call>{...}</tool_call> (Hermes, Qwen), [TOOL_CALLS][...]
 * (Mistral; the mark is a control token that leaves no text, so a bare list too), <|python_tag|>{...} (Llama 3), and a bare object with a name
 * and arguments or parameters (Llama 3). SPDX-License-Identifier: Apache-2.0 */
#include "serve/tools.h"

#include "base/json.h"
#include "serve/param.h"

#include <stdio.h>
#include <string.h>

enum { MAX_CALL = 4 << 20, NAME_MAX_LEN = 64 };

/* ---- what is offered ---- */

static bool good_name(const char *s) {
    const size_t n = strlen(s);
    return n && n <= NAME_MAX_LEN && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == n;
}

static const json_t *find(const moa_tools *t, const char *name) {
    const json_t *v;
    size_t i;
    json_array_foreach(t->list, i, v) {
        const json_t *fn = json_object_get(v, "function");
        if (name && !strcmp(json_string_value(json_object_get(fn, "name")), name)) return fn;
    }
    return NULL;
}

static int add_tool(moa_tools *t, const json_t *v, size_t i, bool flat, moa_fault *f) {
    char where[64];
    snprintf(where, sizeof where, "tools[%zu]", i);
    const char *type = json_string_value(json_object_get(v, "type"));
    if (!type || strcmp(type, "function")) return moa_fault_set(f, 400, "invalid_value", where, "%s: type '%.40s', expected function", where, type ? type : "");
    const json_t *fn = flat ? v : json_object_get(v, "function"), *params = json_object_get(fn, "parameters"), *about = json_object_get(fn, "description");
    const char *name = json_string_value(json_object_get(fn, "name"));
    snprintf(where, sizeof where, "tools[%zu].function.name", i);
    if (!name || !good_name(name)) return moa_fault_set(f, 400, "invalid_value", where, "%s: expected 1 to %d letters, digits, '_', '-' or '.'", where, NAME_MAX_LEN);
    if (find(t, name)) return moa_fault_set(f, 400, "invalid_value", where, "%s: '%s' is there twice", where, name);
    snprintf(where, sizeof where, "tools[%zu].function.parameters", i);
    if (params && !json_is_null(params) && !json_is_object(params)) return moa_param_wrong(f, where, params, "a JSON schema");
    json_t *own = json_pack("{s:s, s:o, s:o}", "name", name, "description", json_is_string(about) ? json_incref((json_t *)(uintptr_t)about) : json_string(""), "parameters",
                            json_is_object(params) ? json_incref((json_t *)(uintptr_t)params) : json_pack("{s:s, s:{}}", "type", "object", "properties"));
    json_array_append_new(t->list, json_pack("{s:s, s:o}", "type", "function", "function", own));
    return 0;
}

static int read_choice(moa_tools *t, const json_t *v, bool flat, moa_fault *f) {
    static const char *const names[] = {"auto", "none", "required"};
    if (!v || json_is_null(v)) return 0;
    const char *s = json_string_value(v), *name = json_string_value(json_object_get(flat ? v : json_object_get(v, "function"), "name"));
    for (int i = 0; s && i < 3; i++)
        if (!strcmp(s, names[i])) return t->choice = i, 0;
    if (!name) return moa_fault_set(f, 400, "invalid_value", "tool_choice", "tool_choice: expected auto, none, required or a function's name");
    if (!find(t, name)) return moa_fault_set(f, 400, "invalid_value", "tool_choice", "tool_choice: no tool is named '%.64s'", name);
    t->choice = MOA_TOOLS_REQUIRED;
    t->only = name;
    return 0;
}

int moa_tools_read(moa_tools *t, const json_t *body, bool flat, moa_fault *f) {
    const json_t *list = json_object_get(body, "tools"), *par = json_object_get(body, "parallel_tool_calls"), *choice = json_object_get(body, "tool_choice"), *v;
    size_t i;
    if (list && !json_is_null(list) && !json_is_array(list)) return moa_param_wrong(f, "tools", list, "an array");
    if (json_array_size(list) > MOA_TOOLS_MAX) return moa_fault_set(f, 400, "invalid_value", "tools", "tools: got %zu, expected at most %d", json_array_size(list), MOA_TOOLS_MAX);
    if (par && !json_is_boolean(par) && !json_is_null(par)) return moa_param_wrong(f, "parallel_tool_calls", par, "true or false");
    t->one = json_is_false(par);
    if (json_array_size(list)) t->list = json_array();
    json_array_foreach(list, i, v) MOA_TRY(add_tool(t, v, i, flat, f));
    if (t->list) return read_choice(t, choice, flat, f);
    if (json_is_string(choice) && !strcmp(json_string_value(choice), "required")) return moa_fault_set(f, 400, "invalid_value", "tool_choice", "tool_choice: required, but there are no tools");
    return 0;
}

void moa_tools_deinit(moa_tools *t) {
    json_decref(t->list);
    *t = (moa_tools){0};
}

/* Definitions that a schema refers to by "#/$defs/..." stand at the root of what it becomes a part of. */
static void hoist(json_t *root, const json_t *schema) {
    static const char *const keys[] = {"$defs", "definitions"};
    for (int i = 0; i < 2; i++) {
        json_t *defs = json_object_get(schema, keys[i]);
        if (!json_is_object(defs)) continue;
        if (!json_object_get(root, keys[i])) json_object_set_new(root, keys[i], json_object());
        json_object_update(json_object_get(root, keys[i]), defs);
    }
}

json_t *moa_tools_schema(const moa_tools *t) {
    const json_t *v;
    size_t i;
    if (!t->list || t->choice != MOA_TOOLS_REQUIRED) return NULL;
    json_t *root = json_object(), *any = json_array();
    json_array_foreach(t->list, i, v) {
        const json_t *fn = json_object_get(v, "function");
        const char *name = json_string_value(json_object_get(fn, "name"));
        json_t *params = json_object_get(fn, "parameters");
        if (t->only && strcmp(t->only, name)) continue;
        hoist(root, params);
        json_array_append_new(any, json_pack("{s:s, s:{s:{s:s}, s:O}, s:[s, s], s:b}", "type", "object", "properties", "name", "const", name, "arguments", params, "required",
                                             "name", "arguments", "additionalProperties", 0));
    }
    json_object_set_new(root, "anyOf", any);
    return root;
}

int moa_tools_tell(moa_buf *out, const moa_tools *t) {
    const json_t *v;
    size_t i;
    moa_buf_adds(out, "You can call these functions, each given with the JSON schema of its arguments:\n");
    json_array_foreach(t->list, i, v) {
        moa_json_add(out, json_object_get(v, "function"));
        moa_buf_adds(out, "\n");
    }
    moa_buf_adds(out, t->choice == MOA_TOOLS_REQUIRED
                          ? "Reply with one JSON object {\"name\": FUNCTION, \"arguments\": {...}} and nothing else."
                          : "To call one, write <tool_call>{\"name\": FUNCTION, \"arguments\": {...}}</tool_call> and nothing behind it. If no call helps, answer in words.");
    return out->failed;
}

int moa_tools_mention(moa_buf *out, const moa_tools *t) {
    const json_t *v;
    size_t i;
    moa_buf_adds(out, "Who replies to the user in the end can call these functions, each given with the JSON schema of its arguments:\n");
    json_array_foreach(t->list, i, v) {
        moa_json_add(out, json_object_get(v, "function"));
        moa_buf_adds(out, "\n");
    }
    moa_buf_adds(out, "You cannot call them yourself: write plain text, and where a call would help, say which one and with what arguments.");
    return out->failed;
}

/* ---- what is called ---- */

static const struct { const char *open, *close; } marks[] = {{"<tool_call>", "</tool_call>"}, {"[TOOL_CALLS]", NULL}, {"<|python_tag|>", NULL}};
enum { N_MARK = sizeof marks / sizeof *marks };

static size_t blank(const char *s, size_t n) {
    size_t i = 0;
    while (i < n && strchr(" \t\r\n", s[i]) && s[i]) i++;
    return i;
}

size_t moa_tools_ready(const char *text, size_t n, bool begins) {
    const size_t at = begins ? blank(text, n) : 0;
    if (begins && (at == n || text[at] == '{' || text[at] == '[')) return 0; /* a bare call, perhaps */
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < N_MARK; k++) {
            const size_t len = strlen(marks[k].open), left = n - i;
            if (memcmp(text + i, marks[k].open, left < len ? left : len) == 0) return i;
        }
    return n;
}

/* One {"name", "arguments"} of an offered function joins calls. */
static bool add_call(json_t *calls, const moa_tools *t, const json_t *v, const char *id) {
    const json_t *name = json_object_get(v, "name"), *args = json_object_get(v, "arguments");
    if (!args) args = json_object_get(v, "parameters");
    if (!json_is_string(name) || !find(t, json_string_value(name))) return false;
    moa_buf b;
    char number[80];
    moa_buf_init(&b, MAX_CALL);
    if (json_is_string(args)) moa_buf_adds(&b, json_string_value(args));
    else if (args) moa_json_add(&b, args);
    else moa_buf_adds(&b, "{}");
    snprintf(number, sizeof number, "call_%s%02zu", id, json_array_size(calls));
    json_array_append_new(calls, json_pack("{s:s, s:s, s:{s:O, s:o}}", "id", number, "type", "function", "function", "name", name, "arguments", moa_json_str(moa_buf_str(&b), b.len)));
    moa_buf_deinit(&b);
    return true;
}

/* An object or a list of them at s -> how many bytes it takes; 0: neither. */
static size_t add_json_calls(json_t *calls, const moa_tools *t, const char *s, size_t n, const char *id) {
    json_error_t e;
    json_t *v = n <= MAX_CALL ? json_loadb(s, n, JSON_DISABLE_EOF_CHECK, &e) : NULL, *c;
    size_t i, used = v ? (size_t)e.position : 0;
    if (json_is_object(v) && !add_call(calls, t, v, id)) used = 0;
    json_array_foreach(v, i, c) if (!add_call(calls, t, c, id)) used = 0;
    json_decref(v);
    return used;
}

static bool read_calls(json_t *calls, const moa_tools *t, const char *s, size_t n, int mark, const char *id) {
    while (true) {
        size_t at = blank(s, n), used = add_json_calls(calls, t, s + at, n - at, id);
        if (!used) return false;
        s += at + used, n -= at + used;
        at = blank(s, n);
        s += at, n -= at;
        const char *close = mark < 0 ? NULL : marks[mark].close;
        if (close && n >= strlen(close) && !memcmp(s, close, strlen(close))) s += strlen(close), n -= strlen(close);
        at = blank(s, n);
        s += at, n -= at;
        const char *open = mark < 0 ? ";" : marks[mark].open;
        if (n < strlen(open) || memcmp(s, open, strlen(open))) return n == 0 || mark >= 0; /* a bare call is the whole text */
        s += strlen(open), n -= strlen(open);
    }
}

json_t *moa_tools_calls(size_t *before, const moa_tools *t, const char *text, size_t n, const char *id) {
    size_t at = moa_tools_ready(text, n, true);
    int mark = -1;
    for (int k = 0; k < N_MARK; k++)
        if (n - at >= strlen(marks[k].open) && !memcmp(text + at, marks[k].open, strlen(marks[k].open))) mark = k;
    const size_t skip = mark < 0 ? 0 : strlen(marks[mark].open);
    json_t *calls = json_array();
    *before = at;
    if (at < n && read_calls(calls, t, text + at + skip, n - at - skip, mark, id) && json_array_size(calls)) {
        while (t->one && json_array_size(calls) > 1) json_array_remove(calls, json_array_size(calls) - 1);
        while (*before && strchr(" \t\r\n", text[*before - 1])) --*before;
        return calls;
    }
    json_decref(calls);
    return NULL;
}
