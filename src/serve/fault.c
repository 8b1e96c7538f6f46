/* fault.c - see fault.h. The types of errors are OpenAI's where it has one, llama-server's for the others: SDKs map the status, people
 * read the message. SPDX-License-Identifier: Apache-2.0 */
#include "serve/fault.h"

#include "base/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int moa_fault_set(moa_fault *f, int status, const char *code, const char *param, const char *fmt, ...) {
    *f = (moa_fault){.status = status, .code = code};
    snprintf(f->param, sizeof f->param, "%s", param ? param : "");
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(f->text, sizeof f->text, fmt, ap);
    va_end(ap);
    return -1;
}

/* Codes of the library that are the client's doing, and what HTTP calls them. The rest is a failure of the server. */
static const struct { int code, status; const char *name; } map[] = {
    {MOA_EINVAL, 400, "invalid_value"}, {MOA_EFORMAT, 400, "invalid_value"}, {MOA_EUSAGE, 400, "invalid_value"},
    {MOA_ELIMIT, 400, "context_length_exceeded"}, {MOA_EUNSUPPORTED, 501, "not_supported"}, {MOA_ENOTFOUND, 404, "not_found"},
    {MOA_ECANCELED, 499, "canceled"}, {MOA_EIO, 502, "upstream_failed"}, {MOA_ETIME, 504, "deadline_exceeded"},
};

int moa_fault_from(moa_fault *f, const char *param, const moa_err *err) {
    int status = 500;
    const char *name = "internal_error";
    for (size_t i = 0; i < sizeof map / sizeof *map; i++)
        if (map[i].code == err->code) status = map[i].status, name = map[i].name;
    return moa_fault_set(f, status, name, param, "%s%s%s", err->text[0] ? err->text : moa_strerror(err->code), err->hint[0] ? "; " : "", err->hint);
}

const char *moa_fault_type(int status) {
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 429: return "rate_limit_error";
    case 501: return "not_supported_error";
    case 503: return "unavailable_error";
    case 502: return "upstream_error";
    case 408: case 504: return "timeout_error";
    default: return status >= 500 ? "server_error" : "invalid_request_error";
    }
}

void moa_fault_json(moa_buf *out, const moa_fault *f) {
    moa_buf_adds(out, "{\"error\":{\"message\":");
    moa_json_add_str(out, f->text, strlen(f->text));
    moa_buf_addf(out, ",\"type\":\"%s\",\"param\":", moa_fault_type(f->status));
    if (f->param[0]) moa_json_add_str(out, f->param, strlen(f->param));
    else moa_buf_adds(out, "null");
    if (f->code) moa_buf_addf(out, ",\"code\":\"%s\"}}", f->code);
    else moa_buf_adds(out, ",\"code\":null}}");
}
