/* event.h - what is told while files are fetched; the library prints nothing itself.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FETCH_EVENT_H
#define MOA_FETCH_EVENT_H

#include "moa.h"

typedef struct moa_fetch_event {
    enum {
        MOA_FETCH_BEGIN, /* of a file: name, total, done (already here from before) */
        MOA_FETCH_CHECK, /* bytes that are here are read for the checksum: done of total */
        MOA_FETCH_DATA,  /* done of total */
        MOA_FETCH_WAIT,  /* before another attempt: text why, seconds left */
        MOA_FETCH_NOTE,  /* text: what was found and done about it */
        MOA_FETCH_END,   /* of a file: it stands under its name */
        MOA_FETCH_TICK   /* nothing new; time passes */
    } kind;
    const char *name;
    int file, n_file;    /* which of how many, from 0 */
    int64_t done, total; /* bytes; total -1: unknown */
    double seconds;
    const char *text;
} moa_fetch_event;

/* Who is told. fn may be NULL; it returns false to stop the work. */
typedef struct moa_fetch_watch {
    bool (*fn)(void *ctx, const moa_fetch_event *e);
    void *ctx;
} moa_fetch_watch;

static inline bool moa_fetch_tell(const moa_fetch_watch *w, const moa_fetch_event *e) { return !w || !w->fn || w->fn(w->ctx, e); }

#endif
