// compare.js - two mixes side by side on one prompt, at the same time, with the same seed. SPDX-License-Identifier: Apache-2.0
import { announce, count, h, icon, put, seconds } from './dom.js';
import { errorBox, play } from './chat.js';
import { duration, sums } from './run.js';
import { RunView } from './runview.js';
import { ModelChoice, models, onModels, prices, recall, remember, request } from './settings.js';
import * as store from './store.js';

const SIDES = ['A', 'B'];

export class Compare {
  constructor(app) {
    this.app = app;
    this.jobs = [];
    this.input = h('textarea', { rows: 2, placeholder: 'One prompt for both', 'aria-label': 'Prompt', onkeydown: (e) => this.key(e) });
    const was = recall('compare', []);
    this.choice = SIDES.map((s, i) => new ModelChoice(`Mix ${s}`, () => remember('compare', this.choice.map((c) => c.value))));
    onModels(() => this.choice.forEach((c, i) => c.set(was[i] || (models().find((m) => m.id === ['self-moa', 'vote'][i])?.id ?? models()[i]?.id ?? ''))));
    this.numbers = SIDES.map((s) => h('input.numbers', { type: 'text', placeholder: 'n=4,temperature=0.9', 'aria-label': `Numbers of mix ${s}`, spellcheck: false, onkeydown: (e) => this.key(e) }));
    this.go = h('button.primary', { type: 'submit' }, 'Compare');
    this.halt = h('button.primary.stop', { type: 'button', hidden: true, title: 'Stop (Escape)', onclick: () => this.stop() }, icon('stop'), 'Stop both');
    this.verdict = h('div.verdict', { 'aria-live': 'polite' });
    this.side = SIDES.map((s) => h('section.column', { 'aria-label': `Mix ${s}` }));
    this.el = h('div.compare.page', h('h1', 'Compare'), h('p.lead', 'Two mixes answer one prompt at the same time, with the same seed.'),
      h('form', { onsubmit: (e) => (e.preventDefault(), this.run()) }, this.input, h('div.row', this.choice.map((c, i) => h('span.pick', h('b', SIDES[i]), c.el, this.numbers[i])), this.go, this.halt)), this.verdict, h('div.columns', this.side));
  }

  key(e) {
    if (e.key !== 'Enter' || e.shiftKey || e.isComposing) return;
    e.preventDefault();
    this.run();
  }

  get busy() { return this.jobs.length > 0; }
  stop() { this.jobs.forEach((j) => j.stop()); }

  column(i, id) {
    const view = new RunView({ onReplay: (t) => this.app.replay(t) });
    put(this.side[i], h('h2', h('span.letter', SIDES[i]), id), view.el);
    return view;
  }

  async run() {
    const prompt = this.input.value.trim();
    if (!prompt || this.busy) return;
    const messages = [{ role: 'user', content: prompt }], tune = { seed: Math.floor(Math.random() * 1e9) };
    const id = (i) => this.choice[i].value + (this.numbers[i].value.trim() ? `:${this.numbers[i].value.trim()}` : '');
    put(this.verdict);
    this.jobs = SIDES.map((_, i) => play(request(id(i), tune, messages), this.column(i, id(i)), { messages }));
    this.state();
    announce('Both mixes work');
    const ends = await Promise.all(this.jobs.map((j) => j.done));
    this.jobs = [];
    this.state();
    ends.forEach(({ error }, i) => error && this.side[i].append(errorBox(error)));
    const sides = ends.map((e) => e.trace);
    this.judge(sides);
    announce('Both replies are there');
    await store.save({ id: store.newId(), kind: 'compare', title: prompt.slice(0, 80), created: Date.now(), updated: Date.now(), prompt, sides });
    this.app.chat.refresh();
  }

  state() {
    this.go.hidden = this.busy;
    this.halt.hidden = !this.busy;
    if (this.busy) this.halt.focus();
  }

  // The figures beside each other; the better one is marked where less is better.
  judge(sides) {
    const s = sides.map((t) => sums(t, prices())), row = (name, v, show, less = true) => {
      const best = less && v[0] !== v[1] ? v.indexOf(Math.min(...v)) : -1;
      return v.every((x) => x !== undefined) && h('tr', h('th', { scope: 'row' }, name), v.map((x, i) => h(`td${i === best ? '.best' : ''}`, show(x), i === best && h('span.visually-hidden', ' (less)'))));
    };
    put(this.verdict, h('table', h('thead', h('tr', h('th', ''), sides.map((t, i) => h('th', { scope: 'col' }, `${SIDES[i]} · ${t.mix}`)))), h('tbody', row('time', sides.map(duration), seconds), row('calls', s.map((x) => x.calls || 1), count, false),
      row('tokens written', s.map((x) => x.completion), count), row('prompt tokens computed', s.map((x) => x.prompt - x.reused), count), row('cost', s.map((x) => x.cost), (x) => `$${x.toFixed(4)}`))));
  }

  async open(id) {
    const item = await store.get(id);
    if (!item || this.busy || item.kind !== 'compare') return;
    this.input.value = item.prompt;
    item.sides.forEach((t, i) => this.column(i, t.mix).show(t));
    this.judge(item.sides);
  }
}
