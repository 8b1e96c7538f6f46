// fake.mjs - a server that plays one mixture by a script: what the page is tested against where the test must know every event and its time,
// and what the page can be worked on with, since its files are read anew for each request: node tests/ui/fake.mjs 8099.
// SPDX-License-Identifier: Apache-2.0
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const UI = fileURLToPath(new URL('../../src/serve/ui/', import.meta.url));
const TYPES = { html: 'text/html; charset=utf-8', js: 'text/javascript; charset=utf-8', css: 'text/css', svg: 'image/svg+xml' };
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";
const MIXES = [['moa-tiny', 'one reply', 'single'], ['single', 'one reply, sampled', 'single'], ['self-moa', 'one model drafts 6 replies, then merges them', 'self-moa'], ['moa', '2 layers of proposers (several models, or 3 samples of one), then an aggregator', 'moa'], ['vote', '6 samples, the most frequent answer wins', 'vote']];
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));

const PROPOSALS = [
  'Tom begins with **12** apples. He buys 9, so 12 + 9 = 21. He gives 4 away: 21 - 4 = 17.\n\nAnswer: 17', 'First 12 + 9 = 21 apples.\nThen he gives 4 to Anna: 21 - 4 = 17.\n\nAnswer: 17',
  'Apples: 12, then 12 - 4 = 8, and 9 more: 8 + 9 = 16.\n\nAnswer: 16', '12 + 9 - 4 = 17\n\n```python\napples = 12\napples += 9  # buys\napples -= 4  # gives\nprint(apples)\n```\n\nAnswer: 17',
];
const REPLY = 'Tom starts with 12 apples and buys 9 more, which makes 12 + 9 = 21. He gives 4 of them to Anna:\n\n| step | apples |\n|---|---:|\n| begins with | 12 |\n| buys 9 | 21 |\n| gives 4 away | 17 |\n\nOne of the drafts took the 4 away first and then added wrongly; `12 + 9 - 4 = 17` holds.\n\n**Answer: 17**';

function graph(model, n) {
  const strategy = model.split(':')[0], base = { model: 'moa-tiny' };
  if (['moa-tiny', 'single', 'greedy'].includes(strategy)) return [{ node: 'reply', role: 'proposer', in: [], answer: true, ...base }];
  const p = (layer, i, reads) => ({ node: layer ? `l${layer + 1}p${i + 1}` : `p${i + 1}`, role: layer ? 'aggregator' : 'proposer', in: reads, ...base });
  let layer = Array.from({ length: n || 4 }, (_, i) => p(0, i, []));
  const all = [...layer];
  if (strategy === 'moa') all.push(...(layer = layer.map((_, i) => p(1, i, layer.map((x) => x.node)))));
  const reads = layer.map((x) => x.node);
  return [...all, strategy === 'vote' ? { node: 'vote', role: 'vote', model: null, in: reads, answer: true } : { node: 'agg', role: 'aggregator', in: reads, answer: true, ...base }];
}

