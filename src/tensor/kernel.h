/* kernel.h - the table of inner loops, filled at run time for this CPU.
 *
 * kernels/ref/ is plain C, complete, and the definition. A faster file in kernels/<isa>/ exports one
 * const row per function (kernels.def lists them); the table starts as ref and each slot is raised to the
 * best ISA that the CPU has and MOA_ISA (ref|avx2|avx512|amx) or --isa allows. Where several kernels have the same bits, the one that was
 * measured to be fastest on this machine takes the slot (tune.h), if that was ever measured.
 *
 * Contract of every product used at inference: y[i][o] depends only on row i of x and row o of w, and is
 * summed in one fixed order, so logits are bit-equal for any batch and any thread count. The order is that of ref on
 * every ISA (kernels/sum.h), so they are bit-equal between ISAs too. Training's backward kernels are not bound by it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_KERNEL_H
#define MOA_TENSOR_KERNEL_H

#include "tensor/tensor.h"

typedef enum moa_isa { MOA_ISA_REF, MOA_ISA_AVX2, MOA_ISA_AVX512, MOA_ISA_AMX, MOA_ISA_COUNT } moa_isa;

/* Activations quantised once per tensor: blocks of 32 along the row. Rows with n % 32 != 0 take the f32 path. */
typedef struct moa_q8_act {
    int64_t n_tok, n;      /* rows, columns; n % 32 == 0 */
    int8_t *q;             /* [n_tok, n] */
    float *scale;          /* [n_tok, n/32] */
    int16_t *sum;          /* [n_tok, n/16] sums of q over halves of a block: for types with a minimum */
} moa_q8_act;

/* Slots of the table. Kernels are single-threaded on a range; the caller (exec) splits the work. */
typedef enum moa_kernel_op {
    MOA_K_GEMM,     /* per dtype of w: gemm_f32, f32 activations */
    MOA_K_GEMM_Q8,  /* per dtype of w: gemm_q8, int8 activations; a missing slot means: use GEMM */
    MOA_K_GEMM_PACKED, /* per dtype of w: gemm_q8 of packed rows (pack.h): w is the first group's, o0 and o1 are multiples of 16 */
    MOA_K_QUANT_Q8, /* quant_q8: f32 rows -> moa_q8_act */
    MOA_K_AXPY,     /* axpy */
    MOA_K_SOFTMAX,  /* softmax, one row in place */
    MOA_K_EXP,      /* expv: y = exp(x), vector */
    MOA_K_ATTN,     /* per dtype of the KV cache: attn, a table of functions (tensor/attn.h) */
    MOA_K_TRAIN,    /* train: a table of row-range functions built from kernels/body/, see kernels/body/train.h */
    MOA_K_COUNT
} moa_kernel_op;

typedef union moa_kernel_fn {
    void *any;
    /* y[i * ldy + o] = sum_k x[i * ldx + k] * w[o][k] for i < n_tok, o in [o0, o1); w: rows of n_in elements, w_stride bytes apart */
    void (*gemm_f32)(float *y, int64_t ldy, const float *x, int64_t ldx, const void *w, size_t w_stride,
                     int64_t n_tok, int64_t o0, int64_t o1, int64_t n_in);
    void (*gemm_q8)(float *y, int64_t ldy, const moa_q8_act *x, const void *w, size_t w_stride, int64_t o0, int64_t o1);
    void (*quant_q8)(moa_q8_act *dst, const float *x, int64_t ldx, int64_t row0, int64_t row1);
    void (*axpy)(float *y, float a, const float *x, int64_t n);
    void (*softmax)(float *x, int64_t n);
    void (*expv)(float *y, const float *x, int64_t n);
    const struct moa_attn_kernels *attn;
    const struct moa_train_kernels *train;
} moa_kernel_fn;

typedef struct moa_kernel {
    const char *name;     /* "gemm_q8_q4_0_avx512" */
    const char *help;
    moa_kernel_op op;
    moa_dtype dtype;      /* of w; MOA_F32 where the slot has no type */
    moa_isa isa;
    bool (*usable)(void); /* finer CPU test than the isa level (e.g. VNNI); NULL: the level is enough */
    int min_rows;         /* products: with fewer rows of x another kernel of the same bits is faster; 0: always this one */
    moa_kernel_fn fn;
} moa_kernel;

/* Products with int8 activations have several kernels of the same bits; which is fastest depends on how many rows x has. */
static inline bool moa_kernel_by_rows(moa_kernel_op op) { return op == MOA_K_GEMM_Q8 || op == MOA_K_GEMM_PACKED; }
enum { MOA_ROW_CLASSES = 4 }; /* 1, 2 to 4, 5 to 15, more */
static inline int moa_row_class(int64_t n) { return n <= 1 ? 0 : n <= 4 ? 1 : n < 16 ? 2 : 3; }

typedef struct moa_kernels {
    moa_isa isa;
    const moa_kernel *slot[MOA_K_COUNT][MOA_DTYPE_MAX]; /* NULL where nothing fits; of products by rows: that for many */
    const moa_kernel *gemm_q8[MOA_ROW_CLASSES][MOA_DTYPE_MAX], *gemm_packed[MOA_ROW_CLASSES][MOA_DTYPE_MAX];
} moa_kernels;

/* The table for at most this ISA; static storage, thread-safe. MOA_EUNSUPPORTED when the CPU lacks it
 * (says what is missing). */
int moa_kernels_get(const moa_kernels **out, moa_isa at_most, moa_err *err);
/* Best of the CPU, or what MOA_ISA says. */
int moa_kernels_default(const moa_kernels **out, moa_err *err);
const moa_kernel *const *moa_kernel_list(int *n); /* the registry, usable on this CPU or not */
moa_isa moa_isa_best(void);
bool moa_cpu_has_avx_vnni(void); /* vpdpbusd of 256 bits without AVX-512 */
bool moa_cpu_has_avx512_bf16(void);
enum { MOA_CPU_NAME = 64 };
void moa_cpu_name(char out[MOA_CPU_NAME]); /* the maker's name and the signature of cpuid: printable ASCII */
const char *moa_isa_missing(void); /* what the level above the best lacks; NULL when nothing */
const char *moa_isa_name(moa_isa isa);
int moa_isa_parse(moa_isa *out, const char *name, moa_err *err);

#endif
