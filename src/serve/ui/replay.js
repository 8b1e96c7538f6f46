// replay.js - runs as they happened: those that the server keeps (/v1/traces), those of the history, and files; at any speed, back and forth.
// SPDX-License-Identifier: Apache-2.0
import { ago, announce, download, h, icon, iconButton, put, seconds, text } from './dom.js';
import { getJson } from './api.js';
import { errorBox } from './chat.js';
import { at, duration, fromTrace } from './run.js';
import { RunView } from './runview.js';

const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 4, 10];

export class Replay {
  constructor(app) {
    this.app = app;
    this.list = h('ul.traces', { 'aria-label': 'Traces that the server keeps' });
    this.file = h('input', { type: 'file', accept: '.json,application/json', hidden: true, 'aria-label': 'A file of a trace', onchange: () => this.read(this.file.files[0]) });
    this.view = new RunView({});
    this.clock = h('output.clock');
    this.range = h('input', { type: 'range', min: 0, max: 1000, step: 1, value: 0, 'aria-label': 'Time of the run', oninput: () => (this.pause(), this.seek((this.whole * this.range.value) / 1000)) });
    this.playButton = h('button.icon-button', { type: 'button', onclick: () => this.toggle() });
    this.speed = h('select', { 'aria-label': 'Speed' }, SPEEDS.map((s) => h('option', { value: s, selected: s === 1 }, `${s}×`)));
    this.title = h('h2');
    this.asked = h('div.said.md');
    this.player = h('section.player', { hidden: true, 'aria-label': 'Replay', onkeydown: (e) => this.key(e) }, h('header', this.title, iconButton('down', 'Save the trace as a file', () => download(`moa-trace-${this.trace.id || 'run'}.json`, 'application/json', JSON.stringify(this.trace, null, 1)))),
      h('div.controls', this.playButton, this.range, this.clock, this.speed), this.asked, this.view.el);
    this.drop = h('button.drop', { type: 'button', onclick: () => this.file.click() }, icon('up'), h('span', 'Drop a trace here, or choose a file'));
    this.el = h('div.replay.page', h('h1', 'Traces'), h('p.lead', 'The last requests, to look at again in the times at which they happened.'), h('div.split', h('div.pick-trace', this.list, this.drop, this.file), this.player));
    this.el.addEventListener('dragover', (e) => (e.preventDefault(), this.drop.classList.add('over')));
    this.el.addEventListener('dragleave', () => this.drop.classList.remove('over'));
    this.el.addEventListener('drop', (e) => (e.preventDefault(), this.drop.classList.remove('over'), this.read(e.dataTransfer.files[0])));
  }

  async refresh() {
    try {
      const r = await getJson('/v1/traces'), rows = (Array.isArray(r.data) ? r.data : []).slice(0, 200);
      const row = (t) => h('li', { className: this.trace?.id === t.id ? 'here' : '' }, h('a', { href: `#/traces/${encodeURIComponent(String(t.id))}` }, h('span.what', String(t.question || t.id)), h('small', [t.mix, seconds(t.seconds), t.status !== 'done' && t.status, Number.isFinite(t.created) && ago(t.created * 1000)].filter(Boolean).join(' · '))));
      put(this.list, rows.map(row), !rows.length && h('li.none', 'The server has none yet: ask it something.'));
    } catch (e) {
      put(this.list, h('li.none', e.status === 404 ? 'This server keeps no traces.' : errorBox(e, () => this.refresh())));
    }
  }

  async open(id) {
    if (this.trace?.id === id) return;
    try {
      this.load(await getJson(`/v1/traces/${encodeURIComponent(id)}`));
    } catch (e) {
      this.app.say(`${e.message} ${e.hint || ''}`);
    }
  }

  async read(file) {
    this.file.value = '';
    if (!file) return;
    try {
      if (file.size > 64 << 20) throw new Error('It is over 64 MB.');
      this.load(JSON.parse(await file.text()));
    } catch (e) {
      this.app.say(`${file.name}: ${e.message}`);
    }
  }

  load(json) {
    this.trace = fromTrace(json);
    this.whole = duration(this.trace);
    this.player.hidden = false;
    text(this.title, this.trace.mix || 'A run');
    const question = this.trace.messages.filter((m) => m.role === 'user').at(-1)?.content || '';
    text(this.asked, question.slice(0, 4000));
    this.asked.hidden = !question;
    this.seek(0);
    this.play();
    this.playButton.focus();
    for (const li of this.list.children) li.classList.toggle('here', li.querySelector('a')?.hash === `#/traces/${encodeURIComponent(this.trace.id)}`);
  }

  seek(t) {
    this.t = Math.max(0, Math.min(this.whole, t));
    this.view.show({ ...at(this.trace, this.t), now: this.whole });
    this.range.value = (1000 * this.t) / this.whole;
    this.range.setAttribute('aria-valuetext', `${seconds(this.t)} of ${seconds(this.whole)}`);
    text(this.clock, `${seconds(this.t)} / ${seconds(this.whole)}`);
  }

  play() {
    if (!this.trace) return;
    if (this.t >= this.whole) this.t = 0;
    const turn = (this.turn = {});
    let was = performance.now();
    this.playing = true;
    this.button();
    const step = (now) => {
      if (turn !== this.turn || !this.playing) return;
      this.seek(this.t + ((now - was) / 1000) * Number(this.speed.value));
      was = now;
      if (this.t >= this.whole) {
        this.pause();
        announce('The replay has ended');
      } else requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  pause() {
    this.playing = false;
    this.button();
  }

  toggle() { (this.playing ? this.pause() : this.play()); }

  button() {
    const label = this.playing ? 'Pause (Space)' : 'Play (Space)';
    this.playButton.title = label;
    this.playButton.setAttribute('aria-label', label);
    put(this.playButton, icon(this.playing ? 'pause' : 'play'));
  }

  key(e) {
    if (e.key === ' ' && !e.target.closest('button, summary, select, a, .node')) {
      e.preventDefault();
      this.toggle();
    }
  }
}
