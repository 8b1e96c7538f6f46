# SPDX-License-Identifier: Apache-2.0
"""embed_ref.py - text embeddings in float64: BERT (arXiv:1810.04805) and nomic-bert (arXiv:2402.01613), and decoders.

An encoder sees the whole text from every position. BERT adds learned positions and the first token type to the
embedding, norms behind each part, GELU in its exact form; nomic-bert rotates q and k instead and gates with SiLU.

    python3 embed_ref.py --all FOLDER     models, texts as ids with -1 between them, the vectors they must give; encoders also as folders
"""
import math
import os
import sys
import zlib

import numpy as np

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'format'))
import arch_ref  # noqa: E402
import hf_make  # noqa: E402
import make_arch  # noqa: E402

erf = np.vectorize(math.erf)


def layer_norm(m, name, x):
    mean, var = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    name = m.full_name(name + '.weight')[:-len('.weight')]
    eps = m.key('attention.layer_norm_epsilon')
    return (x - mean) / np.sqrt(var + eps) * m.tensors[name + '.weight'] + m.tensors[name + '.bias']


def encoder(m, ids):
    """-> hidden states [T, d]."""
    T, bert = len(ids), m.arch == 'bert'
    x = m.embed(ids) + m.tensors['token_types.weight'][0]
    if bert:
        x = x + m.tensors['position_embd.weight'][:T]
    x = layer_norm(m, 'token_embd_norm', x)
    for _ in m.layers():
        if bert:
            q, k, v = m.heads('attn_q', x), m.heads('attn_k', x), m.heads('attn_v', x)
        else:
            q, k, v = np.split(m.linear('attn_qkv', x).reshape(T, 3 * m.H, m.hd), 3, axis=1)
            freq = arch_ref.inverse_frequencies(m.n_rot, m.base)
            q, k = arch_ref.rotate(q, freq), arch_ref.rotate(k, freq)
        o = np.stack([arch_ref.softmax(q[:, h] @ k[:, h].T / math.sqrt(m.hd)) @ v[:, h] for h in range(m.H)], axis=1)
        x = layer_norm(m, 'attn_output_norm', x + m.linear('attn_output', o.reshape(T, -1)))
        if bert:
            u = m.linear('ffn_up', x)
            f = m.linear('ffn_down', u * 0.5 * (1 + erf(u / math.sqrt(2))))
        else:
            f = m.swiglu(x)
        x = layer_norm(m, 'layer_output_norm', x + f)
    return x


def hidden(m, ids):
    """Encoders: the last layer. Decoders: what the output matrix would get."""
    if m.arch in ('bert', 'nomic-bert'):
        return encoder(m, ids)
    arch_ref.forward(m, ids)
    return m.hidden


def embed(m, ids, pooling):
    x = hidden(m, ids)
    v = {'mean': x.mean(axis=0), 'cls': x[0], 'last': x[-1]}[pooling]
    return v / np.sqrt(v @ v)


# ---- models ---------------------------------------------------------------------------------------------------------
POOLING = {'mean': 1, 'cls': 2, 'last': 3}
CLS, SEP = 2, 3


def layer_norm_weights(b, name, n):
    b.norm(name, n)
    b.bias(name, n, std=0.2)


def encoder_model(b, arch, d=72, heads=6, ff=104, layers=3, vocab=120, ctx=64):
    b.arch, b.d, b.heads, b.kv, b.hd, b.ff, b.vocab, b.layers = arch, d, heads, heads, d // heads, ff, vocab, layers
    b.meta['general.architecture'] = arch
    b.keys(context_length=ctx, embedding_length=d, block_count=layers, feed_forward_length=ff, attention__head_count=heads,
           attention__layer_norm_epsilon=1e-12, attention__causal=False)
    b.meta['tokenizer.ggml.token_type_count'] = 2
    b.mat('token_embd', vocab, d, gain=math.sqrt(d))
    b.mat('token_types', 2, d, gain=math.sqrt(d) / 2)
    if arch == 'bert':
        b.mat('position_embd', ctx, d, gain=math.sqrt(d) / 2)
    else:
        b.keys(rope__freq_base=1000.0)
    layer_norm_weights(b, 'token_embd_norm', d)
    for _ in b.each_layer():
        if arch == 'bert':
            b.qkv(bias=True)
        else:
            b.mat('attn_qkv', 3 * d, d, gain=1.3)
        b.attn_out(bias=arch == 'bert')
        layer_norm_weights(b, 'attn_output_norm', d)
        b.mat('ffn_up', ff, d, gain=1.5)
        b.mat('ffn_down', d, ff)
        if arch == 'bert':
            b.bias('ffn_up', ff)
            b.bias('ffn_down', d)
        else:
            b.mat('ffn_gate', ff, d, gain=1.5)
        layer_norm_weights(b, 'layer_output_norm', d)


def cases():
    """name -> (builder, pooling)"""
    for name, arch, pooling in (('bert-mean', 'bert', 'mean'), ('bert-cls', 'bert', 'cls'), ('nomic-bert', 'nomic-bert', 'mean'), ('nomic-last', 'nomic-bert', 'last'),
                                ('qwen3-last', 'qwen3', 'last'), ('gemma3-mean', 'gemma3', 'mean')):
        b = make_arch.Builder(zlib.crc32(name.encode()))
        if arch.endswith('bert'):
            encoder_model(b, arch)
        else:
            make_arch.CASES[arch](b, ctx=64)
            b.tokenizer()
        b.keys(pooling_type=POOLING[pooling])
        yield name, b, pooling


def make_all(folder):
    with open(os.path.join(folder, 'cases.txt'), 'w') as f:
        for i, (name, b, pooling) in enumerate(cases()):
            texts = [np.r_[CLS, b.rng.integers(5, b.vocab, n), SEP] for n in (1, 5, 33, 12, 62, 31, 7)]
            m = arch_ref.Model(meta=b.meta, tensors={k: v.astype(np.float64) for k, v in b.tensors.items()})
            y = np.stack([embed(m, t, pooling) for t in texts])
            ids = np.concatenate([np.r_[t, -1] for t in texts])
            make_arch.save(os.path.join(folder, name), b, ids, y)
            if b.arch.endswith('bert'):
                hf_make.save_encoder(os.path.join(folder, name), b, pooling, old=i % 2 == 1)
            print(name, len(ids), *y.shape, 0, file=f)


if __name__ == '__main__':
    make_all(sys.argv[2])
