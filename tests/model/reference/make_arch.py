# SPDX-License-Identifier: Apache-2.0
"""make_arch.py - small models of every architecture with seeded random weights, and the logits they must give.

Shapes keep the true relations: several query heads for a key head, head sizes that are not d / heads where a family has
that, sizes that no vector width divides, enough layers for local and global ones in turn, more tokens than a sliding
window and a block of the KV cache. Weights are drawn so that logits reach about 4 and scores, gates, caps and clamps
all matter.

    python3 make_arch.py NAME OUT.gguf [--seed S] [--shape layers=4,heads=8,...] [--q8]   one model, OUT.want (f32), OUT.ids (i32)
    python3 make_arch.py --all FOLDER       all of them and FOLDER/cases.txt, lines of NAME n_ids n_rows n_columns n_ctx
    python3 make_arch.py --list
"""
import argparse
import math
import os
import zlib

import numpy as np

import arch_ref
import gguf

CASES = {}
LEAST_GAP = 2e-4  # of a router's choice: below it float32 may rightly choose another expert


def case(f):
    CASES[f.__name__.replace('_', '-')] = f
    return f


class Builder:
    """Collects keys and tensors of one model."""

    def __init__(self, seed):
        self.rng, self.meta, self.tensors = np.random.default_rng(seed), {}, {}
        self.n_tokens, self.n_ctx, self.prefix = 40, 0, ''

    def put(self, name, x):
        self.tensors[self.prefix + name] = x.astype(np.float32)

    def mat(self, name, *shape, gain=1.0, suffix='.weight'):
        self.put(name + suffix, self.rng.standard_normal(shape) * gain / math.sqrt(shape[-1]))

    def bias(self, name, *shape, std=0.3):
        self.put(name + '.bias', self.rng.standard_normal(shape) * std)

    def norm(self, name, n):
        self.put(name + '.weight', 1 + 0.2 * self.rng.standard_normal(n))

    def keys(self, **kv):
        for k, v in kv.items():
            self.meta['%s.%s' % (self.arch, k.replace('__', '.'))] = v

    def start(self, arch, d, heads, kv, ff, layers, vocab, hd=0, tied=False, ctx=256, eps=1e-5, out_gain=1.0, base=10000.0):
        self.arch, self.d, self.heads, self.kv, self.hd, self.ff, self.vocab = arch, d, heads, kv, hd or d // heads, ff, vocab
        self.layers, self.out_gain = layers, out_gain
        self.meta['general.architecture'] = arch
        self.keys(context_length=ctx, embedding_length=d, block_count=layers, feed_forward_length=ff, attention__head_count=heads,
                  attention__head_count_kv=kv, attention__layer_norm_rms_epsilon=eps, rope__freq_base=base)
        if hd:
            self.keys(attention__key_length=hd, attention__value_length=hd)
        self.mat('token_embd', vocab, d)
        self.norm('output_norm', d)
        if not tied:
            self.mat('output', vocab, d, gain=out_gain)

    def each_layer(self):
        for i in range(self.layers):
            self.prefix = 'blk.%d.' % i
            yield i
        self.prefix = ''

    def qkv(self, bias=False, gain=1.4):
        for part, n, g in (('q', self.heads, gain), ('k', self.kv, gain), ('v', self.kv, 1.0)):
            self.mat('attn_' + part, n * self.hd, self.d, gain=g)
            if bias:
                self.bias('attn_' + part, n * self.hd)

    def attn_out(self, bias=False):
        self.mat('attn_output', self.d, self.heads * self.hd)
        if bias:
            self.bias('attn_output', self.d)

    def ffn(self, n=0, suffix=''):
        n = n or self.ff
        self.mat('ffn_gate' + suffix, n, self.d, gain=1.5)
        self.mat('ffn_up' + suffix, n, self.d)
        self.mat('ffn_down' + suffix, self.d, n)

    def experts(self, E, f, form='3d'):
        self.mat('ffn_gate_inp', E, self.d, gain=1.5)
        if form == 'each':
            for e in range(E):
                for part, a, b in (('gate', f, self.d), ('up', f, self.d), ('down', self.d, f)):
                    self.mat('ffn_%s.%d' % (part, e), a, b, gain=1.5)
            return
        if form == 'merged':
            self.mat('ffn_gate_up_exps', E, 2 * f, self.d, gain=1.5)
        else:
            self.mat('ffn_gate_exps', E, f, self.d, gain=1.5)
            self.mat('ffn_up_exps', E, f, self.d)
        self.mat('ffn_down_exps', E, self.d, f, gain=1.5)

    def tokenizer(self):
        """SentencePiece-like: three control tokens, the bytes, and words that no test reads."""
        texts = ['<unk>', '<s>', '</s>'] + ['<0x%02X>' % i for i in range(256)]
        texts += ['\u2581w%d' % i for i in range(self.vocab - len(texts))]
        n_words = self.vocab - 259
        self.meta.update({
            'tokenizer.ggml.model': 'llama', 'tokenizer.ggml.tokens': texts, 'tokenizer.ggml.scores': [0.0] * 259 + [-float(i) for i in range(n_words)],
            'tokenizer.ggml.token_type': [2, 3, 3] + [6] * 256 + [1] * n_words, 'tokenizer.ggml.bos_token_id': 1,
            'tokenizer.ggml.eos_token_id': 2, 'tokenizer.ggml.unknown_token_id': 0})


