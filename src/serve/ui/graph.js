// graph.js - the graph of a run: layers from left to right, an edge for each text that is read. What a node does is its shape, how it fares is
// its mark and only then its colour. SPDX-License-Identifier: Apache-2.0
import { h, put, svg, text } from './dom.js';
import { clusters, layers } from './run.js';

const R = 13, TIGHT = 100; // where columns are narrower, names stand below their nodes
const SHAPE = { // by role
  vote: `M0 ${-R - 3}L${R + 3} 0L0 ${R + 3}L${-R - 3} 0z`,
  aggregator: `M${-R} ${-R + 5}q0 -5 5 -5h${2 * R - 10}q5 0 5 5v${2 * R - 10}q0 5 -5 5h${-2 * R + 10}q-5 0 -5 -5z`,
  proposer: `M0 ${-R}a${R} ${R} 0 1 1 0 ${2 * R}a${R} ${R} 0 1 1 0 ${-2 * R}z`,
};
export const MARK = { // by state
  waiting: '', running: 'M-4 0h.01M0 0h.01M4 0h.01', done: 'M-5 .5L-1.500 4L5 -3.500', failed: 'M-4 -4L4 4M4 -4L-4 4', cancelled: 'M-4.500 0H4.500', replaced: 'M-5 -2.500H3M0.500 -5L3.500 -2.500L.5 0M5 3H-3M-.5 .5L-3.500 3L-.5 5.500',
};
export const shown = (n) => (n.replaced && n.state === 'done' ? 'replaced' : n.state);

export function mark(state) {
  return svg(`svg.mark.${state}`, { viewBox: '-8 -8 16 16', 'aria-hidden': 'true' }, svg('path', { d: MARK[state] || '' }));
}

// Colours of proposals come round after eight; their names do not.
export const hue = (trace, name) => Math.max(0, trace.nodes.findIndex((n) => n.node === name)) % 8;
export const words = { waiting: 'waits', running: 'writes', done: 'done', failed: 'failed', cancelled: 'stopped', replaced: 'replaced' };

export class Graph {
  constructor(onPick) {
    this.onPick = onPick;
    this.box = h('div.graph');
    this.key = '';
    this.width = 0;
    new ResizeObserver(() => {
      const w = Math.round(this.box.clientWidth);
      if (Math.abs(w - this.width) > 4 && this.trace) this.show(this.trace, true);
    }).observe(this.box);
  }

  place(trace, all) {
    const width = this.width || 600, rows = Math.max(...all.map((l) => l.length));
    const column = Math.max(66, Math.min(240, (width - 110) / all.length)), gap = column < TIGHT ? 54 : rows > 9 ? 33 : 42, tall = Math.max(64, rows * gap + 14);
    const where = new Map();
    all.forEach((layer, x) => layer.forEach((n, y) => where.set(n.node, [34 + (x + 1) * column, tall / 2 + (y - (layer.length - 1) / 2) * gap])));
    return { column, where, tall, wide: 34 + all.length * column + 40 + 9 * Math.max(...all.at(-1).map((n) => n.node.length)), from: [20, tall / 2] };
  }

  build(trace) {
    const all = layers(trace.nodes), p = this.place(trace, all), edges = svg('g.edges'), nodes = svg('g.nodes');
    this.parts = new Map();
    this.lines = [];
    this.tight = p.column < TIGHT;
    // An edge begins behind what is written beside its node.
    const voted = new Set(trace.nodes.filter((n) => n.role === 'vote').flatMap((n) => n.in));
    const beside = (from) => (from === null ? 7 : this.tight ? R + 2 : R + 9 + 8.6 * from.length + (voted.has(from) ? 56 : 0));
    const line = (a, b, from, to) => {
      const x = a[0] + beside(from), mid = (x + b[0] - R) / 2, el = svg('path.edge', { d: `M${x} ${a[1]}C${mid} ${a[1]} ${mid} ${b[1]} ${b[0] - R - 3} ${b[1]}` });
      this.lines.push({ el, from, to });
      edges.append(el);
    };
    nodes.append(svg('g.prompt', { transform: `translate(${p.from})` }, svg('circle', { r: 5 }), svg('title', 'the prompt')));
    for (const n of trace.nodes) {
      const c = p.where.get(n.node), sources = n.in.filter((i) => p.where.has(i));
      for (const i of sources) line(p.where.get(i), c, i, n.node);
      if (!sources.length) line(p.from, c, null, n.node);
      nodes.append(this.node(n, c));
    }
    return svg('svg', { viewBox: `0 0 ${p.wide} ${p.tall}`, width: p.wide, height: p.tall, role: 'group', 'aria-label': 'Graph of the mixture' }, edges, nodes);
  }

  node(n, c) {
    const pick = () => this.onPick(n.node);
    const key = (e) => {
      if (e.key !== 'Enter' && e.key !== ' ') return;
      e.preventDefault();
      pick();
    };
    const symbol = svg('path.symbol'), badge = svg('text.badge', this.tight ? { x: 4.3 * n.node.length + 6, y: R + 16 } : { x: R + 12 + 8.6 * n.node.length, y: 4.5 }), ring = svg('path.ring', { d: SHAPE[n.role] || SHAPE.proposer });
    const g = svg('g.node', { transform: `translate(${c})`, tabindex: 0, role: 'button', onclick: pick, onkeydown: key }, svg('rect.hit', { x: -R - 5, y: -R - 5, width: 2 * R + 52, height: 2 * R + 10 }), n.answer && svg('circle.halo', { r: R + 6 }), ring, symbol,
      svg('text.name', this.tight ? { y: R + 16 + (n.answer ? 4 : 0), 'text-anchor': 'middle' } : { x: R + (n.answer || n.role === 'vote' ? 10 : 6), y: 4.5 }, n.node), badge);
    this.parts.set(n.node, { g, symbol, badge });
    return g;
  }

  show(trace, again = false) {
    this.trace = trace;
    const key = trace.nodes.map((n) => `${n.node}<${n.in.join()}`).join(';');
    if (key !== this.key || again) {
      this.width = Math.round(this.box.clientWidth);
      this.key = key;
      if (trace.nodes.length) put(this.box, this.build(trace));
    }
    const state = new Map(trace.nodes.map((n) => [n.node, n.state])), votes = clusters(trace);
    for (const n of trace.nodes) this.paint(n, votes[n.node], hue(trace, n.node));
    for (const l of this.lines || []) {
      const ready = l.from === null || state.get(l.from) === 'done', read = ready && state.get(l.to) !== 'waiting' && state.get(l.to) !== 'cancelled';
      l.el.setAttribute('class', `edge ${l.from === null ? '' : `hue${hue(trace, l.from)}`} ${read ? (state.get(l.to) === 'running' ? 'flows' : 'read') : ''}`);
    }
  }

  paint(n, vote, color) {
    const { g, symbol, badge } = this.parts.get(n.node), s = shown(n);
    g.setAttribute('class', `node ${s} hue${color} ${vote?.won ? 'won' : ''}`);
    g.setAttribute('aria-label', `${n.node}, ${n.role || 'call'}, ${words[s]}${vote ? `, cluster ${vote.letter}${vote.won ? ', chosen' : ''}` : ''}`);
    if (symbol.getAttribute('d') !== (MARK[s] || '')) symbol.setAttribute('d', MARK[s] || '');
    text(badge, !vote ? '' : vote.abstained ? '–' : `${vote.letter}${this.tight ? '' : ` ${vote.size}/${vote.of}`}${vote.won ? ' ★' : ''}`);
  }
}
