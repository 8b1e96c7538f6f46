// settings.js - what the page remembers beside the history: theme, prices, the last model; and the form of a model and its numbers.
// SPDX-License-Identifier: Apache-2.0
import { h, put, text } from './dom.js';
import { getJson } from './api.js';

const load = (k, or) => {
  try {
    return JSON.parse(localStorage.getItem(`moa.${k}`)) ?? or;
  } catch {
    return or;
  }
};
export const remember = (k, v) => {
  try {
    localStorage.setItem(`moa.${k}`, JSON.stringify(v));
  } catch { /* a full or closed store: the page works without */ }
};
export const recall = load;

// {model: {in, out}}: dollars per million tokens
export const prices = () => load('prices', {});

// ---- theme: as the system says, unless chosen ----

const THEMES = ['auto', 'light', 'dark'];
export const theme = () => (THEMES.includes(load('theme', 'auto')) ? load('theme', 'auto') : 'auto');
export function setTheme(t) {
  remember('theme', t);
  if (t === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = t;
}
export const nextTheme = () => THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length];

// ---- models ----

let list = [];
const waiting = new Set();
export const models = () => list;
export const onModels = (fn) => waiting.add(fn);
export async function loadModels() {
  const r = await getJson('/v1/models');
  list = (Array.isArray(r.data) ? r.data : []).filter((m) => typeof m.id === 'string' && m.mix !== null);
  for (const fn of waiting) fn();
}

const strategy = (m) => String(m?.mix || '').split(':')[0];
export const isMix = (m) => !['', 'single', 'greedy'].includes(strategy(m));
const KEYS = { n: ['self-moa', 'moa', 'self-moa-seq', 'vote'], layers: ['moa'], window: ['self-moa-seq'], quorum: ['self-moa', 'moa', 'vote'], grace: ['self-moa', 'moa', 'vote'] };

// Fields of a run, their bounds, and whether they belong to the mix, to any run (both go into `moa`), or to the reply itself.
const FIELDS = [
  { key: 'n', name: 'Proposals', hint: 'how many drafts', min: 1, max: 256, step: 1, of: 'mix' },
  { key: 'layers', name: 'Layers', hint: 'each reads the one before', min: 1, max: 16, step: 1, of: 'mix' },
  { key: 'window', name: 'Window', hint: 'drafts merged at a time', min: 2, max: 64, step: 1, of: 'mix' },
  { key: 'quorum', name: 'Quorum', hint: 'go on with so many', min: 1, max: 256, step: 1, of: 'mix' },
  { key: 'grace', name: 'Grace', hint: 'seconds for the late', min: 0, max: 600, step: 0.1, of: 'mix' },
  { key: 'deadline', name: 'Deadline', hint: 'seconds; then, what there is', min: 0, max: 86400, step: 0.5, of: 'run' },
  { key: 'draft_temperature', name: 'Temperature of proposals', hint: 'higher: more different drafts', min: 0, max: 5, step: 0.05, of: 'mix', sent: 'temperature' },
  { key: 'draft_max_tokens', name: 'Most tokens of a proposal', min: 1, max: 1000000, step: 1, of: 'mix', sent: 'max_tokens' },
  { key: 'temperature', name: 'Temperature of the reply', min: 0, max: 2, step: 0.05, of: 'reply' },
  { key: 'max_tokens', name: 'Most tokens of the reply', min: 1, max: 1000000, step: 1, of: 'reply' },
  { key: 'seed', name: 'Seed', hint: 'the same seed, the same reply', min: 0, max: 2 ** 53, step: 1, of: 'reply' },
];

const fits = (f, m) => f.of !== 'mix' || (isMix(m) && (!KEYS[f.key] || KEYS[f.key].includes(strategy(m))));

// The body of a request for model id with the numbers of tune; those that the mix does not know are left out.
export function request(id, tune, messages) {
  const m = list.find((x) => x.id === id), body = { model: id, messages, moa: { events: true } };
  for (const f of FIELDS) {
    if (tune[f.key] === undefined || tune[f.key] === '' || !fits(f, m)) continue;
    if (f.of !== 'reply') body.moa[f.sent || f.key] = tune[f.key];
    else body[f.key] = tune[f.key];
  }
  return body;
}

// A choice of model with its help beside it. onChange(id)
export class ModelChoice {
  constructor(label, onChange) {
    this.help = h('span.model-help');
    this.select = h('select', { 'aria-label': label, onchange: () => (this.describe(), onChange(this.select.value)) });
    this.el = h('span.model-choice', this.select);
    onModels(() => this.fill());
    this.fill();
  }

  fill() {
    const was = this.wanted || this.select.value, option = (m) => h('option', { value: m.id }, m.id), mixes = list.filter(isMix), plain = list.filter((m) => !isMix(m));
    put(this.select, mixes.length > 0 && h('optgroup', { label: 'Mixtures' }, mixes.map(option)), plain.length > 0 && h('optgroup', { label: 'Single replies' }, plain.map(option)));
    this.set(was);
  }

  set(id) {
    this.wanted = id;
    if (id && list.length && !list.some((m) => m.id === id)) this.select.prepend(h('option', { value: id }, id));
    this.select.value = id || (list.find((m) => m.id === 'self-moa') || list.find(isMix) || list[0])?.id || '';
    this.describe();
  }

  get value() { return this.select.value; }

  describe() {
    this.wanted = this.select.value || this.wanted;
    const m = list.find((x) => x.id === this.select.value), base = m && m.base && m.base !== m.id ? ` · ${m.base}` : '';
    text(this.help, m ? `${m.description || ''}${base}` : '');
    this.select.title = this.help.textContent;
  }
}

// The numbers of a run as a form; onChange(tune)
export class Tune {
  constructor(onChange) {
    this.el = h('div.tune');
    this.values = {};
    this.onChange = onChange;
  }

  show(id, values) {
    this.values = { ...values };
    const m = list.find((x) => x.id === id);
    const field = (f) => {
      const input = h('input', {
        type: 'number', min: f.min, max: f.max, step: f.step, placeholder: 'default', value: this.values[f.key] ?? '', inputMode: 'decimal',
        oninput: () => {
          const v = input.valueAsNumber;
          if (Number.isFinite(v)) this.values[f.key] = v;
          else delete this.values[f.key];
          this.onChange(this.values);
        },
      });
      return h('label.field', h('span', f.name, f.hint && h('small', f.hint)), input);
    };
    put(this.el, FIELDS.filter((f) => fits(f, m)).map(field));
  }
}

// Prices of the models, for who pays for them.
export function priceTable() {
  const now = prices(), ids = [...new Set([...list.map((m) => m.base || m.id), ...Object.keys(now)])].slice(0, 50);
  const cell = (id, k) => h('input', {
    type: 'number', min: 0, step: 'any', value: now[id]?.[k] ?? '', placeholder: '–', 'aria-label': `${id}, ${k === 'in' ? 'input' : 'output'}`,
    oninput: (e) => {
      const v = e.target.valueAsNumber, p = { in: 0, out: 0, ...now[id], [k]: Number.isFinite(v) && v >= 0 ? v : 0 };
      if (p.in || p.out) now[id] = p;
      else delete now[id];
      remember('prices', now);
    },
  });
  return h('table.prices', h('thead', h('tr', h('th', 'model'), h('th', 'input'), h('th', 'output'))), h('tbody', ids.map((id) => h('tr', h('th', { scope: 'row' }, id), h('td', cell(id, 'in')), h('td', cell(id, 'out'))))));
}
