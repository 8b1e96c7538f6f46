/* download.c - see download.h.
 *
 * Whether bytes that are here may be continued is decided three times: by what is expected (a checksum or size that
 * differs from the note's), by the server (If-Range with the validator it gave), and by its reply (Content-Range and
 * validators must fit what is here). A server that gets ranges wrong is asked for the whole file once. The checksum
 * runs over every byte in the end; where it does not match and old bytes were used, the file is fetched anew once.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fetch/download.h"

#include "base/err.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { PROGRESS = 1 << 20, /* bytes more than ever before: failures are counted from zero again */
       PIECE = 64 << 10,   /* a server that sends no more than this at a time fails */
       SPARE = 16 << 20 }; /* bytes of the disk that are left to others */

typedef struct job {
    const moa_download *d;
    moa_downloaded *out;
    moa_http *http;
    moa_part part;
    int64_t asked;      /* first byte of the request under way */
    int64_t best;       /* bytes that were here when failures were last counted from zero */
    bool no_range;      /* the server gets ranges wrong: ask for all */
    bool again;         /* this attempt ended only to be repeated at once */
    bool looked;        /* the first bytes have been seen */
    bool same;          /* the server has what the target holds: nothing to fetch */
    int64_t target;     /* size of the target, -1: there is none */
    char etag[256];     /* of the target; "" unknown */
    moa_fetch_event event;
} job;

static bool tell(job *j, int kind, const char *text) {
    j->event.kind = kind;
    j->event.done = j->part.n;
    j->event.total = j->part.size;
    j->event.text = text;
    return moa_fetch_tell(j->d->watch, &j->event);
}

static int stopped(moa_err *err) { return moa_fail(err, MOA_ECANCELED, "stopped"); }

/* A validator that promises byte equality: a strong ETag (RFC 9110, 8.8.3), or a date where there is no ETag at all. */
static const char *validator(const moa_part *p) {
    if (p->etag[0] == '"') return p->etag;
    return p->etag[0] == 0 && p->last_modified[0] ? p->last_modified : NULL;
}

static int restart(job *j, const char *why, moa_err *err) {
    if (j->part.n > 0 && !tell(j, MOA_FETCH_NOTE, why)) return stopped(err);
    j->out->resumed_from = 0;
    j->looked = false;
    return moa_part_restart(&j->part, err);
}

/* End this request and start the next at once. */
static int once_more(job *j, const char *why, moa_err *err) {
    MOA_TRY(restart(j, why, err));
    j->again = true;
    return moa_fail(err, MOA_EIO, "%s: %s", j->d->name, why);
}

/* ---- the server's reply ---- */

static bool differs(const char *here, const char *there) { return *here && *there && strcmp(here, there) != 0; }

static bool changed(const moa_part *p, const moa_http_reply *r) {
    if (p->etag[0] == '"' && r->etag[0] == '"') return differs(p->etag, r->etag);
    return differs(p->last_modified, r->last_modified);
}

/* A 206: these bytes must continue exactly what is here. */
static int check_range(job *j, const moa_http_reply *r, moa_err *err) {
    const moa_part *p = &j->part;
    const bool fits = r->from == p->n && (r->length < 0 || r->length == r->to - r->from + 1);
    if (j->asked == 0 || !fits) {
        if (j->no_range || j->asked == 0)
            return moa_fail(err, MOA_EFORMAT, "%s: the server sent a part of the file (%" PRId64 "-%" PRId64 ") when all of it was asked for", j->d->name, r->from, r->to);
        j->no_range = true;
        return once_more(j, "the server answered with other bytes than were asked for; fetching the file whole", err);
    }
    /* With a checksum to come, an ETag that differs (another mirror of a storage) is no reason to throw the bytes away. */
    if ((p->size >= 0 && r->total >= 0 && r->total != p->size) || (!p->sha256[0] && changed(p, r)))
        return once_more(j, "the file has changed on the server; starting anew", err);
    if (p->size >= 0 || r->total >= 0) return 0;
    j->no_range = true; /* of a part of something of unknown length nobody knows whether it is the last */
    return once_more(j, "the server does not say how long the file is; fetching it whole", err);
}

