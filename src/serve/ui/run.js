// run.js - a run of a mixture as data: what the server's traces say, grown from the events of a stream, and as it was at any time.
//
// One shape for all: {id, mix, created, seconds, state, reply, nodes: [{node, role, model, in, state, text, started, first_s, ended, ...}], usage, messages}.
// Times are seconds since the run began. A stream makes it (Live), the server and files give it (fromTrace), and
// at(trace, t) is the run at time t, so one view shows all three. SPDX-License-Identifier: Apache-2.0

const STATES = ['waiting', 'running', 'done', 'failed', 'cancelled'];
const MAX_NODES = 512, MAX_TEXT = 1 << 20, MAX_MARKS = 400;

// ---- what comes from outside: every field is of the type that the page expects, or is not there ----

const str = (v, n = 2000) => (typeof v === 'string' ? v.slice(0, n) : '');
const num = (v) => (typeof v === 'number' && Number.isFinite(v) ? v : undefined);
const arr = (v) => (Array.isArray(v) ? v : []);
const obj = (v) => (v && typeof v === 'object' && !Array.isArray(v) ? v : {});

function vote(v) {
  if (!v || typeof v !== 'object') return undefined;
  return { size: num(v.size), clusters: num(v.clusters), votes: num(v.votes), winner: str(v.winner, 100) || undefined, members: arr(v.members).slice(0, MAX_NODES).map((m) => num(m) ?? -1), scores: arr(v.scores).slice(0, MAX_NODES).map(num) };
}

const FIGURES = ['seconds', 'first_s', 'prompt_tokens', 'completion_tokens', 'reused_tokens', 'started', 'ended', 'sum_logprob', 'score', 'cost'];
const stateOf = (v, or) => (v === 'canceled' || v === 'skipped' ? 'cancelled' : STATES.includes(v) ? v : or);

export function message(m) {
  const parts = (c) => (typeof c === 'string' ? c : arr(c).map((p) => str(obj(p).text, MAX_TEXT)).join(''));
  return { role: str(obj(m).role, 20) || 'user', content: parts(obj(m).content).slice(0, MAX_TEXT) };
}

// What a "graph", "node" or "done" event, or a node of a trace, says about a node.
function assign(node, e, was = []) {
  for (const k of ['role', 'model', 'finish']) if (typeof e[k] === 'string') node[k] = str(e[k], 200);
  for (const k of FIGURES) if (num(e[k]) !== undefined) node[k] = e[k];
  if (e.note !== undefined) node.note = str(e.note) || undefined;
  if (e.replaced !== undefined) node.replaced = e.replaced === true;
  if (e.in !== undefined) node.in = arr(e.in).slice(0, MAX_NODES).map((x) => (typeof x === 'number' ? was[x]?.node : str(x, 100))).filter(Boolean);
  if (e.vote) node.vote = vote(e.vote);
  if (e.messages) node.messages = arr(e.messages).slice(0, 100).map(message);
  if (e.answer === true) node.answer = true;
  return node;
}

const blank = (name) => ({ node: name, role: '', model: '', in: [], state: 'waiting', text: '' });

// A trace of the server, a file or the history; throws where it is none.
export function fromTrace(t) {
  t = obj(t);
  if (!Array.isArray(t.nodes)) throw new Error('This is no trace: it has no list of nodes.');
  const nodes = [];
  for (const e of t.nodes.slice(0, MAX_NODES)) {
    const n = assign(blank(str(obj(e).node, 100) || `n${nodes.length + 1}`), obj(e), nodes);
    n.text = str(e.text, MAX_TEXT);
    if (e.thoughts) n.thoughts = str(e.thoughts, MAX_TEXT);
    n.state = stateOf(e.state, 'waiting');
    if (n.state === 'waiting') delete n.started, delete n.ended; /* it never began */
    if (Array.isArray(e.marks)) n.marks = e.marks.slice(0, MAX_MARKS).map((m) => [num(arr(m)[0]) ?? 0, num(arr(m)[1]) ?? 0]);
    nodes.push(n);
  }
  for (const n of nodes) {
    if (n.started === undefined && n.ended !== undefined) n.started = Math.max(0, n.ended - (n.seconds ?? 0));
    if (n.ended === undefined && n.started !== undefined && n.state !== 'running') n.ended = n.started + (n.seconds ?? 0);
  }
  const names = arr(t.answers);
  for (const n of nodes) if (names.includes(n.node)) n.answer = true;
  if (nodes.length && !nodes.some((n) => n.answer)) nodes.at(-1).answer = true;
  const run = {
    id: str(t.id, 100), mix: str(t.label || t.mix, 300) || str(obj(t.mix).name), created: num(t.created), seconds: num(t.seconds), waited: num(t.waited), finish: str(t.finish, 40) || undefined,
    state: stateOf(t.state, t.rc < 0 ? 'failed' : 'done'),
    messages: arr(t.messages).slice(-200).map(message), nodes, usage: t.usage && typeof t.usage === 'object' ? t.usage : undefined, error: t.error ? str(t.error.message || t.error) : undefined,
  };
  run.reply = typeof t.reply === 'string' ? str(t.reply, MAX_TEXT) : nodes.find((n) => n.answer)?.text || '';
  run.seconds ??= Math.max(0, ...nodes.map((n) => n.ended ?? 0));
  return run;
}

