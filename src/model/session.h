/* session.h - inference state: a paged KV cache, many sequences, one step at a time. One owner thread.
 *
 * KV is kept in blocks of MOA_KV_BLOCK positions with reference counts: a forked sequence shares its parent's
 * blocks (n samples of one prompt pay one prefill) and copies only a half-filled last one when it writes.
 * A step is one forward pass over rows of any sequences; a row's logits are bit-equal alone and in any
 * batch, for any thread count. After two steps of the largest size, a step makes no heap call.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_SESSION_H
#define MOA_MODEL_SESSION_H

#include "model/model.h"

enum { MOA_KV_BLOCK = 32 };

typedef struct moa_session_cfg {
    int n_ctx;       /* KV positions over all sequences; 0: the model's context, rounded up to blocks */
    int n_batch;     /* most rows of a step; 0: 256 */
    int n_seq;       /* most live sequences; 0: 32 */
    int n_threads;   /* 0: all cores */
    moa_isa isa;     /* at most; MOA_ISA_COUNT: best or MOA_ISA from the environment */
    bool exact;      /* reference mode: dequantised weights, f32 activations */
    moa_dtype kv_type; /* MOA_F32 or MOA_F16 */
} moa_session_cfg;
moa_session_cfg moa_session_defaults(void);

typedef struct moa_session moa_session;
int moa_session_new(moa_session **out, const moa_model *m, const moa_session_cfg *cfg, moa_err *err);
void moa_session_free(moa_session *s);

/* Sequences are small integers. fork shares the first n_keep positions (<= length). */
int moa_seq_new(moa_session *s, moa_err *err);                       /* id or MOA_ELIMIT */
int moa_seq_fork(moa_session *s, int seq, int64_t n_keep, moa_err *err);
void moa_seq_free(moa_session *s, int seq);
int64_t moa_seq_len(const moa_session *s, int seq);
void moa_seq_truncate(moa_session *s, int seq, int64_t n_keep);
int64_t moa_session_free_positions(const moa_session *s);            /* room left, in positions (whole blocks) */
int64_t moa_session_max_len(const moa_session *s);                   /* most positions of one sequence: model context or KV */

typedef struct moa_row { int seq; int32_t token; bool want_logits; } moa_row; /* position: the sequence's length, counting up */
/* Rows of one sequence must be in order; n <= n_batch. On MOA_ELIMIT (KV is full) nothing has changed. */
int moa_session_step(moa_session *s, const moa_row *row, int n, moa_err *err);
const float *moa_session_logits(const moa_session *s, int i); /* [n_vocab] of row i of the last step; NULL if not wanted */

const moa_model *moa_session_model(const moa_session *s);
size_t moa_session_kv_bytes(const moa_session *s);

#endif
