/* protobuf.c - see protobuf.h. A message is a row of fields:
 *
 *   varint  number << 3 | wire     seven bits a byte, the lowest first; the top bit says that more follow
 *   then    wire 0: a varint       wire 1: 8 bytes       wire 2: a varint n and n bytes       wire 5: 4 bytes, all little-endian
 *
 * (protobuf.dev, Encoding). Wires 3 and 4, groups, went out of use before the files that are read here.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/protobuf.h"

#include "base/err.h"

#include <string.h>

moa_pb moa_pb_over(const uint8_t *p, size_t n, const char *name) {
    static const uint8_t none;
    if (!p) p = &none, n = 0;
    return (moa_pb){p, p + n, p, name};
}

moa_pb moa_pb_inside(const moa_pb_field *f, const moa_pb *r) { return (moa_pb){f->p, f->p + f->n, r->begin, r->name}; }

static int damaged(const moa_pb *r, const char *what, moa_err *err) {
    return moa_fail(err, MOA_EFORMAT, "%s: byte %zu: %s", r->name, (size_t)(r->at - r->begin), what);
}

static int varint(uint64_t *out, moa_pb *r, moa_err *err) {
    uint64_t v = 0;
    for (int shift = 0; r->at < r->end; shift += 7) {
        const uint8_t c = *r->at++;
        if (shift == 63 && c > 1) return damaged(r, "a number of more than 64 bits", err);
        v |= (uint64_t)(c & 0x7F) << shift;
        if (c < 0x80) return *out = v, 0;
    }
    return damaged(r, "the file ends inside a number", err);
}

static int fixed(uint64_t *out, moa_pb *r, size_t n, moa_err *err) {
    if ((size_t)(r->end - r->at) < n) return damaged(r, "the file ends inside a number", err);
    *out = 0;
    for (size_t i = n; i > 0; i--) *out = *out << 8 | r->at[i - 1];
    r->at += n;
    return 0;
}

static int bytes(moa_pb_field *f, moa_pb *r, moa_err *err) {
    uint64_t n;
    MOA_TRY(varint(&n, r, err));
    if (n > (size_t)(r->end - r->at))
        return moa_fail(err, MOA_EFORMAT, "%s: byte %zu: field %u has %llu bytes, %zu are left", r->name, (size_t)(r->at - r->begin), f->number,
                        (unsigned long long)n, (size_t)(r->end - r->at));
    f->p = r->at;
    f->n = (size_t)n;
    r->at += n;
    return 0;
}

int moa_pb_next(moa_pb_field *f, moa_pb *r, moa_err *err) {
    uint64_t tag;
    if (r->at == r->end) return 0;
    MOA_TRY(varint(&tag, r, err));
    *f = (moa_pb_field){.number = (uint32_t)(tag >> 3), .wire = (moa_pb_wire)(tag & 7)};
    if (!f->number || tag >> 32) return damaged(r, "no field has this number", err);
    int rc;
    if (f->wire == MOA_PB_VARINT) rc = varint(&f->v, r, err);
    else if (f->wire == MOA_PB_F64) rc = fixed(&f->v, r, 8, err);
    else if (f->wire == MOA_PB_F32) rc = fixed(&f->v, r, 4, err);
    else if (f->wire == MOA_PB_BYTES) rc = bytes(f, r, err);
    else rc = damaged(r, "a field of a kind that is not in use", err);
    return rc < 0 ? rc : 1;
}

int moa_pb_want(const moa_pb_field *f, moa_pb_wire wire, const moa_pb *r, moa_err *err) {
    if (f->wire == wire) return 0;
    return moa_fail(err, MOA_EFORMAT, "%s: byte %zu: field %u is of kind %d, expected %d", r->name, (size_t)(r->at - r->begin), f->number,
                    (int)f->wire, (int)wire);
}

float moa_pb_f32(const moa_pb_field *f) {
    const uint32_t bits = (uint32_t)f->v;
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}
