// runview.js - a run on the page: a line that sums it up, the graph, a card for each call, the reply. The same for one that is under way, one of
// the history, and one that is replayed. SPDX-License-Identifier: Apache-2.0
import { copy, count, h, iconButton, many, money, percent, put, seconds, svg, text } from './dom.js';
import { Graph, hue, mark, shown, words } from './graph.js';
import { render } from './markdown.js';
import { getJson } from './api.js';
import { clusters, cost, duration, fromTrace, sums } from './run.js';
import { prices } from './settings.js';

const ROLE = { proposer: 'proposal', aggregator: 'synthesis', vote: 'vote' };
const roleOf = (n) => ROLE[n.role] || n.role || 'call';
const rate = (n) => n.completion_tokens && n.seconds - (n.first_s || 0) > 0.001 ? n.completion_tokens / (n.seconds - (n.first_s || 0)) : undefined;
const swap = (el, now) => { // a mark is drawn anew only when the state changes, so that a spinner turns on
  if (el.dataset.state === now) return;
  el.dataset.state = now;
  put(el, mark(now));
};

// The last line that is not blank: what an answer mostly comes down to.
const gist = (s) => (s || '').trim().split('\n').pop().slice(0, 120);

// ---- one card ----

class Card {
  constructor(n, onPick) {
    this.mark = h('span');
    this.time = h('span.time');
    this.body = h('div.card-text.md');
    this.foot = h('div.card-foot');
    this.span = h('i');
    this.name = h('button.card-name', { type: 'button', onclick: () => onPick(n.node) }, h('b', n.node), h('span.role'), h('span.visually-hidden', ', show everything'));
    this.el = h('li.card', h('header', this.mark, this.name, this.time), this.body, this.foot, h('div.span', { 'aria-hidden': 'true' }, this.span));
    this.el.addEventListener('click', (e) => {
      if (!e.target.closest('a, button, figure, .table') && !String(getSelection())) onPick(n.node);
    });
  }

  show(n, trace, vote, whole) {
    const s = shown(n), several = trace.nodes.some((x) => x.model && n.model && x.model !== n.model);
    this.el.className = `card ${s} hue${hue(trace, n.node)}${vote?.won ? ' won' : ''}${n.answer ? ' answers' : ''}`;
    swap(this.mark, s);
    text(this.name.querySelector('.role'), `${roleOf(n)}${n.model && several ? ` · ${n.model}` : ''}`);
    text(this.time, n.state === 'running' || n.state === 'waiting' ? words[n.state] : seconds(n.seconds ?? n.ended - n.started));
    if (n.vote) this.votes(n, trace);
    else if (this.was !== n.text) {
      const low = this.body.scrollHeight - this.body.scrollTop - this.body.clientHeight < 24;
      render(this.body, n.text);
      if (n.state === 'running' && low) this.body.scrollTop = this.body.scrollHeight;
    }
    this.was = n.text;
    this.el.classList.toggle('quiet', !n.text && !n.vote);
    this.feet(n, vote);
    const a = n.started ?? whole, b = n.ended ?? (n.state === 'running' ? trace.seconds ?? whole : a);
    this.span.style.marginInlineStart = `${(100 * a) / whole}%`;
    this.span.style.width = `${Math.max(n.started === undefined ? 0 : 1, (100 * (b - a)) / whole)}%`;
  }

  feet(n, vote) {
    const tps = rate(n), c = cost(n, prices()), out = [];
    if (vote) out.push([vote.abstained ? 'no answer to compare' : `${vote.letter} · ${vote.size} of ${vote.of}`, `tag cluster rank${Math.min(vote.rank, 4)}`]);
    if (vote?.won) out.push(['★ chosen', 'tag won']);
    if (vote?.score !== undefined || n.score !== undefined) out.push([`score ${(vote?.score ?? n.score).toFixed(2)}`, 'tag']);
    if (n.completion_tokens) out.push([many(n.completion_tokens, 'token')]);
    if (tps) out.push([`${count(tps)}/s`]);
    if (n.reused_tokens) out.push([`${count(n.reused_tokens)}/${count(n.prompt_tokens)} of the prompt reused`]);
    if (c !== undefined) out.push([money(c)]);
    if (n.thoughts && !n.text && n.state === 'running') out.push(['thinks', 'tag']);
    if (n.finish === 'length') out.push(['cut at its maximum', 'tag warn']);
    if (n.note) out.push([n.note, n.replaced || n.state === 'failed' ? 'tag warn note' : 'note']);
    const key = out.map((x) => x.join()).join('|');
    if (key === this.feetKey) return;
    this.feetKey = key;
    put(this.foot, out.map(([words_, cls]) => h(`span${cls ? `.${cls.split(' ').join('.')}` : ''}`, words_)));
  }

