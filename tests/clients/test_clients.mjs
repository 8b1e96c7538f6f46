// test_clients.mjs - the SDKs that people use, as they use them, against moa serve with the bundled model: OpenAI's, the AI SDK, LangChain.
// node tests/clients/test_clients.mjs [words of a test's name]. SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { need, run, serve, test, until } from '../support/harness.mjs';

await need('openai', import.meta.url);
const { default: OpenAI, ...errors } = await import('openai');
const { zodResponseFormat, zodTextFormat } = await import('openai/helpers/zod');
const { createOpenAICompatible } = await import('@ai-sdk/openai-compatible');
const ai = await import('ai');
const { ChatOpenAI, OpenAIEmbeddings } = await import('@langchain/openai');
const { z } = await import('zod');

const KEY = 'SECRET', MODEL = 'moa-tiny', QUESTION = 'Tom has 12 apples. He buys 9 more and gives 4 to Anna. How many apples does Tom have now?';
const messages = [{ role: 'system', content: 'You add and subtract.' }, { role: 'user', content: QUESTION }];
const OTHER = 'ANOTHER', server = await serve('-q', '--api-key', KEY, '--api-key', OTHER);
const baseURL = `${server.url}/v1`, client = new OpenAI({ baseURL, apiKey: KEY, maxRetries: 0 });
const quiet = () => until(async () => (await server.ps(KEY)).length === 0, 'no request runs', 2000);
const Person = z.object({ name: z.string().max(12), age: z.number().int().min(0).max(150), likes: z.array(z.enum(['apples', 'sums', 'birds'])).max(2) });
const weather = { type: 'function', function: { name: 'get_weather', description: 'The weather of a place', parameters: { type: 'object', properties: { place: { type: 'string', maxLength: 20 }, days: { type: 'integer', minimum: 1, maximum: 9 } }, required: ['place', 'days'], additionalProperties: false } } };

async function all(stream) {
  const out = [];
  for await (const x of stream) out.push(x);
  return out;
}

// ---- openai: chat ----

test('openai: models', async () => {
  const ids = (await all(await client.models.list())).map((m) => m.id);
  for (const id of [MODEL, 'self-moa', 'vote']) assert.ok(ids.includes(id), `${id} of ${ids}`);
  assert.equal((await client.models.retrieve('self-moa')).id, 'self-moa');
});

test('openai: a whole reply', async () => {
  const r = await client.chat.completions.create({ model: MODEL, messages, temperature: 0 });
  assert.equal(r.object, 'chat.completion');
  assert.ok(r.choices[0].message.content.length > 0);
  assert.equal(r.choices[0].finish_reason, 'stop');
  assert.equal(r.usage.total_tokens, r.usage.prompt_tokens + r.usage.completion_tokens);
  assert.match(r._request_id, /^req-/);
  const { data, response } = await client.chat.completions.create({ model: MODEL, messages: [{ role: 'user', content: [{ type: 'text', text: 'Hi' }] }], max_completion_tokens: 3 }).withResponse();
  assert.equal(response.status, 200);
  assert.equal(data.usage.completion_tokens, 3);
  assert.equal(data.choices[0].finish_reason, 'length');
});

test('openai: a stream is the whole reply in pieces', async () => {
  const ask = { model: MODEL, messages, seed: 7, temperature: 0.8, max_tokens: 40 };
  const whole = await client.chat.completions.create(ask), chunks = await all(await client.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } }));
  assert.equal(chunks[0].choices[0].delta.role, 'assistant');
  assert.equal(chunks.map((c) => c.choices[0]?.delta.content || '').join(''), whole.choices[0].message.content);
  assert.ok(chunks.length >= 4, 'the role, text, the reason to end, the usage'); /* how many pieces depends on how fast the reader is */
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.equal(chunks.at(-1).usage.completion_tokens, whole.usage.completion_tokens);
});

test('openai: the stream helper', async () => {
  const s = client.chat.completions.stream({ model: 'self-moa', messages, stream_options: { include_usage: true } });
  let grown = '';
  s.on('content', (delta, snapshot) => {
    grown += delta;
    assert.equal(snapshot, grown);
  });
  const last = await s.finalChatCompletion();
  assert.equal(last.choices[0].message.content, grown);
  assert.ok((await s.totalUsage()).total_tokens > 0);
});

