# SPDX-License-Identifier: Apache-2.0
"""lora_make.py - models with adapters, and the logits of the merged weights W + s B A by the numpy reference.

    python3 lora_make.py FOLDER    NAME.gguf, NAME/ (a PEFT adapter), NAME.ids, NAME.want; cases.txt: name, tokens, vocabulary

The merge is done here in the order of GGUF's rows, the adapter is written in that of the checkpoint: what moa does to rows of q and
k and to names is not checked against itself.
"""
import json
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '..', 'model', 'reference'), os.path.join(HERE, '..', 'format')]
import arch_ref  # noqa: E402
import gguf  # noqa: E402
import hf_make  # noqa: E402
import make_arch  # noqa: E402

# name -> (case, family, options)
CASES = {
    'llama': ('llama', 'llama', {}), 'rslora': ('llama', 'llama', {'rslora': True, 'dtype': 'F16'}), 'patterns': ('llama', 'llama', {'patterns': True}),
    'dora': ('llama', 'llama', {'dora': True, 'bias': True, 'dtype': 'BF16'}), 'embedding': ('llama', 'llama', {'embedding': True, 'dtype': 'F16'}),
    'mixtral': ('mixtral', 'mixtral', {'dtype': 'BF16'}), 'qwen2': ('qwen2', 'qwen2', {'bias': True}), 'qwen2moe': ('qwen2moe', 'qwen2moe', {}),
    'phi3': ('phi3', 'phi3', {}), 'gemma2': ('gemma2', 'gemma2', {'regex': True}), 'granite': ('granite', 'granite', {'linear': True}),
    'olmoe': ('olmoe', 'olmoe', {}), 'q8': ('llama', 'llama', {'q8': True, 'dora': True}), 'deepseek2': ('deepseek2-lite', 'deepseek2', {}),
    # tensors in place of the base's: saved modules, both embeddings beside their adapters, trained biases
    'whole': ('llama', 'llama', {'embedding': True, 'f16': True, 'whole': ['token_embd.weight', 'output.weight', 'output_norm.weight', 'blk.0.attn_norm.weight',
                                                                           'blk.1.attn_q.weight', 'blk.2.ffn_norm.weight']}),
    'whole-gemma2': ('gemma2', 'gemma2', {'regex': True, 'whole': ['token_embd.weight', 'output_norm.weight', 'blk.0.attn_norm.weight', 'blk.1.ffn_norm.weight',
                                                                   'blk.1.post_attention_norm.weight', 'blk.2.post_ffw_norm.weight']}),
    'whole-qwen2': ('qwen2', 'qwen2', {'trained': 'all', 'whole': ['blk.0.attn_q.bias', 'blk.1.attn_k.bias', 'blk.1.attn_v.bias']}),
    # PEFT's target_parameters: all experts in one pair of matrices, whose input is the second axis or the third, by the version
    'parameters': ('mixtral', 'mixtral', {'stack': 'new', 'dtype': 'BF16'}), 'parameters-old': ('qwen3moe', 'qwen3moe', {'stack': 'old', 'shape': {'f': 72}}),
    'parameters-turns': ('gpt-oss', 'gpt-oss', {'stack': 'transposed', 'rslora': True}), 'parameters-weight': ('granitemoe', 'granitemoe', {'stack': 'new'}),
    'parameters-each': ('gpt-oss', 'gpt-oss', {'stack': 'each'}),
    'whole-phi3': ('phi3', 'phi3', {'whole': ['blk.1.attn_qkv.weight', 'blk.0.ffn_up.weight']}),
}


def to_neighbours(w, heads):
    w = w.reshape((heads, 2, -1) + w.shape[1:])
    return w.swapaxes(1, 2).reshape((-1,) + w.shape[3:])


def modules(family, b):
    """GGUF tensor, expert (or None), name in the checkpoint, heads whose rows lie otherwise (0: none)."""
    arch = b.meta['general.architecture']
    heads = {'attn_q': b.meta[arch + '.attention.head_count'], 'attn_k': b.meta[arch + '.attention.head_count_kv']}
    for name, x in b.tensors.items():
        if not name.endswith('.weight') or 'norm' in name or 'ffn_gate_inp.' in name or not name.startswith('blk.') or x.ndim < 2:
            continue
        if '_exps' in name and arch in ('gpt-oss', 'granitemoe'):  # their checkpoints have no module an expert
            continue
        found = list(hf_make.checkpoint(family, b.meta, {name: x}))
        stem = name.split('.')[2]
        for e, hf in enumerate(found):
            pairs = heads.get(stem, 0) if arch in ('llama', 'granite', 'granitemoe') else 0
            yield name, e if x.ndim == 3 else None, hf[:-len('.weight')], pairs


