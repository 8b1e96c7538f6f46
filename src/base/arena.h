/* arena.h - bump allocation with one lifetime: a step, a graph, a parsed file.
 *
 * reset keeps the memory, so that a step which has run once runs again without a heap call. Under
 * AddressSanitizer, reset poisons everything, so that a pointer kept across steps is caught.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_BASE_ARENA_H
#define MOA_BASE_ARENA_H

#include <stddef.h>

typedef struct moa_arena moa_arena;

/* first_bytes are reserved at once (0: on the first allocation). limit_bytes bounds the sum of all
 * chunks (0: no bound). NULL when out of memory. */
moa_arena *moa_arena_new(size_t first_bytes, size_t limit_bytes);
void moa_arena_free(moa_arena *a);

/* 64-byte aligned, uninitialised; NULL when memory or the limit ends. */
void *moa_arena_alloc(moa_arena *a, size_t bytes);
void *moa_arena_calloc(moa_arena *a, size_t bytes);
char *moa_arena_strndup(moa_arena *a, const char *s, size_t n);

/* Forget everything allocated; one chunk that holds as much is kept, so the next round is one chunk. */
void moa_arena_reset(moa_arena *a);

/* Position to return to: scratch inside a step. */
typedef struct { void *chunk; size_t used; } moa_arena_mark;
moa_arena_mark moa_arena_save(const moa_arena *a);
void moa_arena_restore(moa_arena *a, moa_arena_mark m);

size_t moa_arena_bytes(const moa_arena *a); /* held from the heap */
size_t moa_arena_peak(const moa_arena *a);  /* most ever in use between resets */

#endif