test('openai: mixtures, tuned in the body', async () => {
  const r = await client.chat.completions.create({ model: 'self-moa', messages, moa: { n: 3, temperature: 0.9 } });
  assert.equal(r.usage.moa.calls, 4);
  assert.ok(r.usage.completion_tokens_details.reasoning_tokens > 0);
  const v = await client.chat.completions.create({ model: 'vote:n=5', messages });
  assert.equal(v.usage.moa.calls, 5);
  const thoughts = (await all(await client.chat.completions.create({ model: 'self-moa', messages, stream: true, moa: { n: 2, show: 'thoughts' } }))).map((c) => c.choices[0]?.delta.reasoning_content || '').join('');
  assert.match(thoughts, /\[p1, moa-tiny\]\n[\s\S]+\[p2, moa-tiny\]\n/);
});

test('openai: events of a mixture, and its trace, for its own key alone', async () => {
  const secret = `my number is ${Math.random()}`, chunks = await all(await client.chat.completions.create({ model: 'self-moa', messages: [{ role: 'user', content: `${secret}. ${QUESTION}` }], stream: true, moa: { n: 3, events: true } }));
  const events = chunks.filter((c) => c.moa?.event).map((c) => c.moa), of = (kind) => events.filter((e) => e.event === kind).map((e) => e.node);
  assert.deepEqual(events[0].nodes.map((n) => [n.node, n.role, n.in.length]), [['p1', 'proposer', 0], ['p2', 'proposer', 0], ['p3', 'proposer', 0], ['agg', 'aggregator', 3]]);
  assert.deepEqual(of('start').sort(), ['agg', 'p1', 'p2', 'p3']);
  assert.deepEqual(of('done').sort(), ['agg', 'p1', 'p2', 'p3']);
  assert.ok(events.filter((e) => e.event === 'done').every((e) => e.state === 'done' && e.ended >= e.started && e.completion_tokens > 0));
  assert.deepEqual(events.find((e) => e.event === 'start' && e.node === 'agg').in, ['p1', 'p2', 'p3']);
  // A run that grows: each merge tells what it reads when it starts, the last one is the answer.
  const grows = (await all(await client.chat.completions.create({ model: 'self-moa-seq:n=8,window=4', messages, stream: true, moa: { events: true } }))).map((c) => c.moa).filter((m) => m?.event === 'start' && m.role === 'aggregator');
  assert.deepEqual(grows.map((m) => [m.node, m.in.length, m.answer === true]), [['agg', 4, false], ['agg.w2', 3, false], ['agg.w3', 3, true]]);
  const { data } = await client.get('/traces'), id = events[0].id, trace = await client.get(`/traces/${id}`);
  assert.equal(data[1].id, id);
  const grown = chunks.map((c) => c.choices[0]).filter((c) => c?.moa?.node === 'p2').map((c) => c.delta.reasoning_content).join('');
  assert.equal(trace.nodes.find((n) => n.node === 'p2').text, grown);
  const stranger = new OpenAI({ baseURL, apiKey: OTHER, maxRetries: 0 });
  assert.deepEqual((await stranger.get('/traces')).data, []);
  await assert.rejects(stranger.get(`/traces/${id}`), (e) => e.status === 404 && !e.message.includes(secret));
  assert.ok(!JSON.stringify(await stranger.get('/ps')).includes(secret) && !(await stranger.get('/ps')).data.some((r) => r.question));
});

test('openai: n, seed, stop, logprobs, logit_bias', async () => {
  const ask = (more) => client.chat.completions.create({ model: MODEL, messages, max_tokens: 24, ...more });
  const r = await ask({ n: 4, temperature: 1.5, seed: 3 }), said = r.choices.map((c) => c.message.content);
  assert.deepEqual(r.choices.map((c) => c.index), [0, 1, 2, 3]);
  assert.ok(new Set(said).size > 1);
  assert.deepEqual((await ask({ n: 4, temperature: 1.5, seed: 3 })).choices.map((c) => c.message.content), said);
  const plain = (await ask({ temperature: 0 })).choices[0].message.content, stop = plain.slice(2, 4), cut = await ask({ temperature: 0, stop: [stop] });
  assert.equal(cut.choices[0].message.content, plain.slice(0, plain.indexOf(stop)));
  const l = (await ask({ temperature: 0, logprobs: true, top_logprobs: 3, max_tokens: 5 })).choices[0].logprobs.content;
  assert.ok(l.length > 0 && l.length <= 5);
  for (const t of l) {
    assert.equal(t.top_logprobs.length, 3);
    assert.ok(t.logprob <= 0 && t.logprob === t.top_logprobs[0].logprob, 'greedy takes the first');
  }
  const { tokens } = await client.post('/tokenize', { body: { model: MODEL, content: plain.slice(0, 1) } });
  const banned = (await ask({ temperature: 0, logit_bias: { [tokens[0]]: -100 } })).choices[0].message.content;
  assert.notEqual(banned[0], plain[0]);
});