  votes(n, trace) {
    const of = clusters(trace), groups = new Map();
    n.in.forEach((name) => {
      const c = of[name];
      if (!c) return;
      const g = groups.get(c.letter) || { ...c, won: false, names: [] };
      g.names.push(name);
      g.won ||= c.won;
      groups.set(c.letter, g);
    });
    const rows = [...groups.values()].sort((a, b) => (a.abstained ? 1 : 0) - (b.abstained ? 1 : 0) || b.size - a.size);
    const key = JSON.stringify(rows);
    if (key === this.voteKey) return;
    this.voteKey = key;
    put(this.body, h('ul.votes', rows.map((g) => {
      const size = g.names.length, bar = h('i');
      bar.style.width = `${(100 * size) / n.in.length}%`;
      return h(`li.rank${Math.min(g.rank, 4)}${g.won ? '.won' : ''}`, h('b', g.letter), h('span.bar', { 'aria-hidden': 'true' }, bar), h('span.n', String(size)),
        h('span.gist', g.abstained ? 'no answer to compare' : gist(trace.nodes.find((x) => x.node === g.names[0])?.text), h('small', ` ${g.names.join(', ')}`)));
    })));
  }
}

// ---- everything about one call ----

function facts(n, vote) {
  const c = cost(n, prices()), tps = rate(n), fresh = n.prompt_tokens !== undefined ? n.prompt_tokens - (n.reused_tokens || 0) : undefined;
  return [
    ['state', words[shown(n)]], ['model', n.model], ['began', n.started !== undefined && `after ${seconds(n.started)}`], ['first token', n.first_s !== undefined && `after ${seconds(n.first_s)}`],
    ['took', n.seconds !== undefined && seconds(n.seconds)], ['wrote', n.completion_tokens !== undefined && `${many(n.completion_tokens, 'token')}${tps ? `, ${count(tps)} a second` : ''}`],
    ['prompt', n.prompt_tokens !== undefined && `${many(n.prompt_tokens, 'token')}: ${count(n.reused_tokens || 0)} reused, ${count(fresh)} computed`], ['ended', n.finish],
    ['cluster', vote && (vote.abstained ? 'none: no answer to compare' : `${vote.letter}, ${vote.size} of ${vote.of}${vote.won ? ', chosen' : ''}`)], ['votes', n.vote && `${n.vote.votes ?? ''} of ${n.vote.size ?? n.vote.members.length} in the largest of ${many(n.vote.clusters ?? 0, 'cluster')}`],
    ['cost', c !== undefined && money(c)], ['note', n.note],
  ].filter(([, v]) => v);
}

function conversation(n, trace, open) {
  const list = (n.messages?.length ? n.messages : trace.messages) || [], reads = n.in.map((i) => trace.nodes.find((x) => x.node === i)).filter(Boolean);
  return [
    list.length > 0 && h('details', h('summary', `Messages it read (${list.length})`), list.map((m) => h('div.message', h('b', m.role), h('pre', m.content)))),
    reads.length > 0 && h('p.reads', 'Reads ', reads.map((x) => h(`button.chip.hue${hue(trace, x.node)}`, { type: 'button', onclick: () => open(x.node) }, x.node))),
  ];
}

// What a call read stands in the server's trace alone, as long as the server keeps it.
async function fetchMessages(trace) {
  if (!trace.id || trace.asked || trace.state === 'running' || trace.nodes.some((n) => n.messages)) return false;
  trace.asked = true;
  try {
    for (const n of fromTrace(await getJson(`/v1/traces/${encodeURIComponent(trace.id)}`)).nodes) Object.assign(trace.nodes.find((x) => x.node === n.node) || {}, { messages: n.messages });
    return true;
  } catch {
    return false;
  }
}

let dialog, open;
export function showNode(trace, name) {
  const n = trace.nodes.find((x) => x.node === name);
  if (!n) return;
  open = [trace, name];
  fetchMessages(trace).then((came) => came && dialog.open && open[0] === trace && showNode(trace, open[1]));
  if (!dialog) {
    dialog = h('dialog.sheet', { 'aria-labelledby': 'node-title', onclick: (e) => e.target === dialog && dialog.close() });
    document.body.append(dialog);
  }
  const at = trace.nodes.indexOf(n), go = (d) => showNode(trace, trace.nodes[(at + d + trace.nodes.length) % trace.nodes.length].node), vote = clusters(trace)[name];
  dialog.onkeydown = (e) => {
    if (e.target.closest('pre, input, textarea')) return;
    if (e.key === 'ArrowRight' || e.key === 'ArrowLeft') go(e.key === 'ArrowRight' ? 1 : -1);
  };
  const had = dialog.open && document.activeElement?.getAttribute('aria-label'); // the same button keeps the focus
  const copyButton = iconButton('copy', 'Copy the text', () => copy(n.text, copyButton));
  put(dialog, h('header', h('span', mark(shown(n))), h('h2', { id: 'node-title' }, n.node, h('small', ` ${roleOf(n)}`)), iconButton('left', 'The call before (Arrow left)', () => go(-1)), iconButton('chevron', 'The next call (Arrow right)', () => go(1)),
    copyButton, iconButton('close', 'Close (Escape)', () => dialog.close())),
  h('div.sheet-body', h('dl.facts', facts(n, vote).map(([k, v]) => h('div', h('dt', k), h('dd', v)))), n.thoughts && h('details', h('summary', 'What it thought first'), h('pre', n.thoughts)), n.text ? render(h('div.md'), n.text) : h('p.faint', n.state === 'waiting' ? 'It has not begun.' : 'It wrote nothing.'), conversation(n, trace, (x) => showNode(trace, x))));
  dialog.className = `sheet hue${hue(trace, name)}`;
  if (!dialog.open) dialog.showModal();
  else ([...dialog.querySelectorAll('header button')].find((b) => b.getAttribute('aria-label') === had) || dialog.querySelector('header button:last-child')).focus();
}

