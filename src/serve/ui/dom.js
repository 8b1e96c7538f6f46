// dom.js - elements made of data. Text becomes text nodes and nothing else: no function of this page takes markup.
// SPDX-License-Identifier: Apache-2.0

const SVG = 'http://www.w3.org/2000/svg';

function fill(el, props, kids) {
  for (const [k, v] of Object.entries(props || {})) {
    if (v === undefined || v === null || v === false) continue;
    if (k.startsWith('on')) el.addEventListener(k.slice(2), v);
    else if (k in el && !(el instanceof SVGElement) && !['list', 'form', 'role'].includes(k)) el[k] = v;
    else el.setAttribute(k, v === true ? '' : v);
  }
  for (const kid of kids.flat(3)) if (kid !== undefined && kid !== null && kid !== false) el.append(kid);
  return el;
}

// h('div.card.done', {id: 'x', onclick: f}, 'text', child)
function name(sel) {
  const [tag, ...cls] = sel.split('.');
  return [tag || 'div', cls.join(' ')];
}

export function h(sel, props, ...kids) {
  const [tag, cls] = name(sel), el = document.createElement(tag);
  if (cls) el.className = cls;
  const plain = props && typeof props === 'object' && !(props instanceof Node) && !Array.isArray(props);
  return fill(el, plain ? props : null, plain ? kids : [props, ...kids]);
}

export function svg(sel, props, ...kids) {
  const [tag, cls] = name(sel), el = document.createElementNS(SVG, tag);
  if (cls) el.setAttribute('class', cls);
  return fill(el, props, kids);
}

export function put(el, ...kids) {
  el.replaceChildren(...kids.flat(3).filter((k) => k !== undefined && k !== null && k !== false));
  return el;
}

// Sets what differs: a text that stays is not selected away under the reader's hand.
export function text(el, value) {
  if (el.textContent !== value) el.textContent = value;
  return el;
}

const ICONS = {
  send: 'M12 19V5M5 12l7-7 7 7', stop: 'M7 7h10v10H7z', plus: 'M12 5v14M5 12h14', copy: 'M9 9h10v10H9zM5 15V5h10', edit: 'M4 20h4L19 9l-4-4L4 16zM13 7l4 4',
  again: 'M20 11a8 8 0 1 0-2.3 6.3M20 4v7h-7', trash: 'M5 7h14M10 7V5h4v2M7 7l1 12h8l1-12', down: 'M12 4v11M7 11l5 5 5-5M5 20h14', up: 'M12 16V5M7 9l5-5 5 5M5 20h14',
  play: 'M8 5l11 7-11 7z', pause: 'M8 5v14M16 5v14', menu: 'M4 7h16M4 12h16M4 17h16', close: 'M6 6l12 12M18 6L6 18', tune: 'M4 7h10M18 7h2M4 17h4M12 17h8M14 4.5v5M8 14.5v5',
  sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6L19 19M5 19l1.4-1.4M17.6 6.4L19 5', moon: 'M20 14.5A8 8 0 1 1 9.5 4a6.5 6.5 0 0 0 10.5 10.5z',
  auto: 'M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18', key: 'M14 10a4 4 0 1 0-3.5 4L12 15.500v2h2.500v2H19v-3.500L13.800 11z', chevron: 'M9 6l6 6-6 6', left: 'M15 6l-6 6 6 6', columns: 'M4 5h7v14H4zM13 5h7v14h-7z', chat: 'M4 5h16v11H9l-5 4z',
};

export function icon(id) {
  return svg('svg.icon', { viewBox: '0 0 24 24', 'aria-hidden': 'true' }, svg('path', { d: ICONS[id] }));
}

// A button of an icon alone has its name for who does not see it, and as a tip.
export function iconButton(id, label, onclick, cls = '') {
  return h('button', { type: 'button', className: `icon-button ${cls}`, title: label, 'aria-label': label, onclick }, icon(id));
}

let speaker;
export function announce(words) {
  speaker ||= document.getElementById('status');
  text(speaker, words);
}

export function download(filename, type, content) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  h('a', { href: url, download: filename }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

export async function copy(words, button) {
  try {
    await navigator.clipboard.writeText(words);
  } catch {
    const area = h('textarea', { value: words, className: 'off-screen' });
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
  announce('Copied');
  if (!button) return;
  button.classList.add('did');
  setTimeout(() => button.classList.remove('did'), 1200);
}

// ---- how numbers are written ----

export const seconds = (s) => !Number.isFinite(s) ? '' : s < 0.0005 ? 'under 1 ms' : s < 0.9995 ? `${Math.round(s * 1000)} ms` : s < 99.5 ? `${s.toFixed(s < 9.95 ? 2 : 1)} s` : `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
export const count = (n) => !Number.isFinite(n) ? '' : n < 10000 ? String(Math.round(n)) : n < 1e6 ? `${(n / 1000).toFixed(n < 99500 ? 1 : 0)}k` : `${(n / 1e6).toFixed(1)}M`;
export const many = (n, one, more = `${one}s`) => `${count(n)} ${n === 1 ? one : more}`;
export const percent = (x) => `${Math.round(100 * x)} %`;
export const money = (x) => x === 0 ? '$0' : x < 0.01 ? `$${x.toPrecision(2)}` : `$${x.toFixed(x < 1 ? 3 : 2)}`;
export function ago(ms) {
  const s = Math.max(0, (Date.now() - ms) / 1000);
  return s < 60 ? 'just now' : s < 3600 ? `${Math.floor(s / 60)} min ago` : s < 86400 ? `${Math.floor(s / 3600)} h ago` : new Date(ms).toLocaleDateString();
}
