# SPDX-License-Identifier: Apache-2.0
"""gguf.py - reads and writes GGUF version 3, as far as the references need it: metadata, F32, F16 and Q8_0 tensors.

Written from the specification of the format, so that a fault of moa's own reader and writer cannot hide here.
A tensor's numpy shape is outermost axis first; the file has it the other way round.
"""
import struct

import numpy as np

ALIGN = 32
F32, F16, Q8_0 = 0, 1, 8
Q8_BLOCK = np.dtype([('d', '<f2'), ('q', 'i1', 32)])
# number of a value type -> struct code
SCALARS = {0: 'B', 1: 'b', 2: 'H', 3: 'h', 4: 'I', 5: 'i', 6: 'f', 7: '?', 10: 'Q', 11: 'q', 12: 'd'}
STRING, ARRAY = 8, 9


def _string(s):
    b = s.encode()
    return struct.pack('<Q', len(b)) + b


def _type_of(v):
    """Python's bool, int, float and str are bool, u32, f32 and string; an array of ints is i32."""
    if isinstance(v, bool):
        return 7
    if isinstance(v, int):
        return 4
    return 6 if isinstance(v, float) else STRING


def _value(v):
    if isinstance(v, (list, tuple)):
        t = 5 if _type_of(v[0]) == 4 else _type_of(v[0])
        body = b''.join(_string(x) if t == STRING else struct.pack('<' + SCALARS[t], x) for x in v)
        return struct.pack('<IIQ', ARRAY, t, len(v)) + body
    t = _type_of(v)
    return struct.pack('<I', t) + (_string(v) if t == STRING else struct.pack('<' + SCALARS[t], v))


def to_q8_0(x):
    """Rows of blocks of 32: a half-precision scale and 32 signed bytes."""
    b = np.asarray(x, np.float32).reshape(-1, 32)
    out = np.zeros(len(b), Q8_BLOCK)
    out['d'] = np.abs(b).max(axis=1) / 127
    d = out['d'].astype(np.float32)[:, None]
    out['q'] = np.clip(np.round(np.divide(b, d, out=np.zeros_like(b), where=d > 0)), -127, 127)
    return out


def from_q8_0(blocks, shape):
    return (blocks['d'].astype(np.float32)[:, None] * blocks['q'].astype(np.float32)).reshape(shape)


def write(path, meta, tensors, q8=False):
    """meta: key -> value; tensors: name -> array. q8: matrices whose rows the block divides are stored as Q8_0."""
    head = struct.pack('<IIQQ', 0x46554747, 3, len(tensors), len(meta))
    head += b''.join(_string(k) + _value(v) for k, v in meta.items())
    data = b''
    for name, x in tensors.items():
        small = q8 and x.ndim >= 2 and x.shape[-1] % 32 == 0 and 'gate_inp' not in name
        data += b'\0' * (-len(data) % ALIGN)
        head += _string(name) + struct.pack('<I', x.ndim) + struct.pack('<%dQ' % x.ndim, *reversed(x.shape))
        head += struct.pack('<IQ', Q8_0 if small else F32, len(data))
        data += to_q8_0(x).tobytes() if small else np.ascontiguousarray(x, '<f4').tobytes()
    with open(path, 'wb') as f:
        f.write(head + b'\0' * (-len(head) % ALIGN) + data)


class _Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, code):
        v = struct.unpack_from('<' + code, self.data, self.at)
        self.at += struct.calcsize('<' + code)
        return v[0]

    def string(self):
        n = self.take('Q')
        self.at += n
        return self.data[self.at - n:self.at].decode('utf-8', 'replace')

    def value(self, t):
        if t == ARRAY:
            t, n = self.take('I'), self.take('Q')
            return [self.value(t) for _ in range(n)]
        return self.string() if t == STRING else self.take(SCALARS[t])


def read(path):
    """-> (meta, tensors); every tensor as float64."""
    r = _Reader(open(path, 'rb').read())
    magic, version, n_tensors, n_kv = r.take('I'), r.take('I'), r.take('Q'), r.take('Q')
    if magic != 0x46554747 or version != 3:
        raise ValueError('%s: no GGUF file of version 3' % path)
    meta = {}
    for _ in range(n_kv):
        key = r.string()
        meta[key] = r.value(r.take('I'))
    infos = []
    for _ in range(n_tensors):
        name = r.string()
        shape = [r.take('Q') for _ in range(r.take('I'))][::-1]
        infos.append((name, shape, r.take('I'), r.take('Q')))
    align = meta.get('general.alignment', ALIGN)
    base = r.at + -r.at % align
    tensors = {}
    for name, shape, kind, at in infos:
        n = int(np.prod(shape))
        if kind == Q8_0:
            x = from_q8_0(np.frombuffer(r.data, Q8_BLOCK, n // 32, base + at), shape)
        else:
            x = np.frombuffer(r.data, {F32: '<f4', F16: '<f2'}[kind], n, base + at).reshape(shape)
        tensors[name] = x.astype(np.float64)
    return meta, tensors