// ---- the whole ----

function summary(trace) {
  const s = sums(trace, prices()), p = trace.nodes.filter((n) => n.role === 'proposer').length, votes = trace.nodes.some((n) => n.role === 'vote'), merges = trace.nodes.filter((n) => n.role === 'aggregator').length;
  const parts = [p > 0 && many(p, 'proposal'), merges > 0 && many(merges, 'synthesis', 'syntheses'), votes && 'a vote'].filter(Boolean);
  const done = trace.nodes.filter((n) => n.state === 'done').length;
  const first = Math.min(...trace.nodes.filter((n) => n.answer && n.started !== undefined && n.first_s !== undefined).map((n) => n.started + n.first_s));
  const figures = trace.state === 'running' ? [trace.nodes.length > 0 ? `${done} of ${trace.nodes.length} done` : 'waits for its turn', trace.seconds !== undefined && seconds(trace.seconds)] : [
    seconds(trace.seconds), trace.waited > 0.2 && `after ${seconds(trace.waited)} in the queue`, Number.isFinite(first) && first < 0.95 * trace.seconds && `reply began after ${seconds(first)}`, s.completion > 0 && many(s.completion, 'token'), s.reused > 0 && s.prompt > 0 && `${percent(s.reused / s.prompt)} of prompts reused`,
    s.failed > 0 && `${many(s.failed, 'call')} failed`, s.cost !== undefined && money(s.cost)];
  return { title: parts.join(' → '), figures: figures.filter(Boolean) };
}

export class RunView {
  constructor({ open = true, onReplay, actions = [] } = {}) {
    this.graph = new Graph((name) => showNode(this.trace, name));
    this.cards = new Map();
    this.list = h('ol.cards', { 'aria-label': 'Calls of the mixture' });
    this.mark = h('span');
    this.title = h('span.run-title');
    this.figures = h('span.run-figures');
    this.toggle = h('button.run-head', { type: 'button', onclick: () => this.open(!this.isOpen) }, this.mark, this.title, this.figures, svg('svg.icon.chevron', { viewBox: '0 0 24 24', 'aria-hidden': 'true' }, svg('path', { d: 'M9 6l6 6-6 6' })));
    this.body = h('div.run-body', this.graph.box, this.list);
    this.replay = onReplay && h('button.quiet-button', { type: 'button', onclick: () => onReplay(this.trace) }, 'Replay');
    this.mix = h('section.run', { 'aria-label': 'How the reply was made' }, this.toggle, this.body);
    this.reply = h('div.reply.md');
    this.meta = h('p.meta');
    this.el = h('div.run-view', this.mix, this.reply, h('div.reply-foot', this.meta, h('div.actions', actions, this.replay)));
    this.open(open);
  }

  open(yes) {
    this.isOpen = yes;
    this.body.hidden = !yes;
    this.toggle.setAttribute('aria-expanded', String(yes));
  }

  show(trace) {
    this.trace = trace;
    const mixed = trace.nodes.length > 1, whole = Math.max(duration(trace), trace.now || 0), votes = clusters(trace), { title, figures } = summary(trace);
    this.mix.hidden = !mixed;
    if (mixed) {
      this.graph.show(trace);
      for (const n of trace.nodes) {
        let c = this.cards.get(n.node);
        if (!c) {
          this.cards.set(n.node, (c = new Card(n, (name) => showNode(this.trace, name))));
          this.list.append(c.el);
        }
        c.show(n, trace, votes[n.node], whole);
      }
      for (const [name, c] of this.cards) {
        if (trace.nodes.some((n) => n.node === name)) continue;
        c.el.remove();
        this.cards.delete(name);
      }
    }
    swap(this.mark, trace.state);
    text(this.title, title || trace.mix || 'reply');
    text(this.figures, figures.join(' · '));
    if (this.was !== trace.reply) render(this.reply, (this.was = trace.reply));
    this.reply.classList.toggle('growing', trace.state === 'running');
    this.reply.hidden = !trace.reply && trace.state !== 'running';
    text(this.meta, `${trace.mix || ''}${mixed ? '' : figures.length ? ` · ${figures.join(' · ')}` : ''}${trace.finish === 'length' ? ' · cut at its maximum' : ''}${trace.state === 'cancelled' ? ' · stopped' : ''}${trace.state === 'failed' && trace.error ? ` · ${trace.error}` : ''}`);
    if (this.replay) this.replay.hidden = trace.state === 'running' || !trace.nodes.length;
  }
}
