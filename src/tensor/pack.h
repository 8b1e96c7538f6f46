/* pack.h - weights in the order in which products read them: 16 rows side by side.
 *
 * A product keeps one row of weights in each lane of a vector, while a file has one row after the other, so that every step would turn
 * rows into lanes anew: on one core 17 GB/s of weights where memory gives 30 to 40. Packed, a block of a group of 16 rows has the
 * numbers of the file's blocks (scales of 1 or 2 bytes, words of 4 bytes) in the file's order, each as 16, row by row: no bit changes,
 * no byte is added, and what begins at byte b of a row's block begins at byte 16 b of the group's. AVX2 reads 8 of the 16 at a time.
 *     file    row 0: d q0 q1 q2 q3 | d q0 ...   row 1: d q0 ...
 *     packed  d of rows 0..15, q0 of rows 0..15, q1 of rows 0..15 ... | d of rows 0..15 ...
 * Rows beyond the last whole group stay as they are in the file. Packed forms are made when a product first wants them and live as
 * long as the model; the file's pages may go then. They cost as much memory as the weights that were used: `repack` says when.
 * The idea is that of the repacked types of llama.cpp and ik_llama.cpp. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_PACK_H
#define MOA_TENSOR_PACK_H

#include "tensor/tensor.h"

struct moa_exec;
struct moa_arena;

enum { MOA_PACK_ROWS = 16 };

bool moa_type_packs(const moa_type *t); /* is its block made of numbers as above, and are there products for it? */
/* n_group groups of rows of n_in elements, w_stride bytes apart -> dst, n_group * 16 * moa_row_bytes(type, n_in) bytes. */
void moa_pack_rows(uint8_t *dst, const void *w, size_t w_stride, const moa_type *t, int64_t n_group, int64_t n_in);
/* One block back: row r of the group whose block begins at src. */
void moa_unpack_block(uint8_t *dst, const uint8_t *src, const moa_type *t, int r);

/* The packed forms of one model's weights; any number of sessions share them. */
typedef struct moa_packs moa_packs;
typedef enum moa_repack { MOA_REPACK_AUTO /* where there is enough memory */, MOA_REPACK_ON, MOA_REPACK_OFF } moa_repack;
int moa_repack_parse(moa_repack *out, const char *name, moa_err *err); /* "on"; NULL: stays as it is */

moa_packs *moa_packs_new(void);
void moa_packs_free(moa_packs *p);
/* w may be packed from now on; false without memory. Before any session has the model. */
bool moa_packs_offer(moa_packs *p, struct moa_arena *arena, moa_tensor *w);
/* Will a session read packed weights? The first that does reserves the room for all that was offered; pages are taken as weights are
 * packed. auto: where all models' packed forms together leave two fifths of the memory, and the machine has room now. on: where the memory
 * has room at all, MOA_ENOMEM else. */
int moa_packs_want(moa_packs *p, moa_repack mode, bool *wanted, moa_err *err);
size_t moa_packs_total(const moa_packs *p), moa_packs_made(moa_packs *p); /* bytes of what was offered, of what was packed */

/* The packed form of w, made now if need be (by the session's threads). NULL: none, read w as it is. */
const uint8_t *moa_packed(struct moa_exec *x, const moa_tensor *w);
/* For measurements on made-up weights: w's own bytes count as its packed form. false without memory. */
bool moa_pack_as_is(struct moa_arena *arena, moa_tensor *w);

#endif
