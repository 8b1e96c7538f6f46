# SPDX-License-Identifier: Apache-2.0
"""hf_make.py - Hugging Face folders and what a GGUF file of the same model must hold.

    python3 hf_make.py arch FOLDER           NAME/ (a checkpoint) and NAME.gguf for every model of model/reference/make_arch.py
                                             that has a counterpart; cases.txt lists the names
    python3 hf_make.py pair GGUF FOLDER      the same as vocab.json and merges.txt
    python3 hf_make.py tokenizer GGUF FOLDER a checkpoint without layers whose tokenizer.json says what the vocabulary of GGUF says

The way from GGUF to a checkpoint is written here from the published modelling code, so that moa's way back is not checked
against itself: rows of llama's q and k go from neighbours to halves, Gemma's norms lose their 1, gpt-oss' experts are
interleaved, experts are cut apart.
"""
import json
import math
import os
import struct
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'model', 'reference'))
import gguf  # noqa: E402


# ---- safetensors ----------------------------------------------------------------------------------------------------
def to_bf16(x):
    u = np.ascontiguousarray(x, '<f4').view('<u4')
    return ((u + 0x7fff + ((u >> 16) & 1)) >> 16).astype('<u2')


def encode(x, dtype):
    if dtype == 'BF16':
        return to_bf16(x).tobytes()
    return np.ascontiguousarray(x, {'F32': '<f4', 'F16': '<f2', 'U8': 'u1'}[dtype]).tobytes()


def decode(x, dtype):
    """What the stored numbers are, as f32."""
    if dtype == 'BF16':
        return (to_bf16(x).astype('<u4') << 16).view('<f4')
    return x.astype('<f2').astype('<f4') if dtype == 'F16' else x.astype('<f4')


def save_safetensors(path, tensors, dtype):
    head, data = {'__metadata__': {'format': 'pt'}}, b''
    for name, x in tensors.items():
        d = 'U8' if x.dtype == np.uint8 else 'F16' if x.dtype == np.float16 else dtype
        b = encode(x, d)
        head[name] = {'dtype': d, 'shape': list(x.shape), 'data_offsets': [len(data), len(data) + len(b)]}
        data += b
    text = json.dumps(head).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text + data)


def save_folder(folder, config, tensors, dtype='F32', shards=1):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, 'config.json'), 'w') as f:
        json.dump(config, f)
    if shards == 1:
        return save_safetensors(os.path.join(folder, 'model.safetensors'), tensors, dtype)
    names, where = list(tensors), {}
    for i in range(shards):
        part = 'model-%05d-of-%05d.safetensors' % (i + 1, shards)
        mine = names[i::shards]
        save_safetensors(os.path.join(folder, part), {n: tensors[n] for n in mine}, dtype)
        where.update({n: part for n in mine})
    with open(os.path.join(folder, 'model.safetensors.index.json'), 'w') as f:
        json.dump({'metadata': {}, 'weight_map': where}, f)


# ---- from GGUF names to those of checkpoints --------------------------------------------------------------------------
PLAIN = {
    'attn_norm': 'input_layernorm', 'ffn_norm': 'post_attention_layernorm', 'attn_q': 'self_attn.q_proj', 'attn_k': 'self_attn.k_proj',
    'attn_v': 'self_attn.v_proj', 'attn_output': 'self_attn.o_proj', 'attn_qkv': 'self_attn.qkv_proj', 'attn_q_norm': 'self_attn.q_norm',
    'attn_k_norm': 'self_attn.k_norm', 'ffn_gate': 'mlp.gate_proj', 'ffn_up': 'mlp.up_proj', 'ffn_down': 'mlp.down_proj',
    'ffn_gate_inp': 'mlp.gate', 'ffn_gate_shexp': 'mlp.shared_expert.gate_proj', 'ffn_up_shexp': 'mlp.shared_expert.up_proj',
    'ffn_down_shexp': 'mlp.shared_expert.down_proj', 'ffn_gate_inp_shexp': 'mlp.shared_expert_gate', 'attn_q_a': 'self_attn.q_a_proj',
    'attn_q_a_norm': 'self_attn.q_a_layernorm', 'attn_q_b': 'self_attn.q_b_proj', 'attn_kv_a_mqa': 'self_attn.kv_a_proj_with_mqa',
    'attn_kv_a_norm': 'self_attn.kv_a_layernorm', 'attn_kv_b': 'self_attn.kv_b_proj',
}
SANDWICH = {'post_attention_norm': 'post_attention_layernorm', 'ffn_norm': 'pre_feedforward_layernorm', 'post_ffw_norm': 'post_feedforward_layernorm'}
NAMES = {
    'olmo2': SANDWICH, 'gemma2': SANDWICH, 'gemma3': SANDWICH, 'phi3': {'ffn_up': 'mlp.gate_up_proj'},
    'mixtral': {'ffn_gate_inp': 'block_sparse_moe.gate'},
    'granitemoe': {'ffn_gate_inp': 'block_sparse_moe.router.layer', 'ffn_down_shexp': 'shared_mlp.output_linear'},
    'deepseek2': {'ffn_%s_shexp' % p: 'mlp.shared_experts.%s_proj' % p for p in ('gate', 'up', 'down')},
    'gpt-oss': {'post_attention_norm': 'post_attention_layernorm', 'ffn_gate_inp': 'mlp.router'},
}


