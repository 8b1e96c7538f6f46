// chat.js - conversations: the history beside them, the turns, the field to write in. A run goes on when another chat is shown, and is kept
// while it grows, so that a reload loses at most two seconds. SPDX-License-Identifier: Apache-2.0
import { ago, announce, copy, download, h, icon, iconButton, many, put, text } from './dom.js';
import * as api from './api.js';
import { Live } from './run.js';
import { RunView } from './runview.js';
import { render } from './markdown.js';
import { ModelChoice, recall, remember, request, Tune } from './settings.js';
import * as store from './store.js';

const STARTS = [
  ['Add up', 'Tom has 12 apples. He buys 9 more and gives 4 to Anna. How many apples does Tom have now?'],
  ['A short sum', 'What is 17 + 25?'],
  ['Tell', 'Tell me a short story about a bird that could not fly.'],
];

// ---- what went wrong, in the server's words, and what to do ----

export function errorBox(e, again) {
  const wait = h('span.wait'), button = again && h('button.quiet-button', { type: 'button', onclick: again }, 'Try again');
  if (again && e.retryAfter) {
    let left = e.retryAfter;
    const tick = () => {
      text(wait, left > 0 ? ` The server asks for ${many(left, 'second')} of patience.` : '');
      if (left-- > 0 && wait.isConnected !== false) setTimeout(tick, 1000);
    };
    tick();
  }
  return h('div.error', { role: 'alert' }, h('p', h('b', e.message), e.param && h('span', ` (${e.param})`)), h('p', e.hint || '', wait),
    h('div.actions', button, e.status === 401 && h('button.quiet-button', { type: 'button', onclick: () => document.dispatchEvent(new CustomEvent('moa-key')) }, 'Enter a key')));
}

// ---- one run of one request, shown as it grows ----

// Resolves when it is over; job.stop() ends it.
export function play(body, view, { onGrow, messages }) {
  const live = new Live(body.model, messages), abort = new AbortController(), job = { live, stop: () => abort.abort(), trace: live.trace };
  let asked = false, last = 0;
  const draw = () => {
    asked = false;
    if (live.trace.state !== 'running') return;
    live.trace.seconds = live.now;
    view.show(live.trace);
    onGrow?.(live.trace, live.now - last > 2 && !!(last = live.now));
  };
  const beat = setInterval(() => draw(), 250);
  const grow = () => {
    if (!asked) requestAnimationFrame(draw);
    asked = true;
  };
  job.done = (async () => {
    let state = 'done', error;
    try {
      for await (const c of api.chat(body, abort.signal, (id) => id && (live.trace.id = id))) {
        live.chunk(c);
        grow();
      }
    } catch (e) {
      state = e.name === 'AbortError' ? 'cancelled' : 'failed';
      if (state === 'failed') error = e;
    }
    clearInterval(beat);
    live.end(state, error?.message);
    view.show(live.trace);
    return { trace: live.trace, error };
  })();
  view.show(live.trace);
  return job;
}

// ---- the view ----

export class Chat {
  constructor(app) {
    this.app = app;
    this.jobs = new Map(); // id of a chat -> its job
    this.turns = h('div.turns');
    this.pinned = true; // to the newest text, until the reader goes up
    const leave = () => (this.pinned = false);
    this.scroll = h('div.scroll', {
      tabIndex: -1, onscroll: () => (this.pinned ||= this.scroll.scrollHeight - this.scroll.scrollTop - this.scroll.clientHeight < 40), onwheel: (e) => e.deltaY < 0 && leave(), ontouchmove: leave,
      onpointerdown: (e) => e.target === this.scroll && leave(), onkeydown: (e) => ['PageUp', 'ArrowUp', 'Home'].includes(e.key) && leave(),
    }, this.turns);
    this.history = h('ul.history', { 'aria-label': 'History' });
    this.build();
    this.fresh();
    this.refresh();
  }

