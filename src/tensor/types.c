/* types.c - the registry of element types.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "tensor/quant/block.h"

#include <strings.h>

static const moa_type *const table[] = {
#define TYPE(name) &moa_type_##name,
#include "tensor/quant/quants.def"
#undef TYPE
};
enum { N_TYPES = sizeof table / sizeof *table };

const moa_type *const *moa_types(int *n) {
    *n = N_TYPES;
    return table;
}

const moa_type *moa_type_get(moa_dtype id) {
    for (int i = 0; i < N_TYPES; i++)
        if (table[i]->id == id) return table[i];
    return NULL;
}

const moa_type *moa_type_find(const char *name) {
    for (int i = 0; i < N_TYPES; i++)
        if (!strcasecmp(table[i]->name, name)) return table[i];
    return NULL;
}

/* Numbers that files carry and moa does not read. */
static const struct { uint32_t id; const char *name; } other[] = {
    {4, "Q4_2 (given up in 2023)"}, {5, "Q4_3 (given up in 2023)"}, {9, "Q8_1 (of activations, not of files)"},
    {15, "Q8_K (of activations, not of files)"}, {31, "Q4_0_4_4 (Q4_0 in the order of one kind of CPU, given up in 2024)"},
    {32, "Q4_0_4_8 (Q4_0 in the order of one kind of CPU, given up in 2024)"},
    {33, "Q4_0_8_8 (Q4_0 in the order of one kind of CPU, given up in 2024)"}, {36, "I2_S (of bitnet.cpp)"},
    {37, "IQ4_NL_4_8 (given up in 2024)"}, {38, "IQ4_NL_8_8 (given up in 2024)"}, {133, "Q6_0 (of ik_llama.cpp)"},
    {134, "IQ1_BN (of ik_llama.cpp)"}, {135, "IQ2_BN (of ik_llama.cpp)"}, {137, "IQ2_K (of ik_llama.cpp)"},
    {138, "IQ3_K (of ik_llama.cpp)"}, {139, "IQ4_K (of ik_llama.cpp)"}, {140, "IQ5_K (of ik_llama.cpp)"},
    {141, "IQ6_K (of ik_llama.cpp)"}, {142, "PQ2_0 (of the Prism fork)"}, {143, "PTQ1_0 (of the Prism fork)"},
    {144, "IQ4_KS (of ik_llama.cpp)"}, {145, "IQ2_KS (of ik_llama.cpp)"}, {146, "IQ4_KSS (of ik_llama.cpp)"},
    {151, "Q8_KV (of ik_llama.cpp)"}, {152, "IQ5_KS (of ik_llama.cpp)"}, {153, "IQ2_KT (of ik_llama.cpp)"},
    {154, "IQ3_KT (of ik_llama.cpp)"}, {155, "IQ4_KT (of ik_llama.cpp)"}, {156, "IQ3_KS (of ik_llama.cpp)"},
    {157, "IQ2_KL (of ik_llama.cpp)"}, {158, "IQ1_KT (of ik_llama.cpp)"},
};

const char *moa_type_other(uint32_t id) {
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        if (other[i].id == id) return other[i].name;
    return id >= 202 && id < 400 ? "rows interleaved at load time by ik_llama.cpp" : NULL;
}

size_t moa_row_bytes(moa_dtype id, int64_t n) {
    const moa_type *t = moa_type_get(id);
    moa_assert(t != NULL);
    moa_assert(n >= 0);
    moa_assert_eq(n % t->block, 0);
    return (size_t)(n / t->block) * (size_t)t->bytes;
}
