// test_malformed.mjs - ten thousand requests that are wrong in some way, over raw sockets, from a seeded generator: broken HTTP, broken JSON,
// fields of wrong types, halves of requests, readers that do not read. Afterwards the server answers, nothing runs, no memory is kept.
// node tests/clients/test_malformed.mjs [seed [number]]. SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { readFileSync } from 'node:fs';
import { serve, until } from '../support/harness.mjs';

const SEED = Number(process.argv[2] || 1), N = Number(process.argv[3] || 10000), AGAIN = Math.min(4000, N), AT_ONCE = 100;

// mulberry32 (Tommy Ettinger): small, seeded, the same on every machine. Each request has a state of its own, so request i is the same
// whatever runs beside it.
let state = 0;
function random() {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = state;
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}
const below = (n) => Math.floor(random() * n), pick = (list) => list[below(list.length)], chance = (p) => random() < p;
const bytes = (n) => Buffer.from(Array.from({ length: n }, () => below(256)));

// ---- bodies ----

const PATHS = ['/v1/chat/completions', '/v1/completions', '/v1/responses', '/v1/embeddings', '/tokenize', '/detokenize'];
const FIELDS = ['model', 'messages', 'prompt', 'input', 'content', 'tokens', 'stream', 'stream_options', 'n', 'max_tokens', 'max_completion_tokens', 'temperature', 'top_p', 'top_k', 'min_p', 'seed', 'stop', 'logprobs', 'top_logprobs', 'logit_bias', 'presence_penalty', 'frequency_penalty', 'response_format', 'tools', 'tool_choice', 'moa', 'user', 'encoding_format', 'dimensions', 'echo', 'suffix', 'previous_response_id', 'instructions', 'text', 'reasoning'];
const MODELS = ['moa-tiny', 'self-moa', 'vote:n=2', 'self-moa:n=', 'vote:n=-1', 'moa:layers=99', '../../etc/passwd', 'moa-tiny\u0000', '', ':', 'x'.repeat(5000), 'self-moa:proposers=a+b', 'moa:proposers=moa-tiny+moa-tiny,layers=1'];
const schema = (d) => pick([() => ({ type: 'object', properties: { a: value(d - 1) } }), () => ({ $ref: '#' }), () => ({ type: pick(['string', 'integer', 'nothing']), pattern: '(((' }), () => ({ anyOf: [] }), () => ({ enum: value(d - 1) }), () => value(d - 1)])();
const message = (d) => pick([() => ({ role: 'user', content: pick(['What is 17 + 25?', '', '\u0000', '<|im_end|>', 'ü€😀'.repeat(below(30))]) }), () => ({ role: pick(['user', 'assistant', 'tool', 'system', 'developer', 'king', 7]), content: value(d - 1), tool_calls: value(d - 1), tool_call_id: value(0) }), () => ({ role: 'user', content: [{ type: pick(['text', 'image_url', 5]), text: value(0), image_url: value(d - 1) }] }), () => value(d - 1)])();
const known = {
  model: () => pick(MODELS), messages: (d) => Array.from({ length: below(4) }, () => message(d)), stream: () => chance(0.5), stream_options: () => ({ include_usage: chance(0.5) }), n: () => pick([1, 2, 0, -1, 200, 1.5, 2 ** 62]), max_tokens: () => pick([1, 2, 3, 0, -5, 1e300]),
  temperature: () => pick([0, 0.7, -1, 1e9, '1']), seed: () => pick([1, -1, 2 ** 63, 'x']), stop: () => pick(['a', ['a', ''], [], Array(50).fill('x'), 'x'.repeat(10000)]), logit_bias: () => pick([{ 5: -100 }, { x: 1 }, { '-1': 1 }, { 99999999: 1 }, { 5: 1e308 }]), top_logprobs: () => pick([1, 20, 21, -1]), logprobs: () => pick([true, 3, 'x']),
  response_format: (d) => pick([() => ({ type: 'json_object' }), () => ({ type: 'json_schema', json_schema: { name: 'x', schema: schema(d) } }), () => value(d)])(), tools: (d) => [{ type: 'function', function: { name: pick(['f', '', 'a b', 'x'.repeat(999)]), parameters: schema(d) } }], tool_choice: () => pick(['auto', 'none', 'required', { type: 'function', function: { name: 'f' } }, 5]),
  moa: (d) => ({ [pick(['n', 'layers', 'temperature', 'show', 'mix', 'events', 'proposers', 'x'])]: value(d - 1) }), tokens: () => pick([[1, 2], [-1], [1e12], ['x'], [[]]]), input: (d) => pick(['Tom', ['a', 'b'], [1, 2], [[1], [2]], value(d)]), prompt: (d) => pick(['Tom', ['a', 'b'], [1, 2], [[1], [2]], value(d)]), dimensions: () => pick([1, 0, -1, 1e9]), encoding_format: () => pick(['float', 'base64', 'x']),
};
function value(d) {
  const leaf = [null, true, false, 0, -1, 1.5, 1e308, 2 ** 53, '', 'x', 'a'.repeat(below(300)), '\ud800', '\u0000'];
  return d <= 0 || chance(0.5) ? pick(leaf) : chance(0.5) ? Array.from({ length: below(5) }, () => value(d - 1)) : Object.fromEntries(Array.from({ length: below(5) }, () => [pick(FIELDS), value(d - 1)]));
}
function body() {
  const o = { messages: [{ role: 'user', content: 'Hi' }], max_tokens: 2, seed: 1 };
  for (let i = below(6); i > 0; i--) {
    const f = pick(FIELDS);
    o[f] = known[f] && chance(0.7) ? known[f](3) : value(3);
  }
  if (o.max_tokens > 3) o.max_tokens = 3; /* what is right by chance shall be short */
  return JSON.stringify(o) ?? 'null';
}
const nested = () => pick(['[', '{"a":', '{"messages":[{"content":']).repeat(below(20000));
function breakJson(s) {
  const b = Buffer.from(s), at = below(b.length + 1);
  return pick([() => b.subarray(0, at), () => Buffer.concat([b.subarray(0, at), bytes(1 + below(4)), b.subarray(at)]), () => Buffer.from(nested()), () => Buffer.concat([b, b]), () => Buffer.from('"\\ud800"'), () => bytes(below(400)), () => Buffer.from('{"n":1e99999}'), () => Buffer.from([0xef, 0xbb, 0xbf, ...b]), () => Buffer.alloc(0)])();
}