  build() {
    this.input = h('textarea', { rows: 1, placeholder: 'Ask the mixture', 'aria-label': 'Message', oninput: () => this.fit(), onkeydown: (e) => this.key(e) });
    this.sendButton = h('button.send', { type: 'submit', title: 'Send (Enter)', 'aria-label': 'Send' }, icon('send'));
    this.stopButton = h('button.send.stop', { type: 'button', title: 'Stop (Escape)', 'aria-label': 'Stop', hidden: true, onclick: () => this.stop() }, icon('stop'));
    this.model = new ModelChoice('Model or mix', (id) => this.choose(id));
    this.tune = new Tune((v) => (this.item.tune = { ...v }, remember('tune', v), this.mark()));
    this.system = h('textarea', { rows: 3, placeholder: 'none', oninput: () => (this.item.system = this.system.value, remember('system', this.system.value), this.mark()) });
    this.panel = h('div.panel', { id: 'tune', hidden: true }, this.tune.el, h('label.field.wide', h('span', 'System prompt'), this.system));
    this.tuneButton = h('button.quiet-button.tune-button', { type: 'button', 'aria-expanded': 'false', 'aria-controls': 'tune', onclick: () => this.openPanel(this.panel.hidden) }, icon('tune'), h('span', 'Tune'), h('i.dot', { hidden: true }));
    this.form = h('form.composer', { onsubmit: (e) => (e.preventDefault(), this.send()) }, this.panel, h('div.box', this.input, h('div.row', this.model.el, this.tuneButton, this.model.help, this.sendButton, this.stopButton)));
    this.file = h('input', { type: 'file', accept: '.json,application/json', hidden: true, 'aria-label': 'A file of an exported history', onchange: () => this.import() });
    const side = h('aside.side', { id: 'side', 'aria-label': 'Chats' }, h('div.side-head', h('button.quiet-button.new', { type: 'button', title: 'New chat (Alt+N)', onclick: () => this.app.go('#/chat') }, icon('plus'), 'New chat')), this.history,
      h('div.side-foot', iconButton('down', 'Export everything as JSON', () => this.exportAll()), iconButton('up', 'Import a history', () => this.file.click()), iconButton('trash', 'Delete the whole history', () => this.deleteAll()), this.file, h('small', 'Kept in this browser alone')));
    this.el = h('div.chat', side, h('div.talk', this.scroll, this.form));
  }

  // ---- what is asked ----

  fresh() {
    this.item = { id: store.newId(), kind: 'chat', title: '', created: Date.now(), updated: Date.now(), model: recall('model', ''), system: recall('system', ''), tune: recall('tune', {}), turns: [] };
    this.show();
  }

  choose(id) {
    this.item.model = id;
    remember('model', id);
    this.tune.show(id, this.item.tune);
  }

  mark() {
    this.tuneButton.querySelector('.dot').hidden = !this.item.system && !Object.keys(this.item.tune).length;
  }

  openPanel(yes) {
    this.panel.hidden = !yes;
    this.tuneButton.setAttribute('aria-expanded', String(yes));
    if (yes) this.tune.show(this.model.value, this.item.tune);
  }

  fit() {
    if (!this.input.isConnected) return;
    this.input.style.height = 'auto';
    this.input.style.height = `${Math.min(this.input.scrollHeight, innerHeight * 0.4)}px`;
  }