test('openai: tools, there and back', async () => {
  const ask = { model: MODEL, tools: [weather], tool_choice: 'required' }, first = [{ role: 'user', content: 'What is the weather in Riga?' }];
  const r = await client.chat.completions.create({ ...ask, messages: first }), m = r.choices[0].message;
  assert.equal(r.choices[0].finish_reason, 'tool_calls');
  assert.equal(m.tool_calls[0].function.name, 'get_weather');
  const args = JSON.parse(m.tool_calls[0].function.arguments);
  assert.ok(typeof args.place === 'string' && Number.isInteger(args.days));
  const s = client.chat.completions.stream({ ...ask, messages: first });
  const streamed = (await s.finalChatCompletion()).choices[0].message.tool_calls[0];
  JSON.parse(streamed.function.arguments);
  const back = await client.chat.completions.create({ model: MODEL, tools: [weather], messages: [...first, m, { role: 'tool', tool_call_id: m.tool_calls[0].id, content: '{"sky": "clear"}' }], max_tokens: 20 });
  assert.ok(back.choices[0].message.content.length > 0);
  let called;
  const runner = client.chat.completions.runTools({ model: MODEL, messages: first, max_tokens: 60, tool_choice: { type: 'function', function: { name: 'get_weather' } }, tools: [{ type: 'function', function: { ...weather.function, parse: JSON.parse, function: (a) => ((called = a), 'clear') } }] }, { maxChatCompletions: 1 });
  await runner.done().catch(() => {});
  assert.equal(typeof called?.place, 'string');
});

test('openai: parse with a schema', async () => {
  for (const model of [MODEL, 'self-moa:n=2']) {
    const r = await client.chat.completions.parse({ model, messages: [{ role: 'user', content: 'Who is Tom?' }], response_format: zodResponseFormat(Person, 'person') });
    Person.parse(r.choices[0].message.parsed);
  }
  const o = await client.chat.completions.create({ model: MODEL, messages, response_format: { type: 'json_object' }, max_tokens: 200 });
  if (o.choices[0].finish_reason === 'stop') JSON.parse(o.choices[0].message.content);
});

// ---- openai: the other endpoints ----

test('openai: embeddings as floats and base64', async () => {
  const input = ['Tom has apples', 'Anna sings', 'Tom has apples'];
  const f = await client.embeddings.create({ model: MODEL, input, encoding_format: 'float' }), b = await client.embeddings.create({ model: MODEL, input }); /* the SDK asks base64 by itself */
  assert.equal(f.data.length, 3);
  const v = f.data.map((d) => d.embedding);
  assert.ok(Math.abs(v[0].reduce((s, x) => s + x * x, 0) - 1) < 1e-4, 'length 1');
  assert.deepEqual(v[0], v[2]);
  b.data.forEach((d, i) => d.embedding.forEach((x, k) => assert.ok(Math.abs(x - v[i][k]) < 1e-6)));
  const short = (await client.embeddings.create({ model: MODEL, input: 'Tom', dimensions: 8, encoding_format: 'float' })).data[0].embedding;
  assert.equal(short.length, 8);
  assert.ok(f.usage.prompt_tokens > 0);
});

test('openai: completions', async () => {
  const ask = { model: MODEL, prompt: 'Tom has', max_tokens: 12, seed: 5 }, r = await client.completions.create(ask);
  assert.equal(r.object, 'text_completion');
  assert.equal((await all(await client.completions.create({ ...ask, stream: true }))).map((c) => c.choices[0]?.text || '').join(''), r.choices[0].text);
  assert.equal((await client.completions.create({ ...ask, prompt: ['a', 'b'], n: 2 })).choices.length, 4);
});

