/* ref.c - see ref.h. SPDX-License-Identifier: Apache-2.0 */
#include "fetch/ref.h"

#include "base/err.h"
#include "base/utf8.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool plain(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

static bool name_ok(const char *s, size_t n) {
    if (n == 0 || n >= MOA_REF_NAME_MAX || *s == '.' || *s == '-') return false;
    for (size_t i = 0; i < n; i++)
        if (!plain(s[i]) && !strchr("._+=,@()-", s[i])) return false;
    return true;
}

bool moa_ref_name_ok(const char *name) { return name_ok(name, strlen(name)); }

bool moa_ref_path_ok(const char *path) {
    if (strlen(path) >= MOA_REF_PATH_MAX) return false;
    for (const char *s = path;; s++) {
        const size_t n = strcspn(s, "/");
        if (!name_ok(s, n)) return false;
        s += n;
        if (!*s) return true;
    }
}

bool moa_ref_ends(const char *name, const char *ext) {
    const size_t n = strlen(name), k = strlen(ext);
    return n >= k && !strcasecmp(name + n - k, ext);
}

bool moa_ref_escape(char *out, size_t n, const char *text, bool slash) {
    size_t k = 0;
    for (; *text; text++) {
        const bool keep = plain(*text) || strchr("-._~", *text) || (slash && *text == '/');
        if (k + 4 > n) return false;
        k += (size_t)(keep ? snprintf(out + k, n - k, "%c", *text) : snprintf(out + k, n - k, "%%%02X", (unsigned char)*text));
    }
    if (k < n) out[k] = 0;
    return k < n;
}

static int hex(char c) { return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? (c | 32) - 'a' + 10 : -1; }

int moa_ref_url_name(char out[MOA_REF_NAME_MAX], const char *url, moa_err *err) {
    const char *host = strstr(url, "://"), *path = host ? strpbrk(host + 3, "/?#") : NULL;
    size_t end = path ? strcspn(path, "?#") : 0, n = 0;
    bool ok = end > 0;
    size_t at = end;
    while (at > 0 && path[at - 1] != '/') at--;
    for (; ok && at < end && n < MOA_REF_NAME_MAX - 1; at++) {
        char c = path[at];
        if (c == '%') {
            const int hi = at + 2 < end ? hex(path[at + 1]) : -1, lo = hi >= 0 ? hex(path[at + 2]) : -1;
            ok = lo >= 0 && (hi || lo);
            c = (char)(hi * 16 + lo);
            at += 2;
        }
        if (ok) out[n++] = c;
    }
    out[n] = 0;
    if (ok && at == end && moa_ref_name_ok(out)) return 0;
    char shown[256];
    moa_ref_show(shown, sizeof shown, url);
    moa_fail(err, MOA_EUSAGE, "%s: no file name at its end that the models folder can hold", shown);
    return moa_hint(err, MOA_EUSAGE, "name the file yourself: --name NAME.gguf");
}

void moa_ref_show(char *out, size_t n, const char *url) {
    const char *sep = strstr(url, "://"), *host = sep ? sep + 3 : url;
    const size_t auth = strcspn(host, "/?#"); /* user:password@ stands before the last '@' of this */
    const char *at = memrchr(host, '@', auth);
    if (at) snprintf(out, n, "%.*s%.*s", (int)(host - url), url, (int)strcspn(at + 1, "?#"), at + 1);
    else snprintf(out, n, "%.*s", (int)strcspn(url, "?#"), url);
    moa_utf8_tame(out, false);
}

/* "12345" at s; -1: not five digits. */
static int five(const char *s) {
    int v = 0;
    for (int i = 0; i < 5; i++) {
        if (!isdigit((unsigned char)s[i])) return -1;
        v = v * 10 + (s[i] - '0');
    }
    return v;
}

bool moa_ref_split(const char *name, size_t *stem, int *i, int *n) {
    static const char form[] = "-00001-of-00001.gguf";
    const size_t len = strlen(name), k = sizeof form - 1;
    if (len <= k || strcasecmp(name + len - 5, ".gguf")) return false;
    const char *s = name + len - k;
    if (s[0] != '-' || memcmp(s + 6, "-of-", 4)) return false;
    const int at = five(s + 1), all = five(s + 10);
    if (at < 1 || all < at) return false;
    *stem = len - k, *i = at, *n = all;
    return true;
}

/* Copy n bytes of a name of a repository; false when it is none. */
static bool take(char out[MOA_REF_NAME_MAX], const char *s, size_t n) {
    if (!name_ok(s, n)) return false;
    memcpy(out, s, n);
    out[n] = 0;
    return true;
}

static int bad(const char *text, const char *what, moa_err *err) {
    moa_fail(err, MOA_EUSAGE, "'%.200s': %s", text, what);
    return moa_hint(err, MOA_EUSAGE, "expected https://HOST/FILE.gguf or hf:OWNER/REPO[:FILE or Q4_K_M][@REVISION]");
}