/* What the server that the user named says of the file, wherever it sends us for it. */
static int check_published(job *j, const moa_http_reply *r, moa_err *err) {
    moa_part *p = &j->part;
    const char *known = j->d->sha256 ? j->d->sha256 : "";
    if (differs(known, r->linked_sha256)) {
        moa_fail(err, MOA_EFORMAT, "%s: the server says its checksum is %s, expected %s", j->d->name, r->linked_sha256, known);
        return moa_hint(err, MOA_EFORMAT, "nothing was fetched: the file there is another than the one you mean");
    }
    if (!*known && differs(p->sha256, r->linked_sha256)) { /* the note of an earlier run */
        p->sha256[0] = 0;
        if (r->status == 206) return once_more(j, "the file has changed on the server; starting anew", err);
    }
    if (!p->sha256[0] && r->linked_sha256[0]) memcpy(p->sha256, r->linked_sha256, sizeof p->sha256);
    return 0;
}

static int check_space(job *j, moa_err *err) {
    char folder[4096];
    const char *slash = strrchr(j->d->part, '/');
    if (j->part.size < 0) return 0;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - j->d->part) : 1, slash ? j->d->part : ".");
    const int64_t have = moa_disk_free(folder), need = j->part.size - j->part.n;
    if (have < 0 || need <= have - (have > 2 * (int64_t)SPARE ? SPARE : 0)) return 0;
    moa_fail(err, MOA_EIO, "%s: needs %.1f MB, and %s has %.1f MB free", j->d->name, (double)need / 1e6, folder, (double)have / 1e6);
    return moa_hint(err, MOA_EIO, "moa models shows what is there, moa models rm NAME makes room; MOA_MODELS names another folder");
}

/* The file is here from an earlier run and the server still has the same. */
static bool is_here(const job *j, const moa_http_reply *r) {
    const char *sum = j->d->have_sha256;
    if (j->asked > 0 || j->part.n > 0 || j->target < 0 || r->length != j->target) return false;
    return (sum && *sum && !strcmp(sum, r->linked_sha256)) || (j->etag[0] == '"' && !strcmp(j->etag, r->etag));
}

static int begin(void *ctx, const moa_http_reply *r, moa_err *err) {
    job *j = ctx;
    moa_part *p = &j->part;
    if (is_here(j, r)) return j->same = true, moa_fail(err, MOA_ECANCELED, "%s: is here", j->d->name);
    if (r->status != 200 && r->status != 206) return moa_fail(err, MOA_EFORMAT, "%s: the server answered %d without a file", j->d->name, r->status);
    if (r->encoded) return moa_fail(err, MOA_EUNSUPPORTED, "%s: the server sends it recoded (Content-Encoding), which cannot be resumed or checked", j->d->name);
    if (r->status == 206) MOA_TRY(check_range(j, r, err));
    else if (j->asked > 0) MOA_TRY(restart(j, changed(p, r) ? "the file has changed on the server; starting anew" : "the server cannot resume; starting anew", err));
    MOA_TRY(check_published(j, r, err));
    const int64_t size = r->status == 206 ? r->total : r->length, known = j->d->size >= 0 ? j->d->size : r->linked_size;
    if (known >= 0 && size >= 0 && size != known)
        return moa_fail(err, MOA_EFORMAT, "%s: the server sends %" PRId64 " bytes, expected %" PRId64, j->d->name, size, known);
    if (known >= 0 || size >= 0 || r->status == 200) p->size = known >= 0 ? known : size;
    if (p->size < 0 && !p->sha256[0] && !r->framed) {
        moa_fail(err, MOA_EFORMAT, "%s: the server does not say where the file ends, so that a broken connection could not be told from its end", j->d->name);
        return moa_hint(err, MOA_EFORMAT, "--sha256 HEX says what the whole file is");
    }
    if (r->status == 200 || r->etag[0]) memcpy(p->etag, r->etag, sizeof p->etag);
    if (r->status == 200 || r->last_modified[0]) memcpy(p->last_modified, r->last_modified, sizeof p->last_modified);
    MOA_TRY(check_space(j, err));
    return moa_part_write_note(p, err);
}

/* A page of a proxy or a login under the name of a model is found out at its first bytes, not at the end. */
static int look(job *j, moa_err *err) {
    char first[4];
    if (j->looked || j->part.n < 4) return 0;
    j->looked = true;
    if (!moa_ref_ends(j->d->target, ".gguf") || moa_part_peek(&j->part, first, 4) < 0 || !memcmp(first, "GGUF", 4)) return 0;
    moa_fail(err, MOA_EFORMAT, "%s: what comes is no GGUF file: it begins with %02x %02x %02x %02x", j->d->name, (unsigned char)first[0],
             (unsigned char)first[1], (unsigned char)first[2], (unsigned char)first[3]);
    moa_hint(err, MOA_EFORMAT, "%s", first[0] == '<' ? "that is a web page: is the URL that of the file itself, and is a login needed?" : "is the URL that of the file itself?");
    moa_part_restart(&j->part, NULL);
    return MOA_EFORMAT;
}

