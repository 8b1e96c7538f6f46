#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make_quant.py - writes quant.golden: random blocks of every block format and the floats they stand for.

Written from the description of the formats alone (GGUF specification and the tables of block sizes), with other
means than the C code: bit by bit, one element at a time, in float32. test_quant.c compares bit for bit.
Records: name (8 bytes, zero-padded), n_elements, n_bytes, kind (u32 little-endian), bytes, and then, kind 0: the floats;
kind 1: FNV-1a (64 bits) of the floats' bytes, for many blocks: every entry of every codebook, every scale and sign pattern.
Codebooks are read from ../../src/tensor/quant/grid_*.c and decoded here digit by digit.
Needs numpy. Run in this folder: python3 make_quant.py
"""
import re
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


def grid(file, name, base, values):  # rows of values, from the table of codes in the C source
    text = open('../../src/tensor/quant/' + file).read()
    body = re.search(r'%s\[\d+\] = \{(.*?)\};' % name, text, re.S).group(1)
    n = 8 if base == 4 else 4
    return [[values[int(c, 16) // base ** j % base] for j in range(n)] for c in re.findall(r'0x[0-9a-f]{4}', body)]


IQ1 = grid('grid_iq1.c', 'moa_grid_iq1', 4, (-1, 0, 1))
IQ2 = {t: grid('grid_iq2.c', 'moa_grid_iq2_' + t, 4, (8, 25, 43)) for t in ('xxs', 'xs', 's')}
IQ3_XXS = grid('grid_iq3.c', 'moa_grid_iq3_xxs', 16, (4, 12, 20, 28, 36, 44, 52, 62))
IQ3_S = grid('grid_iq3.c', 'moa_grid_iq3_s', 16, (1, 3, 5, 7, 9, 11, 13, 15))


def word(b, at, n):  # little-endian
    return int.from_bytes(b[at:at + n], 'little')


def even(seven):  # the eighth sign
    return seven + (128 if bin(seven).count('1') % 2 else 0)


def signed(v, signs, j):
    return f32(-v if signs >> j & 1 else v)


def iq2_xxs(b):
    d, out = f16_at(b, 0), []
    for i in range(256):
        run, g, j = i // 32, i % 32 // 8, i % 8
        aux = word(b, 2 + 8 * run + 4, 4)
        db = d * f32(0.5 + (aux >> 28)) * f32(0.25)
        out.append(db * signed(IQ2['xxs'][b[2 + 8 * run + g]][j], even(aux >> (7 * g) & 127), j))
    return out


def iq2_xs(b):
    d, out = f16_at(b, 0), []
    for i in range(256):
        w, s = word(b, 2 + 2 * (i // 8), 2), b[66 + i // 32] >> (4 * (i // 16 % 2)) & 15
        out.append(d * f32(0.5 + s) * f32(0.25) * signed(IQ2['xs'][w % 512][i % 8], even(w // 512), i % 8))
    return out


def iq2_s(b):
    d, out = f16_at(b, 0), []
    for i in range(256):
        g, s = i // 8, b[74 + i // 32] >> (4 * (i // 16 % 2)) & 15
        entry = b[2 + g] + 256 * (b[66 + g // 4] >> (2 * (g % 4)) & 3)
        out.append(d * f32(0.5 + s) * f32(0.25) * signed(IQ2['s'][entry][i % 8], b[34 + g], i % 8))
    return out


def iq3_xxs(b):
    d, out = f16_at(b, 0), []
    for i in range(256):
        aux = word(b, 66 + 4 * (i // 32), 4)
        db = d * f32(0.5 + (aux >> 28)) * f32(0.5)
        out.append(db * signed(IQ3_XXS[b[2 + i // 4]][i % 4], even(aux >> (7 * (i % 32 // 8)) & 127), i % 8))
    return out


def iq3_s(b):
    d, out = f16_at(b, 0), []
    for i in range(256):
        s = b[106 + i // 64] >> (4 * (i // 32 % 2)) & 15
        entry = b[2 + i // 4] + 256 * bit(b, 66, i // 4)
        out.append(d * f32(1 + 2 * s) * signed(IQ3_S[entry][i % 4], b[74 + i // 8], i % 8))
    return out


def iq1_s(b):
    d, out = f16_at(b, 0), []
    for i in range(256):
        h, g = word(b, 34 + 2 * (i // 32), 2), i // 8
        entry = b[2 + g] + 256 * (h >> (3 * (g % 4)) & 7)
        delta = f32(-0.125 if h >> 15 else 0.125)
        out.append(d * f32(2 * (h >> 12 & 7) + 1) * (f32(IQ1[entry][i % 8]) + delta))
    return out


def iq1_m(b):
    sc = [word(b, 48 + 2 * k, 2) for k in range(4)]
    bits = sum((sc[k] >> 12) << (4 * k) for k in range(4))
    d, out = f16_at(struct.pack('<H', bits), 0), []
    for i in range(256):
        g, run = i // 8, i // 16
        h = b[32 + g // 2] >> (4 * (g % 2)) & 15
        delta = f32(-0.125 if h & 8 else 0.125)
        s = sc[run // 4] >> (3 * (run % 4)) & 7
        out.append(d * f32(2 * s + 1) * (f32(IQ1[b[g] + 256 * (h & 7)][i % 8]) + delta))
    return out


def tq1_0(b):
    d, out = f16_at(b, 52), [None] * 256
    for at, n, digits, first in ((0, 32, 5, 0), (32, 16, 5, 160), (48, 4, 4, 240)):
        for j in range(n):
            v = b[at + j]
            for p in range(digits):  # what a byte says in base 3, by exact fractions
                q, v = v * 3 // 256, v * 3 % 256
                out[first + p * n + j] = d * f32(q - 1)
    return out


def tq2_0(b):
    return [f16_at(b, 64) * f32((b[32 * (i // 128) + i % 32] >> (2 * (i % 128 // 32)) & 3) - 1) for i in range(256)]


E2M1 = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12]  # halves


def mxfp4(b):
    d = f32(np.ldexp(1.0, b[0] - 128))
    return [d * f32(E2M1[nib(b, 1, j)]) for j in range(32)]


def e4m3(x):
    e, m = x >> 3 & 15, x & 7
    if x in (0, 0x7f):
        return f32(0)
    return f32(np.ldexp(m, -9) if e == 0 else np.ldexp(1 + m / 8, e - 7))


def nvfp4(b):
    out = []
    for i in range(64):
        run, j = i // 16, i % 16
        byte = b[4 + 8 * run + j % 8]
        out.append(e4m3(b[run]) * f32(0.5) * f32(E2M1[byte % 16 if j < 8 else byte // 16]))
    return out


def q1_0(b):
    return [f16_at(b, 0) if bit(b, 2, i) else -f16_at(b, 0) for i in range(128)]


def q2_0(b):
    return [f16_at(b, 0) * f32((b[2 + i // 4] >> (2 * (i % 4)) & 3) - 1) for i in range(64)]


FORMATS = [  # name, bytes of a block, where its f16 scales are, decoder
    ('Q4_0', 18, [0], q4_0), ('Q4_1', 20, [0, 2], q4_1), ('Q5_0', 22, [0], q5_0), ('Q5_1', 24, [0, 2], q5_1),
    ('Q8_0', 34, [0], q8_0), ('Q2_K', 84, [80, 82], q2_k), ('Q3_K', 110, [108], q3_k), ('Q4_K', 144, [0, 2], q4_k),
    ('Q5_K', 176, [0, 2], q5_k), ('Q6_K', 210, [208], q6_k), ('IQ4_NL', 18, [0], iq4_nl), ('IQ4_XS', 136, [0], iq4_xs),
    ('IQ2_XXS', 66, [0], iq2_xxs), ('IQ2_XS', 74, [0], iq2_xs), ('IQ2_S', 82, [0], iq2_s), ('IQ3_XXS', 98, [0], iq3_xxs),
    ('IQ3_S', 110, [0], iq3_s), ('IQ1_S', 50, [0], iq1_s), ('IQ1_M', 56, [], iq1_m), ('TQ1_0', 54, [52], tq1_0),
    ('TQ2_0', 66, [64], tq2_0), ('MXFP4', 17, [], mxfp4), ('NVFP4', 36, [], nvfp4), ('Q1_0', 18, [0], q1_0),
    ('Q2_0', 18, [0], q2_0),
]


def block(name, size, scales):
    b = bytearray(rng.integers(0, 256, size, dtype=np.uint8).tobytes())
    for at in scales:
        b[at:at + 2] = np.float16(rng.normal() * 0.05).tobytes()
    if name == 'IQ1_M':  # the scale's four nibbles
        bits = np.float16(rng.normal() * 0.05).view(np.uint16)
        for k in range(4):
            b[49 + 2 * k] = b[49 + 2 * k] % 16 + (int(bits) >> (4 * k) & 15) * 16
    return b


def entry(name, b, g, e):  # group g of the block gets entry e of the codebook
    if name == 'IQ2_XXS':
        b[2 + 8 * (g // 4) + g % 4] = e
    elif name == 'IQ2_XS':
        b[2 + 2 * g], b[3 + 2 * g] = e % 256, b[3 + 2 * g] & 0xfe | e >> 8
    elif name == 'IQ2_S':
        b[2 + g] = e % 256
        b[66 + g // 4] = b[66 + g // 4] & ~(3 << 2 * (g % 4)) & 255 | e >> 8 << 2 * (g % 4)
    elif name == 'IQ3_XXS':
        b[2 + g] = e
    elif name == 'IQ3_S':
        b[2 + g] = e % 256
        b[66 + g // 8] = b[66 + g // 8] & ~(1 << g % 8) & 255 | e >> 8 << g % 8
    elif name == 'IQ1_S':
        b[2 + g] = e % 256
        h = word(b, 34 + 2 * (g // 4), 2) & ~(7 << 3 * (g % 4)) | e >> 8 << 3 * (g % 4)
        b[34 + 2 * (g // 4):36 + 2 * (g // 4)] = struct.pack('<H', h)
    elif name == 'IQ1_M':
        b[g] = e % 256
        b[32 + g // 2] = b[32 + g // 2] & ~(7 << 4 * (g % 2)) & 255 | e >> 8 << 4 * (g % 2)


CODEBOOKS = {'IQ2_XXS': (256, 32), 'IQ2_XS': (512, 32), 'IQ2_S': (1024, 32), 'IQ3_XXS': (256, 64), 'IQ3_S': (512, 64),
             'IQ1_S': (2048, 32), 'IQ1_M': (2048, 32)}  # entries, groups a block


def sweep(name, size, scales):
    """Every entry once, in order; else every first byte (MXFP4, NVFP4, TQ1_0: every scale, every byte of digits)."""
    if name in CODEBOOKS:
        n, groups = CODEBOOKS[name]
        for first in range(0, n, groups):
            b = block(name, size, scales)
            for g in range(groups):
                entry(name, b, g, first + g)
            yield b
    elif name in ('MXFP4', 'NVFP4', 'TQ1_0'):
        for v in range(256):
            b = block(name, size, scales)
            b[0] = v
            yield b
    else:
        for _ in range(8):
            yield block(name, size, scales)


def fnv(data):
    h = 0xcbf29ce484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001b3 % 2 ** 64
    return h


def write(f, name, blocks, decode, kind):
    with np.errstate(over='ignore'):
        floats = np.array([v for b in blocks for v in decode(b)], dtype='<f4').tobytes()
    data = b''.join(bytes(b) for b in blocks)
    f.write(name.encode().ljust(8, b'\0') + struct.pack('<III', len(floats) // 4, len(data), kind) + data)
    f.write(struct.pack('<Q', fnv(floats)) if kind else floats)


with open('quant.golden', 'wb') as f:
    for name, size, scales, decode in FORMATS:
        write(f, name, [block(name, size, scales) for _ in range(3)], decode, 0)
        write(f, name, list(sweep(name, size, scales)), decode, 1)
