// test_browser.mjs - the page in Chromium: against a scripted server (fake.mjs), whose events and times are known, and against moa serve.
// node tests/ui/test_browser.mjs [words of a test's name]; SHOTS=folder keeps pictures. SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { need, run, serve, skip, test, until } from '../support/harness.mjs';
import { fake } from './fake.mjs';

const { chromium } = await need('playwright-core', import.meta.url);
const executablePath = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((p) => p && existsSync(p));
if (!executablePath) skip('no chromium (apt-get install chromium)');
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
const QUESTION = 'Tom has 12 apples. He buys 9 more and gives 4 to Anna. How many apples does Tom have now?';
let open = [];

// A page of a fresh browser profile. Its errors, and requests to anything but its own server, fail the test.
async function page(url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options }), p = await context.newPage();
  p.setDefaultTimeout(15000);
  p.wrong = [];
  p.on('pageerror', (e) => p.wrong.push(`error: ${e.message}`));
  p.on('console', (m) => ['error', 'warning'].includes(m.type()) && !/status of (4|5)\d\d|ERR_CONNECTION/.test(m.text()) && p.wrong.push(`console: ${m.text()}`));
  p.on('request', (r) => r.url().startsWith(url) || r.url().startsWith('data:') || r.url().startsWith('blob:') || p.wrong.push(`asked another host: ${r.url()}`));
  open.push(context);
  await p.goto(url);
  if (options.javaScriptEnabled !== false) await p.waitForSelector('#app header');
  return p;
}

const scripted = (name, options, fn, view) => test(name, async () => {
  const s = await fake({ speed: 6, ...options });
  try {
    const p = await page(s.url, view);
    await fn(p, s);
    assert.deepEqual(p.wrong, []);
  } finally {
    for (const c of open) await c.close();
    open = [];
    await s.close();
  }
});

const ready = (p) => p.waitForSelector('.composer select option', { state: 'attached' });
async function ask(p, words, model) {
  await ready(p);
  if (model) await p.selectOption('.composer select', model);
  await p.fill('.composer .box textarea', words);
  await p.keyboard.press('Enter');
}
const idle = (p) => p.waitForFunction(() => !window.moa.chat.busy && !window.moa.compare.busy);
const texts = (p, sel) => p.$$eval(sel, (l) => l.map((e) => e.textContent));
const shot = (p, name) => process.env.SHOTS && p.screenshot({ path: `${process.env.SHOTS}/${name}.png` });

// ---- chat ----

scripted('cards grow, then the reply', { speed: 3 }, async (p) => {
  await ask(p, QUESTION, 'self-moa');
  await p.waitForSelector('.card.running >> nth=3');
  assert.equal(await p.locator('.node.waiting').getAttribute('aria-label'), 'agg, aggregator, waits');
  const sizes = [];
  for (let i = 0; i < 4; i++) {
    sizes.push((await texts(p, '.card-text')).slice(0, 4).map((t) => t.length));
    await p.waitForTimeout(110);
  }
  for (let k = 0; k < 4; k++) assert.ok(sizes.at(-1)[k] > sizes[0][k] || (await p.$(`.card.done >> nth=${k}`)), `p${k + 1} does not grow: ${JSON.stringify(sizes)}`);
  await shot(p, 'running');
  await p.waitForSelector('.reply.growing p');
  assert.ok(await p.isVisible('button[aria-label=Stop]'));
  await idle(p);
  assert.equal(await p.locator('.node.done').count(), 5);
  assert.match(await p.textContent('.run-title'), /4 proposals → 1 synthesis/);
  assert.match(await p.textContent('.run-figures'), /\d+ tokens · \d+ % of prompts reused/);
  assert.deepEqual(await texts(p, '.reply td'), ['begins with', '12', 'buys 9', '21', 'gives 4 away', '17']);
  assert.equal(await p.textContent('.reply > p:last-child strong'), 'Answer: 17');
  assert.equal(await p.locator('.card .tok-keyword, .card .tok-comment').count() > 0, true);
  await shot(p, 'done');
});

