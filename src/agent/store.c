/* store.c - see store.h. SPDX-License-Identifier: Apache-2.0 */
#include "agent/store.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

enum { GET, PUT, EACH, N_STATEMENT };
struct moa_store {
    sqlite3 *db;
    sqlite3_stmt *st[N_STATEMENT];
    char *path;
    pthread_mutex_t lock; /* recursive: moa_store_write */
};

static int broken(const moa_store *s, const char *doing, moa_err *err) {
    const int code = sqlite3_extended_errcode(s->db) & 0xff;
    const int rc = code == SQLITE_NOTADB || code == SQLITE_CORRUPT ? MOA_EFORMAT : code == SQLITE_NOMEM ? MOA_ENOMEM : MOA_EIO;
    moa_fail(err, rc, "%s %s: %s", s->path ? s->path : "store in memory", doing, s->db ? sqlite3_errmsg(s->db) : "no memory");
    return rc == MOA_EFORMAT ? moa_hint(err, rc, "a store is an SQLite file that moa made; name another one with store=FILE") : rc;
}

static int prepare(moa_store *s, moa_err *err) {
    static const char make[] = "create table if not exists fact (kind text not null, key text not null, value text not null, primary key (kind, key)) without rowid";
    static const char *const sql[N_STATEMENT] = {[GET] = "select value from fact where kind = ?1 and key = ?2",
                                                 [PUT] = "insert into fact values (?1, ?2, ?3) on conflict do update set value = excluded.value",
                                                 [EACH] = "select key, value from fact where kind = ?1 order by key"};
    sqlite3_busy_timeout(s->db, 10000);
    if (s->path && sqlite3_exec(s->db, "pragma journal_mode = wal; pragma synchronous = normal", NULL, NULL, NULL) != SQLITE_OK) return broken(s, "opening", err);
    if (sqlite3_exec(s->db, make, NULL, NULL, NULL) != SQLITE_OK) return broken(s, "opening", err);
    for (int i = 0; i < N_STATEMENT; i++)
        if (sqlite3_prepare_v3(s->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &s->st[i], NULL) != SQLITE_OK) return broken(s, "opening", err);
    return 0;
}

int moa_store_open(moa_store **out, const char *path, moa_err *err) {
    moa_store *s = calloc(1, sizeof *s);
    pthread_mutexattr_t a;
    *out = NULL;
    if (!s || (path && !(s->path = strdup(path)))) {
        free(s);
        return moa_fail(err, MOA_ENOMEM, "a store");
    }
    pthread_mutexattr_init(&a);
    pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&s->lock, &a);
    pthread_mutexattr_destroy(&a);
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX;
    int rc = sqlite3_open_v2(path ? path : ":memory:", &s->db, flags, NULL) == SQLITE_OK ? 0 : broken(s, "opening", err);
    if (rc >= 0) rc = prepare(s, err);
    if (rc < 0) {
        moa_store_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void moa_store_close(moa_store *s) {
    if (!s) return;
    for (int i = 0; i < N_STATEMENT; i++) sqlite3_finalize(s->st[i]);
    sqlite3_close(s->db);
    pthread_mutex_destroy(&s->lock);
    free(s->path);
    free(s);
}

int moa_store_get(char **value, moa_store *s, const char *kind, const char *key, moa_err *err) {
    sqlite3_stmt *q = s->st[GET];
    int rc = 0;
    *value = NULL;
    pthread_mutex_lock(&s->lock);
    sqlite3_bind_text(q, 1, kind, -1, SQLITE_STATIC);
    sqlite3_bind_text(q, 2, key, -1, SQLITE_STATIC);
    const int got = sqlite3_step(q);
    if (got == SQLITE_ROW && !(*value = strdup((const char *)sqlite3_column_text(q, 0)))) rc = moa_fail(err, MOA_ENOMEM, "a value of the store");
    if (got != SQLITE_ROW && got != SQLITE_DONE) rc = broken(s, "reading", err);
    sqlite3_reset(q);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

int moa_store_put(moa_store *s, const char *kind, const char *key, const char *value, moa_err *err) {
    sqlite3_stmt *q = s->st[PUT];
    pthread_mutex_lock(&s->lock);
    sqlite3_bind_text(q, 1, kind, -1, SQLITE_STATIC);
    sqlite3_bind_text(q, 2, key, -1, SQLITE_STATIC);
    sqlite3_bind_text(q, 3, value, -1, SQLITE_STATIC);
    const int rc = sqlite3_step(q) == SQLITE_DONE ? 0 : broken(s, "writing", err);
    sqlite3_reset(q);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

int moa_store_each(moa_store *s, const char *kind, moa_store_fn fn, void *ctx, moa_err *err) {
    sqlite3_stmt *q = s->st[EACH];
    int rc = 0, got = SQLITE_DONE;
    pthread_mutex_lock(&s->lock);
    sqlite3_bind_text(q, 1, kind, -1, SQLITE_STATIC);
    while (rc >= 0 && (got = sqlite3_step(q)) == SQLITE_ROW)
        rc = fn(ctx, (const char *)sqlite3_column_text(q, 0), (const char *)sqlite3_column_text(q, 1), err);
    if (rc >= 0 && got != SQLITE_DONE) rc = broken(s, "reading", err);
    sqlite3_reset(q);
    pthread_mutex_unlock(&s->lock);
    return rc < 0 ? rc : 0;
}

int moa_store_write(moa_store *s, int (*fn)(void *ctx, moa_err *err), void *ctx, moa_err *err) {
    pthread_mutex_lock(&s->lock);
    int rc = sqlite3_exec(s->db, "begin immediate", NULL, NULL, NULL) == SQLITE_OK ? 0 : broken(s, "writing", err);
    if (rc >= 0) {
        rc = fn(ctx, err);
        if (sqlite3_exec(s->db, rc < 0 ? "rollback" : "commit", NULL, NULL, NULL) != SQLITE_OK && rc >= 0) {
            rc = broken(s, "writing", err);
            sqlite3_exec(s->db, "rollback", NULL, NULL, NULL);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}
