// store.js - the history: chats and comparisons, in this browser's IndexedDB and nowhere else; the newest 200. Where the browser gives no
// database (private windows), it lives as long as the page. SPDX-License-Identifier: Apache-2.0
import { fromTrace } from './run.js';

const MAX_ITEMS = 200, MAX_BYTES = 8 << 20;
let base;
const memory = new Map();

const done = (r) => new Promise((yes, no) => {
  r.onsuccess = () => yes(r.result);
  r.onerror = () => no(r.error);
});

async function open() {
  if (base !== undefined) return base;
  try {
    const r = indexedDB.open('moa', 1);
    r.onupgradeneeded = () => r.result.createObjectStore('items', { keyPath: 'id' });
    base = await done(r);
  } catch {
    base = null;
  }
  return base;
}

async function store(mode) {
  const b = await open();
  return b && b.transaction('items', mode).objectStore('items');
}

// Newest first.
export async function all() {
  const s = await store('readonly'), rows = s ? await done(s.getAll()) : [...memory.values()];
  return rows.sort((a, b) => b.updated - a.updated);
}

export async function get(id) {
  const s = await store('readonly');
  return s ? done(s.get(id)) : memory.get(id);
}

export async function save(item) {
  let row = JSON.parse(JSON.stringify(item));
  if (JSON.stringify(row).length > MAX_BYTES) row = slim(row);
  const s = await store('readwrite');
  if (s) await done(s.put(row));
  else memory.set(row.id, row);
  const rows = await all();
  for (const old of rows.slice(MAX_ITEMS)) await remove(old.id);
}

// Without the times of single tokens.
function slim(row) {
  for (const run of runsOf(row)) for (const n of run.nodes || []) delete n.marks;
  return row;
}

export async function remove(id) {
  const s = await store('readwrite');
  if (s) await done(s.delete(id));
  else memory.delete(id);
}

export async function clear() {
  const s = await store('readwrite');
  if (s) await done(s.clear());
  memory.clear();
}

export const newId = () => `${Date.now().toString(36)}${Math.random().toString(36).slice(2, 8)}`;
export const runsOf = (item) => (item.kind === 'compare' ? item.sides || [] : (item.turns || []).flatMap((t) => t.variants || []));

// ---- files ----

export const toJson = (items) => JSON.stringify({ format: 'moa-history', version: 1, items }, null, 1);

const str = (v, n) => (typeof v === 'string' ? v.slice(0, n) : '');
const time = (v) => (Number.isFinite(v) ? v : Date.now());
function run(v) {
  try {
    return fromTrace(v);
  } catch {
    return fromTrace({ nodes: [], reply: '', state: 'failed' });
  }
}

function turn(t) {
  if (t?.role === 'user') return { role: 'user', text: str(t.text, 1 << 20) };
  const variants = (Array.isArray(t?.variants) ? t.variants : []).slice(0, 50).map(run);
  return { role: 'assistant', variants, pick: Math.max(0, Math.min(variants.length - 1, t?.pick | 0)) };
}

function cleanTune(t) {
  const out = {};
  for (const [k, v] of Object.entries(t && typeof t === 'object' ? t : {})) if (/^[a-z_]{1,30}$/.test(k) && (typeof v === 'number' || typeof v === 'string')) out[k] = typeof v === 'string' ? v.slice(0, 40) : v;
  return out;
}

// What a file says becomes items of exactly the page's own shape; anything else in it is dropped.
export function fromJson(words) {
  const f = JSON.parse(words);
  if (f?.format !== 'moa-history' || !Array.isArray(f.items)) throw new Error('This is no exported history of moa.');
  return f.items.slice(0, MAX_ITEMS).map((i) => ({
    id: /^[a-z0-9]{1,40}$/.test(i?.id ?? '') ? String(i.id) : newId(), kind: i?.kind === 'compare' ? 'compare' : 'chat', title: str(i?.title, 200), created: time(i?.created), updated: time(i?.updated),
    model: str(i?.model, 300), system: str(i?.system, 1 << 18), tune: cleanTune(i?.tune), prompt: str(i?.prompt, 1 << 20),
    turns: (Array.isArray(i?.turns) ? i.turns : []).slice(0, 1000).map(turn), sides: (Array.isArray(i?.sides) ? i.sides : []).slice(0, 2).map(run),
  }));
}

const fence = (s) => '`'.repeat(Math.max(3, ...[...s.matchAll(/`+/g)].map((m) => m[0].length + 1)));
function calls(r) {
  if (r.nodes.length < 2) return '';
  return `<details><summary>${r.nodes.length} calls</summary>\n\n${r.nodes.map((n) => `**${n.node}** (${[n.role, n.model, n.state].filter(Boolean).join(', ')})\n\n${fence(n.text)}text\n${n.text}\n${fence(n.text)}\n`).join('\n')}\n</details>\n`;
}

export function toMarkdown(item) {
  const out = [`# ${item.title || 'Chat'}\n`, `${new Date(item.created).toISOString()}\n`];
  if (item.system) out.push(`## System\n\n${item.system}\n`);
  if (item.kind === 'compare') {
    out.push(`## Prompt\n\n${item.prompt}\n`);
    for (const r of item.sides) out.push(`## ${r.mix}\n\n${r.reply}\n`, calls(r));
  }
  for (const t of item.turns || []) {
    if (t.role === 'user') out.push(`## You\n\n${t.text}\n`);
    else if (t.variants[t.pick]) out.push(`## ${t.variants[t.pick].mix || 'Reply'}\n\n${t.variants[t.pick].reply}\n`, calls(t.variants[t.pick]));
  }
  return out.join('\n');
}