// ---- a run that is under way ----

export class Live {
  constructor(mix, messages) {
    this.t0 = performance.now();
    this.trace = { id: '', mix, created: Math.round(Date.now() / 1000), state: 'running', messages, nodes: [], reply: '', usage: undefined };
  }

  get now() { return (performance.now() - this.t0) / 1000; }

  node(name) {
    let n = this.trace.nodes.find((x) => x.node === name);
    if (!n && this.trace.nodes.length < MAX_NODES) this.trace.nodes.push((n = blank(name)));
    return n || blank(name);
  }

  begin(n) {
    if (n.state !== 'waiting') return;
    n.state = 'running';
    n.started = this.now;
  }

  grow(n, words) {
    if (!words) return;
    this.begin(n);
    if (n.first_s === undefined) n.first_s = this.now - n.started;
    n.text += words;
    const marks = (n.marks ||= []), last = marks.at(-1);
    if (last && this.now - last[0] < 0.05) last[1] = n.text.length;
    else marks.push([Math.round(this.now * 1000) / 1000, n.text.length]);
    if (marks.length > MAX_MARKS) n.marks = marks.filter((_, i) => i % 2);
  }

  think(n, words) {
    this.begin(n);
    n.thoughts = ((n.thoughts || '') + words).slice(0, MAX_TEXT);
  }

  happened(e) {
    if (e.event === 'graph') {
      if (e.id) this.trace.id = str(e.id, 100);
      if (e.mix) this.trace.mix = str(e.mix, 300);
      this.trace.waited = this.now; /* in the queue; the run's clock is the server's, and it begins now */
      this.t0 += 1000 * this.trace.waited;
      for (const x of arr(e.nodes).slice(0, MAX_NODES)) assign(this.node(str(obj(x).node, 100)), obj(x), this.trace.nodes);
    } else if (e.event === 'node' || e.event === 'start') {
      const n = this.node(str(e.node, 100));
      if (e.answer === true) for (const x of this.trace.nodes) x.answer = false; /* a run that grows moves its answer on */
      assign(n, e, this.trace.nodes);
      if (e.event === 'start') this.begin(n);
    }
    if (e.event === 'done') {
      const n = this.node(str(e.node, 100));
      this.begin(n);
      assign(n, e, this.trace.nodes);
      n.state = stateOf(e.state, 'done');
      if (typeof e.text === 'string') n.text = str(e.text, MAX_TEXT);
      n.ended = num(e.ended) ?? this.now;
    }
  }

  chunk(c) {
    const first = obj(arr(c.choices)[0]), m = obj(c.moa || first.moa), d = obj(first.delta), t = this.trace;
    if (m.event) this.happened(m);
    if (typeof d.reasoning_content === 'string') {
      const n = this.node(str(m.node, 100) || 'p1');
      assign(n, m);
      if (m.thinks === true) this.think(n, d.reasoning_content);
      else this.grow(n, d.reasoning_content);
    }
    if (typeof d.content === 'string' && d.content) {
      const n = m.node ? this.node(str(m.node, 100)) : t.nodes.find((x) => x.answer) || this.node('answer');
      n.answer = true;
      t.reply += d.content;
      this.grow(n, d.content);
    }
    if (first.finish_reason) this.finish = str(first.finish_reason, 40);
    if (c.usage) t.usage = c.usage;
    if (typeof c.model === 'string' && !t.nodes.length) t.mix = str(c.model, 300);
  }

  // state: done, failed (with the error) or cancelled.
  end(state, error) {
    const t = this.trace, u = t.usage?.moa;
    for (const n of t.nodes) {
      if (n.state === 'running') {
        n.state = state === 'done' ? 'done' : 'cancelled';
        n.ended = this.now;
      } else if (n.state === 'waiting') n.state = 'cancelled';
    }
    for (const x of arr(u?.notes)) {
      const n = t.nodes.find((y) => y.node === x.node);
      if (n && !n.note) n.note = str(x.note);
    }
    t.state = state;
    t.seconds = this.now;
    t.finish = this.finish;
    if (error) t.error = error;
    return t;
  }
}