static int data(void *ctx, const void *bytes, size_t n, moa_err *err) {
    job *j = ctx;
    const int64_t size = j->part.size;
    if (size >= 0 && (int64_t)n > size - j->part.n)
        return moa_fail(err, MOA_EFORMAT, "%s: the server sends more than the %" PRId64 " bytes it should have", j->d->name, size);
    MOA_TRY(moa_part_add(&j->part, bytes, n, err));
    MOA_TRY(look(j, err));
    return tell(j, MOA_FETCH_DATA, NULL) ? 0 : stopped(err);
}

/* ---- attempts ---- */

static bool complete(const job *j) { return j->part.size >= 0 && j->part.n == j->part.size; }

/* 0: the file is here; 1: as much of it as the server sends at a time. */
static int attempt(job *j, moa_http_reply *r, moa_err *err) {
    const moa_http_sink sink = {.begin = begin, .data = data, .ctx = j};
    moa_part *p = &j->part;
    const char *if_range = validator(p);
    /* Bytes whose like the server cannot name are of no use, unless a checksum will prove the whole. */
    if (p->n > 0 && !p->sha256[0] && !if_range) MOA_TRY(restart(j, "the server gave nothing to resume by; starting anew", err));
    if (p->n > 0 && j->no_range) MOA_TRY(restart(j, "starting anew without ranges", err));
    j->asked = p->n;
    j->again = false;
    int rc = moa_http_get(j->http, r, j->d->url, p->n, p->sha256[0] ? NULL : if_range, &sink, err);
    if (rc < 0 && r->status == 416 && !j->no_range && j->asked > 0) {
        j->no_range = true;
        rc = once_more(j, "the server has no such part of the file; fetching it whole", err);
    }
    if (rc == 0 && p->size >= 0 && p->n < p->size) {
        if (r->status == 206 && p->n - j->asked >= PIECE) return 1; /* it may cover less than what was asked for (RFC 9110, 15.3.7) */
        r->transient = true;
        rc = moa_fail(err, MOA_EIO, "%s: the reply ended after %" PRId64 " of %" PRId64 " bytes", j->d->name, p->n, p->size);
    }
    return rc;
}

static int fetch(job *j, moa_err *err) {
    moa_retry retry;
    moa_http_reply r;
    moa_retry_init(&retry, j->d->retries, j->d->backoff_s);
    int restarts = 0;
    j->best = j->part.n;
    while (!complete(j) || j->part.size == 0) {
        const int rc = attempt(j, &r, err);
        if (rc == 0 || j->same) return 0;
        if (rc > 0 || (j->again && restarts++ < 3)) continue;
        if (rc == MOA_ECANCELED) return rc;
        if (j->part.n - j->best >= PROGRESS) retry.failed = 0, j->best = j->part.n;
        j->out->failures++;
        MOA_TRY(moa_retry_wait(&retry, &r, j->d->watch, err));
    }
    return 0;
}

/* ---- before and after ---- */

/* A run that was killed after it had put the target in place leaves the part's note, and no part. */
static bool put_in_place(const job *j) {
    char url[sizeof j->part.url];
    moa_ref_show(url, sizeof url, j->d->url);
    return j->part.n == 0 && j->part.size == j->target && !strcmp(j->part.url, url);
}

/* 1: target is what is wanted; 0: it is to be fetched. */
static int look_at_target(job *j, moa_err *err) {
    const moa_download *d = j->d;
    struct stat st;
    j->target = -1;
    snprintf(j->etag, sizeof j->etag, "%s", d->have_etag ? d->have_etag : "");
    if (lstat(d->target, &st) < 0) return 0;
    if (!S_ISREG(st.st_mode)) return moa_fail(err, MOA_EIO, "%s: stands in the way: not a regular file", d->target);
    j->target = st.st_size;
    if (d->sha256 && *d->sha256 && (d->size < 0 || d->size == st.st_size)) {
        j->event.done = 0;
        MOA_TRY(moa_file_sum(j->out->sha256, d->target, &j->event, d->watch, err));
        if (!strcmp(j->out->sha256, d->sha256)) {
            j->out->checked = true;
            return 1;
        }
    }
    if (d->replace) return 0;
    if (put_in_place(j)) {
        memcpy(j->etag, j->part.etag, sizeof j->etag);
        return 0;
    }
    moa_fail(err, MOA_EIO, "%s: is there already, and is not known to be this file", d->target);
    return moa_hint(err, MOA_EIO, "--force replaces it when the new one is whole; --name NAME puts the new one beside it");
}