scripted('votes', {}, async (p) => {
  await ask(p, QUESTION, 'vote');
  await idle(p);
  assert.deepEqual(await texts(p, '.votes .n'), ['3', '1']);
  assert.match(await p.textContent('.votes .won'), /A3Answer: 17/);
  assert.equal(await p.locator('.card.won').count(), 1);
  assert.equal(await p.locator('.node.won').getAttribute('aria-label'), 'p1, proposer, done, cluster A, chosen');
  await shot(p, 'vote');
});

scripted('a proposer that fails', {}, async (p, s) => {
  s.failing = 'p2';
  await ask(p, QUESTION, 'self-moa');
  await idle(p);
  assert.equal(await p.locator('.card.failed').count(), 1);
  assert.match(await p.textContent('.card.failed'), /the backend reset the connection after 2 attempts/);
  assert.match(await p.textContent('.run-figures'), /1 call failed/);
  assert.equal(await p.textContent('.reply > p:last-child'), 'Answer: 17');
});

scripted('a model that thinks first', { speed: 1 }, async (p, s) => {
  s.thinking = 'p2';
  await ask(p, QUESTION, 'self-moa');
  await p.waitForSelector('.card:has(.tag:text-is("thinks"))');
  await idle(p);
  assert.equal(await p.locator('.tag:text-is("thinks")').count(), 0);
  assert.doesNotMatch(await p.textContent('.cards'), /I count again/); /* thoughts are no part of what it wrote */
  await p.click('.node >> nth=1');
  await p.waitForSelector('dialog.sheet[open]');
  await p.click('.sheet summary:text-is("What it thought first")');
  assert.equal(await p.textContent('.sheet details:has(summary:text-is("What it thought first")) pre'), 'Is it 16 or 17? I count again.');
});

for (const [how, stop] of [['Escape', (p) => p.keyboard.press('Escape')], ['the button', (p) => p.click('button[aria-label=Stop]')]]) {
  scripted(`stop by ${how}`, { speed: 1 }, async (p, s) => {
    await ask(p, QUESTION, 'self-moa');
    await p.waitForSelector('.card.running .card-text p');
    await stop(p);
    await until(() => s.left === 1, 'the server sees that its client left', 1000);
    await idle(p);
    await until(async () => /stopped/.test(await p.textContent('.meta')), 'the reply is told as stopped', 5000);
    assert.equal(await p.locator('.node.running').count(), 0);
    assert.ok(await p.locator('.card.cancelled').count() >= 2);
    assert.ok(await p.isVisible('button[aria-label=Send]'));
  });
}

scripted('another reply, edit and send again', { speed: 20 }, async (p, s) => {
  await ask(p, 'first', 'moa-tiny');
  await idle(p);
  await p.click('button[aria-label="Make another reply"]');
  await p.waitForSelector('.variants');
  await idle(p);
  assert.equal(await p.textContent('.variants'), '2/2');
  await p.click('button[aria-label="The reply before"]');
  assert.equal(await p.textContent('.variants'), '1/2');
  await ask(p, 'second');
  await idle(p);
  assert.deepEqual(s.log.at(-1).body.messages.map((m) => m.role), ['user', 'assistant', 'user']);
  await p.hover('.turn.user >> nth=0');
  await p.click('button[aria-label="Edit and send again"] >> nth=0');
  await p.fill('.editing textarea', 'changed');
  await p.keyboard.press('Enter');
  await p.waitForFunction(() => document.querySelectorAll('.turn').length === 2);
  await idle(p);
  assert.deepEqual(s.log.at(-1).body.messages, [{ role: 'user', content: 'changed' }]);
});

scripted('numbers and a system prompt are sent, and remembered', { speed: 20 }, async (p, s) => {
  await ready(p);
  await p.selectOption('.composer select', 'self-moa');
  await p.keyboard.press('Alt+t');
  await p.getByLabel('Proposals', { exact: false }).first().fill('3');
  await p.getByLabel('Temperature of proposals').fill('0.9');
  await p.getByLabel('Most tokens of the reply').fill('64');
  await p.getByLabel('System prompt').fill('Be brief.');
  await ask(p, QUESTION);
  await idle(p);
  const b = s.log.findLast((l) => l.path === '/v1/chat/completions').body;
  assert.deepEqual(b.moa, { events: true, n: 3, temperature: 0.9 });
  assert.equal(b.max_tokens, 64);
  assert.deepEqual(b.messages[0], { role: 'system', content: 'Be brief.' });
  assert.equal(await p.locator('.node').count(), 4);
  await p.reload();
  await ready(p);
  assert.equal(await p.evaluate(() => window.moa.chat.tuneButton.querySelector('.dot').hidden), false);
});

