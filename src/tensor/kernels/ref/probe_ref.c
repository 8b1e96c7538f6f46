/* probe_ref.c - reading with what every CPU has. SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <string.h>

typedef uint64_t V;
static inline V v_load(const char *p) {
    V v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline V v_or(V a, V b) { return a | b; }
static inline uint64_t v_any(V v) { return v; }
#define READ_ROW moa_probe_read_ref
#define READ_NAME "read_ref"
#define READ_ISA MOA_ISA_REF
#include "tensor/kernels/probe_read.h"
