/* json.c - see json.h. Depth is measured before jansson sees the text: its limit is a compile-time 2048,
 * and its error for it would not say where. SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include "base/err.h"
#include "base/file.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

/* Offset of the bracket that opens level MOA_JSON_DEPTH + 1, or n. Brackets inside strings do not count. */
static size_t too_deep(const char *s, size_t n) {
    int depth = 0;
    bool str = false;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        if (str) {
            if (c == '\\') i++;
            else if (c == '"') str = false;
        } else if (c == '"') {
            str = true;
        } else if (c == '[' || c == '{') {
            if (++depth > MOA_JSON_DEPTH) return i;
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
    }
    return n;
}

static int parse(json_t **out, const char *text, size_t n, const char *name, size_t first_line, moa_err *err) {
    *out = NULL;
    size_t deep = too_deep(text, n);
    if (deep < n) {
        size_t line = first_line, start = 0;
        for (size_t i = 0; i < deep; i++)
            if (text[i] == '\n') line++, start = i + 1;
        return moa_fail(err, MOA_ELIMIT, "%s:%zu:%zu: more than %d nested brackets", name, line, deep - start + 1, MOA_JSON_DEPTH);
    }
    json_error_t je;
    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
    if (*out) return 0;
    if (json_error_code(&je) == json_error_out_of_memory) return moa_fail(err, MOA_ENOMEM, "%s: no memory for its values", name);
    long line = je.line > 0 ? je.line : 1, column = je.column > 0 ? je.column : 1;
    return moa_fail(err, MOA_EFORMAT, "%s:%ld:%ld: not valid JSON: %s", name, line + (long)first_line - 1, column, je.text);
}

int moa_json_parse(json_t **out, const char *text, size_t n, size_t max, const char *name, moa_err *err) {
    *out = NULL;
    if (n > max) return moa_fail(err, MOA_ELIMIT, "%s: %zu bytes of JSON, at most %zu are allowed", name, n, max);
    return parse(out, text, n, name, 1, err);
}

int moa_json_read(json_t **out, const char *path, size_t max, moa_err *err) {
    *out = NULL;
    char *text;
    size_t n;
    MOA_TRY(moa_read_file(&text, &n, path, max, err));
    int rc = moa_json_parse(out, text, n, max, path, err);
    free(text);
    return rc;
}

int moa_json_add_str(moa_buf *b, const char *s, size_t n) {
    static const char names[] = "btn\0fr"; /* \b \t \n (none) \f \r for 8..13 */
    MOA_TRY(moa_buf_add(b, "\"", 1));
    while (n) {
        uint32_t cp;
        size_t run = 0;
        int k = 1;
        while (run < n) {
            k = moa_utf8_next(&cp, s + run, n - run);
            if (cp < 0x20 || cp == '"' || cp == '\\' || (cp == MOA_UTF8_BAD && k == 1)) break;
            run += (size_t)k;
        }
        MOA_TRY(moa_buf_add(b, s, run));
        s += run, n -= run;
        if (!n) break;
        if (cp == MOA_UTF8_BAD || !cp) MOA_TRY(moa_utf8_add(b, MOA_UTF8_BAD));
        else if (cp >= 0x20) MOA_TRY(moa_buf_addf(b, "\\%c", (int)cp));
        else if (cp >= 8 && cp <= 13 && names[cp - 8]) MOA_TRY(moa_buf_addf(b, "\\%c", names[cp - 8]));
        else MOA_TRY(moa_buf_addf(b, "\\u%04x", cp));
        s++, n--;
    }
    return moa_buf_add(b, "\"", 1);
}