// ---- requests ----

const post = (path, b, more = '') => Buffer.concat([Buffer.from(`POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${b.length}\r\n${more}\r\n`), b]);
const KINDS = {
  types: () => ({ send: [post(pick(PATHS), Buffer.from(body()))] }),
  json: () => ({ send: [post(pick(PATHS), breakJson(body()))] }),
  http: () => ({ send: [pick([
    () => bytes(below(2000)), () => Buffer.from('GET\r\n\r\n'), () => Buffer.from(`GET ${'/a'.repeat(below(20000))} HTTP/1.1\r\nHost: x\r\n\r\n`), () => Buffer.from(`GET /health HTTP/9.9\r\n\r\n`), () => Buffer.from(`${pick(['', 'get', 'BREW', 'A'.repeat(5000)])} /health HTTP/1.1\r\nHost: x\r\n\r\n`),
    () => Buffer.from(`GET /health HTTP/1.1\r\n${'X: y\r\n'.repeat(below(4000))}\r\n`), () => Buffer.from(`GET /health HTTP/1.1\r\nHost: x\r\n${'a'.repeat(below(60000))}: b\r\n\r\n`), () => Buffer.from(`GET /v1/${encodeURIComponent('../'.repeat(below(9)))}%00 HTTP/1.1\r\nHost: x\r\n\r\n`), () => Buffer.from('GET /health HTTP/1.1\r\n : \r\n\0\r\n\r\n'),
    () => Buffer.concat([Buffer.from(`POST ${pick(PATHS)} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`), Buffer.from(pick(['zz\r\n', '5\r\n{"a"\r\n', 'ffffffffffffffff\r\n{}', '-1\r\n', '2\r\n{}\r\n0\r\n\r\nGET / HTTP/1.1\r\n'])), bytes(below(40))]),
    () => post(pick(PATHS), Buffer.from(body()), `Content-Length: ${pick(['5', '-1', '99999999999999999999', 'x'])}\r\n`), () => Buffer.from(`OPTIONS * HTTP/1.1\r\nHost: x\r\nOrigin: ${'e'.repeat(below(9000))}\r\nAccess-Control-Request-Headers: ${pick(['a\tb', '"', 'x'.repeat(9000)])}\r\n\r\n`), () => Buffer.from(`POST ${pick(PATHS)} HTTP/1.1\r\nHost: x\r\nContent-Type: ${pick(['text/plain', '', 'application/jsonx', 'x'.repeat(3000)])}\r\nContent-Length: 2\r\n\r\n{}`),
  ])()] }),
  // The beginning of a request; then nothing, or the end of the connection, or of its writing side.
  half: () => {
    const b = post(pick(PATHS), Buffer.from(body()));
    return { send: [b.subarray(0, below(b.length))], then: pick(['end', 'reset', 'wait']) };
  },
  // A stream that is not read, and left after a while.
  slow: () => ({ send: [post('/v1/chat/completions', Buffer.from(JSON.stringify({ model: pick(['moa-tiny', 'self-moa:n=3', 'vote:n=3']), stream: true, seed: 1, moa: pick([null, { show: 'all' }]), max_tokens: 40, messages: [{ role: 'user', content: 'Tell me a story' }] })))], deaf: true, then: pick(['end', 'reset', 'wait']) }),
  // Many requests in one breath, good and bad, in pieces.
  pipe: () => {
    const b = Buffer.concat(Array.from({ length: 1 + below(5) }, () => (chance(0.5) ? Buffer.from('GET /health HTTP/1.1\r\nHost: x\r\n\r\n') : post(pick(PATHS), Buffer.from(body())))));
    const cut = below(b.length);
    return { send: [b.subarray(0, cut), b.subarray(cut)], then: pick(['wait', 'end', 'reset']) };
  },
};
const SHARE = ['types', 'types', 'types', 'types', 'json', 'json', 'json', 'http', 'http', 'half', 'slow', 'pipe'];