scripted('history: reload, open, delete, export, import', { speed: 20 }, async (p) => {
  await ask(p, QUESTION, 'self-moa');
  await idle(p);
  await p.keyboard.press('Alt+n');
  await ask(p, 'And another', 'moa-tiny');
  await idle(p);
  await p.waitForFunction(() => document.querySelectorAll('.history li a').length === 2);
  await p.reload();
  await p.waitForSelector('.turn.assistant .reply p'); /* the address names the chat */
  assert.equal(await p.textContent('.turn.user .said'), 'And another');
  await p.click('.history a >> nth=1');
  await p.waitForSelector('.reply table');
  assert.equal(await p.locator('.card').count(), 5);
  assert.match(await p.textContent('.card >> nth=0'), /12 \+ 9 = 21/);

  const [file] = await Promise.all([p.waitForEvent('download'), p.click('button[aria-label="Export everything as JSON"]')]);
  const saved = readFileSync(await file.path(), 'utf8'), items = JSON.parse(saved).items;
  assert.equal(items.length, 2);
  await p.hover('.history li >> nth=1');
  const [md] = await Promise.all([p.waitForEvent('download'), p.click('.history li:nth-child(2) button[aria-label^=Export]')]);
  assert.match(readFileSync(await md.path(), 'utf8'), /## You\n\nTom has 12 apples[\s\S]*\| buys 9 \| 21 \|[\s\S]*\*\*p3\*\* \(proposer, moa-tiny, done\)/);
  await p.hover('.history li >> nth=0');
  await p.click('.history li:nth-child(1) button[aria-label^=Delete]');
  await p.waitForFunction(() => document.querySelectorAll('.history li a').length === 1);
  await p.click('button[aria-label="Delete the whole history"]');
  await p.click('dialog .danger');
  await p.waitForSelector('.history .none');

  const evil = JSON.parse(saved);
  evil.items[0].turns.push({ role: 'assistant', variants: [{ nodes: [{ node: '<img src=x onerror=alert(1)>', in: ['nobody', 7], vote: { members: 'x' }, started: 'soon', text: 9 }], reply: { a: 1 } }], pick: 99 }, null, 7);
  evil.items.push(null, 5, { turns: 'x' });
  await p.setInputFiles('.side input[type=file]', { name: 'h.json', mimeType: 'application/json', buffer: Buffer.from(JSON.stringify(evil)) });
  await p.waitForFunction(() => document.querySelectorAll('.history li a').length === 5);
  for (let i = 0; i < 5; i++) {
    await p.click(`.history a >> nth=${i}`);
    await p.waitForTimeout(60);
  }
  assert.equal(await p.locator('.turns img').count(), 0);
  await p.setInputFiles('.side input[type=file]', { name: 'no.json', mimeType: 'application/json', buffer: Buffer.from('{"a":') });
  await p.waitForSelector('.toast:not([hidden])');
});

scripted('everything about a call', { speed: 20 }, async (p) => {
  await ask(p, QUESTION, 'self-moa');
  await idle(p);
  await p.click('.node >> nth=4');
  await p.waitForSelector('dialog.sheet[open]');
  assert.match(await p.textContent('.sheet h2'), /agg synthesis/);
  assert.match(await p.textContent('.sheet .facts'), /prompt526 tokens: 44 reused, 482 computed/);
  await p.click('.sheet summary');
  assert.match(await p.textContent('.sheet .message'), /userTom has 12 apples/);
  await p.click('.sheet .chip >> nth=1');
  assert.match(await p.textContent('.sheet h2'), /p2 proposal/);
  await p.keyboard.press('ArrowRight');
  assert.match(await p.textContent('.sheet h2'), /p3 proposal/);
  await shot(p, 'node');
  await p.keyboard.press('Escape');
  assert.equal(await p.locator('dialog[open]').count(), 0);
});

// ---- what models may write ----

scripted('hostile and odd Markdown', {}, async (p) => {
  const html = await p.evaluate(async () => {
    const { render } = await import('/ui/markdown.js'), el = document.createElement('div');
    render(el, ['<img src="http://evil.example/a.png" onerror="alert(1)"> <script>alert(2)</script>', '[x](javascript:alert(3)) [y](data:text/html,hi) [z](https://example.com/a?b=1) ![p](http://evil.example/p.png)',
      '**bold** *slant* ~~gone~~ `code` snake_case_name 2 * 3 * 4 a\\*b https://example.com/x.', '1. one\n   - inner\n2. two\n\n- [x] done\n- [ ] open', '> said\n> again', '```c\nint main(void) { return 0; } // "x"\n```', '| a | b |\n|:-:|--:|\n| 1 | 2 |', '# One\n### Three', '```\nnot closed'].join('\n\n'));
    document.body.append(el);
    return el.innerHTML;
  });
  assert.ok(!/<(img|script)/.test(html));
  assert.match(html, /&lt;img src="/);
  assert.deepEqual([...html.matchAll(/href="([^"]*)"/g)].map((m) => m[1]), ['http://evil.example/a.png', 'https://example.com/a?b=1', 'http://evil.example/p.png', 'https://example.com/x']);
  for (const want of ['<strong>bold</strong>', '<em>slant</em>', '<del>gone</del>', '<code>code</code>', 'snake_case_name', '2 * 3 * 4', 'a*b', '<ol start="1"><li>one<ul><li>inner</li></ul></li><li>two</li></ol>', '<blockquote><p>said\nagain</p></blockquote>', '<span class="tok-keyword">return</span>', '<td class="right">2</td>', '<h3>One</h3><h5>Three</h5>', 'not closed']) assert.ok(html.includes(want), `${want} is not in ${html}`);
  // A text that grows letter by letter ends as the same text at once.
  assert.ok(await p.evaluate(async () => {
    const { render } = await import('/ui/markdown.js'), a = document.createElement('div'), b = document.createElement('div'), words = 'One **two** three\n\n- a\n- b\n  - c\n\n```js\nlet x = `y`;\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nend';
    for (let i = 0; i <= words.length; i++) render(a, words.slice(0, i));
    return a.innerHTML === render(b, words).innerHTML;
  }));
  // What a model could write to hold the page up.
  const ms = await p.evaluate(async () => {
    const { render } = await import('/ui/markdown.js'), t0 = performance.now();
    for (const s of ['**a '.repeat(20000), '`a ``b '.repeat(9000), '['.repeat(60000), '> '.repeat(30000), '- '.repeat(30000), `# ${' '.repeat(100000)}x`, '|a'.repeat(30000) + '\n' + '|-'.repeat(30000), '*_'.repeat(20000), 'http://'.repeat(20000), `| ${' '.repeat(3000)}`.repeat(20)]) render(document.createElement('div'), s);
    return performance.now() - t0;
  });
  assert.ok(ms < 6000, `hostile texts took ${Math.round(ms)} ms`);
});

scripted('a trusted policy', {}, async (p) => {
  assert.equal(await p.evaluate(() => {
    try {
      document.createElement('div').innerHTML = '<b>x</b>';
      return 'taken';
    } catch (e) {
      return e.name;
    }
  }), 'TypeError');
  p.wrong.length = 0; /* the browser tells of what it refused */
});

// ---- other views ----

scripted('compare', {}, async (p, s) => {
  await p.click('nav a:nth-child(2)');
  await p.waitForSelector('.compare select option', { state: 'attached' });
  await p.selectOption('.compare select >> nth=0', 'self-moa');
  await p.selectOption('.compare select >> nth=1', 'vote');
  await p.getByLabel('Numbers of mix B').fill('n=3');
  await p.fill('.compare textarea', QUESTION);
  await p.keyboard.press('Enter');
  await p.waitForFunction(() => document.querySelectorAll('.column .card.running').length >= 4);
  await shot(p, 'comparing');
  await idle(p);
  const bodies = s.log.filter((l) => l.path === '/v1/chat/completions').map((l) => l.body);
  assert.equal(bodies.length, 2);
  assert.equal(bodies[0].seed, bodies[1].seed);
  assert.deepEqual(bodies.map((b) => b.model), ['self-moa', 'vote:n=3']);
  assert.equal(await p.locator('.column').nth(0).locator('.card').count(), 5);
  assert.equal(await p.locator('.column').nth(1).locator('.votes').count(), 1);
  assert.deepEqual((await texts(p, '.verdict tbody tr th')), ['time', 'calls', 'tokens written', 'prompt tokens computed']);
  await shot(p, 'compared');
  await p.reload();
  await p.click('nav a:nth-child(1)');
  await p.click('.history a');
  await p.waitForSelector('.column .card');
  assert.equal(await p.locator('.column .card').count(), 10);
  s.speed = 1;
  await p.fill('.compare textarea', 'once more');
  await p.keyboard.press('Enter');
  await p.waitForSelector('.column .card.running');
  await p.keyboard.press('Escape');
  await until(() => s.left === 2, 'both runs are left');
  await idle(p);
});

scripted('replay', {}, async (p, s) => {
  await ask(p, QUESTION, 'self-moa');
  await idle(p);
  await p.keyboard.press('Alt+3');
  await p.click('.traces a');
  await p.waitForSelector('.player .card');
  const seek = (x) => p.$eval('.controls input', (e, v) => {
    e.value = v;
    e.dispatchEvent(new Event('input'));
  }, x);
  const t = s.traces[0], p1 = t.nodes[0];
  await seek(0);
  assert.equal(await p.locator('.player .node.done').count(), 0);
  await seek(Math.round((1000 * (p1.started + p1.first_s + 0.5 * (p1.seconds - p1.first_s))) / t.seconds));
  const half = (await p.textContent('.player .card-text >> nth=0')).length;
  assert.ok(half > 10 && half < p1.text.length - 10, `${half} of ${p1.text.length} letters in the middle`);
  assert.equal(await p.textContent('.player .node.waiting .name'), 'agg');
  await seek(1000);
  assert.equal(await p.locator('.player .node.done').count(), 5);
  assert.equal(await p.locator('.player .reply td').count(), 6);
  await p.selectOption('.controls select', '10');
  await p.click('.controls button');
  await p.waitForSelector('button[aria-label="Play (Space)"]');
  await p.focus('.controls input');
  await p.keyboard.press('Home');
  await p.keyboard.press(' ');
  await p.waitForSelector('button[aria-label="Pause (Space)"]');
  const [file] = await Promise.all([p.waitForEvent('download'), p.click('button[aria-label="Save the trace as a file"]')]);
  await p.reload();
  await p.setInputFiles('.pick-trace input', await file.path());
  await p.waitForSelector('.player .card');
  assert.match(await p.textContent('.player .said'), /Tom has 12/);
  await p.setInputFiles('.pick-trace input', { name: 'x.json', mimeType: 'application/json', buffer: Buffer.from('[1]') });
  await p.waitForSelector('.toast:not([hidden])');
  assert.match(await p.textContent('.toast'), /no trace/);
});

scripted('metrics', { speed: 20 }, async (p) => {
  await ask(p, QUESTION, 'self-moa');
  await idle(p);
  await p.keyboard.press('Alt+4');
  await p.waitForFunction(() => document.querySelectorAll('.chart output')[3]?.textContent === '0 %');
  const all = await texts(p, '.chart figcaption span');
  assert.deepEqual(all, ['Requests at work', 'Queue', 'Tokens a second', 'KV cache', 'Prompt tokens reused', 'Calls in the batch']);
  assert.equal(await p.textContent('.chart:nth-child(5) output'), '65 %');
  assert.deepEqual((await texts(p, '.metrics td')).slice(0, 2), ['moa-tiny', '5']);
  assert.equal(await p.evaluate(async () => (await import('/ui/metrics.js')).quantile((await import('/ui/metrics.js')).parse('a_bucket{le="1"} 5\na_bucket{le="2"} 10\na_bucket{le="+Inf"} 10\n'), 'a', 0.75)), 1.5);
  await shot(p, 'metrics');
});

// ---- errors ----

scripted('cost, where prices are known', { speed: 20 }, async (p) => {
  await ready(p);
  await p.click('button[aria-label="Key and prices"]');
  await p.getByLabel('moa-tiny, input').fill('1000');
  await p.getByLabel('moa-tiny, output').fill('2000');
  await p.keyboard.press('Escape');
  await ask(p, QUESTION, 'self-moa');
  await idle(p);
  assert.match(await p.textContent('.card >> nth=0'), /\$0\.102/); /* 46 tokens read, 28 written */
  assert.match(await p.textContent('.run-figures'), /\$1\.\d\d/);
});

scripted('a server with a key', { key: 'SECRET', speed: 20 }, async (p) => {
  await p.waitForSelector('dialog[open] #key');
  await p.fill('#key', 'SECRET');
  await p.keyboard.press('Enter');
  await ask(p, QUESTION, 'self-moa');
  await idle(p);
  assert.equal(await p.locator('.card').count(), 5);
  assert.equal(await p.evaluate(() => localStorage.getItem('moa.key')), null);
});

scripted('errors in the server’s words', { error: { status: 429, message: '64 requests run and 512 wait, no more are taken', code: 'queue_full', head: { 'retry-after': '2' } } }, async (p, s) => {
  await ask(p, QUESTION, 'self-moa');
  await p.waitForSelector('.error');
  const said = await p.textContent('.error');
  assert.match(said, /64 requests run and 512 wait/);
  assert.match(said, /Wait a moment/);
  s.error = null;
  await p.click('.error button');
  await p.waitForSelector('.card');
  await idle(p);
  assert.equal(await p.locator('.error').count(), 0);
  await s.close();
  await p.fill('.composer .box textarea', 'anybody there?');
  await p.keyboard.press('Enter');
  await p.waitForSelector('.error');
  assert.match(await p.textContent('.error'), /does not answer.*Is moa serve still running/);
});

// ---- for everybody ----

// Every control has a name, every text is at least 13 px and stands out from what is behind it (WCAG 2: 4.5 to 1).
const audit = () => {
  const out = [], seen = (e) => e.checkVisibility?.({ visibilityProperty: true, opacityProperty: true });
  const nameOf = (e) => e.getAttribute('aria-label') || (e.getAttribute('aria-labelledby') && document.getElementById(e.getAttribute('aria-labelledby'))?.textContent) || [...(e.labels || [])].map((l) => l.textContent).join('') || (e.matches('input, select, textarea') ? '' : e.textContent) || e.querySelector?.('img[alt]')?.alt || '';
  for (const e of document.querySelectorAll('button, a, input, select, textarea, dialog, [role=button], [role=img], [role=region], [tabindex="0"]')) if (!nameOf(e).trim()) out.push(`no name: ${e.outerHTML.slice(0, 120)}`);
  for (const e of document.querySelectorAll('img')) if (!e.hasAttribute('alt')) out.push('a picture without alt');
  const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
  if (new Set(ids).size !== ids.length) out.push(`an id twice: ${ids}`);
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (c) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = c;
    canvas.fillRect(0, 0, 1, 1);
    const d = canvas.getImageData(0, 0, 1, 1).data;
    return [d[0], d[1], d[2], d[3] / 255];
  };
  const behind = (e) => {
    let c = [0, 0, 0, 0];
    for (let x = e; x && c[3] < 1; x = x.parentElement) {
      const b = rgba(getComputedStyle(x).backgroundColor), k = b[3] * (1 - c[3]);
      c = [c[0] + b[0] * k, c[1] + b[1] * k, c[2] + b[2] * k, c[3] + k];
    }
    return c;
  };
  const lum = (c) => [0, 1, 2].map((i) => c[i] / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
  for (const e of document.querySelectorAll('body *')) {
    const words = [...e.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data.trim()).join('');
    if (!words || !seen(e) || e.closest('.visually-hidden, noscript, script')) continue;
    const s = getComputedStyle(e), svg = e instanceof SVGElement;
    if (parseFloat(s.fontSize) < 13) out.push(`${s.fontSize}: ${words.slice(0, 40)}`);
    const back = behind(svg ? e.closest('.graph') || e.parentElement : e), front = rgba(svg ? s.fill : s.color), mixed = front.slice(0, 3).map((v, i) => v * front[3] + back[i] * (1 - front[3]));
    const [hi, lo] = [lum(mixed), lum(back)].sort((a, b) => b - a), ratio = (hi + 0.05) / (lo + 0.05);
    if (ratio < 4.5) out.push(`contrast ${ratio.toFixed(2)}: ${e.className?.baseVal ?? e.className} "${words.slice(0, 40)}"`);
  }
  return out;
};

for (const colorScheme of ['light', 'dark']) {
  scripted(`names, sizes, contrast: ${colorScheme}`, { speed: 20 }, async (p, s) => {
    const views = async (where) => assert.deepEqual(await p.evaluate(audit), [], where);
    await ready(p);
    await views('welcome');
    await ask(p, QUESTION, 'vote');
    await idle(p);
    s.failing = 'p1';
    await ask(p, QUESTION, 'self-moa');
    await p.keyboard.press('Alt+t');
    await idle(p);
    await views('chat');
    await p.keyboard.press('Escape');
    for (const [i, name] of [[2, 'compare'], [3, 'traces'], [4, 'metrics']]) {
      await p.keyboard.press(`Alt+${i}`);
      if (i === 3) await p.click('.traces a >> nth=0');
      await p.waitForTimeout(250);
      await views(name);
      await shot(p, `${name}-${colorScheme}`);
    }
    await p.keyboard.press('?');
    await views('keys');
  }, { colorScheme });
}

scripted('dark and light', {}, async (p) => {
  const paper = () => p.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await paper();
  await p.emulateMedia({ colorScheme: 'dark' });
  const dark = await paper();
  assert.notEqual(light, dark);
  await p.click('button[aria-label="Theme: as the system"]');
  assert.equal(await paper(), light);
  await p.reload();
  await p.click('button[aria-label="Theme: light"]');
  assert.equal(await paper(), dark);
});

scripted('360 pixels', { speed: 20 }, async (p) => {
  const fits = async (where) => assert.ok((await p.evaluate(() => document.documentElement.scrollWidth)) <= 360, `${where} is wider than the screen`);
  await ask(p, QUESTION, 'moa');
  await idle(p);
  await fits('chat');
  await shot(p, 'narrow');
  for (const sel of ['.graph svg', '.cards']) assert.ok((await p.$eval(sel, (e) => e.getBoundingClientRect().width)) <= 340, sel);
  await p.click('button[aria-label=Chats]');
  await p.waitForSelector('.side a', { state: 'visible' });
  await p.click('.history a');
  for (const i of [2, 3, 4]) {
    await p.click(`nav a:nth-child(${i})`);
    await p.waitForTimeout(100);
    await fits(`view ${i}`);
  }
  await p.evaluate(() => window.moa.askKey());
  await fits('key');
  assert.deepEqual(await p.evaluate(audit), []);
}, { viewport: { width: 360, height: 740 } });

scripted('the keyboard alone', { speed: 20 }, async (p, s) => {
  await ready(p);
  await p.keyboard.press('Tab');
  await p.keyboard.press('Tab'); /* past the list of models, where keys choose */
  await p.keyboard.press('?');
  await p.waitForSelector('dialog[open] kbd');
  await p.keyboard.press('Escape');
  await p.keyboard.press('/');
  await p.keyboard.type('What is 17 + 25?');
  await p.keyboard.press('Shift+Enter');
  await p.keyboard.type('Answer.');
  await p.keyboard.press('Enter');
  await idle(p);
  assert.equal(s.log.findLast((l) => l.body).body.messages[0].content, 'What is 17 + 25?\nAnswer.');
  // Tab reaches the graph, Enter opens its node, Escape brings back to it.
  const reach = async (sel) => {
    for (let i = 0; i < 60; i++) {
      await p.keyboard.press('Shift+Tab');
      if (await p.evaluate((x) => document.activeElement.matches(x), sel)) return;
    }
    assert.fail(`Tab does not reach ${sel}`);
  };
  await reach('.node');
  await p.keyboard.press('Enter');
  await p.waitForSelector('dialog.sheet[open]');
  await p.keyboard.press('Escape');
  await p.waitForFunction(() => document.activeElement.matches('.node'));
  await reach('.run-head');
  await p.keyboard.press('Enter');
  assert.equal(await p.isVisible('.cards'), false);
  assert.match(await p.textContent('#status'), /The reply is there/);
  await p.keyboard.press('Alt+2');
  await p.waitForSelector('.compare textarea');
  await p.keyboard.press('/');
  assert.ok(await p.evaluate(() => document.activeElement.matches('.compare textarea')));
});

scripted('reduced motion', { speed: 1 }, async (p) => {
  await ask(p, QUESTION, 'self-moa');
  await p.waitForSelector('.node.running');
  assert.deepEqual(await p.evaluate(() => document.getAnimations().map((a) => a.animationName || a.transitionProperty)), []);
  await p.keyboard.press('Escape');
  await idle(p);
}, { reducedMotion: 'reduce' });

scripted('without JavaScript', {}, async (p) => {
  const words = await p.textContent('noscript');
  assert.match(words, /OpenAI-compatible server whose models are mixtures/);
  assert.match(words, /curl -s localhost:8080\/v1\/chat\/completions/);
}, { javaScriptEnabled: false });

// ---- moa serve ----

test('with moa serve: chat, traces, stop, compare, metrics', async () => {
  const s = await serve('-q');
  try {
    const p = await page(`${s.url}/`);
    await ask(p, QUESTION, 'self-moa');
    await idle(p);
    assert.equal(await p.locator('.error').count(), 0, await p.textContent('.turns'));
    assert.ok((await p.textContent('.reply')).length > 1);
    assert.deepEqual(await p.$$eval('.node', (l) => l.map((e) => e.getAttribute('aria-label'))), [...[1, 2, 3, 4, 5, 6].map((i) => `p${i}, proposer, done`), 'agg, aggregator, done']);
    assert.match(await p.textContent('.run-figures'), /tokens · \d+ % of prompts reused/);
    for (const foot of await texts(p, '.card-foot')) assert.match(foot, /^\d+ token/);
    // What the aggregator read comes from the server's trace: the question with six replies behind it.
    await p.click('.node >> nth=6');
    await p.waitForSelector('.sheet summary');
    await p.waitForFunction(() => /== 6 ==/.test(document.querySelector('.sheet .message:last-child pre')?.textContent || ''));
    await p.keyboard.press('Escape');
    await ask(p, QUESTION, 'vote');
    await idle(p);
    assert.equal((await p.$$eval('.turn:last-child .votes .n', (l) => l.map((e) => Number(e.textContent)))).reduce((a, b) => a + b), 6);
    await shot(p, 'real');
    await p.keyboard.press('Alt+3');
    await p.waitForFunction(() => document.querySelectorAll('.traces a').length === 2);
    await p.click('.traces a >> nth=1');
    await p.waitForFunction(() => document.querySelectorAll('.player .node.done').length === 7);
    assert.equal(await p.locator('.player .card').count(), 7);
    // Two long ones, left in the middle: nothing goes on at the server.
    await p.keyboard.press('Alt+2');
    await p.waitForSelector('.compare textarea');
    await p.selectOption('.compare select >> nth=0', 'self-moa-seq');
    await p.selectOption('.compare select >> nth=1', 'vote');
    await p.fill('.compare textarea', 'Tell me a story.');
    await p.keyboard.press('Enter');
    await idle(p);
    assert.equal(await p.locator('.verdict td').count() >= 8, true);
    await p.keyboard.press('Alt+1');
    await p.waitForSelector('.chat');
    await p.keyboard.press('Alt+n');
    await p.keyboard.press('Alt+t');
    await p.selectOption('.composer select', 'self-moa');
    await p.getByLabel('Proposals', { exact: false }).first().fill('256');
    await p.getByLabel('Temperature of proposals').fill('5');
    await ask(p, 'Tell me a story.');
    await p.waitForSelector('.card.running', { state: 'attached' });
    await p.keyboard.press('Escape');
    await idle(p);
    await until(async () => /stopped/.test(await p.textContent('.meta')), 'the reply is told as stopped', 5000);
    await until(async () => (await s.ps()).length === 0, 'no request runs after Stop', 2000);
    await p.keyboard.press('Alt+4');
    await p.waitForFunction(() => document.querySelector('.metrics td')?.textContent === 'moa-tiny');
    assert.match(await p.textContent('.chart:nth-child(4) .chart-foot'), /\S+ of \S+ tokens/);
    assert.deepEqual(p.wrong, []);
  } finally {
    for (const c of open) await c.close();
    open = [];
    assert.equal(await s.stop(), 0);
  }
});

const failed = await run();
await browser.close();
process.exit(failed ? 1 : 0);