json_t *moa_json_str(const char *s, size_t n) {
    json_t *v = n && memchr(s, 0, n) ? NULL : json_stringn(s, n);
    if (v || n > SIZE_MAX / 4) return v;
    moa_buf b;
    moa_buf_init(&b, n * 3);
    for (size_t i = 0, k; i < n; i += k + 1) { /* from one U+0000 to the next */
        const char *nul = memchr(s + i, 0, n - i);
        k = nul ? (size_t)(nul - s) - i : n - i;
        moa_utf8_add_clean(&b, s + i, k);
        if (nul) moa_utf8_add(&b, MOA_UTF8_BAD);
    }
    if (!b.failed) v = json_stringn(moa_buf_str(&b), b.len);
    moa_buf_deinit(&b);
    return v;
}

static int dump(const char *p, size_t n, void *b) { return moa_buf_add(b, p, n) < 0 ? -1 : 0; }

int moa_json_add(moa_buf *b, const json_t *v) {
    if (json_dump_callback(v, dump, b, JSON_COMPACT | JSON_ENCODE_ANY) == 0) return 0;
    return b->failed ? b->failed : (b->failed = MOA_ENOMEM);
}

int moa_jsonl_open(moa_jsonl *r, const char *path, size_t max, moa_err *err) {
    *r = (moa_jsonl){.name = path};
    char *text;
    size_t n;
    MOA_TRY(moa_read_file(&text, &n, path, max, err));
    moa_jsonl_text(r, text, n, path);
    r->own = text;
    return 0;
}

void moa_jsonl_text(moa_jsonl *r, const char *text, size_t n, const char *name) {
    *r = (moa_jsonl){.name = name, .at = text, .end = text + n};
}

int moa_jsonl_next(json_t **out, moa_jsonl *r, moa_err *err) {
    *out = NULL;
    while (r->at < r->end) {
        const char *from = r->at, *nl = memchr(from, '\n', (size_t)(r->end - from));
        const char *to = nl ? nl : r->end;
        r->at = nl ? nl + 1 : r->end;
        r->line++;
        while (to > from && (to[-1] == '\r' || to[-1] == ' ' || to[-1] == '\t')) to--;
        while (to > from && (*from == ' ' || *from == '\t')) from++;
        if (to == from) continue;
        MOA_TRY(parse(out, from, (size_t)(to - from), r->name, r->line, err));
        return 1;
    }
    return 0;
}

void moa_jsonl_close(moa_jsonl *r) {
    free(r->own);
    *r = (moa_jsonl){0};
}

static int wrong(const json_t *v, const char *key, const char *expected, const char *where, moa_err *err) {
    static const char *const kinds[] = {"an object", "an array", "a string", "an integer", "a number", "true", "false", "null"};
    return moa_fail(err, MOA_EFORMAT, "%s: \"%s\" is %s, expected %s", where, key, kinds[json_typeof(v)], expected);
}

int moa_json_get_str(const char **out, const json_t *obj, const char *key, const char *dflt, const char *where, moa_err *err) {
    const json_t *v = json_object_get(obj, key);
    *out = v ? json_string_value(v) : dflt;
    return v && !json_is_string(v) ? wrong(v, key, "a string", where, err) : 0;
}

int moa_json_get_int(long long *out, const json_t *obj, const char *key, long long dflt, const char *where, moa_err *err) {
    const json_t *v = json_object_get(obj, key);
    *out = v ? json_integer_value(v) : dflt;
    return v && !json_is_integer(v) ? wrong(v, key, "an integer", where, err) : 0;
}

int moa_json_get_num(double *out, const json_t *obj, const char *key, double dflt, const char *where, moa_err *err) {
    const json_t *v = json_object_get(obj, key);
    *out = v ? json_number_value(v) : dflt;
    return v && !json_is_number(v) ? wrong(v, key, "a number", where, err) : 0;
}

int moa_json_get_bool(bool *out, const json_t *obj, const char *key, bool dflt, const char *where, moa_err *err) {
    const json_t *v = json_object_get(obj, key);
    *out = v ? json_is_true(v) : dflt;
    return v && !json_is_boolean(v) ? wrong(v, key, "true or false", where, err) : 0;
}
