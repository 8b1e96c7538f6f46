/* session.h - inference state: a paged KV cache, many sequences, one step at a time. One owner thread.
 *
 * KV is kept in blocks of MOA_KV_BLOCK positions with reference counts: a forked sequence shares its parent's
 * blocks (n samples of one prompt pay one prefill) and copies only a half-filled last one when it writes. Blocks that
 * a sliding window has left go back at the next step.
 * A step is one forward pass over rows of any sequences; a row's logits are bit-equal alone and in any
 * batch, for any thread count. After two steps of the largest size, a step makes no heap call.
 * Sequences, rows and steps are public (include/moa.h); a step here takes up to n_batch rows.
 *
 * Models with two lists of rope factors (long-rope) rotate sequences within the original context by one and longer ones by the
 * other, from the first position on: what was computed for the one is of no use to the other. So a sequence is begun for a length
 * and keeps the list of that length. Who lets it grow beyond begins it anew, as the published code does (transformers, Phi-3).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_SESSION_H
#define MOA_MODEL_SESSION_H

#include "model/model.h"

enum { MOA_KV_BLOCK = 32 };

typedef struct moa_session_cfg {
    int n_ctx;       /* KV positions over all sequences; 0: the model's context, rounded up to blocks */
    int max_len;     /* most positions of one sequence; 0: as many as the model reads. KV may hold fewer */
    int n_batch;     /* most rows of a step; 0: 256 */
    int n_seq;       /* most live sequences; 0: 32 */
    int n_threads;   /* 0: all cores */
    moa_isa isa;     /* at most; MOA_ISA_COUNT: best or MOA_ISA from the environment */
    bool exact;      /* reference mode: dequantised weights, f32 activations */
    bool hidden;     /* moa_session_logits gives the last norm's row, [d_model], instead of logits */
    moa_repack repack; /* auto, on, off */
    moa_dtype kv_type; /* MOA_F32, MOA_F16, MOA_BF16 or MOA_Q8_0 */
    bool kv_usual;     /* moa_kv_usual of the model instead, as for who just wants text */
} moa_session_cfg;
moa_session_cfg moa_session_defaults(void);
int moa_session_kv_type(moa_session_cfg *c, const char *name, moa_err *err); /* "f16"; NULL: the model's usual one */

int moa_session_new(moa_session **out, const moa_model *m, const moa_session_cfg *cfg, moa_err *err);

struct moa_kv *moa_session_kv(moa_session *s);  /* its store (kv.h), for who keeps blocks beside sequences */
bool moa_session_slides(const moa_session *s); /* has the model sliding windows? */
/* What the KV of sequences begun now for `len` positions depends on besides their tokens: adapters, and the list of rope factors.
 * Only sequences of one kind can share. moa_seq_new begins for moa_session_max_len. */
uint64_t moa_session_kind(const moa_session *s, int64_t len);
uint64_t moa_seq_kind(const moa_session *s, int seq);
int moa_seq_begin(moa_session *s, int64_t len, moa_err *err);
/* Can seq go on (be forked or truncated) from its first n_keep positions? Not where a sliding window has left what they see; a
 * truncate then leaves nothing. */
bool moa_seq_reaches(const moa_session *s, int seq, int64_t n_keep);
int64_t moa_session_free_positions(const moa_session *s);            /* room left, in positions (whole blocks) */
int64_t moa_session_max_len(const moa_session *s);                   /* most positions of one sequence: max_len, model context or KV */

/* stop is asked before each layer of the steps to come, by the thread that steps; true ends a step with MOA_ECANCELED and nothing changed.
 * NULL: never. */
void moa_session_interrupt(moa_session *s, bool (*stop)(void *ctx), void *ctx);
/* fn sees every product with a weight of the steps to come (moa_exec.watch); NULL ends it. */
void moa_session_watch(moa_session *s, void (*fn)(void *ctx, const moa_tensor *w, const moa_tensor *in, moa_tensor *out), void *ctx);
/* Sequences begun from now on run with these adapters (made for this model, borrowed until the next call or the session's end; NULL:
 * none). Sequences begun with other ones stay as they are: they can be stepped again when their set is back. */
int moa_session_adapt(moa_session *s, const moa_sites *sites, moa_err *err);
uint64_t moa_session_adapters(const moa_session *s); /* key of the set; 0: none */
/* Other work between steps (sampling, scores of rows) on the session's threads: see moa_parallel_each. */
void moa_session_parallel(moa_session *s, int64_t n, double cost, moa_range_fn fn, const void *args);
const moa_model *moa_session_model(const moa_session *s);
size_t moa_session_kv_bytes(const moa_session *s);                   /* what was ever in use: memory, where n_ctx is only room */

#endif