test('openai: responses, whole, as typed events, parsed', async () => {
  const r = await client.responses.create({ model: MODEL, instructions: 'You add.', input: QUESTION, max_output_tokens: 40 });
  assert.equal(r.object, 'response');
  assert.ok(r.output_text.length > 0);
  const events = await all(await client.responses.create({ model: 'self-moa:n=2', input: [{ role: 'user', content: QUESTION }], stream: true }));
  assert.equal(events[0].type, 'response.created');
  assert.equal(events.at(-1).type, 'response.completed');
  assert.deepEqual(events.map((e) => e.sequence_number), events.map((_, i) => i));
  assert.equal(events.filter((e) => e.type === 'response.output_text.delta').map((e) => e.delta).join(''), events.at(-1).response.output[0].content[0].text);
  const s = client.responses.stream({ model: MODEL, input: QUESTION, max_output_tokens: 20 });
  assert.ok((await s.finalResponse()).output_text.length > 0);
  Person.parse((await client.responses.parse({ model: MODEL, input: 'Who is Tom?', text: { format: zodTextFormat(Person, 'person') } })).output_parsed);
});

// ---- openai: what goes wrong ----

test('openai: classes of errors', async () => {
  const bad = (over, Class, status, more = {}) => assert.rejects(client.chat.completions.create({ model: MODEL, messages, ...over }), (e) => {
    assert.ok(e instanceof Class, `${e.constructor.name}: ${e.message}`);
    assert.equal(e.status, status);
    for (const [k, v] of Object.entries(more)) assert.equal(e[k], v);
    return e.message.length > 10;
  });
  await bad({ temperature: 'warm' }, errors.BadRequestError, 400, { param: 'temperature' });
  await bad({ messages: [] }, errors.BadRequestError, 400, { param: 'messages' });
  await bad({ moa: { n: 0 } }, errors.BadRequestError, 400);
  await bad({ model: 'none-such' }, errors.NotFoundError, 404, { code: 'model_not_found', param: 'model' });
  await bad({ messages: [{ role: 'user', content: 'word '.repeat(20000) }] }, errors.BadRequestError, 400, { code: 'context_length_exceeded' });
  await assert.rejects(new OpenAI({ baseURL, apiKey: 'wrong', maxRetries: 0 }).models.list(), errors.AuthenticationError);
  await assert.rejects(client.get('/nothing'), errors.NotFoundError);
  await assert.rejects(new OpenAI({ baseURL: 'http://127.0.0.1:9/v1', apiKey: KEY, maxRetries: 0 }).models.list(), errors.APIConnectionError);
});

test('openai: a full queue is a RateLimitError, and the SDK’s own retry gets through', async () => {
  const s = await serve('-q', '--max-running', '1', '--max-queue', '1');
  try {
    const c = new OpenAI({ baseURL: `${s.url}/v1`, apiKey: 'none', maxRetries: 0 }), long = { model: 'self-moa:n=256', messages, moa: { temperature: 5 } };
    const stop = new AbortController(), runs = [0, 1].map(() => c.chat.completions.create(long, { signal: stop.signal }).catch((e) => e));
    await until(async () => (await s.ps()).length === 2, 'one runs, one waits');
    await assert.rejects(c.chat.completions.create({ model: MODEL, messages }), (e) => e instanceof errors.RateLimitError && Number(e.headers.get('retry-after')) > 0);
    const patient = new OpenAI({ baseURL: `${s.url}/v1`, apiKey: 'none', maxRetries: 5 }).chat.completions.create({ model: MODEL, messages, max_tokens: 3 });
    setTimeout(() => stop.abort(), 200);
    assert.equal((await patient).usage.completion_tokens, 3);
    for (const e of await Promise.all(runs)) assert.ok(e instanceof errors.APIUserAbortError);
  } finally {
    await s.stop();
  }
});

test('openai: who leaves stops the work', async () => {
  const long = { model: 'self-moa:n=256', messages, stream: true, moa: { show: 'all', temperature: 5 } };
  const stop = new AbortController(), s = await client.chat.completions.create(long, { signal: stop.signal });
  let seen = 0;
  await (async () => {
    for await (const c of s) if (c.choices[0]?.delta.reasoning_content && ++seen === 5) stop.abort();
  })().catch((e) => assert.ok(e instanceof errors.APIUserAbortError, e.message));
  const t0 = Date.now();
  await quiet();
  assert.ok(Date.now() - t0 < 500, `it ran on for ${Date.now() - t0} ms`);
  for await (const c of await client.chat.completions.create(long)) if (c) break; /* leaving the loop is enough */
  await quiet();
  assert.ok(seen >= 5);
});

