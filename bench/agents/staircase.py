#!/usr/bin/env python3
"""Time to the first text of a mixture's answer, with and without staircase aggregation: requests to moa serve, one at a time, mixes in turn.

usage: bench/agents/staircase.py MODEL.gguf [--repeat N] [--tokens N] [--n N] [--mixes 0,16,64] [--words N]

Without --microworld each request asks another question, so that no mix finds in the KV cache what another one left there; --words makes it that long. With it, all mixes are
asked the same ones, with seeds of their own: proposals differ, and the question itself, found by all but the first, is short. A mix is named by its
staircase setting (0: plain self-moa); "16,steps=even" may be written "16e". Times are the client's: from sending to the first text, and to the end. Medians, and the range
of the middle half."""
import argparse, http.client, json, os, random, socket, statistics, subprocess, sys, time

MOA = os.environ.get("MOA", "build/moa")

def ask(port, model, question, tokens, seed):
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": question}], "stream": True, "stream_options": {"include_usage": True},
                       "max_tokens": tokens, "temperature": 0, "seed": seed})
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    t0 = time.perf_counter()
    c.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    r, first, usage, text = c.getresponse(), None, None, ""
    if r.status != 200:
        sys.exit(f"{model}: {r.status} {r.read().decode()}")
    for line in r:
        if not line.startswith(b"data: {"):
            continue
        d = json.loads(line[6:])
        usage = d.get("usage") or usage
        for choice in d.get("choices", []):
            more = choice["delta"].get("content")
            if more:
                first = first or time.perf_counter() - t0
                text += more
    end = time.perf_counter() - t0
    c.close()
    return first or end, end, usage, text

def main():
    a = argparse.ArgumentParser()
    a.add_argument("model")
    a.add_argument("--repeat", type=int, default=9)
    a.add_argument("--tokens", type=int, default=256)
    a.add_argument("--n", type=int, default=3)
    a.add_argument("--mixes", default="0,16,64")
    a.add_argument("--words", type=int, default=0)
    a.add_argument("--microworld", action="store_true", help="questions are held-out items")
    o = a.parse_args()
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = subprocess.Popen([MOA, "serve", "-m", o.model, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                http.client.HTTPConnection("127.0.0.1", port, timeout=5).request("GET", "/health")
                break
            except OSError:
                time.sleep(0.1)
        names = o.mixes.split(",")
        label = {m: f"self-moa:n={o.n},max-tokens={o.tokens}" + ("" if m == "0" else f",staircase={m.rstrip('e')}" + (",steps=even" if m.endswith("e") else "")) for m in names}
        questions = []
        if o.microworld:
            out = subprocess.run([MOA, "microworld", "--json", "--split", "heldout", "-n", str(o.repeat + 1), "--seed", "77"], capture_output=True, text=True, check=True).stdout
            questions = [json.loads(l)["question"] for l in out.splitlines() if l.strip()]
            random.Random(1).shuffle(questions)
        got, rng, k = {m: [] for m in names}, random.Random(5), 0
        for i in range(-1, o.repeat):
            for m in names[i % len(names):] + names[:i % len(names)]:
                k += 1
                q = questions[i] if questions else f"Question {k * 7919}: " + " ".join(str(rng.randrange(1000)) for _ in range(o.words)) + " What do you think?"
                r = ask(port, label[m], q, o.tokens, 100 + k)
                if i >= 0:
                    got[m].append(r)
        base = None
        print(f"{'mix':44} {'first text':>10} {'middle half':>15} {'':>7} {'all':>8} {'':>7} {'prompt':>7} {'reused':>7} {'written':>8} {'calls':>6}")
        for m in names:
            v = got[m]
            first, end = [x[0] for x in v], [x[1] for x in v]
            q = statistics.quantiles(first, n=4) if len(first) > 2 else [0, 0, 0]
            f, e = statistics.median(first), statistics.median(end)
            base = base or (f, e)
            u = [x[2] for x in v]
            mean = lambda g: sum(map(g, u)) / len(u)
            print(f"{label[m]:44} {f:8.3f} s {q[0]:6.3f} .. {q[2]:5.3f} {100 * (f / base[0] - 1):+6.0f}% {e:6.2f} s {100 * (e / base[1] - 1):+6.0f}% {mean(lambda x: x['prompt_tokens']):7.0f} "
                  f"{mean(lambda x: x['prompt_tokens_details']['cached_tokens']):7.0f} {mean(lambda x: x['completion_tokens']):8.0f} {mean(lambda x: x['moa']['calls']):6.1f}")
    finally:
        server.terminate()
        server.wait()

main()