static int take_up(job *j, moa_err *err) {
    const moa_download *d = j->d;
    moa_part *p = &j->part;
    const char *sum = d->sha256 ? d->sha256 : "";
    char url[sizeof p->url];
    moa_ref_show(url, sizeof url, d->url);
    /* Without a checksum to come, only the server that began may go on: another one's validators may be equal by chance. */
    const bool other = !*sum && p->url[0] && strcmp(p->url, url);
    if (other || differs(p->sha256, sum) || (d->size >= 0 && p->size >= 0 && p->size != d->size) || (p->size >= 0 && p->n > p->size) ||
        (d->size >= 0 && p->n > d->size)) {
        MOA_TRY(restart(j, "what is here is the beginning of another file; starting anew", err));
        p->etag[0] = p->last_modified[0] = p->sha256[0] = 0;
        p->size = -1;
    }
    if (*sum) snprintf(p->sha256, sizeof p->sha256, "%s", sum);
    if (d->size >= 0) p->size = d->size;
    memcpy(p->url, url, sizeof p->url);
    j->out->resumed_from = p->n;
    if (!tell(j, MOA_FETCH_BEGIN, NULL)) return stopped(err);
    return p->n > 0 ? moa_part_sum(p, &j->event, d->watch, err) : 0;
}

/* 0: right; 1: wrong, and worth one more try from byte 0. */
static int check_sum(job *j, moa_err *err) {
    moa_part *p = &j->part;
    moa_sha256_hex(j->out->sha256, &p->sum);
    j->out->size = p->n;
    memcpy(j->out->etag, p->etag, sizeof p->etag);
    j->out->checked = p->sha256[0] != 0;
    if (!p->sha256[0] || !strcmp(p->sha256, j->out->sha256)) return 0;
    if (j->out->resumed_from > 0) return 1;
    moa_fail(err, MOA_EFORMAT, "%s: the checksum is wrong: got %s, expected %s", j->d->name, j->out->sha256, p->sha256);
    moa_part_discard(p);
    return moa_hint(err, MOA_EFORMAT, "the file was damaged on the way or is not the one that was published; nothing of it was kept");
}

static int check_length(job *j, moa_err *err) {
    if (j->part.n >= 4 || !moa_ref_ends(j->d->target, ".gguf")) return 0;
    moa_fail(err, MOA_EFORMAT, "%s: what came is no GGUF file: %" PRId64 " bytes", j->d->name, j->part.n);
    moa_part_discard(&j->part);
    return MOA_EFORMAT;
}

/* Nothing to fetch. */
static int here(job *j, moa_err *err) {
    const moa_download *d = j->d;
    *err = (moa_err){0};
    j->out->was_there = true;
    j->out->size = j->target;
    memcpy(j->out->etag, j->etag, sizeof j->etag);
    if (j->out->checked) return 0;
    if (!d->have_sha256 || !*d->have_sha256) return moa_file_sum(j->out->sha256, d->target, &j->event, d->watch, err);
    snprintf(j->out->sha256, sizeof j->out->sha256, "%s", d->have_sha256);
    return 0;
}

static int work(job *j, moa_err *err) {
    int rc = look_at_target(j, err);
    if (rc) return rc < 0 ? rc : here(j, err);
    MOA_TRY(take_up(j, err));
    MOA_TRY(fetch(j, err));
    if (j->same) return here(j, err);
    MOA_TRY(check_length(j, err));
    if ((rc = check_sum(j, err)) < 0) return rc;
    if (rc > 0) {
        MOA_TRY(restart(j, "the checksum is wrong, and part of the file came from an earlier run; fetching it anew", err));
        MOA_TRY(fetch(j, err));
        MOA_TRY(check_sum(j, err));
    }
    return moa_part_commit(&j->part, j->d->target, err);
}

int moa_download_run(moa_downloaded *out, moa_http *h, const moa_download *d, moa_err *err) {
    moa_err own = {0}; /* waiting between attempts reads it */
    job j = {.d = d, .out = out, .http = h, .event = {.name = d->name, .file = d->file, .n_file = d->n_file, .total = -1}};
    *out = (moa_downloaded){0};
    int rc = moa_part_open(&j.part, d->part, &own);
    if (rc == 0) {
        rc = work(&j, &own);
        if (out->was_there) j.part.n = 0; /* a part of a file that is there has had its day */
        if (rc == 0) tell(&j, MOA_FETCH_END, NULL);
        moa_part_close(&j.part);
    }
    if (rc < 0 && err) *err = own;
    return rc;
}