def settings(opt, module):
    r, alpha = 4, 6.0
    if opt.get('stack') in ('new', 'transposed') and module.endswith('gate_up_proj'):
        r, alpha = 6, 3.0
    if opt.get('patterns') and module.endswith('q_proj'):
        r = 7
    if opt.get('patterns') and '.1.mlp.up_proj' in module:
        r, alpha = 2, 3.0
    return r, alpha, alpha / np.sqrt(r) if opt.get('rslora') else alpha / r


def stack(rng, opt, b, t, out):
    """Adapters of all experts, by the formulas of PEFT's documentation: d1, d2 are the parameter's axes behind that of the experts."""
    names, arch, how = [], b.meta['general.architecture'], opt['stack']
    for i in range(b.meta[arch + '.block_count']):
        g, u, d = ('blk.%d.ffn_%s_exps.weight' % (i, k) for k in ('gate', 'up', 'down'))
        turned = arch == 'gpt-oss'  # [experts, in, out], gate and up in turn
        both = np.stack([t[g], t[u]], 2).reshape(t[g].shape[0], -1, t[g].shape[2]) if turned else np.concatenate([t[g], t[u]], 1)
        at = 'model.layers.%d.' % i + ('block_sparse_moe.' if arch == 'granitemoe' else 'mlp.experts')
        parts = ([(at + 'input_linear', 'weight', both), (at + 'output_linear', 'weight', t[d])] if arch == 'granitemoe' else
                 [(at + '.base_layer', 'gate_up_proj', both), (at, 'down_proj', t[d])])
        if how == 'new' and arch != 'granitemoe':  # the router's weight, named as a parameter
            w = t['blk.%d.ffn_gate_inp.weight' % i]
            a, bb = rng.standard_normal((4, w.shape[1])) / 8, rng.standard_normal((w.shape[0], 4)) * 0.3
            a, bb = stored(a, opt.get('dtype', 'F32')), stored(bb, opt.get('dtype', 'F32'))
            key = 'base_model.model.model.layers.%d.mlp.gate.' % i
            out[key + 'lora_A.weight'], out[key + 'lora_B.weight'] = a, bb
            t['blk.%d.ffn_gate_inp.weight' % i] = w + 1.5 * bb.astype(np.float64) @ a
        merged = []
        for module, parameter, w in parts:
            w = w.swapaxes(1, 2) if turned else w  # as the module has it
            n, d1, d2 = w.shape
            key = module.replace('.base_layer', '') + '.' + parameter
            r, _, s = settings(opt, key)
            n_a, n_b = (d2, d1) if how == 'new' else (d1, d2)
            a, bb = stored(rng.standard_normal((n * r, n_a)) / np.sqrt(n_a), opt.get('dtype', 'F32')), stored(rng.standard_normal((n_b, r * n)) * 0.3, opt.get('dtype', 'F32'))
            delta = np.einsum('ore,eri->eoi' if how == 'new' else 'ore,eri->eio', bb.astype(np.float64).reshape(n_b, r, n), a.astype(np.float64).reshape(n, r, n_a))
            if how == 'each':
                for e in range(n):
                    one = 'base_model.model.%s.%ss.%d' % (at, parameter, e)
                    out[one + '.lora_A.weight'], out[one + '.lora_B.weight'] = a.reshape(n, r, n_a)[e], bb.reshape(n_b, r, n)[:, :, e]
                    names.append('%ss.%d' % (parameter, e))
            else:
                out['base_model.model.' + module + '.lora_A.weight'], out['base_model.model.' + module + '.lora_B.weight'] = a, bb
            w = w + s * delta
            merged.append(w.swapaxes(1, 2) if turned else w)
        f = t[g].shape[1]
        t[g], t[u] = (merged[0][:, ::2], merged[0][:, 1::2]) if turned else (merged[0][:, :f], merged[0][:, f:])
        t[d] = merged[1]
    return names