// ---- the AI SDK ----

const provider = createOpenAICompatible({ name: 'moa', baseURL, apiKey: KEY, includeUsage: true, supportsStructuredOutputs: true });

test('ai sdk: text, stream, object, tools, embeddings, abort', async () => {
  const r = await ai.generateText({ model: provider('self-moa'), prompt: QUESTION });
  assert.ok(r.text.length > 0);
  assert.ok(r.usage.totalTokens > 0);
  const s = ai.streamText({ model: provider(MODEL), prompt: 'Tell me a story about a bird.', seed: 1, maxOutputTokens: 30 });
  const pieces = await all(s.textStream);
  assert.ok(pieces.length > 0);
  assert.equal(pieces.join(''), await s.text);
  assert.ok((await s.usage).outputTokens > 0);
  const thinking = ai.streamText({ model: provider('self-moa:n=2'), prompt: QUESTION, providerOptions: { moa: { moa: { show: 'thoughts' } } } });
  await thinking.text;
  assert.match(await thinking.reasoningText, /\[p1, moa-tiny\]/);
  const o = await ai.generateObject({ model: provider(MODEL), schema: Person, prompt: 'Who is Tom?' });
  Person.parse(o.object);
  const t = await ai.generateText({ model: provider(MODEL), prompt: 'The weather in Riga?', toolChoice: 'required', tools: { get_weather: ai.tool({ description: 'The weather of a place', inputSchema: z.object({ place: z.string().max(20), days: z.number().int().min(1).max(9) }), execute: async ({ place }) => `clear in ${place}` }) } });
  assert.equal(t.toolCalls[0].toolName, 'get_weather');
  assert.match(t.toolResults[0].output, /^clear in /);
  const e = await ai.embedMany({ model: provider.embeddingModel(MODEL), values: ['a', 'b'] });
  assert.equal(e.embeddings.length, 2);
  const stop = new AbortController(), a = ai.streamText({ model: provider('self-moa:n=256'), prompt: QUESTION, abortSignal: stop.signal, providerOptions: { moa: { moa: { show: 'all', temperature: 5 } } }, onError() {} });
  for await (const part of a.fullStream) if (part.type === 'reasoning-delta') stop.abort();
  await quiet();
  await assert.rejects(ai.generateText({ model: provider('none-such'), prompt: 'x', maxRetries: 0 }), (x) => ai.APICallError.isInstance(x) && x.statusCode === 404);
});

// ---- LangChain ----

test('langchain: invoke, stream, structured output, tools, embeddings', async () => {
  const make = (model, more = {}) => new ChatOpenAI({ model, apiKey: KEY, maxRetries: 0, configuration: { baseURL }, ...more });
  const r = await make('self-moa').invoke(QUESTION);
  assert.ok(r.content.length > 0);
  assert.ok(r.usage_metadata.total_tokens > 0);
  const pieces = await all(await make(MODEL, { maxTokens: 30 }).stream([['system', 'You add.'], ['human', QUESTION]]));
  assert.ok(pieces.map((p) => p.content).join('').length > 0);
  const tuned = await make('self-moa', { modelKwargs: { moa: { n: 2 } } }).invoke(QUESTION);
  assert.equal(tuned.response_metadata.usage?.moa?.calls ?? 3, 3);
  Person.parse(await make(MODEL).withStructuredOutput(Person, { name: 'person', method: 'jsonSchema' }).invoke('Who is Tom?'));
  const called = await make(MODEL).bindTools([weather], { tool_choice: 'required' }).invoke('The weather in Riga?');
  assert.equal(called.tool_calls[0].name, 'get_weather');
  assert.ok(Number.isInteger(called.tool_calls[0].args.days));
  const vectors = await new OpenAIEmbeddings({ model: MODEL, apiKey: KEY, configuration: { baseURL } }).embedDocuments(['a', 'b']);
  assert.equal(vectors.length, 2);
  assert.equal((await make(MODEL, { maxTokens: 4 }).batch(['a', 'b', 'c'])).length, 3);
});

const failed = await run();
const status = await server.stop();
if (status !== 0) console.log(`[  FAILED  ] 1 test(s): moa serve ended with ${status}`);
process.exit(failed || status ? 1 : 0);
