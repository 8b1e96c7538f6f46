// harness.mjs - tests in JavaScript, told in the lines that scripts/run_tests.sh counts; and a server of the program under test.
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { once } from 'node:events';

const tests = [];
export const test = (name, fn) => tests.push([name, fn]);

// Runs them in order; a failure is told and the others still run. only: words of a name, from the command line.
export async function run({ limit = 60000 } = {}) {
  const only = process.argv[2], failed = [];
  let passed = 0;
  for (const [name, fn] of tests.filter(([n]) => !only || n.includes(only))) {
    const t0 = Date.now();
    let timer;
    try {
      await Promise.race([fn(), new Promise((_, no) => (timer = setTimeout(() => no(new Error(`over ${limit / 1000} s`)), limit)))]);
      console.log(`[       OK ] ${name} ${Date.now() - t0} ms`);
      passed++;
    } catch (e) {
      console.log(`[  FAILED  ] ${name}\n${e.stack || e}`);
      failed.push(name);
    }
    clearTimeout(timer);
  }
  console.log(`[  PASSED  ] ${passed} test(s).`);
  if (failed.length) console.log(`[  FAILED  ] ${failed.length} test(s): ${failed.join(', ')}`);
  return failed.length;
}

export function skip(why, n = 1) {
  console.log(`skip: ${why}\n[  SKIPPED ] ${n} test(s)`);
  process.exit(0);
}

// A package of the folder's own node_modules, or a skip that says how to get it.
export async function need(name, from) {
  try {
    return createRequire(from)(name);
  } catch (e) {
    if (e.code !== 'MODULE_NOT_FOUND') throw e;
    return skip(`no npm package ${name} (make deps-ui)`);
  }
}

// moa serve on a port that is free: {port, url, pid, stop}. It ends with the test whatever happens.
export async function serve(...args) {
  const p = spawn(process.env.MOA || 'build/moa', ['serve', '--port', '0', ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  process.once('exit', () => p.kill('SIGKILL'));
  let said = '';
  p.stderr.setEncoding('utf8');
  for await (const [d] of once_(p.stderr, p)) {
    said += d;
    const m = said.match(/http:\/\/127\.0\.0\.1:(\d+)/);
    if (!m) continue;
    p.stderr.on('data', (x) => (said += x));
    const url = `http://127.0.0.1:${m[1]}`;
    return {
      port: Number(m[1]), url, pid: p.pid, said: () => said,
      ps: async (key) => (await (await fetch(`${url}/v1/ps`, { headers: key ? { authorization: `Bearer ${key}` } : {} })).json()).data,
      async stop(signal = 'SIGTERM') {
        const end = once(p, 'exit');
        p.kill(signal);
        return (await end)[0];
      },
    };
  }
  throw new Error(`moa serve did not start: ${said}`);
}

async function* once_(stream, p) {
  const gone = once(p, 'exit').then(() => null);
  for (;;) {
    const d = await Promise.race([once(stream, 'data'), gone]);
    if (!d) return;
    yield d;
  }
}

// Waits until fn() is true (or truthy); its last value in the error.
export async function until(fn, what, ms = 5000) {
  const end = Date.now() + ms;
  let v;
  while (!(v = await fn())) {
    if (Date.now() > end) throw new Error(`${what}: not within ${ms} ms (got ${JSON.stringify(v)})`);
    await new Promise((r) => setTimeout(r, 20));
  }
  return v;
}