# ---- llama and its like ---------------------------------------------------------------------------------------------
def llama_like(b, arch='llama', d=72, heads=6, kv=2, ff=104, layers=3, vocab=317, bias=False, experts=0, used=0, form='3d', **kw):
    b.start(arch, d, heads, kv, ff, layers, vocab, **kw)
    b.keys(rope__dimension_count=b.hd)
    if experts:
        b.keys(expert_count=experts, expert_used_count=used)
    for _ in b.each_layer():
        b.norm('attn_norm', d)
        b.qkv(bias)
        b.attn_out(bias)
        b.norm('ffn_norm', d)
        if experts:
            b.experts(experts, ff, form)
        else:
            b.ffn()


@case
def llama(b, **kw):
    llama_like(b, **kw)


@case
def llama_factors(b, **kw):
    llama_like(b, **{'hd': 16, 'base': 500000.0, 'tied': True, **kw})
    b.put('rope_freqs.weight', np.linspace(1, 8, b.hd // 2))


@case
def llama_bias(b, **kw):
    llama_like(b, **{'bias': True, 'hd': 20, **kw})


@case
def llama_linear(b, **kw):
    llama_like(b, **kw)
    b.keys(rope__scaling__type='linear', rope__scaling__factor=4.0)


@case
def llama_yarn(b, **kw):
    llama_like(b, **{'d': 96, 'heads': 3, 'kv': 1, **kw})
    b.keys(rope__scaling__type='yarn', rope__scaling__factor=4.0, rope__scaling__original_context_length=64)


@case
def mixtral(b, **kw):
    llama_like(b, **{'experts': 6, 'used': 2, 'ff': 56, **kw})


@case
def mixtral_each(b, **kw):
    llama_like(b, **{'experts': 5, 'used': 2, 'ff': 56, 'form': 'each', **kw})


def granite_like(b, **kw):
    llama_like(b, **{'out_gain': 8.0, 'tied': False, **kw})
    b.keys(attention__scale=0.15, embedding_scale=12.0, residual_scale=0.22, logit_scale=8.0)


@case
def granite(b, **kw):
    granite_like(b, **{'arch': 'granite', **kw})


@case
def granitemoe(b, **kw):
    granite_like(b, **{'arch': 'granitemoe', 'experts': 7, 'used': 3, 'ff': 40, **kw})


@case
def granitemoe_shared(b, shared=24, **kw):
    granite_like(b, **{'arch': 'granitemoe', 'experts': 7, 'used': 3, 'ff': 40, **kw})
    b.keys(expert_shared_feed_forward_length=shared)
    for _ in b.each_layer():
        b.ffn(shared, '_shexp')


# ---- qwen, olmo -----------------------------------------------------------------------------------------------------
def qwen_like(b, arch, d=72, heads=6, kv=2, ff=104, layers=3, vocab=317, bias=False, qk_norm='', experts=0, used=0, f=0, shared=0,
              form='3d', **kw):
    b.start(arch, d, heads, kv, ff, layers, vocab, **{'eps': 1e-6, 'base': 1000000.0, **kw})
    if experts:
        b.keys(expert_count=experts, expert_used_count=used)
    if f:
        b.keys(expert_feed_forward_length=f)
    if shared:
        b.keys(expert_shared_feed_forward_length=shared)
    for _ in b.each_layer():
        b.norm('attn_norm', d)
        b.qkv(bias)
        if qk_norm:
            b.norm('attn_q_norm', b.hd if qk_norm == 'head' else heads * b.hd)
            b.norm('attn_k_norm', b.hd if qk_norm == 'head' else kv * b.hd)
        b.attn_out()
        b.norm('ffn_norm', d)
        if not experts:
            b.ffn()
            continue
        b.experts(experts, f or ff, form)
        if shared:
            b.ffn(shared, '_shexp')
            b.mat('ffn_gate_inp_shexp', d, gain=1.5)


@case
def qwen2(b, **kw):
    qwen_like(b, 'qwen2', **{'bias': True, 'tied': True, **kw})


@case
def qwen3(b, **kw):
    qwen_like(b, 'qwen3', **{'qk_norm': 'head', 'hd': 20, **kw})


@case
def qwen2moe(b, **kw):
    qwen_like(b, 'qwen2moe', **{'bias': True, 'experts': 6, 'used': 3, 'f': 28, 'shared': 60, **kw})


@case
def qwen3moe(b, **kw):
    qwen_like(b, 'qwen3moe', **{'qk_norm': 'head', 'hd': 16, 'experts': 9, 'used': 3, 'f': 28, **kw})


@case
def qwen3moe_merged(b, **kw):
    qwen_like(b, 'qwen3moe', **{'qk_norm': 'head', 'hd': 16, 'experts': 5, 'used': 2, 'f': 28, 'form': 'merged', **kw})


@case
def qwen3_yarn(b, **kw):
    qwen_like(b, 'qwen3', **{'qk_norm': 'head', 'hd': 32, 'heads': 4, 'kv': 2, 'base': 10000.0, **kw})
    b.keys(rope__scaling__type='yarn', rope__scaling__factor=4.0, rope__scaling__original_context_length=64,
           rope__scaling__yarn_truncate=False)


@case
def olmoe(b, **kw):
    qwen_like(b, 'olmoe', **{'qk_norm': 'all', 'experts': 8, 'used': 3, 'ff': 36, 'base': 10000.0, 'heads': 6, 'kv': 3, **kw})


@case
def olmo2(b, d=72, heads=6, kv=2, ff=104, layers=3, vocab=317, **kw):
    b.start('olmo2', d, heads, kv, ff, layers, vocab, **{'base': 500000.0, 'eps': 1e-6, **kw})
    for _ in b.each_layer():
        b.qkv()
        b.norm('attn_q_norm', heads * b.hd)
        b.norm('attn_k_norm', kv * b.hd)
        b.attn_out()
        b.norm('post_attention_norm', d)
        b.ffn()
        b.norm('post_ffw_norm', d)


# ---- phi3 -----------------------------------------------------------------------------------------------------------
@case
def phi3(b, d=72, heads=6, kv=3, ff=104, layers=3, vocab=317, window=21, n_rot=0, **kw):
    b.start('phi3', d, heads, kv, ff, layers, vocab, **kw)
    b.keys(rope__dimension_count=n_rot or b.hd, attention__sliding_window=window)
    b.n_tokens = 90 if window else 40
    for _ in b.each_layer():
        b.norm('attn_norm', d)
        b.mat('attn_qkv', (heads + 2 * kv) * b.hd, d, gain=1.3)
        b.attn_out()
        b.norm('ffn_norm', d)
        b.mat('ffn_up', 2 * ff, d, gain=1.3)
        b.mat('ffn_down', d, ff)


def longrope(b, n_ctx, **kw):
    phi3(b, **{'window': 0, 'heads': 4, 'kv': 2, 'd': 64, 'n_rot': 12, 'ctx': 512, **kw})
    n_orig, half = 64, 6
    b.keys(rope__scaling__original_context_length=n_orig, rope__scaling__attn_factor=math.sqrt(1 + math.log(512 / n_orig) / math.log(n_orig)))
    b.put('rope_factors_long.weight', np.linspace(1.1, 9, half))
    b.put('rope_factors_short.weight', np.linspace(1, 1.6, half))
    b.n_ctx = n_ctx


@case
def phi3_long(b, **kw):
    longrope(b, 128, **kw)


@case
def phi3_short(b, **kw):
    longrope(b, 64, **kw)


# ---- gemma ----------------------------------------------------------------------------------------------------------
def gemma_like(b, arch, d=72, heads=6, kv=3, ff=104, layers=4, vocab=317, hd=20, window=21, **kw):
    b.start(arch, d, heads, kv, ff, layers, vocab, **{'hd': hd, 'tied': True, 'eps': 1e-6, **kw})
    b.keys(attention__sliding_window=window)
    b.n_tokens = 90
    for _ in b.each_layer():
        b.norm('attn_norm', d)
        b.qkv(gain=1.8)
        if arch == 'gemma3':
            b.norm('attn_q_norm', hd)
            b.norm('attn_k_norm', hd)
        b.attn_out()
        b.norm('post_attention_norm', d)
        b.norm('ffn_norm', d)
        b.ffn()
        b.norm('post_ffw_norm', d)


@case
def gemma2(b, **kw):
    gemma_like(b, 'gemma2', **kw)
    b.keys(attn_logit_softcapping=5.0, final_logit_softcapping=3.0)


@case
def gemma2_27b(b, **kw):
    """46 layers is how files say that queries are scaled by d / heads."""
    gemma_like(b, 'gemma2', **{'layers': 46, 'd': 36, 'heads': 2, 'kv': 1, 'ff': 24, **kw})
    b.keys(attn_logit_softcapping=50.0, final_logit_softcapping=30.0)


@case
def gemma3(b, **kw):
    gemma_like(b, 'gemma3', **{'layers': 7, 'base': 1000000.0, **kw})
    b.keys(rope__scaling__type='linear', rope__scaling__factor=8.0)


@case
def gemma3_27b(b, **kw):
    gemma_like(b, 'gemma3', **{'layers': 62, 'd': 36, 'heads': 2, 'kv': 1, 'ff': 24, 'base': 1000000.0, **kw})


# ---- deepseek2 ------------------------------------------------------------------------------------------------------
def deepseek_like(b, q_rank=0, d=72, heads=4, ff=104, layers=3, vocab=317, nope=16, n_rot=8, hv=12, rank=24, experts=8, used=3, f=28,
                  shared=2, dense=1, mla=False, bias=False, yarn=False, **kw):
    b.start('deepseek2', d, heads, heads, ff, layers, vocab, **{'eps': 1e-6, **kw})
    b.keys(attention__key_length=nope + n_rot, attention__value_length=hv, attention__kv_lora_rank=rank, rope__dimension_count=n_rot,
           leading_dense_block_count=dense, expert_count=experts, expert_used_count=used, expert_feed_forward_length=f,
           expert_shared_count=shared, expert_weights_scale=1.0)
    if q_rank:
        b.keys(attention__q_lora_rank=q_rank)
    if mla:  # mainline's files: what the cache of the absorbed form would hold
        b.keys(attention__head_count_kv=1, attention__key_length=rank + n_rot, attention__value_length=rank,
               attention__key_length_mla=nope + n_rot, attention__value_length_mla=hv)
    if yarn:
        b.keys(rope__scaling__type='yarn', rope__scaling__factor=40.0, rope__scaling__original_context_length=64,
               rope__scaling__yarn_log_multiplier=0.0707)
    for i in b.each_layer():
        b.norm('attn_norm', d)
        if q_rank:
            b.mat('attn_q_a', q_rank, d)
            b.norm('attn_q_a_norm', q_rank)
        b.mat('attn_q_b' if q_rank else 'attn_q', heads * (nope + n_rot), q_rank or d, gain=1.4)
        b.mat('attn_kv_a_mqa', rank + n_rot, d, gain=1.4)
        b.norm('attn_kv_a_norm', rank)
        kv_b = b.rng.standard_normal((heads, nope + hv, rank)) / math.sqrt(rank)
        if mla:
            b.put('attn_k_b.weight', kv_b[:, :nope].transpose(0, 2, 1))
            b.put('attn_v_b.weight', kv_b[:, nope:])
        else:
            b.put('attn_kv_b.weight', kv_b.reshape(-1, rank))
        b.mat('attn_output', d, heads * hv)
        b.norm('ffn_norm', d)
        if i < dense:
            b.ffn()
            continue
        b.experts(experts, f)
        if bias:
            b.bias('exp_probs_b', experts, std=0.2)
        b.ffn(f * shared, '_shexp')


@case
def deepseek2_lite(b, **kw):
    deepseek_like(b, **{'yarn': True, **kw})


@case
def deepseek2(b, **kw):
    """As V2: groups of softmax scores, a compressed query."""
    deepseek_like(b, **{'q_rank': 20, 'yarn': True, **kw})
    b.keys(expert_gating_func=1, expert_weights_norm=False, expert_weights_scale=16.0 / 8, expert_group_count=4, expert_group_used_count=2)


def v3(b, **kw):
    deepseek_like(b, **{'q_rank': 20, 'bias': True, 'yarn': True, **kw})
    b.keys(expert_gating_func=2, expert_weights_norm=True, expert_weights_scale=2.5)


@case
def deepseek2_v3(b, **kw):
    v3(b, **{'experts': 12, **kw})
    b.keys(expert_group_count=4, expert_group_used_count=2)


@case
def deepseek2_sigmoid(b, **kw):
    """Sigmoid and bias without groups, no scaling of rope."""
    v3(b, **{'yarn': False, **kw})


@case
def deepseek2_mla(b, **kw):
    v3(b, **{'mla': True, **kw})


@case
def deepseek2_mla_lite(b, **kw):
    deepseek_like(b, **{'mla': True, **kw})


# ---- gpt-oss --------------------------------------------------------------------------------------------------------
@case
def gpt_oss(b, d=72, heads=6, kv=2, f=40, hd=32, layers=4, vocab=317, experts=6, used=3, window=21, **kw):
    b.start('gpt-oss', d, heads, kv, f, layers, vocab, **{'hd': hd, 'base': 150000.0, **kw})
    b.keys(expert_count=experts, expert_used_count=used, expert_feed_forward_length=f, attention__sliding_window=window,
           rope__scaling__type='yarn', rope__scaling__factor=32.0, rope__scaling__original_context_length=64)
    b.n_tokens = 90
    for _ in b.each_layer():
        b.norm('attn_norm', d)
        b.qkv(bias=True)
        b.put('attn_sinks.weight', b.rng.standard_normal(heads))
        b.attn_out(bias=True)
        b.norm('post_attention_norm', d)
        b.mat('ffn_gate_inp', experts, d, gain=1.5)
        b.bias('ffn_gate_inp', experts)
        for part in ('gate', 'up'):  # large enough for the clamp at 7 to bite
            b.mat('ffn_%s_exps' % part, experts, f, d, gain=3.5)
            b.bias('ffn_%s_exps' % part, experts, f)
        b.mat('ffn_down_exps', experts, d, f, gain=0.2)
        b.bias('ffn_down_exps', experts, d, std=0.1)


# ---- make -----------------------------------------------------------------------------------------------------------
def make(name, seed=0, shape=None):
    """-> (builder, token ids, logits, least gap of a router). Seeds count on until no router's choice is a near tie."""
    while True:
        b = Builder([zlib.crc32(name.encode()), seed])
        CASES[name](b, **(shape or {}))
        b.tokenizer()
        ids = b.rng.integers(3, b.vocab, b.n_tokens)
        ids[0] = 1
        m = arch_ref.Model(meta=b.meta, tensors={k: v.astype(np.float64) for k, v in b.tensors.items()}, n_ctx=b.n_ctx)
        y = arch_ref.forward(m, ids)
        if m.least_gap > LEAST_GAP:
            return b, ids, y
        seed += 1


def q8_logits(b, ids):
    t = {}
    for k, v in b.tensors.items():
        small = v.ndim >= 2 and v.shape[-1] % 32 == 0 and 'gate_inp' not in k
        t[k] = (gguf.from_q8_0(gguf.to_q8_0(v), v.shape) if small else v).astype(np.float64)
    return arch_ref.forward(arch_ref.Model(meta=b.meta, tensors=t, n_ctx=b.n_ctx), ids)


def save(stem, b, ids, y, q8=False):
    gguf.write(stem + '.gguf', b.meta, b.tensors, q8)
    np.asarray(y, '<f4').tofile(stem + '.want')
    np.asarray(ids, '<i4').tofile(stem + '.ids')


# Shapes that blocks of 32 divide, so that every matrix becomes Q8_0.
Q8_CASES = {'llama': {'d': 96, 'heads': 6, 'kv': 2, 'ff': 160}, 'phi3': {'d': 96, 'heads': 6, 'kv': 3, 'ff': 160},
            'gemma2': {'d': 96, 'heads': 6, 'kv': 3, 'ff': 160, 'hd': 32}}


def make_all(folder):
    with open(os.path.join(folder, 'cases.txt'), 'w') as f:
        def line(stem):
            print(stem, len(ids), *y.shape, b.n_ctx, file=f)
        for name in CASES:
            b, ids, y = make(name)
            save(os.path.join(folder, name), b, ids, y)
            line(name)
        for name, shape in Q8_CASES.items():
            b, ids, y = make(name, shape=shape)
            save(os.path.join(folder, name + '.f32'), b, ids, y)
            save(os.path.join(folder, name + '.q8'), b, ids, q8_logits(b, ids), q8=True)
            line(name + '.f32')
            line(name + '.q8')


def main():
    p = argparse.ArgumentParser()
    p.add_argument('name', nargs='?', choices=sorted(CASES))
    p.add_argument('out', nargs='?')
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--shape', default='', help='layers=4,heads=8,...: the arguments of the case')
    p.add_argument('--q8', action='store_true', help='Q8_0 matrices, and the logits of what they stand for')
    p.add_argument('--all', metavar='FOLDER')
    p.add_argument('--list', action='store_true')
    a = p.parse_args()
    if a.list:
        return print('\n'.join(CASES))
    if a.all:
        return make_all(a.all)
    if not a.out:
        p.error('NAME and OUT.gguf are needed')
    shape = {k: int(v) for k, v in (s.split('=') for s in a.shape.split(',') if s)}
    b, ids, y = make(a.name, a.seed, shape)
    save(a.out[:-5] if a.out.endswith('.gguf') else a.out, b, ids, q8_logits(b, ids) if a.q8 else y, a.q8)


if __name__ == '__main__':
    main()
