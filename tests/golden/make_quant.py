#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make_quant.py - writes quant.golden: random blocks of every block format and the floats they stand for.

Written from the description of the formats alone (GGUF specification and the tables of block sizes), with other
means than the C code: bit by bit, one element at a time, in float32. test_quant.c compares bit for bit.
Records: name (8 bytes, zero-padded), n_elements, n_bytes (u32 little-endian), bytes, floats.
Needs numpy. Run in this folder: python3 make_quant.py
"""
import struct
import numpy as np

f32 = np.float32
rng = np.random.default_rng(20240229)


def f16_at(b, at):
    return f32(np.frombuffer(bytes(b[at:at + 2]), dtype='<f2')[0])


def bit(b, at, i):
    return (b[at + i // 8] >> (i % 8)) & 1


def nib(b, at, j):  # element j of 32: low nibbles first, then high
    return b[at + j] & 15 if j < 16 else b[at + j - 16] >> 4


def q4_0(b):
    return [f32(nib(b, 2, j) - 8) * f16_at(b, 0) for j in range(32)]


def q4_1(b):
    return [f32(nib(b, 4, j)) * f16_at(b, 0) + f16_at(b, 2) for j in range(32)]


def q5_0(b):
    return [f32((nib(b, 6, j) + 16 * bit(b, 2, j)) - 16) * f16_at(b, 0) for j in range(32)]


def q5_1(b):
    return [f32(nib(b, 8, j) + 16 * bit(b, 4, j)) * f16_at(b, 0) + f16_at(b, 2) for j in range(32)]


def q8_0(b):
    return [f32(np.int8(np.uint8(b[2 + j]))) * f16_at(b, 0) for j in range(32)]


def q2_k(b):
    d, dmin, out = f16_at(b, 80), f16_at(b, 82), []
    for i in range(256):
        h, s, l = i // 128, i % 128 // 32, i % 32
        q = (b[16 + 32 * h + l] >> (2 * s)) & 3
        sc = b[i // 16]
        out.append(d * f32(sc & 15) * f32(q) - dmin * f32(sc >> 4))
    return out


def q3_k(b):
    d, out = f16_at(b, 108), []
    low = [b[96 + j] & 15 for j in range(8)] + [b[96 + j] >> 4 for j in range(8)]
    for i in range(256):
        j = i // 16
        sc = low[j] + 16 * ((b[104 + j % 4] >> (2 * (j // 4))) & 3) - 32
        q = (b[32 + 32 * (i // 128) + i % 32] >> (2 * (i % 128 // 32))) & 3
        if not (b[i % 32] >> (i // 32)) & 1:
            q -= 4
        out.append(d * f32(sc) * f32(q))
    return out


def k4(b, at, j):
    s = b[at:at + 12]
    if j < 4:
        return s[j] % 64, s[j + 4] % 64
    return s[j + 4] % 16 + s[j - 4] // 64 * 16, s[j + 4] // 16 + s[j] // 64 * 16


def q45(b, q_at, h_at):
    d, dmin, out = f16_at(b, 0), f16_at(b, 2), []
    for i in range(256):
        sc, mn = k4(b, 4, i // 32)
        byte = b[q_at + 32 * (i // 64) + i % 32]
        q = byte % 16 if i % 64 < 32 else byte // 16
        if h_at:
            q += 16 * ((b[h_at + i % 32] >> (i // 32)) & 1)
        out.append(d * f32(sc) * f32(q) - dmin * f32(mn))
    return out


def q4_k(b):
    return q45(b, 16, 0)


def q5_k(b):
    return q45(b, 48, 16)


def q6_k(b):
    d, out = f16_at(b, 208), []
    for i in range(256):
        h, r = i // 128, i % 128
        s, l = r // 32, r % 32
        lo = b[64 * h + 32 * (s % 2) + l]
        lo = lo % 16 if s < 2 else lo // 16
        hi = (b[128 + 32 * h + l] >> (2 * s)) & 3
        sc = np.int8(np.uint8(b[192 + i // 16]))
        out.append(d * f32(sc) * f32(lo + 16 * hi - 32))
    return out


LEVELS = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]


def iq4_nl(b):
    return [f32(LEVELS[nib(b, 2, j)]) * f16_at(b, 0) for j in range(32)]


def iq4_xs(b):
    d, hi, out = f16_at(b, 0), b[2] + 256 * b[3], []
    for i in range(256):
        j = i // 32
        lo = b[4 + j // 2] % 16 if j % 2 == 0 else b[4 + j // 2] // 16
        ls = lo + 16 * ((hi >> (2 * j)) & 3) - 32
        out.append(d * f32(ls) * f32(LEVELS[nib(b, 8 + 16 * j, i % 32)]))
    return out


FORMATS = [  # name, bytes of a block, where its f16 scales are, decoder
    ('Q4_0', 18, [0], q4_0), ('Q4_1', 20, [0, 2], q4_1), ('Q5_0', 22, [0], q5_0), ('Q5_1', 24, [0, 2], q5_1),
    ('Q8_0', 34, [0], q8_0), ('Q2_K', 84, [80, 82], q2_k), ('Q3_K', 110, [108], q3_k), ('Q4_K', 144, [0, 2], q4_k),
    ('Q5_K', 176, [0, 2], q5_k), ('Q6_K', 210, [208], q6_k), ('IQ4_NL', 18, [0], iq4_nl), ('IQ4_XS', 136, [0], iq4_xs),
]

with open('quant.golden', 'wb') as f:
    for name, size, scales, decode in FORMATS:
        data, floats = b'', []
        for _ in range(3):
            b = bytearray(rng.integers(0, 256, size, dtype=np.uint8).tobytes())
            for at in scales:
                b[at:at + 2] = np.float16(rng.normal() * 0.05).tobytes()
            data += bytes(b)
            floats += decode(b)
        f.write(name.encode().ljust(8, b'\0') + struct.pack('<II', len(floats), len(data)) + data)
        f.write(np.array(floats, dtype='<f4').tobytes())