def write_config(folder, opt, names, saved=()):
    c = {'peft_type': 'LORA', 'base_model_name_or_path': 'none', 'r': 4, 'lora_alpha': 6, 'target_modules': sorted({n.rsplit('.', 1)[1] for n in names}),
         'use_rslora': opt.get('rslora', False), 'use_dora': opt.get('dora', False), 'lora_bias': opt.get('bias', False), 'bias': opt.get('trained', 'none'),
         'fan_in_fan_out': False, 'modules_to_save': list(saved) or None, 'rank_pattern': {}, 'alpha_pattern': {}, 'layers_to_transform': None}
    if opt.get('patterns'):
        c['rank_pattern'] = {'q_proj': 7, r'layers\.1\.mlp\.up_proj': 2, 'up_proj': 4}
        c['alpha_pattern'] = {r'1\.mlp\.up_proj': 3}
    if opt.get('stack') == 'each':
        c['target_modules'] = r'.*\.(self_attn\.[a-z]_proj|mlp\.experts\.(gate_up|down)_projs\.\d+)'
    elif opt.get('stack'):
        c['target_parameters'] = ['input_linear.weight', 'output_linear.weight'] if any('block_sparse' in n for n in names) else ['mlp.experts.gate_up_proj', 'down_proj', 'gate.weight']
        c['rank_pattern'], c['alpha_pattern'] = {r'.*\.gate_up_proj': settings(opt, 'gate_up_proj')[0]}, {r'.*\.gate_up_proj': settings(opt, 'gate_up_proj')[1]}
    if opt.get('regex'):
        c['target_modules'] = r'.*\.(self_attn|mlp)\.[a-z_]+_proj'
    if opt.get('linear'):
        c['target_modules'] = 'all-linear'
    with open(os.path.join(folder, 'adapter_config.json'), 'w') as f:
        json.dump(c, f)


def stored(x, dtype):
    """What a file of that type gives back."""
    return hf_make.decode(x.astype(np.float32), dtype)


def adapt(rng, opt, w, module, pairs, out, merged_bias):
    """-> the merged matrix in GGUF's order; tensors of the adapter go to out."""
    n_out, n_in = w.shape
    r, _, s = settings(opt, module)
    dtype = opt.get('dtype', 'F32')
    a, b = stored(rng.standard_normal((r, n_in)) / np.sqrt(n_in), dtype), stored(rng.standard_normal((n_out, r)) * 0.3, dtype)
    key = 'base_model.model.' + module
    out[key + '.lora_A.weight'], out[key + '.lora_B.weight'] = a, b
    turn = (lambda v: to_neighbours(v, pairs)) if pairs else (lambda v: v)
    m = w.astype(np.float64) + s * turn(b.astype(np.float64)) @ a.astype(np.float64)
    gain = np.ones(n_out)
    if opt.get('dora'):
        mag = stored(np.linalg.norm(w, axis=1) * rng.uniform(0.7, 1.3, n_out), dtype)
        back = hf_make.to_halves(mag, pairs) if pairs else mag
        out[key + '.lora_magnitude_vector'] = back
        gain = mag / np.linalg.norm(m, axis=1)
    if opt.get('bias'):
        c = stored(rng.standard_normal(n_out) * 0.1, dtype)
        out[key + '.lora_B.bias'] = c
        merged_bias(gain * s * turn(c.astype(np.float64)))
    return gain[:, None] * m


def replace(rng, opt, family, b, t, lora):
    """Other numbers in place of some tensors of t -> tensors of the adapter, modules_to_save. lora: modules that it adapts besides."""
    out, saved = {}, []
    for name in opt.get('whole', []):
        old = b.tensors[name]
        new = (old * rng.uniform(0.6, 1.4, old.shape)).astype(np.float32)
        if opt.get('f16') and new.ndim == 2:
            new = new.astype(np.float16).astype(np.float32)
        if name == 'token_embd.weight':  # a tied output stays what it was
            t.setdefault('output.weight', t[name])
        t[name] = new.astype(np.float64)
        (hf, x), = hf_make.checkpoint(family, b.meta, {name: new}).items()
        module, tail = hf.rsplit('.', 1)
        inner = module in lora
        out['base_model.model.' + module + ('.base_layer.' if inner else '.') + tail] = x.astype(np.float16) if opt.get('f16') and x.ndim == 2 else x
        if not inner and tail == 'weight':
            saved.append(module[len('model.'):] if module.startswith('model.') else module)
    return out, saved


def make(folder, name):
    """Seeds count on until no router's choice is a near tie."""
    seed = 0
    while True:
        done = attempt(folder, name, seed)
        if done:
            return done
        seed += 1


