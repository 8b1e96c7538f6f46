// main.js - the frame: views by the address behind '#', keys of the keyboard, theme, the bearer key, words for what went wrong.
// SPDX-License-Identifier: Apache-2.0
import { announce, h, icon, iconButton, put, text } from './dom.js';
import * as api from './api.js';
import { Chat } from './chat.js';
import { Compare } from './compare.js';
import { Replay } from './replay.js';
import { Metrics } from './metrics.js';
import { loadModels, nextTheme, priceTable, setTheme, theme } from './settings.js';

const VIEWS = [['chat', 'Chat'], ['compare', 'Compare'], ['traces', 'Traces'], ['metrics', 'Metrics']];
const KEYS = [
  ['Enter', 'send; Shift+Enter begins a new line'], ['Escape', 'stop what runs; close what is open'], ['/', 'to the message field'], ['Alt + N', 'new chat'], ['Alt + 1 … 4', 'chat, compare, traces, metrics'], ['Alt + T', 'tune the mix'], ['Alt + D', 'light, dark, as the system'],
  ['Tab, then Enter', 'on a node of the graph or a card: everything about this call'], ['← →', 'in that window: the call before, the next one; in a replay: back and forth'], ['Space', 'in a replay: play, pause'], ['?', 'this list'],
];

class App {
  constructor() {
    this.dialogs();
    this.chat = new Chat(this);
    this.compare = new Compare(this);
    this.traces = new Replay(this);
    this.metrics = new Metrics(this);
    this.view = { chat: this.chat, compare: this.compare, traces: this.traces, metrics: this.metrics };
    this.frame();
    addEventListener('hashchange', () => this.route());
    addEventListener('keydown', (e) => this.key(e));
    document.addEventListener('moa-key', () => this.askKey());
    api.onState((s) => this.health(s));
    this.route();
    this.connect();
  }

  frame() {
    this.themeButton = iconButton('auto', '', () => this.turnTheme());
    this.dot = h('span.health', { title: 'The server' });
    this.menu = iconButton('menu', 'Chats', () => this.sidebar(!document.body.classList.contains('side-open')), 'menu');
    this.tabs = h('nav', { 'aria-label': 'Views' }, VIEWS.map(([id, name], i) => h('a', { href: `#/${id}`, title: `Alt+${i + 1}` }, name)));
    this.main = h('main', { id: 'main', tabIndex: -1 });
    const keyButton = iconButton('key', 'Key and prices', () => this.askKey());
    put(document.getElementById('app'), h('header.top', this.menu, h('a.brand', { href: '#/chat', 'aria-label': 'moa: new chat' }, h('img', { src: '/ui/icon.svg', alt: '', width: 26, height: 26 }), h('span', 'moa')), this.tabs, h('span.grow'), this.dot, keyButton, this.themeButton, h('button.icon-button.help', { type: 'button', title: 'Keys of the keyboard (?)', 'aria-label': 'Keys of the keyboard', onclick: () => this.keys.showModal() }, '?')), this.main);
    this.main.addEventListener('click', () => this.sidebar(false), true);
    this.paintTheme();
  }

  sidebar(yes) {
    if (!yes && !document.body.classList.contains('side-open')) return;
    document.body.classList.toggle('side-open', yes);
    this.menu.setAttribute('aria-expanded', String(yes));
  }

  // ---- where we are ----

  go(hash, quiet) {
    if (quiet) history.replaceState(null, '', hash);
    else if (location.hash === hash) this.route();
    else location.hash = hash;
  }

  route() {
    const [, name, id] = location.hash.split('/'), which = this.view[name] ? name : 'chat', view = this.view[which];
    if (this.here !== which) {
      this.here = which;
      put(this.main, view.el);
      [...this.tabs.children].forEach((a, i) => (VIEWS[i][0] === which ? a.setAttribute('aria-current', 'page') : a.removeAttribute('aria-current')));
      if (which !== 'traces') this.traces.pause();
      if (which === 'metrics') this.metrics.start();
      else this.metrics.stop();
      document.body.dataset.view = which;
    }
    document.title = `moa · ${VIEWS.find(([v]) => v === which)[1]}`;
    if (which === 'traces') this.traces.refresh().then(() => id && this.traces.open(decodeURIComponent(id)));
    else if (which === 'chat' && !id && this.chat.item.turns.length) this.chat.fresh();
    else if (id) view.open(id);
    if (which === 'chat' && matchMedia('(pointer: fine)').matches) this.chat.input.focus();
  }

  replay(trace) {
    this.go('#/traces');
    setTimeout(() => this.traces.load(JSON.parse(JSON.stringify(trace))), 0);
  }

  // ---- the server ----

  async connect() {
    try {
      await loadModels();
    } catch (e) {
      if (e.status === 401) this.askKey();
      else setTimeout(() => this.connect(), 3000);
    }
  }

