/* buf.h - a growable byte string that is always 0-terminated and is born with a maximum.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_BASE_BUF_H
#define MOA_BASE_BUF_H

#include <stddef.h>

typedef struct moa_buf {
    char *data; /* NULL or 0-terminated */
    size_t len, cap, max;
    int failed; /* sticky MOA_ENOMEM or MOA_ELIMIT: append calls may be checked once at the end */
} moa_buf;

void moa_buf_init(moa_buf *b, size_t max);
void moa_buf_deinit(moa_buf *b);
int moa_buf_add(moa_buf *b, const void *p, size_t n); /* all or nothing */
int moa_buf_adds(moa_buf *b, const char *s);
int moa_buf_addf(moa_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void moa_buf_clear(moa_buf *b);   /* keeps the memory, clears failed */
char *moa_buf_take(moa_buf *b);   /* hand the string to the caller (free it); NULL if failed. Never NULL for an empty one */
static inline const char *moa_buf_str(const moa_buf *b) { return b->data ? b->data : ""; }

#endif
