/* arena.c - a list of chunks, each twice the one before; after a reset one chunk holds it all.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"
#include "base/pages.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define MOA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MOA_ASAN 1
#endif
#endif
#ifdef MOA_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n) __asan_poison_memory_region(p, n)
#define UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

enum { ALIGN = 64, FIRST = 64 * 1024, HUGE = 2 * MOA_HUGE_PAGE /* chunks from here on lie on large pages */ };

typedef struct chunk {
    struct chunk *prev;
    size_t size, used; /* of data, in bytes */
    char *data;
} chunk;

struct moa_arena {
    chunk *top;
    size_t limit, held, below, peak; /* below: bytes used in chunks under top */
};

static chunk *chunk_new(size_t size) {
    if (size > SIZE_MAX - 2 * ALIGN) return NULL;
    chunk *c = malloc(sizeof *c);
    if (!c) return NULL;
    const size_t align = size >= HUGE ? MOA_HUGE_PAGE : ALIGN;
    size = (size + ALIGN - 1) / ALIGN * ALIGN;
    void *data = NULL;
    if (posix_memalign(&data, align, size)) {
        free(c);
        return NULL;
    }
    c->data = data;
    if (align > ALIGN) moa_pages_huge(c->data, size);
    c->prev = NULL;
    c->size = size;
    c->used = 0;
    POISON(c->data, size);
    return c;
}

static void chunk_free(chunk *c) {
    UNPOISON(c->data, c->size);
    free(c->data);
    free(c);
}

static int push(moa_arena *a, size_t need) {
    size_t size = a->top ? a->top->size * 2 : FIRST;
    if (size < need) size = need;
    if (a->limit && (a->held >= a->limit || size > a->limit - a->held)) {
        size = a->limit > a->held ? a->limit - a->held : 0;
        if (size < need) return 0;
    }
    chunk *c = chunk_new(size);
    if (!c) return 0;
    if (a->top) a->below += a->top->used;
    c->prev = a->top;
    a->top = c;
    a->held += c->size;
    return 1;
}

moa_arena *moa_arena_new(size_t first_bytes, size_t limit_bytes) {
    moa_arena *a = calloc(1, sizeof *a);
    if (!a) return NULL;
    a->limit = limit_bytes / ALIGN * ALIGN; /* chunks are whole pieces, so the sum stays within the limit */
    if (limit_bytes && !a->limit) a->limit = 1;
    if (first_bytes && !push(a, first_bytes)) {
        free(a);
        return NULL;
    }
    return a;
}

void moa_arena_free(moa_arena *a) {
    if (!a) return;
    while (a->top) {
        chunk *c = a->top;
        a->top = c->prev;
        chunk_free(c);
    }
    free(a);
}

void *moa_arena_alloc(moa_arena *a, size_t bytes) {
    if (bytes > SIZE_MAX - 2 * ALIGN) return NULL;
    size_t need = bytes ? (bytes + ALIGN - 1) / ALIGN * ALIGN : ALIGN;
    if ((!a->top || a->top->size - a->top->used < need) && !push(a, need)) return NULL;
    char *p = a->top->data + a->top->used;
    a->top->used += need;
    if (a->below + a->top->used > a->peak) a->peak = a->below + a->top->used;
    UNPOISON(p, bytes);
    return p;
}

void *moa_arena_calloc(moa_arena *a, size_t bytes) {
    void *p = moa_arena_alloc(a, bytes);
    return p ? memset(p, 0, bytes) : NULL;
}

char *moa_arena_strndup(moa_arena *a, const char *s, size_t n) {
    char *p = n < SIZE_MAX ? moa_arena_alloc(a, n + 1) : NULL;
    if (!p) return NULL;
    memcpy(p, s, n);
    p[n] = 0;
    return p;
}

static void pop(moa_arena *a) {
    chunk *c = a->top;
    a->top = c->prev;
    a->held -= c->size;
    if (a->top) a->below -= a->top->used;
    chunk_free(c);
}

void moa_arena_reset(moa_arena *a) {
    if (!a->top) return;
    if (a->top->prev) {
        /* The newest is kept where all would have fitted into it: its pages are there already. */
        chunk *keep = a->top->size >= a->peak ? a->top : NULL;
        const size_t all = a->held;
        if (keep) a->top = keep->prev, a->held -= keep->size;
        while (a->top) pop(a);
        a->below = 0;
        if (keep) keep->prev = NULL, a->top = keep, a->held = keep->size;
        else if (!push(a, all)) return; /* the next alloc tries again, smaller */
    }
    a->top->used = 0;
    POISON(a->top->data, a->top->size);
}

moa_arena_mark moa_arena_save(const moa_arena *a) {
    return (moa_arena_mark){a->top, a->top ? a->top->used : 0};
}

/* Chunks pushed since the mark are kept, so that a loop of save and restore does not call the heap each time.
 * Only the newest is rewound; the room in those between it and the mark comes back with the next reset. */
void moa_arena_restore(moa_arena *a, moa_arena_mark m) {
    if (!a->top) return;
    if (a->top == m.chunk) {
        POISON(a->top->data + m.used, a->top->used - m.used);
        a->top->used = m.used;
    } else {
        POISON(a->top->data, a->top->used);
        a->top->used = 0;
    }
}

size_t moa_arena_bytes(const moa_arena *a) { return a->held; }
size_t moa_arena_peak(const moa_arena *a) { return a->peak; }