def to_halves(w, heads):
    """Rows of each head: 0 2 4 ... then 1 3 5 ..."""
    w = w.reshape((heads, w.shape[0] // heads) + w.shape[1:])
    return np.concatenate([w[:, 0::2], w[:, 1::2]], axis=1).reshape((-1,) + w.shape[2:])


def experts_of(arch, layer, name, x, out):
    """A 3-D tensor of experts, or their biases, in the way of the family."""
    part = name.split('.')[0][4:-5]
    if arch == 'gpt-oss':
        return gpt_oss_experts(layer, part, name.endswith('bias'), x, out)
    if arch == 'granitemoe':
        if part == 'down':
            out[layer + 'block_sparse_moe.output_linear.weight'] = x
        else:
            key = layer + 'block_sparse_moe.input_linear.weight'
            out.setdefault(key, {})[part] = x
        return
    for e in range(len(x)):
        if arch == 'mixtral':
            out['%sblock_sparse_moe.experts.%d.%s.weight' % (layer, e, {'gate': 'w1', 'down': 'w2', 'up': 'w3'}[part])] = x[e]
        else:
            out['%smlp.experts.%d.%s_proj.weight' % (layer, e, part)] = x[e]


def gpt_oss_experts(layer, part, bias, x, out):
    key = layer + 'mlp.experts.' + ('down_proj' if part == 'down' else 'gate_up_proj') + ('_bias' if bias else '')
    x = x if bias else x.transpose(0, 2, 1)  # the checkpoint multiplies from the left
    if part == 'down':
        out[key] = x
    else:
        out.setdefault(key, {})[part] = x


def join_parts(out):
    for key, v in out.items():
        if not isinstance(v, dict):
            continue
        if 'mlp.experts.' in key:  # in turn
            both = np.stack([v['gate'], v['up']], axis=-1)
            out[key] = both.reshape(both.shape[:-2] + (-1,))
        else:
            out[key] = np.concatenate([v['gate'], v['up']], axis=-2)


def checkpoint(family, meta, tensors):
    arch, out = meta['general.architecture'], {}
    heads = {'attn_q': meta[arch + '.attention.head_count'], 'attn_k': meta[arch + '.attention.head_count_kv']}
    names = {**PLAIN, **NAMES.get(arch, {}), **NAMES.get(family, {})}
    for name, x in tensors.items():
        x = np.asarray(x, np.float32)
        if name.startswith('rope_'):
            continue
        if arch in ('gemma2', 'gemma3') and 'norm' in name:
            x = x - np.float32(1)
        if not name.startswith('blk.'):
            out[{'token_embd.weight': 'model.embed_tokens.weight', 'output_norm.weight': 'model.norm.weight', 'output.weight': 'lm_head.weight'}[name]] = x
            continue
        _, layer, rest = name.split('.', 2)
        layer, stem = 'model.layers.%s.' % layer, rest.rsplit('.', 1)[0]
        if '_exps' in rest:
            experts_of('mixtral' if family == 'mixtral' else arch, layer, rest, x, out)
        elif rest == 'exp_probs_b.bias':
            out[layer + 'mlp.gate.e_score_correction_bias'] = x
        elif rest == 'attn_sinks.weight':
            out[layer + 'self_attn.sinks'] = x
        elif arch == 'granitemoe' and stem in ('ffn_gate_shexp', 'ffn_up_shexp'):
            out.setdefault(layer + 'shared_mlp.input_linear.weight', {})[stem[4:-6]] = x
        else:
            if stem in heads and arch in ('llama', 'granite', 'granitemoe'):
                x = to_halves(x, heads[stem])
            if stem == 'ffn_gate_inp_shexp':
                x = x[None, :]
            out[layer + names[stem] + '.' + rest.rsplit('.', 1)[1]] = x
    join_parts(out)
    return out


# ---- config.json ------------------------------------------------------------------------------------------------------
COMMON = {
    'context_length': 'max_position_embeddings', 'embedding_length': 'hidden_size', 'block_count': 'num_hidden_layers',
    'feed_forward_length': 'intermediate_size', 'attention.head_count': 'num_attention_heads', 'attention.head_count_kv': 'num_key_value_heads',
    'attention.layer_norm_rms_epsilon': 'rms_norm_eps', 'rope.freq_base': 'rope_theta', 'attention.key_length': 'head_dim',
    'expert_used_count': 'num_experts_per_tok', 'expert_feed_forward_length': 'moe_intermediate_size', 'attention.sliding_window': 'sliding_window',
    'expert_shared_feed_forward_length': 'shared_expert_intermediate_size', 'attn_logit_softcapping': 'attn_logit_softcapping',
    'final_logit_softcapping': 'final_logit_softcapping', 'attention.scale': 'attention_multiplier', 'embedding_scale': 'embedding_multiplier',
    'residual_scale': 'residual_multiplier', 'logit_scale': 'logits_scaling', 'attention.kv_lora_rank': 'kv_lora_rank',
    'attention.q_lora_rank': 'q_lora_rank', 'leading_dense_block_count': 'first_k_dense_replace', 'expert_shared_count': 'n_shared_experts',
    'expert_weights_scale': 'routed_scaling_factor', 'expert_group_count': 'n_group', 'expert_group_used_count': 'topk_group',
    'expert_weights_norm': 'norm_topk_prob', 'rope.scaling.original_context_length': 'original_max_position_embeddings',
}
MODEL_TYPE = {'qwen2moe': 'qwen2_moe', 'qwen3moe': 'qwen3_moe', 'gpt-oss': 'gpt_oss', 'deepseek2': 'deepseek_v2', 'gemma3': 'gemma3_text'}


def config_of(family, meta, tensors):
    arch = meta['general.architecture']
    own = {k[len(arch) + 1:]: v for k, v in meta.items() if k.startswith(arch + '.')}
    c = {COMMON[k]: v for k, v in own.items() if k in COMMON}
    c.update(model_type='mixtral' if family == 'mixtral' else MODEL_TYPE.get(arch, arch), vocab_size=tensors['token_embd.weight'].shape[0],
             tie_word_embeddings='output.weight' not in tensors)
    c['hidden_act'] = 'gelu_pytorch_tanh' if arch.startswith('gemma') else 'silu'
    if 'expert_count' in own:
        c[{'llama': 'num_local_experts', 'granitemoe': 'num_local_experts', 'gpt-oss': 'num_local_experts', 'deepseek2': 'n_routed_experts'}.get(
            arch, 'num_experts')] = own['expert_count']
    if arch == 'qwen3moe':
        c['norm_topk_prob'] = True
    if arch == 'granitemoe' and 'expert_shared_feed_forward_length' in own:
        c['model_type'], c['shared_intermediate_size'] = 'granitemoeshared', own['expert_shared_feed_forward_length']
    if arch in ('gemma2', 'gemma3'):
        c['query_pre_attn_scalar'] = c['hidden_size'] // c['num_attention_heads'] if own['block_count'] in (46, 62) else c['head_dim']
    if arch == 'gemma3':
        c['sliding_window_pattern'] = 6
    if arch == 'deepseek2':
        c.pop('head_dim', None)
        rot = own['rope.dimension_count']
        c.update(qk_rope_head_dim=rot, qk_nope_head_dim=own['attention.key_length'] - rot, v_head_dim=own['attention.value_length'],
                 model_type='deepseek_v3' if own.get('expert_gating_func') == 2 else 'deepseek_v2',
                 scoring_func='sigmoid' if own.get('expert_gating_func') == 2 else 'softmax')
    n_rot = own.get('rope.dimension_count')
    if arch == 'phi3' and n_rot:
        c['partial_rotary_factor'] = n_rot / (c['hidden_size'] // c['num_attention_heads'])
    scaling(c, own, tensors)
    return c


def scaling(c, own, tensors):
    kind = own.get('rope.scaling.type')
    if kind:
        c['rope_scaling'] = {'rope_type': kind, 'factor': own['rope.scaling.factor']}
        if kind == 'yarn':
            c['rope_scaling']['original_max_position_embeddings'] = c.pop('original_max_position_embeddings')
            if not own.get('rope.scaling.yarn_truncate', c['model_type'] != 'gpt_oss'):
                c['rope_scaling']['truncate'] = False
        if 'rope.scaling.yarn_log_multiplier' in own:
            c['rope_scaling'].update(mscale=own['rope.scaling.yarn_log_multiplier'] * 10, mscale_all_dim=own['rope.scaling.yarn_log_multiplier'] * 10)
    if 'rope_factors_long.weight' in tensors:
        c['rope_scaling'] = {'type': 'longrope', 'long_factor': tensors['rope_factors_long.weight'].tolist(),
                             'short_factor': tensors['rope_factors_short.weight'].tolist()}


def llama3_factors(n_rot, theta, s):
    """The published function, as transformers writes it."""
    inv = 1.0 / theta ** (np.arange(0, n_rot, 2) / n_rot)
    low, high = s['original_max_position_embeddings'] / s['low_freq_factor'], s['original_max_position_embeddings'] / s['high_freq_factor']
    out = []
    for f in inv:
        wave = 2 * math.pi / f
        smooth = (s['original_max_position_embeddings'] / wave - s['low_freq_factor']) / (s['high_freq_factor'] - s['low_freq_factor'])
        new = f if wave < high else f / s['factor'] if wave > low else (1 - smooth) * f / s['factor'] + smooth * f
        out.append(f / new)
    return np.array(out, np.float32)


# ---- MXFP4 ------------------------------------------------------------------------------------------------------------
FP4 = np.array([0, .5, 1, 1.5, 2, 3, 4, 6, -0.0, -.5, -1, -1.5, -2, -3, -4, -6], np.float32)


def random_mx(rng, experts, rows, cols):
    """-> blocks, scales as the checkpoint has them, and the values [experts, rows, cols]."""
    q = rng.integers(0, 256, (experts, rows, cols // 32, 16), dtype=np.uint8)
    s = rng.integers(118, 125, (experts, rows, cols // 32), dtype=np.uint8)
    v = np.stack([FP4[q & 15], FP4[q >> 4]], axis=-1).reshape(experts, rows, cols // 32, 32)
    return q, s, (v * np.exp2(s.astype(np.float32) - 127)[..., None]).reshape(experts, rows, cols)


def mx_experts(b, out):
    """The experts of a gpt-oss model anew, in MXFP4; GGUF's side holds their values."""
    e, d, f = b.meta['gpt-oss.expert_count'], b.d, b.meta['gpt-oss.expert_feed_forward_length']
    for i in range(b.layers):
        pre = 'model.layers.%d.mlp.experts.' % i
        for name, rows, cols in (('gate_up_proj', 2 * f, d), ('down_proj', d, f)):
            q, s, v = random_mx(b.rng, e, rows, cols)
            out.pop(pre + name)
            out[pre + name + '_blocks'], out[pre + name + '_scales'] = q, s
            if name == 'down_proj':
                b.tensors['blk.%d.ffn_down_exps.weight' % i] = v
            else:
                b.tensors['blk.%d.ffn_gate_exps.weight' % i], b.tensors['blk.%d.ffn_up_exps.weight' % i] = v[:, 0::2], v[:, 1::2]


# ---- the folder of cases ----------------------------------------------------------------------------------------------
LEFT_OUT = ('mixtral-each', 'qwen3moe-merged', 'phi3-short', 'llama-factors')  # forms that only GGUF has, or the same checkpoint as another
ROUND = {'llama': 'BF16', 'qwen2': 'F16', 'granitemoe': 'BF16', 'gemma2': 'BF16', 'qwen3moe': 'BF16'}


def make_case(folder, name, i, make_arch, shape=None, mx=False):
    b = make_arch.Builder([7, i])
    case = name.replace('-mx', '').replace('-3.1', '')
    make_arch.CASES[case](b, **(shape or {}))
    family = 'mixtral' if case == 'mixtral' else case
    dtype = ROUND.get(name, 'F32')
    config = config_of(family, b.meta, b.tensors)
    if name == 'llama-3.1':
        s = {'rope_type': 'llama3', 'factor': 8.0, 'low_freq_factor': 1.0, 'high_freq_factor': 4.0, 'original_max_position_embeddings': 128}
        config['rope_scaling'] = s
        b.tensors['rope_freqs.weight'] = llama3_factors(b.hd, config['rope_theta'], s)
    out = checkpoint(family, b.meta, b.tensors)
    if mx:
        mx_experts(b, out)
        config['quantization_config'] = {'quant_method': 'mxfp4'}
    elif dtype != 'F32':
        out = {k: decode(v, dtype) for k, v in out.items()}
        plus = 1 if case.startswith('gemma') else 0
        b.tensors = {k: (decode(v - plus, dtype) + np.float32(plus) if 'norm' in k else decode(v, dtype)) for k, v in b.tensors.items()}
    elif case.startswith('gemma'):
        b.tensors = {k: ((v - np.float32(1)) + np.float32(1) if 'norm' in k else v) for k, v in b.tensors.items()}
    save_folder(os.path.join(folder, name), config, out, dtype, shards=1 + i % 3)
    gguf.write(os.path.join(folder, name + '.gguf'), b.meta, b.tensors)


def make_arches(folder):
    import make_arch
    cases = [(n, None, False) for n in make_arch.CASES if n not in LEFT_OUT]
    cases += [('llama-3.1', {'hd': 64, 'base': 500000.0, 'tied': True}, False), ('gpt-oss-mx', {'d': 96, 'f': 64}, True)]
    made = []
    for i, (name, shape, mx) in enumerate(cases):
        if 'mla' in name:  # the checkpoint has one form; the expanded GGUF form is compared
            continue
        make_case(folder, name, i, make_arch, shape, mx)
        made.append(name)
    with open(os.path.join(folder, 'cases.txt'), 'w') as f:
        f.write('\n'.join(made) + '\n')


# ---- encoders, as sentence-transformers store them --------------------------------------------------------------------
EMBEDDINGS = {'token_embd': 'embeddings.word_embeddings', 'position_embd': 'embeddings.position_embeddings', 'token_types': 'embeddings.token_type_embeddings'}
BERT = {'attn_q': 'attention.self.query', 'attn_k': 'attention.self.key', 'attn_v': 'attention.self.value', 'attn_output': 'attention.output.dense',
        'attn_output_norm': 'attention.output.LayerNorm', 'ffn_up': 'intermediate.dense', 'ffn_down': 'output.dense', 'layer_output_norm': 'output.LayerNorm'}
NOMIC = {'attn_qkv': 'attn.Wqkv', 'attn_output': 'attn.out_proj', 'attn_output_norm': 'norm1', 'ffn_up': 'mlp.fc11', 'ffn_gate': 'mlp.fc12',
         'ffn_down': 'mlp.fc2', 'layer_output_norm': 'norm2'}


def encoder_name(arch, name):
    stem, tail = name.rsplit('.', 1)
    if stem == 'token_embd_norm':
        return ('embeddings.LayerNorm.' if arch == 'bert' else 'emb_ln.') + tail
    if not stem.startswith('blk.'):
        return EMBEDDINGS[stem] + '.' + tail
    _, layer, part = stem.split('.')
    return ('encoder.layer.%s.%s.%s' if arch == 'bert' else 'encoder.layers.%s.%s.%s') % (layer, (BERT if arch == 'bert' else NOMIC)[part], tail)


def encoder_config(arch, b):
    own = {k[len(arch) + 1:]: v for k, v in b.meta.items() if k.startswith(arch + '.')}
    if arch == 'bert':
        return {'model_type': 'bert', 'architectures': ['BertModel'], 'hidden_act': 'gelu', 'position_embedding_type': 'absolute', 'type_vocab_size': 2,
                'vocab_size': b.vocab, 'hidden_size': b.d, 'num_attention_heads': b.heads, 'num_hidden_layers': b.layers, 'intermediate_size': b.ff,
                'max_position_embeddings': own['context_length'], 'layer_norm_eps': own['attention.layer_norm_epsilon']}
    return {'model_type': 'nomic_bert', 'activation_function': 'swiglu', 'type_vocab_size': 2, 'vocab_size': b.vocab, 'n_embd': b.d, 'n_head': b.heads,
            'n_layer': b.layers, 'n_inner': b.ff, 'n_positions': own['context_length'], 'layer_norm_epsilon': own['attention.layer_norm_epsilon'],
            'rotary_emb_base': own['rope.freq_base'], 'rotary_emb_fraction': 1.0, 'causal': False, 'prenorm': False, 'qkv_proj_bias': False,
            'mlp_fc1_bias': False, 'mlp_fc2_bias': False, 'use_rms_norm': False, 'rotary_emb_scale_base': None, 'rotary_emb_interleaved': False}


def word_piece(n_vocab, cased):
    words = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'] + ['%s%c' % (p, c) for p in ('', '##') for c in range(97, 123)]
    words += (['The', 'Cat'] if cased else ['the', 'cat']) + ['sat', '##ting', '.', ',', '\u6f22', 'caf\u00e9' if cased else 'cafe']
    words += ['[unused%d]' % i for i in range(n_vocab - len(words))]
    special = [{'id': i, 'content': words[i], 'special': True, 'normalized': False, 'lstrip': i == 4, 'rstrip': False, 'single_word': False} for i in range(5)]
    around = [{'SpecialToken': {'id': '[CLS]', 'type_id': 0}}, {'Sequence': {'id': 'A', 'type_id': 0}}, {'SpecialToken': {'id': '[SEP]', 'type_id': 0}}]
    return {'added_tokens': special, 'pre_tokenizer': {'type': 'BertPreTokenizer'}, 'post_processor': {'type': 'TemplateProcessing', 'single': around},
            'normalizer': {'type': 'BertNormalizer', 'clean_text': True, 'handle_chinese_chars': True, 'strip_accents': None, 'lowercase': not cased},
            'model': {'type': 'WordPiece', 'unk_token': '[UNK]', 'continuing_subword_prefix': '##', 'max_input_chars_per_word': 100,
                      'vocab': {w: i for i, w in enumerate(words)}}}


def save_json(folder, name, what):
    os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
    with open(os.path.join(folder, name), 'w') as f:
        json.dump(what, f)


def save_encoder(folder, b, pooling, old):
    """The encoder b as a checkpoint; old: in two shards, as a class with a head saved it long ago, with a cased vocabulary."""
    arch = b.meta['general.architecture']
    out = {encoder_name(arch, k): np.asarray(v, np.float32) for k, v in b.tensors.items()}
    if old:
        if arch == 'bert':
            out = {'bert.' + k.replace('LayerNorm.weight', 'LayerNorm.gamma').replace('LayerNorm.bias', 'LayerNorm.beta'): v for k, v in out.items()}
        out['cls.predictions.bias'] = np.zeros(b.vocab, np.float32)
    elif arch == 'bert':
        out.update({'pooler.dense.weight': np.zeros((b.d, b.d), np.float32), 'pooler.dense.bias': np.zeros(b.d, np.float32)})
    save_folder(folder, encoder_config(arch, b), out, 'F32', shards=2 if old else 1)
    save_json(folder, 'tokenizer.json', word_piece(b.vocab, cased=old))
    save_json(folder, 'tokenizer_config.json', {k + '_token': '[%s]' % k.upper() for k in ('cls', 'sep', 'pad', 'unk', 'mask')})
    save_json(folder, 'modules.json', [{'idx': 0, 'name': '0', 'path': '', 'type': 'sentence_transformers.models.Transformer'},
                                       {'idx': 1, 'name': '1', 'path': '1_Pooling', 'type': 'sentence_transformers.models.Pooling'},
                                       {'idx': 2, 'name': '2', 'path': '2_Normalize', 'type': 'sentence_transformers.models.Normalize'}])
    save_json(folder, '1_Pooling/config.json', {'word_embedding_dimension': b.d, 'pooling_mode_cls_token': pooling == 'cls', 'pooling_mode_mean_tokens': pooling == 'mean',
                                                'pooling_mode_max_tokens': False, 'pooling_mode_lasttoken': pooling == 'last'})


# ---- tokenizers -------------------------------------------------------------------------------------------------------
def split(regex):
    return {'type': 'Split', 'pattern': {'Regex': regex}, 'behavior': 'Isolated', 'invert': False}


def byte_level(regex):
    return {'type': 'ByteLevel', 'add_prefix_space': False, 'trim_offsets': True, 'use_regex': regex}


PRE = {
    'gpt-2': byte_level(True),
    'falcon': {'type': 'Sequence', 'pretokenizers': [{'type': 'Punctuation', 'behavior': 'Contiguous'}, byte_level(True),
                                                     {'type': 'Digits', 'individual_digits': False}, split('[0-9][0-9][0-9]')]},
    'deepseek-coder': {'type': 'Sequence', 'pretokenizers': [split('[\r\n]'), split('\\s?\\p{L}+'), split('\\s?\\p{P}+'),
                                                             split('[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+'),
                                                             {'type': 'Digits', 'individual_digits': True}, byte_level(False)]},
}


def spm_merges(tokens, scores, types):
    """As the converter of checkpoints does it: every way to cut a piece into two pieces, best piece first."""
    known = {t: s for t, s, k in zip(tokens, scores, types) if k in (1, 4)}
    merges = []
    for t in known:
        cuts = [(t[:i], t[i:]) for i in range(1, len(t)) if t[:i] in known and t[i:] in known]
        merges += [(known[t], a, b) for a, b in sorted(cuts, key=lambda c: (-known[c[0]], -known[c[1]]))]
    merges.sort(key=lambda m: -m[0])
    return [[a, b] for _, a, b in merges]


def make_tokenizer(path, folder, pair=False):
    meta, _ = gguf.read(path)
    g = lambda k, d=None: meta.get('tokenizer.ggml.' + k, d)
    tokens, types, spm = g('tokens'), g('token_type'), g('model') == 'llama'
    special = [i for i, t in enumerate(types) if t in (2, 3, 4)]
    added = [{'id': i, 'content': tokens[i], 'special': types[i] != 4, 'normalized': False, 'lstrip': False, 'rstrip': False, 'single_word': False}
             for i in special]
    plain = lambda i: types[i] != 5 and (spm or i not in special)
    model = {'type': 'BPE', 'vocab': {t: i for i, t in enumerate(tokens) if plain(i)}}
    j = {'version': '1.0', 'added_tokens': added, 'model': model}
    config = {'tokenizer_class': 'PreTrainedTokenizerFast'}
    if spm:
        model.update(byte_fallback=True, unk_token=tokens[0], merges=spm_merges(tokens, g('scores'), types))
        j['normalizer'] = {'type': 'Sequence', 'normalizers': [{'type': 'Prepend', 'prepend': '\u2581'},
                                                               {'type': 'Replace', 'pattern': {'String': ' '}, 'content': '\u2581'}]}
        j['pre_tokenizer'] = None
        config['add_bos_token'] = True
    else:
        model.update(merges=g('merges'), byte_fallback=False)
        j['normalizer'], j['pre_tokenizer'] = None, PRE[g('pre')]
    for name in ('bos', 'eos'):
        if g(name + '_token_id') is not None:
            config[name + '_token'] = tokens[g(name + '_token_id')]
    save_folder(folder, {'model_type': 'llama', 'hidden_size': 2, 'num_attention_heads': 1, 'num_hidden_layers': 1, 'intermediate_size': 2,
                         'max_position_embeddings': 8, 'vocab_size': len(tokens), 'rms_norm_eps': 1e-5},
                {'model.embed_tokens.weight': np.zeros((len(tokens), 2), np.float32)}, 'F16')
    files = [('tokenizer.json', j), ('tokenizer_config.json', config)]
    if pair:
        config['tokenizer_class'] = 'GPT2Tokenizer'
        files = [('vocab.json', model['vocab']), ('added_tokens.json', {a['content']: a['id'] for a in added}), ('tokenizer_config.json', config)]
        with open(os.path.join(folder, 'merges.txt'), 'w') as f:
            f.write('#version: 0.2\n' + '\n'.join(model['merges']) + '\n')
    for name, v in files:
        with open(os.path.join(folder, name), 'w') as f:
            json.dump(v, f, ensure_ascii=False)


if __name__ == '__main__':
    if len(sys.argv) == 3 and sys.argv[1] == 'arch':
        make_arches(sys.argv[2])
    elif len(sys.argv) == 4 and sys.argv[1] == 'tokenizer':
        make_tokenizer(sys.argv[2], sys.argv[3])
    elif len(sys.argv) == 4 and sys.argv[1] == 'pair':
        make_tokenizer(sys.argv[2], sys.argv[3], True)
    else:
        sys.exit(__doc__)
