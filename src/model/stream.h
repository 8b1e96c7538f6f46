/* stream.h - the text of one completion while it grows: stop strings that may span tokens, and how much of it can be
 * shown already.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_STREAM_H
#define MOA_MODEL_STREAM_H

#include "moa.h"

typedef struct moa_stream {
    char *text;              /* 0-terminated */
    size_t len, cap, sent;   /* sent: shown so far, by the caller's account */
    const char *const *stop; /* borrowed, none empty */
    int n_stop;
    bool stopped;            /* a stop string was found; text ends before it */
    bool ended;              /* no more will come */
} moa_stream;

int moa_stream_init(moa_stream *s, const char *const *stop, int n_stop, moa_err *err);
void moa_stream_deinit(moa_stream *s);
int moa_stream_add(moa_stream *s, const char *bytes, size_t n, moa_err *err);
/* How far the text may be shown: whole characters that no later token can turn into a stop string. */
size_t moa_stream_ready(const moa_stream *s);
/* No more will come: an unfinished character at the end is dropped, all that is left may be shown. */
void moa_stream_end(moa_stream *s);

/* The same where another stream goes on from this text: what may begin a stop string is dropped too, and comes there. */
void moa_stream_break(moa_stream *s);

#endif
