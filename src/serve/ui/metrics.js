// metrics.js - the server at work, read once a second while it is looked at: /metrics (Prometheus) and /v1/ps.
// SPDX-License-Identifier: Apache-2.0
import { count, h, many, percent, put, seconds, svg, text } from './dom.js';
import { getJson, getText } from './api.js';
import { errorBox } from './chat.js';

const SAMPLES = 120, EVERY_MS = 1000;

// name{label="value",...} number -> Map name -> [{labels, value}]
export function parse(words) {
  const out = new Map();
  for (const line of words.split('\n')) {
    const m = line.match(/^([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/);
    if (!m) continue;
    const labels = {};
    for (const l of (m[2] || '').matchAll(/(\w+)="((?:\\.|[^"\\])*)"/g)) labels[l[1]] = l[2].replace(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c));
    if (!out.has(m[1])) out.set(m[1], []);
    out.get(m[1]).push({ labels, value: m[3] === '+Inf' ? Infinity : Number(m[3]) });
  }
  return out;
}

const sum = (m, name, want = {}) => {
  const rows = (m.get(name) || []).filter((r) => Object.entries(want).every(([k, v]) => r.labels[k] === v));
  return rows.length ? rows.reduce((s, r) => s + r.value, 0) : undefined;
};

// The value below which the share q of a histogram's observations lies, linear within its bucket, as Prometheus' histogram_quantile has it.
export function quantile(m, name, q) {
  const by = new Map();
  for (const r of m.get(`${name}_bucket`) || []) {
    const le = r.labels.le === '+Inf' ? Infinity : Number(r.labels.le);
    by.set(le, (by.get(le) || 0) + r.value);
  }
  const rows = [...by].sort((a, b) => a[0] - b[0]), total = rows.at(-1)?.[1];
  if (!total) return undefined;
  let lo = 0, below = 0;
  for (const [le, n] of rows) {
    if (n >= q * total) return le === Infinity ? lo : lo + ((le - lo) * (q * total - below)) / (n - below);
    lo = le;
    below = n;
  }
  return lo;
}

// ---- a chart: one line over the last two minutes ----

class Chart {
  constructor(title, show, { of } = {}) {
    this.title = title;
    this.show = show;
    this.of = of;
    this.values = [];
    this.now = h('output');
    this.sub = h('small');
    this.area = svg('path.area');
    this.line = svg('path.line');
    this.top = svg('text', { x: 2, y: 13 });
    this.svg = svg('svg', { viewBox: '0 0 240 64', preserveAspectRatio: 'none', role: 'img' }, svg('path.base', { d: 'M0 63.500H240' }), this.area, this.line);
    this.max = h('span.max');
    this.el = h('figure.chart', h('figcaption', h('span', title), this.now), this.svg, h('div.chart-foot', this.sub, this.max));
  }

  add(v, sub = '') {
    this.values.push(Number.isFinite(v) ? v : 0);
    if (this.values.length > SAMPLES) this.values.shift();
    const top = Math.max(this.of || 0, ...this.values, 1e-9) * (this.of ? 1 : 1.1), dx = 240 / (SAMPLES - 1), x0 = 240 - dx * (this.values.length - 1);
    const points = this.values.map((y, i) => `${(x0 + i * dx).toFixed(1)} ${(63 - (y / top) * 58).toFixed(1)}`);
    this.line.setAttribute('d', `M${points.join('L')}`);
    this.area.setAttribute('d', `M${x0.toFixed(1)} 64L${points.join('L')}L240 64z`);
    text(this.now, v === undefined ? '–' : this.show(v));
    text(this.sub, sub);
    const high = Math.max(...this.values);
    text(this.max, high > 0 ? `most ${this.show(high)}` : '');
    this.svg.setAttribute('aria-label', `${this.title}: ${v === undefined ? 'unknown' : this.show(v)} now, at most ${this.show(high)} in the last two minutes`);
  }
}

const whole = (v) => count(v);

export class Metrics {
  constructor() {
    this.chart = {
      running: new Chart('Requests at work', whole), queue: new Chart('Queue', whole), tokens: new Chart('Tokens a second', whole), kv: new Chart('KV cache', (v) => percent(v), { of: 1 }),
      reuse: new Chart('Prompt tokens reused', (v) => percent(v), { of: 1 }), calls: new Chart('Calls in the batch', whole),
    };
    this.running = h('div.table');
    this.models = h('div.table');
    this.latency = h('dl.facts');
    this.problem = h('div');
    this.el = h('div.metrics.page', h('h1', 'Metrics'), this.problem, h('div.charts', Object.values(this.chart).map((c) => c.el)), h('h2', 'Requests now'), this.running, h('h2', 'By model'), this.models, h('h2', 'Times'), this.latency);
  }

  start() {
    this.stop();
    this.timer = setInterval(() => document.hidden || this.read(), EVERY_MS);
    this.read();
  }

  stop() { clearInterval(this.timer); }

  async read() {
    if (this.reading) return;
    this.reading = true;
    try {
      const [words, ps] = await Promise.all([getText('/metrics'), getJson('/v1/ps')]);
      put(this.problem);
      this.draw(parse(words), Array.isArray(ps.data) ? ps.data : []);
    } catch (e) {
      put(this.problem, errorBox(e));
    }
    this.reading = false;
  }

  rate(name, value) {
    const now = performance.now(), was = (this.last ||= {})[name];
    this.last[name] = [now, value];
    return was && value >= was[1] ? ((value - was[1]) * 1000) / (now - was[0]) : 0;
  }

  draw(m, ps) {
    const c = this.chart, tokens = (kind) => sum(m, 'moa_tokens_total', { kind }) || 0;
    const decoded = sum(m, 'moa_engine_tokens_total') ?? tokens('completion'); // models behind URLs tell when a call has ended
    c.running.add(sum(m, 'moa_requests_running') ?? 0, `${many(sum(m, 'moa_connections_busy') || 0, 'connection')} busy`);
    c.queue.add(sum(m, 'moa_queue_depth') ?? 0);
    c.tokens.add(this.rate('tokens', decoded), `${count(decoded)} written in all`);
    const used = sum(m, 'moa_kv_tokens'), room = sum(m, 'moa_kv_room');
    c.kv.add(room ? used / room : undefined, room ? `${count(used)} of ${count(room)} tokens` : 'no local model');
    c.reuse.add(tokens('prompt') ? tokens('reused') / tokens('prompt') : 0, `${count(tokens('reused'))} of ${count(tokens('prompt'))}`);
    c.calls.add(sum(m, 'moa_engine_running') ?? 0, `${count(sum(m, 'moa_engine_waiting') || 0)} wait for room`);
    this.tables(m, ps);
  }

  tables(m, ps) {
    const table = (head, rows, none) => (rows.length ? h('table', h('thead', h('tr', head.map((x, i) => h(`th${i ? '.right' : ''}`, x)))), h('tbody', rows.map((r) => h('tr', r.map((x, i) => h(`td${i ? '.right' : ''}`, x)))))) : h('p.faint', none));
    put(this.running, table(['model or mix', 'state', 'time', 'texts'], ps.slice(0, 50).map((r) => [r.model || r.endpoint, r.state, seconds(r.seconds), count(r.texts || 0)]), 'None runs.'));
    const ids = [...new Set((m.get('moa_calls_total') || []).map((r) => r.labels.model).filter(Boolean))];
    put(this.models, table(['model', 'calls', 'prompt tokens', 'reused', 'written', 'a call takes'], ids.map((model) => {
      const n = sum(m, 'moa_call_seconds_count', { model }), t = sum(m, 'moa_call_seconds_sum', { model });
      return [model, count(sum(m, 'moa_calls_total', { model })), ...['prompt', 'reused', 'completion'].map((kind) => count(sum(m, 'moa_tokens_total', { model, kind }) || 0)), n ? seconds(t / n) : ''];
    }), 'No call has ended yet.'));
    const facts = [['first text, median', quantile(m, 'moa_ttft_seconds', 0.5)], ['first text, 95 %', quantile(m, 'moa_ttft_seconds', 0.95)], ['one call, median', quantile(m, 'moa_call_seconds', 0.5)], ['one call, 95 %', quantile(m, 'moa_call_seconds', 0.95)]];
    put(this.latency, facts.map(([k, v]) => h('div', h('dt', k), h('dd', v === undefined ? '–' : `about ${seconds(v)}`))));
  }
}
