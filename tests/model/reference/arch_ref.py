# SPDX-License-Identifier: Apache-2.0
"""arch_ref.py - a plain float64 forward pass of every decoder architecture, to check moa against.

Each family is a function of its own, written from the model's paper and published definition, not from moa's graph:
whole sequences at once, no cache, no batch, loops where loops are clearer. What a GGUF file stores otherwise than the
published checkpoint is undone here as its format says (Gemma's norms already hold the +1; llama's q and k rows are
permuted so that rope pairs are neighbours; deepseek2's mainline files keep attn_k_b transposed).

    x        [T, d]      residual stream          q, k, v  [T, heads, head size]
    W        [out, in]   a weight; y = x W^T

Use: python3 arch_ref.py MODEL.gguf "1 2 3" OUT.f32 [N_CTX]
"""
import math
import sys

import numpy as np

import gguf


# ---- parts ----------------------------------------------------------------------------------------------------------
def rms_norm(x, w, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * w


def silu(x):
    return x / (1 + np.exp(-x))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def soft_cap(x, cap):
    return cap * np.tanh(x / cap) if cap else x


def inverse_frequencies(n_rot, base):
    return base ** (-np.arange(0, n_rot, 2) / n_rot)


def yarn_frequencies(n_rot, base, factor, n_orig, whole=True, beta_fast=32.0, beta_slow=1.0):
    """arXiv:2309.00071, section 3.2: dimensions that turn often keep their frequency, slow ones are divided by factor,
    and between the two a ramp mixes. Its bounds are whole dimensions; gpt-oss says truncate: false."""
    def dim_of(turns):
        return n_rot * math.log(n_orig / (turns * 2 * math.pi)) / (2 * math.log(base))
    low, high = dim_of(beta_fast), dim_of(beta_slow)
    if whole:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, n_rot - 1)
    ramp = np.clip((np.arange(n_rot // 2) - low) / max(high - low, 0.001), 0, 1)  # 0: as trained, 1: divided
    f = inverse_frequencies(n_rot, base)
    return f * (1 - ramp) + f / factor * ramp


def rotate(x, freq, scale=1.0, neighbours=False):
    """Rotary embedding of x [T, heads, D]: the first 2*len(freq) entries are rotated in pairs, the rest passes. Pairs
    are (i, i + half), or neighbours (2i, 2i + 1)."""
    half = len(freq)
    angle = np.arange(len(x))[:, None] * freq[None, :]
    c, s = np.cos(angle)[:, None, :] * scale, np.sin(angle)[:, None, :] * scale
    out = x.copy()
    first, second = (slice(0, 2 * half, 2), slice(1, 2 * half, 2)) if neighbours else (slice(0, half), slice(half, 2 * half))
    a, b = x[..., first], x[..., second]
    out[..., first], out[..., second] = a * c - b * s, a * s + b * c
    return out


def attention(q, k, v, scale, window=0, cap=0.0, sinks=None):
    """Causal attention, one head after another; key and value head g serves heads / kv heads query heads. window: a
    token sees itself and window - 1 before it. sinks [heads]: a logit beside the keys' that takes weight and gives
    nothing. -> [T, heads * value size]"""
    T, H, _ = q.shape
    i, j = np.arange(T)[:, None], np.arange(T)[None, :]
    seen = j <= i
    if window:
        seen &= i - j < window
    out = np.zeros((T, H, v.shape[2]))
    for h in range(H):
        g = h * k.shape[1] // H
        s = np.where(seen, soft_cap(q[:, h] @ k[:, g].T * scale, cap), -np.inf)
        if sinks is None:
            p = softmax(s)
        else:
            p = softmax(np.hstack([s, np.full((T, 1), sinks[h])]))[:, :T]
        out[:, h] = p @ v[:, g]
    return out.reshape(T, -1)


class Model:
    """A file's keys and tensors with short names, and the least gap that any router's choice was decided by."""

    def __init__(self, path=None, meta=None, tensors=None, n_ctx=0):
        self.meta, self.tensors = (meta, tensors) if meta else gguf.read(path)
        self.arch = self.meta['general.architecture']
        self.n_ctx = n_ctx or self.key('context_length')
        self.least_gap = math.inf
        self.d, self.n_layer = self.key('embedding_length'), self.key('block_count')
        self.H = self.key('attention.head_count')
        self.G = self.key('attention.head_count_kv', self.H)
        self.hd = self.key('attention.key_length', self.d // self.H)
        self.n_rot = self.key('rope.dimension_count', self.hd)
        self.base = self.key('rope.freq_base', 10000.0)
        self.eps = self.key('attention.layer_norm_rms_epsilon', 1e-5)
        self.layer = 0

    def key(self, name, default=None):
        full = self.arch + '.' + name
        if full not in self.meta and default is None:
            raise KeyError(full)
        return self.meta.get(full, default)

    def full_name(self, name):
        return name if name in self.tensors else 'blk.%d.%s' % (self.layer, name)

    def get(self, name):
        """A tensor of this layer (or of the whole model); None where the file has none."""
        return self.tensors.get(self.full_name(name))

    def norm(self, name, x):
        return rms_norm(x, self.tensors[self.full_name(name + '.weight')], self.eps)

    def linear(self, name, x):
        b = self.get(name + '.bias')
        y = x @ self.tensors[self.full_name(name + '.weight')].T
        return y if b is None else y + b

    def heads(self, name, x, n=None):
        y = self.linear(name, x)
        return y.reshape(len(x), n or y.shape[1] // self.hd, -1)

    def expert(self, part, e):
        """Matrix of expert e: one 3-D tensor for all, one with gate rows before up rows, or a tensor for each."""
        whole = self.get('ffn_%s_exps.weight' % part)
        if whole is not None:
            return whole[e]
        both = self.get('ffn_gate_up_exps.weight')
        if both is not None and part != 'down':
            f = both.shape[1] // 2
            return both[e, :f] if part == 'gate' else both[e, f:]
        return self.get('ffn_%s.%d.weight' % (part, e))

    def swiglu(self, x, suffix='', act=silu):
        return self.linear('ffn_down' + suffix, act(self.linear('ffn_gate' + suffix, x)) * self.linear('ffn_up' + suffix, x))

    def choose(self, score, k):
        """Ids of the k best, and a note of how close the decision was."""
        order = np.argsort(-score, kind='stable')
        if k < len(order) and np.isfinite(score[order[k]]):
            self.least_gap = min(self.least_gap, score[order[k - 1]] - score[order[k]])
        return order[:k]

    def softmax_moe(self, x, renormalise):
        """Softmax over all experts, the best k; renormalise: their weights are divided by their sum."""
        y, p = np.zeros_like(x), softmax(self.linear('ffn_gate_inp', x))
        for t in range(len(x)):
            ids = self.choose(p[t], self.key('expert_used_count'))
            total = p[t, ids].sum() if renormalise else 1.0
            for e in ids:
                h = silu(self.expert('gate', e) @ x[t]) * (self.expert('up', e) @ x[t])
                y[t] += p[t, e] / total * (self.expert('down', e) @ h)
        return y

    def embed(self, ids):
        return self.tensors['token_embd.weight'][ids]

    def logits(self, x):
        out = self.tensors.get('output.weight', self.tensors['token_embd.weight'])
        self.hidden = self.norm('output_norm', x)
        return self.hidden @ out.T

    def layers(self):
        for self.layer in range(self.n_layer):
            yield self.layer

    def rope(self):
        """-> (frequencies, factor of cos and sin) of the scaling that the file names."""
        f, kind = inverse_frequencies(self.n_rot, self.base), self.key('rope.scaling.type', 'none')
        factor = self.key('rope.scaling.factor', 1.0)
        if kind == 'linear':
            return f / factor, 1.0
        if kind == 'yarn':
            n_orig = self.key('rope.scaling.original_context_length', self.key('context_length'))
            whole = self.key('rope.scaling.yarn_truncate', self.arch != 'gpt-oss')
            return yarn_frequencies(self.n_rot, self.base, factor, n_orig, whole), 1 + 0.1 * math.log(factor)
        if 'rope_freqs.weight' in self.tensors:  # Llama 3.1: a divisor for each frequency
            f = f / self.tensors['rope_freqs.weight']
        return f, 1.0


# ---- families -------------------------------------------------------------------------------------------------------
def llama(m, ids):
    """Llama, Mistral; with experts Mixtral (arXiv:2401.04088); Granite with its four multipliers."""
    freq, mscale = m.rope()
    granite = m.arch.startswith('granite')
    residual = m.key('residual_scale') if granite else 1.0
    scale = m.key('attention.scale') if granite else 1 / math.sqrt(m.hd)
    x = m.embed(ids) * (m.key('embedding_scale') if granite else 1.0)
    for _ in m.layers():
        a = m.norm('attn_norm', x)
        q = rotate(m.heads('attn_q', a), freq, mscale, neighbours=True)
        k = rotate(m.heads('attn_k', a), freq, mscale, neighbours=True)
        x = x + residual * m.linear('attn_output', attention(q, k, m.heads('attn_v', a), scale))
        f = m.norm('ffn_norm', x)
        if m.key('expert_count', 0):
            y = m.softmax_moe(f, renormalise=True)
            if m.get('ffn_gate_shexp.weight') is not None:
                y = y + m.swiglu(f, '_shexp')
        else:
            y = m.swiglu(f)
        x = x + residual * y
    return m.logits(x) / (m.key('logit_scale') if granite else 1.0)


def qwen(m, ids):
    """Qwen2 (biases), Qwen3 (norm of each head), their mixtures of experts, OLMoE (norm over all heads at once)."""
    freq, mscale = m.rope()
    x = m.embed(ids)
    for _ in m.layers():
        a = m.norm('attn_norm', x)
        if m.arch == 'olmoe':
            q = m.norm('attn_q_norm', m.linear('attn_q', a)).reshape(len(x), m.H, m.hd)
            k = m.norm('attn_k_norm', m.linear('attn_k', a)).reshape(len(x), m.G, m.hd)
        else:
            q, k = m.heads('attn_q', a), m.heads('attn_k', a)
            if m.arch.startswith('qwen3'):
                q, k = m.norm('attn_q_norm', q), m.norm('attn_k_norm', k)
        o = attention(rotate(q, freq, mscale), rotate(k, freq, mscale), m.heads('attn_v', a), 1 / math.sqrt(m.hd))
        x = x + m.linear('attn_output', o)
        f = m.norm('ffn_norm', x)
        if not m.key('expert_count', 0):
            x = x + m.swiglu(f)
            continue
        y = m.softmax_moe(f, renormalise=m.arch == 'qwen3moe')
        if m.arch == 'qwen2moe':
            y = y + sigmoid(f @ m.get('ffn_gate_inp_shexp.weight'))[:, None] * m.swiglu(f, '_shexp')
        x = x + y
    return m.logits(x)


def olmo2(m, ids):
    """arXiv:2501.00656: norms behind the parts instead of before, and over all heads of q and k."""
    freq, mscale = m.rope()
    x = m.embed(ids)
    for _ in m.layers():
        q = m.norm('attn_q_norm', m.linear('attn_q', x)).reshape(len(x), m.H, m.hd)
        k = m.norm('attn_k_norm', m.linear('attn_k', x)).reshape(len(x), m.G, m.hd)
        o = attention(rotate(q, freq, mscale), rotate(k, freq, mscale), m.heads('attn_v', x), 1 / math.sqrt(m.hd))
        x = x + m.norm('post_attention_norm', m.linear('attn_output', o))
        x = x + m.norm('post_ffw_norm', m.swiglu(x))
    return m.logits(x)


def phi3(m, ids):
    """Phi-3: q, k and v in one matrix, gate and up in one; LongRoPE (arXiv:2402.13753): other divisors of the frequencies
    for contexts beyond the trained one, and a factor on cos and sin; part of a head may stay unrotated."""
    freq = inverse_frequencies(m.n_rot, m.base)
    mscale = m.key('rope.scaling.attn_factor', 1.0)
    if 'rope_factors_long.weight' in m.tensors:
        n_orig = m.key('rope.scaling.original_context_length')
        freq = freq / m.tensors['rope_factors_%s.weight' % ('long' if m.n_ctx > n_orig else 'short')]
    x = m.embed(ids)
    for _ in m.layers():
        y = m.linear('attn_qkv', m.norm('attn_norm', x)).reshape(len(x), -1, m.hd)
        q, k, v = y[:, :m.H], y[:, m.H:m.H + m.G], y[:, m.H + m.G:]
        o = attention(rotate(q, freq, mscale), rotate(k, freq, mscale), v, 1 / math.sqrt(m.hd), m.key('attention.sliding_window', 0))
        x = x + m.linear('attn_output', o)
        gate, up = np.split(m.linear('ffn_up', m.norm('ffn_norm', x)), 2, axis=1)
        x = x + m.linear('ffn_down', silu(gate) * up)
    return m.logits(x)


def gemma(m, ids):
    """Gemma 2 (arXiv:2408.00118) and 3 (arXiv:2503.19786): scaled embedding, a norm before and behind each part, local
    and global layers. 2: every second layer from the first is local, logits are capped. 3: five local layers, then a
    global one; local layers keep rope base 10000 without scaling; norms of each head."""
    two, n_27b = m.arch == 'gemma2', 46 if m.arch == 'gemma2' else 62
    scale = 1 / math.sqrt(m.d // m.H if m.n_layer == n_27b else m.hd)
    window = m.key('attention.sliding_window', 4096)
    far, _ = m.rope()
    near = far if two else inverse_frequencies(m.n_rot, 10000.0)
    x = m.embed(ids) * math.sqrt(m.d)
    for i in m.layers():
        local = i % 2 == 0 if two else i % 6 != 5
        a = m.norm('attn_norm', x)
        q, k = m.heads('attn_q', a), m.heads('attn_k', a)
        if not two:
            q, k = m.norm('attn_q_norm', q), m.norm('attn_k_norm', k)
        freq = near if local else far
        o = attention(rotate(q, freq), rotate(k, freq), m.heads('attn_v', a), scale, window if local else 0,
                      m.key('attn_logit_softcapping', 0.0))
        x = x + m.norm('post_attention_norm', m.linear('attn_output', o))
        x = x + m.norm('post_ffw_norm', m.swiglu(m.norm('ffn_norm', x), act=gelu_tanh))
    return soft_cap(m.logits(x), m.key('final_logit_softcapping', 0.0))


def deepseek_moe(m, x):
    """arXiv:2412.19437, 2.1.2: scores by sigmoid (V3) or softmax (V2); a bias takes part in the choice only; experts in
    groups: only those of the best groups can be chosen (V3: by the sum of a group's two best, V2: by its best)."""
    E, k = m.key('expert_count'), m.key('expert_used_count')
    n_group, n_best = m.key('expert_group_count', 1), m.key('expert_group_used_count', 1)
    by_sigmoid = m.key('expert_gating_func', 1) == 2
    logits = m.linear('ffn_gate_inp', x)
    score = sigmoid(logits) if by_sigmoid else softmax(logits)
    bias = m.get('exp_probs_b.bias')
    y = m.swiglu(x, '_shexp')
    for t in range(len(x)):
        s = score[t] + (0 if bias is None else bias)
        if n_group > 1:
            members = np.sort(s.reshape(n_group, -1), axis=1)
            best = m.choose(members[:, -2:].sum(axis=1) if by_sigmoid else members[:, -1], n_best)
            s = np.where(np.isin(np.arange(E) // (E // n_group), best), s, -np.inf)
        ids = m.choose(s, k)
        total = score[t, ids].sum() + 1e-20 if m.key('expert_weights_norm', False) else 1.0
        for e in ids:
            h = silu(m.expert('gate', e) @ x[t]) * (m.expert('up', e) @ x[t])
            y[t] += score[t, e] / total * m.key('expert_weights_scale', 1.0) * (m.expert('down', e) @ h)
    return y


def deepseek2(m, ids):
    """Multi-head latent attention (arXiv:2405.04434, 2.1), expanded: keys and values of all heads are made from a latent
    vector; a part of the key with rope is shared by the heads."""
    r, H = m.key('attention.kv_lora_rank'), m.H
    mainline = 'blk.0.attn_k_b.weight' in m.tensors
    hd = m.key('attention.key_length_mla') if mainline else m.key('attention.key_length')
    hv = m.key('attention.value_length_mla') if mainline else m.key('attention.value_length')
    nope = hd - m.n_rot
    freq, scale = m.rope()[0], 1 / math.sqrt(hd)
    if m.key('rope.scaling.type', 'none') == 'yarn':
        # cos and sin keep length 1: their factor and its inverse cancel; the scores get the square of mscale_all_dim's
        scale *= (1 + m.key('rope.scaling.yarn_log_multiplier', 0.0) * math.log(m.key('rope.scaling.factor'))) ** 2
    x = m.embed(ids)
    for i in m.layers():
        T, a = len(x), m.norm('attn_norm', x)
        q = m.linear('attn_q', a) if m.get('attn_q.weight') is not None else m.linear('attn_q_b', m.norm('attn_q_a_norm', m.linear('attn_q_a', a)))
        q = q.reshape(T, H, hd)
        low = m.linear('attn_kv_a_mqa', a)
        latent, k_rope = m.norm('attn_kv_a_norm', low[:, :r]), rotate(low[:, None, r:], freq, neighbours=True)
        if mainline:  # attn_k_b [H, r, nope], attn_v_b [H, hv, r]
            k_nope = np.einsum('tr,hrn->thn', latent, m.get('attn_k_b.weight'))
            v = np.einsum('tr,hvr->thv', latent, m.get('attn_v_b.weight'))
        else:
            kv = m.linear('attn_kv_b', latent).reshape(T, H, nope + hv)
            k_nope, v = kv[..., :nope], kv[..., nope:]
        q = np.concatenate([q[..., :nope], rotate(q[..., nope:], freq, neighbours=True)], axis=2)
        k = np.concatenate([k_nope, np.repeat(k_rope, H, axis=1)], axis=2)
        x = x + m.linear('attn_output', attention(q, k, v, scale))
        f = m.norm('ffn_norm', x)
        x = x + (m.swiglu(f) if i < m.key('leading_dense_block_count', 0) else deepseek_moe(m, f))
    return m.logits(x)


def gpt_oss(m, ids):
    """The gpt-oss model card and reference code: a sink logit for each head, local layers in turn with full ones, biases
    everywhere, softmax over the chosen experts only, and a SwiGLU with clamped inputs, slope 1.702 and up + 1."""
    freq, mscale = m.rope()
    x = m.embed(ids)
    for i in m.layers():
        a = m.norm('attn_norm', x)
        q, k = rotate(m.heads('attn_q', a), freq, mscale), rotate(m.heads('attn_k', a), freq, mscale)
        window = m.key('attention.sliding_window') if i % 2 == 0 else 0
        o = attention(q, k, m.heads('attn_v', a), 1 / math.sqrt(m.hd), window, sinks=m.get('attn_sinks.weight'))
        x = x + m.linear('attn_output', o)
        f = m.norm('post_attention_norm', x)
        score, y = m.linear('ffn_gate_inp', f), np.zeros_like(x)
        for t in range(len(x)):
            ids_t = m.choose(score[t], m.key('expert_used_count'))
            for w, e in zip(softmax(score[t, ids_t]), ids_t):
                gate = np.minimum(m.expert('gate', e) @ f[t] + m.get('ffn_gate_exps.bias')[e], 7.0)
                up = np.clip(m.expert('up', e) @ f[t] + m.get('ffn_up_exps.bias')[e], -7.0, 7.0)
                h = gate * sigmoid(1.702 * gate) * (up + 1)
                y[t] += w * (m.expert('down', e) @ h + m.get('ffn_down_exps.bias')[e])
        x = x + y
    return m.logits(x)


FAMILIES = {
    'llama': llama, 'granite': llama, 'granitemoe': llama, 'qwen2': qwen, 'qwen3': qwen, 'qwen2moe': qwen, 'qwen3moe': qwen,
    'olmoe': qwen, 'olmo2': olmo2, 'phi3': phi3, 'gemma2': gemma, 'gemma3': gemma, 'deepseek2': deepseek2, 'gpt-oss': gpt_oss,
}


def forward(m, ids):
    """-> logits [T, n_vocab], float64."""
    return FAMILIES[m.arch](m, np.asarray(ids))


if __name__ == '__main__':
    model = Model(sys.argv[1], n_ctx=int(sys.argv[4]) if len(sys.argv) > 4 else 0)
    forward(model, [int(s) for s in sys.argv[2].split()]).astype('<f4').tofile(sys.argv[3])
