#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cut_vectors.py FOLDER - makes the small vectors of this folder of large ones that another engine made.

FOLDER holds quant/Q2_K.gguf and .logits (README.md says what they are) and tokenizer/ggml-vocab-NAME.gguf, .inp, .out.
Nothing is computed here, things are only left out, so every number is still the other engine's:

* model: the vocabulary is cut to the tokens that the test reads. Rows of the embedding, rows of the output matrix and columns of
  the logits belong to one token each and know nothing of the others.
* vocabularies: a token stays if it occurs in one of the texts (or is a byte, or special), a merge if its result stays. Merging
  only ever makes pieces of the text, so what is left out could not have been chosen. Ids are renumbered in order, in .out too.
Run in this folder.
"""
import struct
import sys

TOKENS = [1, 300, 301, 302, 17, 450, 33, 500, 2, 1, 259, 260, 270, 280, 290, 295, 310,
          320, 330, 340, 350, 360, 370, 380, 390, 400, 410, 420, 430, 440, 455, 465, 475, 485]
SCALAR = {0: 'B', 1: 'b', 2: 'H', 3: 'h', 4: 'I', 5: 'i', 6: 'f', 7: 'B', 10: 'Q', 11: 'q', 12: 'd'}
STR, ARR = 8, 9
Q2_K, Q2_K_BLOCK, Q2_K_BYTES, F32 = 10, 256, 84, 0


class Reader:
    def __init__(self, path):
        self.b, self.at = open(path, 'rb').read(), 0
        assert self.get('I') == 0x46554747 and self.get('I') == 3
        n_tensor, n_kv = self.get('Q'), self.get('Q')
        self.kv, self.tensor = {}, {}
        for _ in range(n_kv):
            key, kind = self.string(), self.get('I')
            self.kv[key] = (kind, self.value(kind))
        for _ in range(n_tensor):
            name, n_dim = self.string(), self.get('I')
            self.tensor[name] = ([self.get('Q') for _ in range(n_dim)], self.get('I'), self.get('Q'))
        self.data = (self.at + 31) // 32 * 32

    def get(self, f):
        v, = struct.unpack_from('<' + f, self.b, self.at)
        self.at += struct.calcsize('<' + f)
        return v

    def string(self):
        n = self.get('Q')
        self.at += n
        return self.b[self.at - n:self.at]

    def value(self, kind):
        if kind == STR:
            return self.string()
        if kind == ARR:
            elem, n = self.get('I'), self.get('Q')
            return elem, [self.value(elem) for _ in range(n)]
        return self.get(SCALAR[kind])

    def rows(self, name):
        dims, kind, offset = self.tensor[name]
        row = dims[0] * 4 if kind == F32 else dims[0] // Q2_K_BLOCK * Q2_K_BYTES
        n = dims[1] if len(dims) > 1 else 1
        at = self.data + offset
        return [self.b[at + i * row:at + (i + 1) * row] for i in range(n)]


def put_value(kind, v):
    if kind == STR:
        return struct.pack('<Q', len(v)) + v
    if kind == ARR:
        return struct.pack('<IQ', v[0], len(v[1])) + b''.join(put_value(v[0], x) for x in v[1])
    return struct.pack('<' + SCALAR[kind], v)


def write(path, kv, tensors):
    """tensors: name -> (dims, type, bytes)"""
    head, data = struct.pack('<IIQQ', 0x46554747, 3, len(tensors), len(kv)), b''
    for key, (kind, v) in kv.items():
        head += put_value(STR, key) + struct.pack('<I', kind) + put_value(kind, v)
    for name, (dims, kind, b) in tensors.items():
        head += put_value(STR, name) + struct.pack('<I', len(dims)) + b''.join(struct.pack('<Q', d) for d in dims)
        head += struct.pack('<IQ', kind, len(data))
        data += b + bytes(-len(b) % 32)
    open(path, 'wb').write(head + bytes(-len(head) % 32 if tensors else 0) + data)


def cut_model(folder):
    g = Reader(folder + '/quant/Q2_K.gguf')
    keep = list(dict.fromkeys(TOKENS))
    kv = {k: v for k, v in g.kv.items() if not k.startswith(b'tokenizer.')}
    kv[b'llama.vocab_size'] = (4, len(keep))
    tensors = {}
    for name, (dims, kind, _) in g.tensor.items():
        rows = g.rows(name)
        if name in (b'token_embd.weight', b'output.weight'):
            dims, rows = [dims[0], len(keep)], [rows[i] for i in keep]
        tensors[name] = (dims, kind, b''.join(rows))
    write('llama-Q2_K.gguf', kv, tensors)
    logits = open(folder + '/quant/Q2_K.logits', 'rb').read()
    with open('llama-Q2_K.logits', 'wb') as f:
        for row in range(len(TOKENS)):
            for i in keep:
                f.write(logits[(row * 512 + i) * 4:(row * 512 + i) * 4 + 4])


def byte_letters():
    """How byte-level vocabularies spell bytes (GPT-2): printable ones as they are, the others from U+0100 on."""
    plain = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    other = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(other)}}


def cut_vocab(folder, name):
    path = folder + '/tokenizer/ggml-vocab-' + name + '.gguf'
    g, inp = Reader(path), open(path + '.inp', 'rb').read()
    texts = inp.split(b'\n__ggml_vocab_test__\n')
    tokens = [t.decode() for t in g.kv[b'tokenizer.ggml.tokens'][1][1]]
    types = g.kv[b'tokenizer.ggml.token_type'][1][1]
    spm = g.kv[b'tokenizer.ggml.model'][1] == b'llama'
    letters = byte_letters()
    spelt = ['▁' + t.decode().replace(' ', '▁') if spm else ''.join(letters[b] for b in t) for t in texts]
    used = lambda t: any(t in s for s in spelt)
    special = {v for k, (_, v) in g.kv.items() if k.endswith(b'_token_id')}
    keep = [i for i, t in enumerate(tokens)
            if i in special or types[i] == 6 or (spm and types[i] != 1) or (not spm and len(t) == 1) or used(t)]
    new = {old: i for i, old in enumerate(keep)}
    kv = {}
    for key, (kind, v) in g.kv.items():
        if key.endswith(b'_token_id'):
            v = new[v]
        elif key in (b'tokenizer.ggml.tokens', b'tokenizer.ggml.scores', b'tokenizer.ggml.token_type'):
            v = (v[0], [v[1][i] for i in keep])
        elif key == b'tokenizer.ggml.merges':
            v = (v[0], [m for m in v[1] if used(m.decode().replace(' ', ''))])
        elif key.endswith(b'.vocab_size'):
            v = len(keep)
        kv[key] = (kind, v)
    out = 'vocab-' + name + '.gguf'
    write(out, kv, {})
    open(out + '.inp', 'wb').write(inp)
    with open(out + '.out', 'w') as f:
        for line in open(path + '.out').read().splitlines():
            f.write(''.join(' %d' % new[int(i)] for i in line.split()) + '\n')
    print(out, len(keep), 'of', len(tokens), 'tokens')


if __name__ == '__main__':
    cut_model(sys.argv[1])
    for v in ('llama-spm', 'phi-3', 'gpt-2', 'falcon', 'deepseek-coder'):
        cut_vocab(sys.argv[1], v)