/* A file's path, or a pattern of one. */
static bool what_ok(const char *what) {
    char path[MOA_REF_PATH_MAX];
    snprintf(path, sizeof path, "%s", what);
    for (char *s = path; *s; s++)
        if (*s == '*' || *s == '?') *s = 'x';
    return moa_ref_path_ok(path);
}

/* A revision may hold '/' (refs/pr/7), never ".." or a character that means something in a URL. */
static bool take_rev(moa_ref *out, const char *s, size_t n) {
    char rev[MOA_REF_PATH_MAX];
    if (n == 0 || n >= sizeof out->rev) return false;
    memcpy(rev, s, n);
    rev[n] = 0;
    if (!moa_ref_path_ok(rev)) return false;
    memcpy(out->rev, rev, n + 1);
    return true;
}

static int parse_hub(moa_ref *out, const char *text, const char *spec, moa_err *err) {
    const char *rev = strrchr(spec, '@');
    const size_t end = rev ? (size_t)(rev - spec) : strlen(spec), owner = strcspn(spec, "/:@");
    if (spec[owner] != '/') return bad(text, "no OWNER/REPO", err);
    const char *repo = spec + owner + 1;
    const size_t n_repo = strcspn(repo, "/:@");
    if (!take(out->owner, spec, owner) || !take(out->repo, repo, n_repo)) return bad(text, "OWNER or REPO is no name", err);
    if (rev && !take_rev(out, rev + 1, strlen(rev + 1))) return bad(text, "the revision after '@' is no name", err);
    const char *what = repo + n_repo, *stop = spec + end;
    if (what >= stop) return 0;
    if (*what != ':') return bad(text, "a file is written after ':', as in hf:OWNER/REPO:FILE", err);
    what++;
    const size_t n = (size_t)(stop - what);
    if (n >= sizeof out->what) return bad(text, "the file's path is too long", err);
    memcpy(out->what, what, n);
    out->what[n] = 0;
    return what_ok(out->what) ? 0 : bad(text, "the file's path is not one that can be pulled", err);
}

/* A page of the hub, as copied from a browser. 1: it is one and fits; 0: it stays a URL. */
static int parse_page(moa_ref *out, const char *path) {
    moa_ref r = *out;
    char what[MOA_REF_PATH_MAX];
    const size_t owner = strcspn(path, "/?#"), all = strcspn(path, "?#");
    if (path[owner] != '/') return 0;
    const char *repo = path + owner + 1, *end = path + all;
    const size_t n_repo = strcspn(repo, "/?#");
    if (!take(r.owner, path, owner) || !take(r.repo, repo, n_repo) || !strcmp(r.owner, "api") || !strcmp(r.owner, "datasets")) return 0;
    const char *s = repo + n_repo;
    if (s < end) {
        const bool tree = !strncmp(s, "/tree/", 6); /* a folder: all of the repository, or what lies in it */
        const size_t skip = !strncmp(s, "/resolve/", 9) ? 9 : tree || !strncmp(s, "/blob/", 6) ? 6 : 0;
        if (!skip) return 0;
        s += skip;
        const size_t n_rev = strcspn(s, "/?#"), n = (size_t)(end - s) > n_rev ? (size_t)(end - s) - n_rev - 1 : 0;
        if ((!n && !tree) || n + 2 >= sizeof what || !take_rev(&r, s, n_rev)) return 0;
        if (n) memcpy(what, s + n_rev + 1, n);
        what[n] = 0;
        if (n && !moa_ref_path_ok(what)) return 0;
        snprintf(r.what, sizeof r.what, n && tree ? "%s/*" : "%s", what);
    }
    r.hub = true;
    *out = r;
    return 1;
}

int moa_ref_parse(moa_ref *out, const char *text, const char *endpoint, moa_err *err) {
    *out = (moa_ref){.rev = "main"};
    const size_t n_end = strlen(endpoint);
    for (const char *s = text; *s; s++)
        if ((unsigned char)*s <= 0x20 || *s == 0x7F) return bad(text, "holds a space or a control character", err);
    if (!strncasecmp(text, "hf:", 3)) {
        out->hub = true;
        return parse_hub(out, text, text + 3, err);
    }
    const bool https = !strncasecmp(text, "https://", 8);
    if (!https && strncasecmp(text, "http://", 7)) {
        const int rc = bad(text, "neither a URL of http or https nor hf:OWNER/REPO", err);
        return moa_ref_path_ok(text) && strchr(text, '/') ? moa_hint(err, rc, "a repository of a hub? moa pull hf:%s   (a file of it: hf:OWNER/REPO:FILE)", text) : rc;
    }
    if (!text[https ? 8 : 7] || strchr("/?#", text[https ? 8 : 7])) return bad(text, "a URL without a host", err);
    if (strlen(text) >= sizeof out->url) return bad(text, "a URL that is too long", err);
    if (!strncmp(text, endpoint, n_end) && text[n_end] == '/' && parse_page(out, text + n_end + 1)) return 0;
    memcpy(out->url, text, strlen(text) + 1);
    return 0;
}
