/* protobuf.h - reads the wire format of protocol buffers, field by field, out of memory that nobody promised to be such a message.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FORMAT_PROTOBUF_H
#define MOA_FORMAT_PROTOBUF_H

#include "moa.h"

typedef struct moa_pb { const uint8_t *at, *end, *begin; const char *name; } moa_pb; /* name: for errors, borrowed */

typedef enum moa_pb_wire { MOA_PB_VARINT, MOA_PB_F64, MOA_PB_BYTES, MOA_PB_F32 = 5 } moa_pb_wire;

typedef struct moa_pb_field {
    uint32_t number;
    moa_pb_wire wire;
    uint64_t v;       /* of a number: its bits */
    const uint8_t *p; /* of bytes, texts and messages: [n], in the memory that is read */
    size_t n;
} moa_pb_field;

moa_pb moa_pb_over(const uint8_t *p, size_t n, const char *name);
moa_pb moa_pb_inside(const moa_pb_field *f, const moa_pb *r); /* a field of bytes as a message of its own */
/* 1 and a field, 0 at the end, MOA_EFORMAT that names the place: cut off, a number of more than 64 bits, field 0, a group. */
int moa_pb_next(moa_pb_field *f, moa_pb *r, moa_err *err);
/* MOA_EFORMAT when the field is written otherwise than its kind is. */
int moa_pb_want(const moa_pb_field *f, moa_pb_wire wire, const moa_pb *r, moa_err *err);
float moa_pb_f32(const moa_pb_field *f);

#endif
