// api.js - what the page asks the server: JSON, streams of events, errors with what to do about them.
// SPDX-License-Identifier: Apache-2.0

const KEY = 'moa.key';

export const key = {
  get: () => sessionStorage.getItem(KEY) || localStorage.getItem(KEY) || '',
  set(value, remember) {
    localStorage.removeItem(KEY);
    sessionStorage.removeItem(KEY);
    if (value) (remember ? localStorage : sessionStorage).setItem(KEY, value);
  },
  remembered: () => localStorage.getItem(KEY) !== null,
};

// What to do, by what went wrong; the server's own words stand before it.
function hintOf(status, code) {
  if (status === 0) return 'Is moa serve still running? Start it, then try again.';
  if (status === 401) return 'Enter the key that the server was started with (--api-key).';
  if (status === 429) return 'The queue of the server is full. Wait a moment, then try again.';
  if (status === 503) return 'The server is shutting down. Start it again.';
  if (status === 502) return 'A model behind a URL did not answer. Look at the server’s log, or choose another mix.';
  if (code === 'context_length_exceeded') return 'Shorten the prompt, begin a new chat, or start the server with a larger --ctx.';
  if (status === 404 && code === 'model_not_found') return 'Choose another model: the server’s configuration may have changed.';
  return status >= 500 ? 'The server’s log may say more.' : '';
}

export class ApiError extends Error {
  constructor(status, body, retryAfter = 0) {
    const e = (body && body.error) || {};
    super(typeof e.message === 'string' ? e.message : typeof body === 'string' && body ? body : status ? `HTTP ${status}` : 'The server does not answer.');
    this.status = status;
    this.code = e.code || null;
    this.param = e.param || null;
    this.retryAfter = retryAfter;
    this.hint = hintOf(status, this.code);
  }
}

const watchers = new Set();
export const onState = (fn) => watchers.add(fn);
function tell(state) {
  for (const fn of watchers) fn(state);
}

async function send(path, { method = 'GET', body, signal } = {}) {
  const headers = { Accept: 'application/json, text/event-stream, text/plain' };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let r;
  try {
    r = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body), cache: 'no-store' });
  } catch (e) {
    if (e.name === 'AbortError') throw e;
    tell('down');
    throw new ApiError(0, null);
  }
  tell(r.status === 401 ? 'key' : 'up');
  if (r.ok) return r;
  let said = await r.text().catch(() => '');
  try {
    said = JSON.parse(said);
  } catch { /* a proxy's page: its words are shown as they are */ }
  throw new ApiError(r.status, typeof said === 'string' ? said.slice(0, 300) : said, Number(r.headers.get('retry-after')) || 0);
}

export const getJson = async (path, signal) => (await send(path, { signal })).json();
export const getText = async (path, signal) => (await send(path, { signal })).text();

// Server-sent events as the standard has them: fields of lines, an empty line ends an event, ':' begins a comment.
export async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '', data = [];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split('\n');
      rest = lines.pop();
      for (const raw of lines) {
        const line = raw.endsWith('\r') ? raw.slice(0, -1) : raw;
        if (line.startsWith('data:')) data.push(line.slice(line[5] === ' ' ? 6 : 5));
        else if (line === '' && data.length) {
          yield data.join('\n');
          data = [];
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// A chat as a stream of chunks. Leaving the loop, or the signal, closes the connection; the server then cancels every call.
export async function* chat(body, signal, onHead) {
  const r = await send('/v1/chat/completions', { method: 'POST', body: { ...body, stream: true, stream_options: { include_usage: true } }, signal });
  onHead?.(r.headers.get('x-request-id'));
  let whole = false;
  for await (const data of events(r.body)) {
    if (data === '[DONE]') {
      whole = true;
      break;
    }
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(chunk.error.status || 500, chunk);
    yield chunk;
  }
  if (!whole) throw new ApiError(0, { error: { message: 'The stream ended before the reply was whole.' } });
}