// ---- a run as it was ----

// Never half a surrogate pair.
function cut(s, n) {
  const code = s.charCodeAt(n - 1);
  return s.slice(0, code >= 0xd800 && code < 0xdc00 ? n - 1 : n);
}

function written(n, t) {
  const first = n.started + (n.first_s ?? 0);
  if (n.marks?.length) {
    let len = 0;
    for (const [at, k] of n.marks) if (at <= t) len = k;
    return cut(n.text, len);
  }
  if (t < first) return '';
  return cut(n.text, Math.ceil(n.text.length * Math.min(1, (t - first) / Math.max(1e-9, n.ended - first))));
}

export const duration = (trace) => Math.max(trace.seconds || 0, ...trace.nodes.map((n) => n.ended ?? 0), 0.001);

export function at(trace, t) {
  if (t >= duration(trace)) return trace;
  const nodes = trace.nodes.map((n) => {
    if (n.started === undefined || n.started > t) return { node: n.node, role: n.role, model: n.model, in: n.in, answer: n.answer, state: 'waiting', text: '' };
    if ((n.ended ?? 0) <= t) return n;
    const { node, role, model, in: reads, answer: answers, started, first_s } = n;
    return { node, role, model, in: reads, answer: answers, started, first_s, state: 'running', text: written(n, t) };
  });
  const answer = nodes.find((n) => n.answer);
  return { ...trace, state: 'running', seconds: t, nodes, usage: undefined, error: undefined, reply: answer?.state === 'done' ? trace.reply : answer?.text || '' };
}

// ---- what it amounts to ----

export function sums(trace, prices = {}) {
  const calls = trace.nodes.filter((n) => n.model && n.role !== 'vote'), add = (k) => calls.reduce((s, n) => s + (n[k] || 0), 0);
  const out = { calls: calls.length, failed: calls.filter((n) => n.state === 'failed').length, prompt: add('prompt_tokens'), completion: add('completion_tokens'), reused: add('reused_tokens'), cost: undefined };
  if (!out.completion && trace.usage) {
    out.prompt = trace.usage.prompt_tokens || 0;
    out.completion = trace.usage.completion_tokens || 0;
    out.reused = trace.usage.moa?.cached_tokens || 0;
  }
  for (const n of calls) {
    const c = cost(n, prices);
    if (c !== undefined) out.cost = (out.cost || 0) + c;
  }
  return out;
}

// Dollars; prices are per million tokens. Tokens that were found in the cache are counted as any other, as most price lists' upper bound.
export function cost(n, prices) {
  if (n.cost !== undefined) return n.cost;
  const p = prices[n.model];
  if (!p || n.completion_tokens === undefined) return undefined;
  return ((n.prompt_tokens || 0) * p.in + n.completion_tokens * p.out) / 1e6;
}

// Layers from left to right: a node stands right of all that it reads.
export function layers(nodes) {
  const of = new Map(), byName = new Map(nodes.map((n) => [n.node, n]));
  const depth = (n, seen) => {
    if (of.has(n.node)) return of.get(n.node);
    if (seen.has(n.node)) return 0; /* a circle, which no server makes */
    seen.add(n.node);
    const d = Math.max(-1, ...n.in.map((i) => byName.get(i)).filter(Boolean).map((x) => depth(x, seen))) + 1;
    of.set(n.node, d);
    return d;
  };
  const out = [];
  for (const n of nodes) (out[depth(n, new Set())] ||= []).push(n);
  return out.filter(Boolean);
}

// Which cluster each node belongs to, by the votes that read it: {p1: {letter: 'A', size: 3, won: true, abstained: false}}
export function clusters(trace) {
  const out = {};
  for (const n of trace.nodes) {
    if (!n.vote || n.state === 'waiting') continue;
    const size = new Map();
    n.vote.members.forEach((m) => m >= 0 && size.set(m, (size.get(m) || 0) + 1));
    const order = [...size.keys()].sort((a, b) => size.get(b) - size.get(a) || a - b);
    n.in.forEach((name, i) => {
      const m = n.vote.members[i] ?? -1, rank = order.indexOf(m);
      out[name] = { abstained: m < 0, letter: m < 0 ? '–' : String.fromCharCode(65 + rank % 26), rank, size: size.get(m) || 0, of: n.vote.members.length, won: n.vote.winner === name, score: n.vote.scores[i] };
    });
  }
  return out;
}
