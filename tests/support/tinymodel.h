/* tinymodel.h - a small model file made by seed, with tokenizer and chat template: what a command needs to run.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TEST_TINYMODEL_H
#define MOA_TEST_TINYMODEL_H

#include "moa.h"

/* Writes a llama of 512 positions (random weights: it babbles) to a temporary file; its path goes to out. */
int tinymodel_write(char *out, size_t n, uint64_t seed, moa_err *err);

#endif