  health(state) {
    this.dot.className = `health ${state}`;
    const say = { up: 'The server answers', down: 'The server does not answer', key: 'The server wants a key' }[state];
    this.dot.title = say;
    put(this.dot, h('span.visually-hidden', say));
    if (state === 'down' && this.was === 'up') announce(say);
    this.was = state;
  }

  // ---- dialogs ----

  dialogs() {
    const close = (d) => iconButton('close', 'Close (Escape)', () => d.close()), shade = { onclick: (e) => e.target === e.currentTarget && e.currentTarget.close() };
    this.keys = h('dialog.small', { 'aria-label': 'Keys of the keyboard', ...shade });
    put(this.keys, h('header', h('h2', 'Keys'), close(this.keys)), h('dl.keys', KEYS.map(([k, v]) => h('div', h('dt', k.split(' + ').flatMap((x, i) => [i ? ' + ' : null, h('kbd', x)])), h('dd', v)))));
    this.secret = h('dialog.small', { 'aria-label': 'Key and prices', ...shade });
    this.asking = h('dialog.small', { 'aria-label': 'Are you sure?' });
    this.toast = h('div.toast', { role: 'alert', hidden: true });
    document.body.append(this.keys, this.secret, this.asking, this.toast);
  }

  askKey() {
    const input = h('input', { type: 'password', value: api.key.get(), autocomplete: 'off', spellcheck: false, id: 'key' }), keep = h('input', { type: 'checkbox', checked: api.key.remembered() });
    const save = (e) => {
      e.preventDefault();
      api.key.set(input.value.trim(), keep.checked);
      this.secret.close();
      this.connect();
      this.route();
    };
    put(this.secret, h('header', h('h2', 'Key and prices'), iconButton('close', 'Close (Escape)', () => this.secret.close())),
      h('form', { onsubmit: save }, h('label.field.wide', h('span', 'API key', h('small', this.was === 'key' ? 'the server wants one' : 'where the server wants one')), input), h('label.check', keep, 'Remember it in this browser'), h('div.actions', h('button.primary', { type: 'submit' }, 'Save'))),
      h('h3', 'Prices'), h('p.faint', 'In dollars per million tokens, for models that cost money. Kept in this browser.'), priceTable());
    if (!this.secret.open) this.secret.showModal();
    input.focus();
  }

  confirm(words, yes) {
    return new Promise((done) => {
      const end = (v) => (this.asking.close(), done(v));
      put(this.asking, h('p', words), h('div.actions', h('button.quiet-button', { type: 'button', onclick: () => end(false) }, 'Cancel'), h('button.primary.danger', { type: 'button', onclick: () => end(true) }, yes)));
      this.asking.oncancel = () => done(false);
      this.asking.showModal();
    });
  }

  say(words) {
    text(this.toast, words);
    this.toast.hidden = false;
    clearTimeout(this.toastTimer);
    this.toastTimer = setTimeout(() => (this.toast.hidden = true), 8000);
  }

  // ---- theme and keys ----

  turnTheme() {
    setTheme(nextTheme());
    this.paintTheme();
  }

  paintTheme() {
    const t = theme(), label = { auto: 'Theme: as the system', light: 'Theme: light', dark: 'Theme: dark' }[t];
    setTheme(t);
    put(this.themeButton, icon({ auto: 'auto', light: 'sun', dark: 'moon' }[t]));
    this.themeButton.title = label;
    this.themeButton.setAttribute('aria-label', label);
  }

  key(e) {
    const typing = e.target.closest?.('input, textarea, select'), open = document.querySelector('dialog[open]');
    if (e.key === 'Escape' && !open) {
      if (document.body.classList.contains('side-open')) this.sidebar(false);
      else if (this.view[this.here].busy) this.view[this.here].stop();
      else if (!this.chat.panel.hidden) this.chat.openPanel(false);
      return;
    }
    if (open || e.ctrlKey || e.metaKey) return;
    const alt = { n: () => (this.go('#/chat'), this.chat.input.focus()), t: () => (this.go(`#/chat/${this.chat.item.turns.length ? this.chat.item.id : ''}`), this.chat.openPanel(this.chat.panel.hidden)), d: () => this.turnTheme() };
    VIEWS.forEach(([id], i) => (alt[i + 1] = () => this.go(`#/${id}`)));
    const action = e.altKey ? alt[e.code.replace(/^(Key|Digit)/, '').toLowerCase()] : typing ? null : { '/': () => (this.view[this.here].input || this.chat.input).focus(), '?': () => this.keys.showModal() }[e.key];
    if (!action) return;
    e.preventDefault();
    action();
  }
}

window.moa = new App(); // for the tests and for who looks behind the page
