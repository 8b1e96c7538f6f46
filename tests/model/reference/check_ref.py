# SPDX-License-Identifier: Apache-2.0
"""check_ref.py SHARED [OUT] - the references themselves against what others computed.

SHARED/goldens/arch: logits of another engine, whose KV cache is f16, so that 2e-3 of difference is its own. Its Mixtral
takes the normed input for the residual of the experts, x' = f + moe(f) with f = ffn_norm(x), where the published model
has x + moe(f): both are worked out, the fault must agree and the published form must not.
SHARED/data/models/olmo-xtiny: inputs and outputs of every module of an OLMo 2 model, recorded by its own code.
With OUT that model is written as OUT.gguf, with its logits, so that moa can be compared as well.
Prints a line for each and exits with 1 when one is off.
"""
import json
import os
import sys

import numpy as np

import arch_ref
import make_arch

TOKENS = [1, 300, 301, 302, 17, 450, 33, 500, 2, 1, 259, 260, 270, 280, 290, 295, 310, 320, 330, 340, 350, 360, 370, 380, 390, 400,
          410, 420, 430, 440, 455, 465, 475, 485]
ok = True


def report(what, error, limit, beyond=False):
    global ok
    good = (error > limit) if beyond else (error <= limit)
    ok = ok and good
    print('   %-42s largest difference %.2e%s%s' % (what, error, ', as it should be more than %g' % limit if beyond else '',
                                                  '' if good else '  WRONG'))


class FaultyMixtral(arch_ref.Model):
    """The other engine's residual: what the block adds to x makes it f + moe(f)."""

    def norm(self, name, x):
        if name == 'ffn_norm':
            self.before = x
        return super().norm(name, x)

    def softmax_moe(self, f, renormalise):
        return super().softmax_moe(f, renormalise) + f - self.before


class OtherChoice(arch_ref.Model):
    """Token 19 of layer 1: the next expert in the place of the last chosen one."""

    def softmax_moe(self, x, renormalise):
        self.token = -1
        return super().softmax_moe(x, renormalise)

    def choose(self, score, k):
        ids = super().choose(score, k)
        self.token += 1
        if self.layer == 1 and self.token == 19:
            order = np.argsort(-score, kind='stable')
            ids = np.append(ids[:-1], order[k])
            self.gap = (score[order[k - 1]] - score[order[k]]) / score[order[k]]
        return ids


def goldens(folder):
    for arch in ('llama', 'qwen2', 'qwen3moe', 'mixtral'):
        want = np.fromfile(os.path.join(folder, arch + '.logits'), '<f4').reshape(len(TOKENS), -1)
        m = arch_ref.Model(os.path.join(folder, arch + '.gguf'))
        rows = np.abs(arch_ref.forward(m, TOKENS) - want).max(axis=1)
        if arch == 'qwen3moe':  # row 19 of layer 1: two experts are nearer to each other than f16 keeps the vectors apart
            report('%s, least gap of a choice %.6f' % (arch, m.least_gap), np.delete(rows, 19).max(), 2.5e-3)
            other = OtherChoice(os.path.join(folder, arch + '.gguf'))
            rows = np.abs(arch_ref.forward(other, TOKENS) - want).max(axis=1)
            report('qwen3moe, the other one in row 19', rows.max(), 2.5e-3)
            report('  how far apart they are, of their weight', other.gap, 1e-3)
        elif arch == 'mixtral':
            report('mixtral as published', rows.max(), 0.1, beyond=True)
            rows = np.abs(arch_ref.forward(FaultyMixtral(os.path.join(folder, 'mixtral.gguf')), TOKENS) - want).max(axis=1)
            report('mixtral with that residual', rows.max(), 2.5e-3)
        else:
            report(arch, rows.max(), 2.5e-3)


def olmo(folder, out):
    index = json.load(open(os.path.join(folder, 'index.json')))

    def load(kind, name):
        e = index[kind][name]
        dtype = '<i4' if e.get('dtype') == 'i32' else '<f4'
        return np.fromfile(os.path.join(folder, kind + '.f32'), dtype, e['count'], offset=e['offset']).reshape(e['shape'])

    def weight(name):
        return load('weights', 'transformer.%s.weight' % name)

    b = make_arch.Builder(0)
    b.start('olmo2', 32, 4, 4, 64, 2, 128, ctx=1024, eps=1e-6, base=500000.0)
    b.put('token_embd.weight', weight('wte'))
    b.put('output_norm.weight', weight('ln_f'))
    b.put('output.weight', weight('ff_out'))
    for i in b.each_layer():
        w = lambda name: weight('blocks.%d.%s' % (i, name))
        for part, rows in zip('qkv', np.split(w('att_proj'), 3)):
            b.put('attn_%s.weight' % part, rows)
        up, gate = np.split(w('ff_proj'), 2)
        for name, x in (('attn_q_norm', w('q_norm')), ('attn_k_norm', w('k_norm')), ('attn_output', w('attn_out')), ('ffn_up', up), ('ffn_gate', gate),
                        ('ffn_down', w('ff_out')), ('post_attention_norm', w('attn_norm')), ('post_ffw_norm', w('ff_norm'))):
            b.put(name + '.weight', x)
    ids, want = load('traces', 'model.transformer.wte_0_input'), load('traces', 'model.transformer.ff_out_29_output')
    m = arch_ref.Model(meta=b.meta, tensors={k: v.astype(np.float64) for k, v in b.tensors.items()})
    seen = []
    norm, linear = m.norm, m.linear

    def spy(kind, f):
        def g(name, x):
            y = f(name, x)
            seen.append(('%d.%s.%s' % (m.layer, kind, name), y))
            return y
        return g
    m.norm, m.linear = spy('norm', norm), spy('linear', linear)
    report('olmo2, logits', np.abs(arch_ref.forward(m, ids) - want).max(), 1e-4)
    recorded = {'norm.attn_q_norm': ('q_norm_3', 'q_norm_16'), 'norm.attn_k_norm': ('k_norm_4', 'k_norm_17'), 'linear.attn_output': ('attn_out_6', 'attn_out_19'),
                'norm.post_attention_norm': ('attn_norm_7', 'attn_norm_20'), 'linear.ffn_down': ('ff_out_11', 'ff_out_24'), 'norm.post_ffw_norm': ('ff_norm_12', 'ff_norm_25')}
    for name, y in seen:
        layer, part = name.split('.', 1)
        if part in recorded:
            report('olmo2, layer ' + name, np.abs(y - load('traces', 'model.transformer.blocks.%s.%s_output' % (layer, recorded[part][int(layer)]))).max(), 1e-4)
    if out:
        make_arch.save(out, b, ids, want)


if __name__ == '__main__':
    goldens(os.path.join(sys.argv[1], 'goldens/arch'))
    olmo(os.path.join(sys.argv[1], 'data/models/olmo-xtiny/flat'), sys.argv[2] if len(sys.argv) > 2 else None)
    sys.exit(0 if ok else 1)