def attempt(folder, name, seed):
    case, family, opt = CASES[name]
    b = make_arch.Builder([11, seed])
    make_arch.CASES[case](b, **(make_arch.Q8_CASES['llama'] if opt.get('q8') else opt.get('shape', {})))
    if opt.get('q8'):  # what the blocks stand for, which become the same blocks again
        b.tensors = {k: gguf.from_q8_0(gguf.to_q8_0(v), v.shape) if v.ndim == 2 else v for k, v in b.tensors.items()}
    b.tokenizer()
    ids = b.rng.integers(3, b.vocab, 40)
    rng, out = np.random.default_rng([3, len(name)]), {}
    t = {k: v.astype(np.float64) for k, v in b.tensors.items()}
    mods = [m for m in modules(family, b) if m[0] not in opt.get('whole', []) and not (opt.get('stack') and '_exps' in m[0])]
    lora = {m[2] for m in mods} | ({'model.embed_tokens', 'lm_head'} if opt.get('embedding') else set())
    own, saved = replace(rng, opt, family, b, t, lora)
    out.update(own)
    for tensor, e, module, pairs in mods:
        if opt.get('bias') and e is not None:
            continue
        bias = tensor[:-len('weight')] + 'bias'

        def add_bias(v, bias=bias):
            t[bias] = t.get(bias, 0) + v
        w = b.tensors[tensor] if e is None else b.tensors[tensor][e]
        m = adapt(rng, opt, w, module, pairs, out, add_bias)
        if e is None:
            t[tensor] = m
        else:
            t[tensor] = t[tensor].copy()
            t[tensor][e] = m
    names = [m[2] for m in mods]
    if opt.get('embedding'):
        v, d = b.tensors['token_embd.weight'].shape
        dtype = opt.get('dtype', 'F32')
        a, bb = stored(rng.standard_normal((4, v)), dtype), stored(rng.standard_normal((d, 4)) * 0.3, dtype)
        out['base_model.model.model.embed_tokens.lora_embedding_A'], out['base_model.model.model.embed_tokens.lora_embedding_B'] = a, bb
        t.setdefault('output.weight', t['token_embd.weight'])
        t['token_embd.weight'] = t['token_embd.weight'] + 1.5 * (bb.astype(np.float64) @ a).T
        a, bb = stored(rng.standard_normal((4, d)) / 8, dtype), stored(rng.standard_normal((v, 4)), dtype)
        out['base_model.model.lm_head.lora_A.weight'], out['base_model.model.lm_head.lora_B.weight'] = a, bb
        t['output.weight'] = t['output.weight'] + 1.5 * bb.astype(np.float64) @ a
        names += ['model.embed_tokens', 'x.lm_head']
    if opt.get('stack'):
        names += stack(rng, opt, b, t, out)
        names += ['block_sparse_moe.x'] if family == 'granitemoe' else []
    os.makedirs(os.path.join(folder, name), exist_ok=True)
    hf_make.save_safetensors(os.path.join(folder, name, 'adapter_model.safetensors'), out, opt.get('dtype', 'F32'))
    write_config(os.path.join(folder, name), opt, names, saved)
    m = arch_ref.Model(meta=b.meta, tensors=t, n_ctx=b.n_ctx)
    y = arch_ref.forward(m, ids)
    if m.least_gap <= make_arch.LEAST_GAP:
        return None
    make_arch.save(os.path.join(folder, name), b, ids, y, opt.get('q8', False))
    return len(ids), y.shape[1]


def main():
    folder = sys.argv[1]
    with open(os.path.join(folder, 'cases.txt'), 'w') as f:
        for name in CASES:
            print(name, *make(folder, name), file=f)
    resized = os.path.join(folder, 'resized')  # for a vocabulary of 5
    os.makedirs(resized, exist_ok=True)
    hf_make.save_safetensors(os.path.join(resized, 'adapter_model.safetensors'), {'base_model.model.model.embed_tokens.weight': np.ones((5, 64), np.float32)}, 'F32')
    write_config(resized, {}, ['model.q_proj'], ['embed_tokens'])
    square = os.path.join(folder, 'square')  # of the 9 experts of parameters-old only the matrices that are square
    os.makedirs(square, exist_ok=True)
    key = 'base_model.model.model.layers.0.mlp.experts.lora_'
    hf_make.save_safetensors(os.path.join(square, 'adapter_model.safetensors'), {key + 'A.weight': np.ones((36, 72), np.float32), key + 'B.weight': np.ones((72, 36), np.float32)}, 'F32')
    with open(os.path.join(square, 'adapter_config.json'), 'w') as f:
        json.dump({'peft_type': 'LORA', 'r': 4, 'lora_alpha': 4, 'target_modules': [], 'target_parameters': ['mlp.experts.down_proj']}, f)


if __name__ == '__main__':
    main()
