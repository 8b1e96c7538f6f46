/* tape.h - between exec.c and tape.c. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_TAPE_H
#define MOA_TENSOR_TAPE_H

#include "tensor/exec.h"

/* Append n to x->tape and make n->out its output. A negative code with x->err filled when memory ends. */
int moa_tape_record(moa_exec *x, moa_node *n);

#endif
