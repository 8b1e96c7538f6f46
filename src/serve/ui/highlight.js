// highlight.js - colours for code: comments, strings, numbers, keywords. One scanner for all languages; a language is a row of what differs.
// SPDX-License-Identifier: Apache-2.0

const words = (s) => new Set(s.split(' '));
const C = { line: '//', block: true };
const LANG = {
  c: { ...C, kw: words('auto bool break case char const continue default do double else enum extern false float for goto if inline int long NULL register restrict return short signed sizeof static struct switch true typedef union unsigned void volatile while #include #define #if #ifdef #ifndef #else #endif') },
  cpp: { ...C, kw: words('auto bool break case catch char class const constexpr continue default delete do double else enum explicit extern false float for friend if inline int long namespace new noexcept nullptr operator override private protected public return short signed sizeof static struct switch template this throw true try typedef typename union unsigned using virtual void volatile while #include #define') },
  js: { ...C, tick: true, kw: words('async await break case catch class const continue default delete do else export extends false finally for from function if import in instanceof let new null of return static super switch this throw true try typeof undefined var void while yield interface type enum implements readonly') },
  python: { line: '#', triple: true, kw: words('False None True and as assert async await break class continue def del elif else except finally for from global if import in is lambda nonlocal not or pass raise return try while with yield self match case') },
  rust: { ...C, noQuote: true, kw: words('as async await break const continue crate dyn else enum extern false fn for if impl in let loop match mod move mut pub ref return self Self static struct super trait true type unsafe use where while') },
  go: { ...C, tick: true, kw: words('break case chan const continue default defer else fallthrough false for func go goto if import interface map nil package range return select struct switch true type var') },
  java: { ...C, kw: words('abstract boolean break byte case catch char class const continue default do double else enum extends false final finally float for if implements import instanceof int interface long new null package private protected public record return short static super switch this throw throws true try var void while') },
  sh: { line: '#', kw: words('if then else elif fi for in do done while until case esac function return export local echo cd set exit sudo curl make') },
  sql: { line: '--', block: true, fold: true, kw: words('select from where and or not null insert into values update set delete create table index view join left right inner outer on group by order having limit as distinct union all primary key foreign references default case when then else end') },
  json: { kw: words('true false null') },
  yaml: { line: '#', kw: words('true false null yes no') },
};
const SAME = { h: 'c', 'c++': 'cpp', cc: 'cpp', hpp: 'cpp', javascript: 'js', jsx: 'js', ts: 'js', tsx: 'js', typescript: 'js', mjs: 'js', py: 'python', rs: 'rust', golang: 'go', kotlin: 'java', 'c#': 'java', csharp: 'java', bash: 'sh', shell: 'sh', zsh: 'sh', console: 'sh', yml: 'yaml', jsonc: 'json', toml: 'yaml' };

const escape = (s) => s.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');

function scanner(l) {
  const parts = [];
  if (l.line) parts.push(`(?<comment>${escape(l.line)}[^\\n]*${l.block ? '|/\\*[\\s\\S]*?(?:\\*/|$)' : ''})`);
  const strings = [];
  if (l.triple) strings.push('"""[\\s\\S]*?(?:"""|$)', "'''[\\s\\S]*?(?:'''|$)");
  strings.push('"(?:\\\\.|[^"\\\\\\n])*"?');
  if (!l.noQuote) strings.push("'(?:\\\\.|[^'\\\\\\n])*'?");
  if (l.tick) strings.push('`(?:\\\\.|[^`\\\\])*`?');
  parts.push(`(?<string>${strings.join('|')})`, '(?<number>\\b(?:0[xX][0-9a-fA-F]+|\\d[\\d_]*(?:\\.\\d+)?(?:[eE][-+]?\\d+)?)\\b)', '(?<word>#?[A-Za-z_]\\w*)');
  return new RegExp(parts.join('|'), 'g');
}

// [[class or '', text], ...]: together they are the code, byte by byte.
export function highlight(code, language) {
  const name = (language || '').toLowerCase(), l = LANG[SAME[name] || name];
  if (!l || code.length > 100000) return [['', code]];
  const out = [], re = (l.re ||= scanner(l));
  let at = 0;
  for (const m of code.matchAll(re)) {
    const g = m.groups, after = code[m.index + m[0].length];
    let cls = g.comment !== undefined ? 'comment' : g.string !== undefined ? 'string' : g.number !== undefined ? 'number' : '';
    if (g.word !== undefined) cls = l.kw.has(l.fold ? g.word.toLowerCase() : g.word) ? 'keyword' : after === '(' ? 'call' : '';
    if (!cls) continue;
    if (m.index > at) out.push(['', code.slice(at, m.index)]);
    out.push([cls, m[0]]);
    at = m.index + m[0].length;
  }
  if (at < code.length) out.push(['', code.slice(at)]);
  return out;
}