  key(e) {
    if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) {
      e.preventDefault();
      this.send();
    }
  }

  // Turns up to n as the server reads them; a reply that never came leaves no trace, nor does its question.
  messages(n) {
    const out = this.item.system.trim() ? [{ role: 'system', content: this.item.system }] : [];
    this.item.turns.slice(0, n).forEach((t, i) => {
      const reply = (x) => x?.role === 'assistant' && x.variants[x.pick]?.reply;
      if (t.role === 'user' && (i === n - 1 || reply(this.item.turns[i + 1]))) out.push({ role: 'user', content: t.text });
      else if (reply(t)) out.push({ role: 'assistant', content: reply(t) });
    });
    return out;
  }

  send() {
    const words = this.input.value.trim();
    if (!words || this.jobs.has(this.item.id)) return;
    this.input.value = '';
    this.fit();
    this.ask(words);
  }

  ask(words) {
    if (!this.item.title) this.item.title = words.replace(/\s+/g, ' ').slice(0, 80);
    this.item.turns.push({ role: 'user', text: words }, { role: 'assistant', variants: [], pick: -1 });
    this.show();
    this.app.go(`#/chat/${this.item.id}`, true);
    this.run(this.item.turns.length - 1);
  }

  // Makes one more reply for the turn at i.
  async run(i) {
    const item = this.item, turn = item.turns[i], messages = this.messages(i);
    item.model = this.model.value;
    const view = this.viewOf(i);
    const job = play(request(item.model, item.tune, messages), view, {
      messages,
      onGrow: (trace, keep) => {
        if (keep) this.keep(item);
        if (item === this.item) this.follow();
      },
    });
    turn.variants.push(job.trace);
    turn.pick = turn.variants.length - 1;
    turn.error = null;
    this.jobs.set(item.id, job);
    this.showState();
    this.keep(item);
    announce('The mixture works');
    const { trace, error } = await job.done;
    this.jobs.delete(item.id);
    if (error) {
      turn.error = error;
      if (!trace.reply && turn.variants.length > 1) {
        turn.variants.pop();
        turn.pick--;
      }
    }
    announce(trace.state === 'done' ? 'The reply is there' : trace.state === 'cancelled' ? 'Stopped' : `It failed: ${error?.message || ''}`);
    await this.keep(item);
    if (item !== this.item) return;
    this.showTurn(i);
    this.showState();
    this.follow();
  }

  stop() {
    this.jobs.get(this.item.id)?.stop();
  }

  get busy() { return this.jobs.has(this.item.id); }

  regenerate(i) {
    if (this.busy) return;
    this.item.turns.length = i + 1;
    this.show();
    this.run(i);
  }

  edit(i) {
    if (this.busy) return;
    const el = this.turns.children[i], t = this.item.turns[i];
    const area = h('textarea', { value: t.text, 'aria-label': 'Edit the message', rows: Math.min(12, t.text.split('\n').length + 1) });
    const go = () => {
      const words = area.value.trim();
      if (!words) return;
      this.item.turns.length = i;
      this.ask(words);
    };
    area.addEventListener('keydown', (e) => {
      if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) e.preventDefault(), go();
      if (e.key === 'Escape') e.stopPropagation(), this.showTurn(i);
    });
    put(el, h('div.editing', area, h('div.actions', h('button.quiet-button', { type: 'button', onclick: () => this.showTurn(i) }, 'Cancel'), h('button.primary', { type: 'button', onclick: go }, 'Send again'))));
    area.focus();
  }

  // ---- what is shown ----

  show() {
    this.input.value = '';
    this.fit();
    this.model.set(this.item.model);
    this.system.value = this.item.system;
    this.tune.show(this.model.value, this.item.tune);
    this.mark();
    this.views = [];
    put(this.turns, this.item.turns.length ? this.item.turns.map(() => h('article')) : this.welcome());
    this.item.turns.forEach((_, i) => this.showTurn(i));
    this.showState();
    this.pinned = true;
    this.follow();
    this.paintHistory();
  }

  welcome() {
    return h('div.welcome', h('h1', 'Ask a mixture'), h('p', 'Several drafts of one or more models, merged or voted into one reply. Watch each of them think.'),
      h('ul', STARTS.map(([name, words]) => h('li', h('button.start', { type: 'button', onclick: () => this.ask(words) }, h('b', name), h('span', words))))));
  }

  viewOf(i) {
    const el = this.turns.children[i];
    const again = iconButton('again', 'Make another reply', () => this.regenerate(i)), copyButton = iconButton('copy', 'Copy the reply', () => copy(this.item.turns[i].variants[this.item.turns[i].pick]?.reply || '', copyButton));
    const view = new RunView({ open: this.views[i]?.isOpen ?? i >= this.item.turns.length - 1, onReplay: (trace) => this.app.replay(trace), actions: [copyButton, again, this.variants(i)] });
    put(el, view.el);
    el.className = 'turn assistant';
    el.setAttribute('aria-label', 'Reply');
    this.views[i] = view;
    return view;
  }

  variants(i) {
    const t = this.item.turns[i];
    if (t.variants.length < 2) return null;
    const go = (d) => {
      t.pick = (t.pick + d + t.variants.length) % t.variants.length;
      this.showTurn(i);
      this.keep(this.item);
    };
    return h('span.variants', iconButton('left', 'The reply before', () => go(-1)), h('span', `${t.pick + 1}/${t.variants.length}`), iconButton('chevron', 'The next reply', () => go(1)));
  }

  showTurn(i) {
    const t = this.item.turns[i], el = this.turns.children[i];
    if (t.role === 'user') {
      const copyButton = iconButton('copy', 'Copy the message', () => copy(t.text, copyButton));
      put(el, render(h('div.said.md'), t.text), h('div.actions', copyButton, iconButton('edit', 'Edit and send again', () => this.edit(i))));
      el.className = 'turn user';
      el.setAttribute('aria-label', 'You');
      return;
    }
    const trace = t.variants[t.pick], job = this.jobs.get(this.item.id);
    if (job && trace === job.trace) return; /* it draws itself */
    const view = this.viewOf(i);
    if (trace) {
      if (trace.state === 'running') trace.state = 'cancelled'; /* the page was closed over it */
      view.show(trace);
    }
    const failed = t.error || (trace?.state === 'failed' && { message: trace.error || 'It failed.', hint: '' });
    if (failed) el.append(errorBox(failed, () => this.regenerate(i)));
    if (!trace?.nodes.length && !trace?.reply) view.el.hidden = !!failed;
  }

  showState() {
    const busy = this.busy, had = document.activeElement === this.sendButton || document.activeElement === this.stopButton;
    this.sendButton.hidden = busy;
    this.stopButton.hidden = !busy;
    if (had) (busy ? this.stopButton : this.sendButton).focus();
    this.el.classList.toggle('busy', busy);
  }

  follow() {
    if (this.pinned) this.scroll.scrollTop = this.scroll.scrollHeight;
  }

  // ---- history ----

  async keep(item) {
    if (!item.turns.length) return;
    item.updated = Date.now();
    const { turns, ...rest } = item;
    await store.save({ ...rest, turns: turns.map(({ error, ...t }) => t) }).catch(() => announce('The history could not be kept'));
    this.refresh();
  }

  async refresh() {
    this.rows = await store.all().catch(() => []);
    this.paintHistory();
  }

  paintHistory() {
    const row = (r) => h('li', { className: r.id === this.item.id ? 'here' : '' },
      h('a', { href: `#/${r.kind}/${r.id}`, 'aria-current': r.id === this.item.id ? 'page' : null }, h('span.what', r.kind === 'compare' && icon('columns'), r.title || 'Untitled'), h('small', ago(r.updated))),
      h('span.row-actions', iconButton('down', `Export “${r.title}” as Markdown`, () => download(`moa-${r.id}.md`, 'text/markdown', store.toMarkdown(r))), iconButton('trash', `Delete “${r.title}”`, () => this.delete(r))));
    put(this.history, (this.rows || []).map(row), !this.rows?.length && h('li.none', 'Nothing yet'));
  }

  async open(id) {
    if (id === this.item.id) return;
    const item = await store.get(id);
    if (!item || item.kind !== 'chat') return this.fresh();
    const job = this.jobs.get(id);
    this.item = job ? this.running(item, job) : item;
    this.show();
  }

  // A chat that runs in the background comes back with the run that grows.
  running(item, job) {
    const t = item.turns.at(-1);
    t.variants[t.pick] = job.trace;
    job.done.then(() => item === this.item && (this.showTurn(item.turns.length - 1), this.showState(), this.keep(item)));
    const timer = setInterval(() => {
      if (item !== this.item || job.trace.state !== 'running') return clearInterval(timer);
      const i = item.turns.length - 1;
      (this.views[i] || this.viewOf(i)).show(job.trace);
      return undefined;
    }, 200);
    return item;
  }

  async delete(r) {
    this.jobs.get(r.id)?.stop();
    await store.remove(r.id);
    announce('Deleted');
    if (r.id === this.item.id) this.app.go('#/chat');
    this.refresh();
  }

  async deleteAll() {
    if (!this.rows?.length || !(await this.app.confirm(`Delete all ${many(this.rows.length, 'chat')}? They are nowhere else.`, 'Delete'))) return;
    for (const j of this.jobs.values()) j.stop();
    await store.clear();
    this.app.go('#/chat');
    this.fresh();
    this.refresh();
  }

  exportAll() {
    download(`moa-history-${new Date().toISOString().slice(0, 10)}.json`, 'application/json', store.toJson(this.rows || []));
  }

  async import() {
    const f = this.file.files[0];
    this.file.value = '';
    if (!f) return;
    try {
      const items = store.fromJson(await f.text());
      for (const i of items) await store.save(i);
      announce(`${many(items.length, 'chat')} imported`);
    } catch (e) {
      this.app.say(`${f.name}: ${e.message}`);
    }
    this.refresh();
  }
}
