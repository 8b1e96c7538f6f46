// markdown.js - Markdown as models write it, into elements: headings, lists, tables, quotes, code, emphasis, links.
//
// The text comes from models and is not trusted: it becomes elements through dom.js alone, HTML in it is shown as text, links are http, https
// and mailto, and pictures are links, so that reading a reply asks no other host. A text that grows keeps the blocks that did not change.
// SPDX-License-Identifier: Apache-2.0
import { copy, h, icon } from './dom.js';
import { highlight } from './highlight.js';

// Bounds keep what a hostile text can cost linear: nesting, a line that is looked at for marks, a paragraph, a span within it (2,000 in INLINE).
const MAX_DEPTH = 12, MAX_LINE = 4000, MAX_PARAGRAPH = 40000;

// ---- blocks: text -> [{kind, raw, ...}] ----

const FENCE = /^( {0,3})(`{3,}|~{3,})\s*([^\s`]*)[^`]*$/, HEADING = /^ {0,3}(#{1,6})\s+(.*?)(?:\s+#+)?\s*$/, RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/,
  ITEM = /^(\s*)([-*+]|\d{1,9}[.)])(\s+|$)(.*)$/, QUOTE = /^ {0,3}> ?/, DIVIDER = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

const starts = (line) => line.length <= MAX_LINE && (FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || ITEM.test(line));
const blank = (line) => line === undefined || line.trim() === '';
const indent = (line) => line.match(/^\s*/)[0].replace(/\t/g, '    ').length;

function fence(lines, i) {
  const [, pad, mark, lang] = lines[i].match(FENCE);
  let j = i + 1;
  const closes = (l) => l.trim().length >= mark.length && [...l.trim()].every((c) => c === mark[0]);
  while (j < lines.length && !closes(lines[j])) j++;
  const code = lines.slice(i + 1, j).map((l) => (l.startsWith(pad) ? l.slice(pad.length) : l)).join('\n');
  return [{ kind: 'code', lang, code }, Math.min(j + 1, lines.length)];
}

function list(lines, i) {
  const [, pad, first] = lines[i].match(ITEM), base = indent(pad), ordered = /\d/.test(first), items = [];
  let j = i, loose = false, gap = false;
  while (j < lines.length) {
    const m = lines[j].length <= MAX_LINE && lines[j].match(ITEM);
    if (!m || indent(m[1]) < base || indent(m[1]) > base + 3 || /\d/.test(m[2]) !== ordered || RULE.test(lines[j])) break;
    loose ||= gap;
    const inner = indent(m[1]) + m[2].length + Math.min(m[3].length || 1, 4), body = [m[4]];
    for (j++; j < lines.length; j++) {
      if (blank(lines[j])) {
        const next = lines[j + 1];
        if (blank(next) || (indent(next) < inner && !ITEM.test(next))) break;
        if (indent(next) >= inner) body.push('');
        else { gap = true; j++; break; }
      } else if (indent(lines[j]) >= Math.min(inner, base + 2)) body.push(lines[j].slice(Math.min(indent(lines[j]), inner)));
      else if (starts(lines[j])) break;
      else body.push(lines[j].trim());
    }
    items.push(body.join('\n'));
  }
  return [{ kind: 'list', ordered, start: parseInt(first, 10) || 1, items, loose }, Math.max(j, i + 1)];
}

const cells = (line) => line.trim().replace(/^\||\|$/g, '').split(/(?<!\\)\|/).map((c) => c.trim().replace(/\\\|/g, '|'));

function table(lines, i) {
  const align = cells(lines[i + 1]).map((c) => (c.startsWith(':') && c.endsWith(':') ? 'center' : c.endsWith(':') ? 'right' : 'left'));
  let j = i + 2;
  const rows = [];
  while (j < lines.length && !blank(lines[j]) && lines[j].includes('|')) rows.push(cells(lines[j++]));
  return [{ kind: 'table', head: cells(lines[i]), align, rows }, j];
}

function block(lines, i) {
  const line = lines[i];
  let m, j = i + 1;
  if (line.length > MAX_LINE) return [{ kind: 'text', text: line }, j];
  if (FENCE.test(line)) return fence(lines, i);
  if ((m = line.match(HEADING))) return [{ kind: 'heading', level: m[1].length, text: m[2] }, j];
  if (RULE.test(line)) return [{ kind: 'rule' }, j];
  if (QUOTE.test(line)) {
    while (j < lines.length && !blank(lines[j]) && (QUOTE.test(lines[j]) || !starts(lines[j]))) j++;
    return [{ kind: 'quote', text: lines.slice(i, j).map((l) => l.replace(QUOTE, '')).join('\n') }, j];
  }
  if (ITEM.test(line)) return list(lines, i);
  if (line.includes('|') && j < lines.length && lines[j].length <= MAX_LINE && lines[j].includes('-') && DIVIDER.test(lines[j]) && cells(line).length === cells(lines[j]).length) return table(lines, i);
  while (j < lines.length && !blank(lines[j]) && !(starts(lines[j]) && !/^\s*\d{2,}[.)]/.test(lines[j]))) j++;
  return [{ kind: 'text', text: lines.slice(i, j).join('\n') }, j];
}

export function blocks(source) {
  const lines = source.replace(/\r\n?/g, '\n').split('\n'), out = [];
  for (let i = 0; i < lines.length;) {
    if (blank(lines[i])) {
      i++;
      continue;
    }
    const [b, next] = block(lines, i);
    b.raw = lines.slice(i, next).join('\n');
    out.push(b);
    i = next;
  }
  return out;
}

// ---- what stands within a line ----

const safe = (url) => /^(https?:\/\/|mailto:)[^\s<>"]+$/i.test(url);
const INLINE = /(?<tick>`{1,20})(?<code>[\s\S]{0,2000}?[^`])\k<tick>(?!`)|\\(?<esc>[\\`*_{}[\]()#+\-.!|~>$])|!?\[(?<label>(?:\\.|[^\]\\]){0,500})\]\(\s*<?(?<href>[^\s)>]{1,2000})>?(?:\s+"[^"]*")?\s*\)|<(?<auto>(?:https?:\/\/|mailto:)[^\s<>]{1,2000})>|(?<bare>https?:\/\/[^\s<>()[\]"']{1,2000}[^\s<>()[\]"'.,;:!?])|(?<bold>\*\*|__)(?=\S)(?<strong>[\s\S]{0,2000}?\S)\k<bold>|(?<slant>[*_])(?=\S)(?<em>[^\n]{0,2000}?\S)\k<slant>(?!\w)|~~(?=\S)(?<del>[\s\S]{0,2000}?\S)~~|(?<br> {2,}\n|\\\n)/g;

function link(label, href, depth) {
  const shown = depth === null ? [href] : inline(label, depth + 1);
  return safe(href) ? h('a', { href, target: '_blank', rel: 'noopener noreferrer nofollow' }, shown) : [shown, ` (${href})`];
}

export function inline(source, depth = 0) {
  if (depth > MAX_DEPTH || source.length > MAX_PARAGRAPH) return [source];
  const out = [];
  let at = 0;
  for (const m of source.matchAll(INLINE)) {
    const g = m.groups, before = source[m.index - 1] || ' ';
    if (g.slant === '_' && /\w/.test(before)) continue; /* snake_case */
    if (m.index < at) continue;
    out.push(source.slice(at, m.index));
    at = m.index + m[0].length;
    if (g.code !== undefined) out.push(h('code', g.code.replace(/^ (.*) $/s, '$1')));
    else if (g.esc !== undefined) out.push(g.esc);
    else if (g.href !== undefined) out.push(link(g.label || g.href, g.href, depth));
    else if (g.auto !== undefined || g.bare !== undefined) out.push(link('', g.auto || g.bare, null));
    else if (g.strong !== undefined) out.push(h('strong', inline(g.strong, depth + 1)));
    else if (g.em !== undefined) out.push(h('em', inline(g.em, depth + 1)));
    else if (g.del !== undefined) out.push(h('del', inline(g.del, depth + 1)));
    else out.push(h('br'));
  }
  out.push(source.slice(at));
  return out.flat();
}

// ---- elements ----

function codeBlock(b) {
  const button = h('button.copy', { type: 'button', 'aria-label': 'Copy the code', title: 'Copy', onclick: () => copy(b.code, button) }, icon('copy'), h('span', 'Copy'));
  const code = h('code', highlight(b.code, b.lang).map(([cls, t]) => (cls ? h(`span.tok-${cls}`, t) : t)));
  return h('figure.code', h('figcaption', h('span', b.lang || 'text'), button), h('pre', { tabIndex: 0, 'aria-label': `Code${b.lang ? `, ${b.lang}` : ''}` }, code));
}

function listBlock(b, depth) {
  const items = b.items.map((t) => {
    const task = t.match(/^\[([ xX])\]\s+/), body = task ? t.slice(task[0].length) : t;
    const inner = blocks(body), tight = !b.loose && inner[0]?.kind === 'text';
    const kids = inner.map((x, i) => (tight && i === 0 ? inline(x.text, depth) : element(x, depth + 1)));
    return h(task ? 'li.task' : 'li', task && h('input', { type: 'checkbox', disabled: true, checked: task[1] !== ' ', 'aria-label': task[1] === ' ' ? 'open' : 'done' }), kids);
  });
  return b.ordered ? h('ol', { start: b.start }, items) : h('ul', items);
}

function tableBlock(b) {
  const cell = (tag) => (t, i) => h(`${tag}.${b.align[i] || 'left'}`, inline(t));
  return h('div.table', { tabIndex: 0, role: 'region', 'aria-label': 'Table' },
    h('table', h('thead', h('tr', b.head.map(cell('th')))), h('tbody', b.rows.map((r) => h('tr', r.slice(0, b.head.length).map(cell('td')))))));
}

function element(b, depth = 0) {
  if (depth > MAX_DEPTH) return h('p', b.raw);
  switch (b.kind) {
    case 'code': return codeBlock(b);
    case 'heading': return h(`h${Math.min(6, b.level + 2)}`, inline(b.text));
    case 'rule': return h('hr');
    case 'quote': return h('blockquote', blocks(b.text).map((x) => element(x, depth + 1)));
    case 'list': return listBlock(b, depth);
    case 'table': return tableBlock(b);
    default: return h('p', inline(b.text));
  }
}

// Shows source in el. Called again with a longer text it makes anew what differs: mostly the last block.
export function render(el, source) {
  const next = blocks(source), had = el.blocks || [];
  let same = 0;
  while (same < had.length && same < next.length && had[same] === next[same].raw) same++;
  while (el.childNodes.length > same) el.lastChild.remove();
  for (const b of next.slice(same)) el.append(element(b));
  el.blocks = next.map((b) => b.raw);
  return el;
}