function one(port, r) {
  return new Promise((done) => {
    const s = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    let got = '', timer;
    const end = (how) => {
      clearTimeout(timer);
      if (how === 'reset') s.resetAndDestroy();
      else s.destroy();
      done(got);
    };
    timer = setTimeout(() => end(r.then === 'reset' ? 'reset' : 'end'), r.then ? 5 + 40 * r.patience : 1000);
    s.on('error', () => end('end'));
    s.on('close', () => end('end'));
    s.on('connect', async () => {
      for (const b of r.send) {
        s.write(b);
        if (r.send.length > 1) await new Promise((f) => setTimeout(f, 2));
      }
      if (r.then === 'end') s.end();
    });
    if (r.deaf) return void s.pause();
    s.on('data', (d) => {
      if (got.length < 4000) got += d.toString('latin1');
      if (!r.then) end('end'); /* it has answered: that is all that is asked */
    });
    s.on('end', () => end('end'));
  });
}

// Sanitizers keep what is freed for a while; they tell of leaks themselves, by the exit status.
const sanitized = (pid) => Number(readFileSync(`/proc/${pid}/status`, 'utf8').match(/VmSize:\s+(\d+)/)[1]) > 1e9;
const memory = (pid) => Number(readFileSync(`/proc/${pid}/status`, 'utf8').match(/VmRSS:\s+(\d+)/)[1]) / 1024;
const server = await serve('-q', '--max-body', '1');
const quiet = () => until(async () => (await server.ps()).length === 0, 'nothing runs', 10000).catch(async (e) => { throw new Error(`${e.message}: ${JSON.stringify(await server.ps())}`); });
const statuses = {}, kinds = {}, answered = {};

async function batch(n) {
  let i = 0;
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    while (i < n) {
      state = Math.imul(SEED, 0x9e3779b1) + Math.imul(i++, 0x85ebca6b) >>> 0;
      const kind = pick(SHARE), r = KINDS[kind]();
      r.patience = random();
      const got = await one(server.port, r), status = got.match(/^HTTP\/1\.1 (\d+)/)?.[1];
      kinds[kind] = (kinds[kind] || 0) + 1;
      if (status) {
        answered[kind] = (answered[kind] || 0) + 1;
        statuses[status] = (statuses[status] || 0) + 1;
      }
      if (status?.startsWith('5') && status !== '501' && status !== '505') throw new Error(`${status} for ${r.send.map((b) => b.toString('latin1').slice(0, 600)).join('|')}\n${got}`);
    }
  }));
}

try {
  const t0 = Date.now();
  await batch(N);
  await quiet();
  const warm = memory(server.pid);
  await batch(AGAIN); /* the same once more: their prompts are in the KV cache, their traces replace others, so what grows is lost */
  await quiet();
  const seconds = (Date.now() - t0) / 1000, after = memory(server.pid);
  const health = await (await fetch(`${server.url}/health`)).json();
  assert.equal(health.status, 'ok');
  const chat = await (await fetch(`${server.url}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ model: 'self-moa:n=2', messages: [{ role: 'user', content: 'What is 17 + 25?' }] }) })).json();
  assert.equal(chat.usage.moa.calls, 3);
  const m = await (await fetch(`${server.url}/metrics`)).text();
  assert.match(m, /^moa_requests_running 0$/m);
  assert.match(m, /^moa_queue_depth 0$/m);
  for (const k of ['types', 'json', 'http']) assert.ok(answered[k] > 0.5 * kinds[k], `${k}: ${answered[k]} of ${kinds[k]} were answered`);
  assert.ok(after < warm + 6 || sanitized(server.pid), `memory grew from ${warm.toFixed(1)} to ${after.toFixed(1)} MB`);
  assert.equal(await server.stop(), 0, server.said());
  console.log(`seed ${SEED}: ${N} requests and ${AGAIN} again in ${seconds.toFixed(1)} s; ${JSON.stringify(statuses)}; ${warm.toFixed(1)} MB after the first, ${after.toFixed(1)} MB at the end`);
  console.log('[  PASSED  ] 1 test(s).');
  process.exit(0);
} catch (e) {
  console.log(`[  FAILED  ] seed ${SEED}: ${e.stack}\nthe server said: ${server.said().slice(-2000)}\n[  FAILED  ] 1 test(s): malformed`);
  process.exit(1);
}
