/* objects.c - the objects of a task file: JSONL, or one JSON array. SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "task/format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILE = 1 << 28, MAX_WHERE = 4200 };

static int each_of_array(const char *text, size_t n, const char *name, moa_task_object_fn fn, void *ctx, moa_err *err) {
    char where[MAX_WHERE];
    json_t *all;
    MOA_TRY(moa_json_parse(&all, text, n, MAX_FILE, name, err));
    int rc = 0;
    for (size_t i = 0; rc >= 0 && i < json_array_size(all); i++) {
        snprintf(where, sizeof where, "%s: item %zu", name, i + 1);
        rc = fn(ctx, json_array_get(all, i), where, err);
    }
    json_decref(all);
    return rc;
}

static int each_of_lines(const char *text, size_t n, const char *name, moa_task_object_fn fn, void *ctx, moa_err *err) {
    char where[MAX_WHERE];
    moa_jsonl lines;
    json_t *o;
    int rc;
    moa_jsonl_text(&lines, text, n, name);
    while ((rc = moa_jsonl_next(&o, &lines, err)) > 0) {
        snprintf(where, sizeof where, "%s:%zu", name, lines.line);
        rc = fn(ctx, o, where, err);
        json_decref(o);
        if (rc < 0) break;
    }
    moa_jsonl_close(&lines);
    return rc;
}

int moa_task_objects_text(const char *text, size_t n, const char *name, moa_task_object_fn fn, void *ctx, moa_err *err) {
    size_t i = 0;
    while (i < n && strchr(" \t\r\n", text[i]) && text[i]) i++;
    return i < n && text[i] == '[' ? each_of_array(text, n, name, fn, ctx, err) : each_of_lines(text, n, name, fn, ctx, err);
}

int moa_task_objects(const char *path, moa_task_object_fn fn, void *ctx, moa_err *err) {
    char *text;
    size_t n;
    MOA_TRY(moa_read_file(&text, &n, path, MAX_FILE, err));
    const int rc = moa_task_objects_text(text, n, path, fn, ctx, err);
    free(text);
    return rc;
}
