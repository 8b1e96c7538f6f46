/* tinymodel.h - a small model file made by seed, with tokenizer and chat template: what a command needs to run; the same model as a
 * folder, and adapters for it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TEST_TINYMODEL_H
#define MOA_TEST_TINYMODEL_H

#include "moa.h"

/* Writes a llama of 512 positions (random weights: it babbles) to a temporary file; its path goes to out. */
int tinymodel_write(char *out, size_t n, uint64_t seed, moa_err *err);
/* The model of that file as a Hugging Face folder, in F32: config.json, model.safetensors, tokenizer.json, tokenizer_config.json. */
int tinymodel_write_folder(const char *folder, const char *gguf, moa_err *err);
/* A PEFT adapter of such a model as a folder: rank 4 on q_proj and down_proj of every layer, alpha 8, strong enough to be heard. */
int tinymodel_write_lora(const char *folder, uint64_t seed, moa_err *err);

#endif
