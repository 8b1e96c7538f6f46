/* store.h - what mixes learn and keep: small values by kind and key, in an SQLite file or in memory.
 *
 * One table, fact(kind, key, value): `sqlite3 FILE 'select * from fact'` shows it. kind is "STRATEGY/WHAT". Any number of threads and of
 * processes may use a file; a write is whole or not there.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_STORE_H
#define MOA_AGENT_STORE_H

#include "base/err.h"
#include "moa.h"

typedef struct moa_store moa_store;
/* path NULL: in memory. */
int moa_store_open(moa_store **out, const char *path, moa_err *err);
void moa_store_close(moa_store *s);
/* *value: malloc'd, NULL where there is none. */
int moa_store_get(char **value, moa_store *s, const char *kind, const char *key, moa_err *err);
int moa_store_put(moa_store *s, const char *kind, const char *key, const char *value, moa_err *err);
/* All of a kind, by key; fn's negative ends it and is returned. */
typedef int (*moa_store_fn)(void *ctx, const char *key, const char *value, moa_err *err);
int moa_store_each(moa_store *s, const char *kind, moa_store_fn fn, void *ctx, moa_err *err);
/* What fn does to s is one write: whole, or, if fn fails, not at all. Nobody else writes meanwhile. */
int moa_store_write(moa_store *s, int (*fn)(void *ctx, moa_err *err), void *ctx, moa_err *err);

#endif
