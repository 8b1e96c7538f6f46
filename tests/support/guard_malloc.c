/* guard_malloc.c - linked into every test: a heap call while base/guard.h names a phase ends the program with that
 * name. The calls go on to the C library's own functions (__libc_malloc ...), so nothing else changes.
 *
 * Sanitizers bring their own allocator, so there this file is empty and tests that need it print a skip.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/guard.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

bool moa_guard_works(void);

#ifdef SANITIZED
bool moa_guard_works(void) { return false; }
#else
bool moa_guard_works(void) { return true; }

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void __libc_free(void *);

static void say(const char *s) {
    if (write(2, s, strlen(s)) < 0) return; /* stderr is closed: abort follows anyway */
}

static void check(const char *call) {
    const char *phase = atomic_load(&moa_guard_phase);
    if (!phase) return;
    moa_guard_leave();
    say(call);
    say(" during '");
    say(phase);
    say("', which promises no heap call\n");
    abort();
}

void *malloc(size_t n) { return check("malloc"), __libc_malloc(n); }
void *calloc(size_t n, size_t size) { return check("calloc"), __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { return check("realloc"), __libc_realloc(p, n); }
void *aligned_alloc(size_t align, size_t n) { return check("aligned_alloc"), __libc_memalign(align, n); }
void *memalign(size_t align, size_t n) { return check("memalign"), __libc_memalign(align, n); }
int posix_memalign(void **out, size_t align, size_t n) {
    check("posix_memalign");
    void *p = __libc_memalign(align, n);
    if (!p) return ENOMEM;
    *out = p;
    return 0;
}
void free(void *p) {
    if (p) check("free");
    __libc_free(p);
}
#endif
