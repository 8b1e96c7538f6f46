/* safetensors.h - the bytes of a .safetensors file, for tests that need one without Python.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TEST_SAFETENSORS_H
#define MOA_TEST_SAFETENSORS_H

#include "base/buf.h"

/* data [rows][cols]; NULL: every number is `fill`. cols 0: a vector of `rows` numbers. */
typedef struct test_tensor { const char *name; int rows, cols; const float *data; float fill; } test_tensor;
/* Appends a file of F32 tensors to out. */
void test_safetensors(moa_buf *out, const test_tensor *t, int n);

#endif