// {port, close, log, traces, ...}: what was asked, which requests were left by their client. speed: 1 is about three seconds a run.
export async function fake({ port = 0, speed = 1, key = null, error = null } = {}) {
  const self = { log: [], left: 0, running: new Set(), traces: [], key, error, speed, tokens: 0, calls: 0 };
  let made = 0;

  async function play(q, r, gone) {
    const body = q.body, id = `req-${(++made).toString(16).padStart(8, '0')}`, nodes = graph(body.model, body.moa?.n), t0 = performance.now(), now = () => (performance.now() - t0) / 1000;
    const trace = { id, mix: { name: body.model.split(':')[0] }, label: body.model, created: Math.floor(Date.now() / 1000), seed: '918678260938876800', messages: body.messages, nodes: nodes.map((n) => ({ ...n, state: 'waiting', text: '', started: 0, ended: 0 })), answers: [nodes.at(-1).node], rc: 0, error: null };
    const of = (name) => trace.nodes.find((n) => n.node === name);
    r.writeHead(200, { 'content-type': 'text/event-stream', 'x-request-id': id });
    const chunk = (x) => gone() || r.write(`data: ${JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: trace.created, model: body.model, choices: [], usage: null, ...x })}\n\n`);
    const event = (e) => body.moa?.events && chunk({ moa: e });
    const write = async (n, words, ms, answers) => {
      const t = of(n.node), begun = now();
      t.started = begun;
      t.state = 'running';
      event({ event: 'start', ...n });
      await sleep((60 + 240 * Math.random()) / self.speed);
      t.first_s = now() - begun;
      if (self.thinking === n.node) {
        t.thoughts = 'Is it 16 or 17? I count again.';
        chunk({ choices: [{ index: 0, delta: { reasoning_content: t.thoughts }, finish_reason: null, moa: { node: n.node, role: n.role, model: n.model, thinks: true } }] });
        await sleep(600 / self.speed);
      }
      for (const w of words.match(/\s*\S+/g)) {
        if (gone()) return;
        t.text += w;
        chunk({ choices: [answers ? { index: 0, delta: { content: w }, finish_reason: null } : { index: 0, delta: { reasoning_content: w }, finish_reason: null, moa: { node: n.node, role: n.role, model: n.model } }] });
        await sleep((ms * (0.5 + Math.random())) / self.speed);
      }
      Object.assign(t, { state: 'done', ended: now(), seconds: now() - begun, prompt_tokens: 46 + 120 * n.in.length, completion_tokens: Math.ceil(words.length / 3.6), reused_tokens: n.node === 'p1' ? 0 : 44, finish: 'stop', replaced: false, note: null });
      self.calls++;
      self.tokens += t.completion_tokens;
      const { text, thoughts, in: _, answer, ...done } = t;
      event({ event: 'done', ...done });
    };
    chunk({ choices: [{ index: 0, delta: { role: 'assistant', content: '' }, finish_reason: null }] });
    event({ event: 'graph', id, mix: body.model, nodes });
    const last = nodes.at(-1), drafts = nodes.filter((n) => n !== last), first = drafts.filter((n) => !n.in.length), later = drafts.filter((n) => n.in.length);
    for (const layer of [first, later]) {
      await Promise.all(layer.map(async (n, i) => {
        if (self.failing === n.node) {
          of(n.node).state = 'failed';
          return event({ event: 'done', node: n.node, state: 'failed', note: 'the backend reset the connection after 2 attempts', seconds: 0.2 });
        }
        return write(n, PROPOSALS[i % PROPOSALS.length], 55, false);
      }));
    }
    if (last.role === 'vote') {
      const members = last.in.map((_, i) => (i % 4 === 2 ? 1 : 0)), vote = { size: last.in.length, clusters: 2, votes: members.filter((m) => !m).length, members, winner: 'p1' };
      event({ event: 'start', node: 'vote' });
      chunk({ choices: [{ index: 0, delta: { content: PROPOSALS[0] }, finish_reason: null }] });
      event({ event: 'done', node: 'vote', state: 'done', started: now(), ended: now(), note: 'took p1: 3 of 4 answers agree', vote });
      Object.assign(of('vote'), { state: 'done', started: now(), ended: now(), text: PROPOSALS[0], note: 'took p1: 3 of 4 answers agree', vote });
    } else await write(last, REPLY, 45, true);
    const calls = trace.nodes.filter((n) => n.model), sum = (k) => calls.reduce((s, n) => s + (n[k] || 0), 0);
    trace.usage = { prompt_tokens: sum('prompt_tokens'), completion_tokens: sum('completion_tokens'), total_tokens: sum('prompt_tokens') + sum('completion_tokens'), moa: { mix: body.model, calls: calls.length, failed: 0, seconds: now(), notes: [] } };
    chunk({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] });
    if (body.stream_options?.include_usage) chunk({ usage: trace.usage });
    trace.seconds = now();
    if (!gone()) {
      self.traces.unshift(trace);
      r.end('data: [DONE]\n\n');
    }
  }

  const json = (r, status, v, head = {}) => {
    r.writeHead(status, { 'content-type': 'application/json', ...head });
    r.end(JSON.stringify(v));
  };
  const metrics = () => `moa_queue_depth 0\nmoa_requests_running ${self.running.size}\nmoa_connections_busy ${self.running.size + 1}\nmoa_kv_room 1024\nmoa_kv_tokens ${48 * self.running.size}\nmoa_engine_running{model="moa-tiny"} ${3 * self.running.size}\n`
    + `moa_tokens_total{model="moa-tiny",kind="prompt"} ${46 * self.calls}\nmoa_tokens_total{model="moa-tiny",kind="completion"} ${self.tokens}\nmoa_tokens_total{model="moa-tiny",kind="reused"} ${30 * self.calls}\nmoa_calls_total{model="moa-tiny",role="proposer"} ${self.calls}\n`
    + `moa_ttft_seconds_bucket{model="vote",le="0.1"} 1\nmoa_ttft_seconds_bucket{model="vote",le="0.5"} 4\nmoa_ttft_seconds_bucket{model="vote",le="+Inf"} 4\n`;

  const answer = (q, r) => {
    const path = new URL(q.url, 'http://x').pathname, at = path.replace(/^\/v1(?=\/)/, '');
    self.log.push({ method: q.method, path, body: q.body });
    if (path === '/' || path.startsWith('/ui/')) {
      const name = path === '/' ? 'index.html' : path.slice(4);
      if (!/^[a-z]+\.[a-z]+$/.test(name)) return json(r, 404, {});
      r.writeHead(200, { 'content-type': TYPES[name.split('.')[1]], 'content-security-policy': POLICY, 'cache-control': 'no-store' });
      return r.end(readFileSync(UI + name));
    }
    if (self.key && q.headers.authorization !== `Bearer ${self.key}`) return json(r, 401, { error: { message: 'no key was given; send the header: Authorization: Bearer KEY', type: 'authentication_error', param: null, code: 'missing_api_key' } });
    if (at === '/models') return json(r, 200, { object: 'list', data: MIXES.map(([id, description, mix]) => ({ id, object: 'model', description, mix, base: 'moa-tiny' })) });
    if (at === '/traces') return json(r, 200, { object: 'list', data: self.traces.map((t) => ({ id: t.id, mix: t.label, created: t.created, seconds: t.seconds, status: 'done', question: t.messages.at(-1).content })) });
    if (at.startsWith('/traces/')) {
      const t = self.traces.find((x) => x.id === at.slice(8));
      return t ? json(r, 200, t) : json(r, 404, { error: { message: `no trace '${at.slice(8)}'` } });
    }
    if (at === '/metrics') return r.writeHead(200, { 'content-type': 'text/plain' }).end(metrics());
    if (at === '/ps') return json(r, 200, { object: 'list', data: [...self.running].map((x) => ({ id: 'req-1', endpoint: 'chat', model: x.body.model, state: 'running', seconds: 1, texts: 5, stream: true })) });
    if (at !== '/chat/completions') return json(r, 404, { error: { message: `no such path: ${path}` } });
    if (self.error) return json(r, self.error.status, { error: self.error }, self.error.head);
    let gone = false;
    r.on('close', () => {
      if (!r.writableFinished) self.left++;
      gone = true;
    });
    self.running.add(q);
    return play(q, r, () => gone).finally(() => self.running.delete(q));
  };

  const server = createServer((q, r) => {
    let words = '';
    q.on('data', (d) => (words += d));
    q.on('end', () => {
      q.body = words ? JSON.parse(words) : null;
      answer(q, r);
    });
  });
  await new Promise((done) => server.listen(port, '127.0.0.1', done));
  self.port = server.address().port;
  self.url = `http://127.0.0.1:${self.port}/`;
  self.close = () => (server.closeAllConnections(), new Promise((done) => server.close(done)));
  return self;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log((await fake({ port: Number(process.argv[2]) || 8099 })).url);
