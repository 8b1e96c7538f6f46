#!/usr/bin/env python3
"""What the server adds between its clients and models behind URLs: run.py [PART ...] [--moa PATH] [--repeat N] [--optillm DIR --openai DIR --typing-extensions DIR]

Parts: overhead, throughput, streams, graph, cancel, idle, local, optillm (default: all; local asks the bundled model; optillm needs its sources, and flask, httpx, pydantic and numpy of the
distribution; see optillm_server.py). Every upstream is the scripted server (tests/support/mock.h), every client load.c, all on this machine; each figure is
the median of the repeats, moa and what it is compared with in turn. Prints rows of a Markdown table; -v prints every run.
SPDX-License-Identifier: Apache-2.0"""
import argparse
import json
import mmap
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
# model: seconds to the first chunk, between chunks, chunks. Times as hosted models have them, some ten times shortened where it does not matter.
MODELS = {"fast": (0, 0, 10), "a": (0.10, 0.01, 30), "b": (0.15, 0.01, 30), "c": (0.20, 0.01, 30), "llm": (1.0, 0.1, 20)}
YAML = """models: []
backends:
%s
mixes:
  - {id: council, mix: "moa:layers=1,max-tokens=4096", proposers: [a, b, c], aggregator: a}
  - {id: five, mix: "moa:layers=2,max-tokens=4096", proposers: [fast, fast], aggregator: fast}
  - {id: five-a, mix: "moa:layers=2,max-tokens=4096", proposers: [a, a], aggregator: a}
"""


def takes(model):
    first, gap, n = MODELS[model]
    return first + gap * (n - 1)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port, process, seconds=60):
    end = time.time() + seconds
    while time.time() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None:
                sys.exit("the server on port %d has ended" % port)
            time.sleep(0.05)
    sys.exit("nothing listens on port %d" % port)


class Bench:
    def __init__(self, args):
        self.args = args
        self.dir = tempfile.mkdtemp(prefix="moa-bench-")
        self.own = []
        build = os.path.dirname(args.moa)
        self.load_path, mock = build + "/bench/serve/load", build + "/bench/serve/mock"
        script = self.dir + "/script.jsonl"
        with open(script, "w") as f:
            for model, (first, gap, n) in MODELS.items():
                f.write(json.dumps({"model": model, "ttft": first, "gap": gap, "chunks": n}) + "\n")
            f.write(json.dumps({"model": "hang", "fault": "stall", "after": 1}) + "\n")
        p = subprocess.Popen([mock, script], stdout=subprocess.PIPE, text=True)
        self.own.append(p)
        self.mock = int(p.stdout.readline())
        rows = "".join("  - {id: %s, url: 'http://127.0.0.1:%d/v1', max_concurrent: 4000}\n" % (m, self.mock) for m in [*MODELS, "hang"])
        with open(self.dir + "/moa.yaml", "w") as f:
            f.write(YAML % rows)
        self.port, self.server = self.moa()

    def moa(self, *options):
        port = free_port()
        p = subprocess.Popen([self.args.moa, "serve", *(options or ("--config", self.dir + "/moa.yaml")), "-p", str(port), "-q", "--max-running", "4000", "--max-queue", "4000"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.own.append(p)
        wait_port(port, p)
        return port, p

    def load(self, *words):
        r = subprocess.run([self.load_path, *map(str, words)], capture_output=True, text=True)
        if not r.stdout:
            sys.exit("load %s: %s" % (words, r.stderr))
        v = json.loads(r.stdout)
        if self.args.verbose:
            print("   ", " ".join(map(str, words)), r.stdout.strip(), r.stderr.strip())
        if r.returncode and "lost" in v:
            print("    LOST %d: %s" % (v["lost"], r.stderr.strip()))
        return v

    def status(self, key):
        with open("/proc/%d/status" % self.server.pid) as f:
            return int(next(line for line in f if line.startswith(key)).split()[1])

    def cpu(self):
        with open("/proc/%d/stat" % self.server.pid) as f:
            v = f.read().rsplit(")", 1)[1].split()
        return (int(v[11]) + int(v[12])) / os.sysconf("SC_CLK_TCK")

    def close(self):
        for p in self.own:
            p.terminate()
        for p in self.own:
            p.wait()


def medians(runs, *path):
    def get(v):
        for key in path:
            v = v[key]
        return v
    return statistics.median(get(v) for v in runs)


def row(what, *cells):
    print("| " + " | ".join([what, *cells]) + " |", flush=True)


def overhead(b):
    """Total time of a request minus the script's own times, through moa and without it."""
    for streams in (1, 16):
        direct, through, mixed, burst, cpu = [], [], [], [], []
        least = max(takes("a"), takes("b"), takes("c")) + takes("a")
        for _ in range(b.args.repeat):
            direct.append(b.load(b.mock, "a", streams, 12 if streams == 1 else 160, "spread", "least=%g" % takes("a")))
            through.append(b.load(b.port, "a", streams, 12 if streams == 1 else 160, "spread", "least=%g" % takes("a")))
            mixed.append(b.load(b.port, "council", streams, 6 if streams == 1 else 80, "spread", "least=%g" % least))
            if streams > 1:
                before = b.cpu()
                burst.append(b.load(b.port, "council", streams, 80, "least=%g" % least))
                cpu.append((b.cpu() - before) * 1e3 / 80)
        for name, runs in (("the scripted server alone", direct), ("one model through moa", through), ("3 proposals and a merge through moa", mixed)):
            row("over the critical path, %d at a time, %s" % (streams, name), *("%s %.2f ms" % (q, medians(runs, "over_ms", q)) for q in ("p50", "p95", "p99")))
        if burst:
            row("the same, all %d begin and end in the same moment" % streams, *("%s %.2f ms" % (q, medians(burst, "over_ms", q)) for q in ("p50", "p95", "p99")),
                "%.1f ms CPU a request" % statistics.median(cpu))


def throughput(b):
    for streams in (1, 64):
        runs = {"direct": [], "moa": []}
        for _ in range(b.args.repeat):
            runs["direct"].append(b.load(b.mock, "fast", streams, 4000))
            runs["moa"].append(b.load(b.port, "fast", streams, 4000))
        for name, r in runs.items():
            row("streams of 10 chunks, no delays, %d at a time, %s" % (streams, name), "%.0f/s" % medians(r, "per_second"), "p50 %.2f ms" % medians(r, "total_ms", "p50"),
                "p99 %.2f ms" % medians(r, "total_ms", "p99"))


def streams(b):
    before = b.status("VmRSS:")
    runs, cpu = [], b.cpu()
    for _ in range(b.args.repeat):
        runs.append(b.load(b.port, "llm", 1000, 1000, "least=%g" % takes("llm")))
    row("1000 streams at a time (%.1f s each of the script's time)" % takes("llm"), "%d of %d whole" % (sum(v["whole"] for v in runs), sum(v["requests"] for v in runs)),
        "%.1f MB at most, %.1f before" % (b.status("VmHWM:") / 1024, before / 1024), "first p99 %.0f ms, %.2f s CPU a run" % (medians(runs, "first_ms", "p99"), (b.cpu() - cpu) / len(runs)))


def graph(b):
    """One run of the executor with 1000 calls at a time, no server between."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # a connection a call
    p = subprocess.run([b.args.moa, "bench", "agents", "http://127.0.0.1:%d/v1" % b.mock, "-m", "llm", "-r", str(b.args.repeat), "--json"], capture_output=True, text=True)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if p.returncode:
        sys.exit("moa bench agents: " + p.stderr)
    v = json.loads(p.stdout)
    with urllib.request.urlopen("http://127.0.0.1:%d/mock" % b.mock) as reply:
        most = json.load(reply)["most"]
    row("a run of %d calls at a time (%.1f s each of the script's time)" % (v["calls"], takes("llm")), "%d of %d failed" % (v["failed"], v["calls"] * v["runs"]),
        "%.2f s over the script's time" % (v["seconds"] - takes("llm")), "%d upstream at a time, at most" % most)


def cancel(b):
    for n in (100, 1000):
        runs = [b.load("cancel", b.port, "hang", n, b.mock) for _ in range(b.args.repeat)]
        row("%d clients leave at once; the last call upstream ends after" % n, "%.1f ms" % medians(runs, "last_ms"), "%d of %d canceled" % (sum(v["canceled"] for v in runs), n * len(runs)), "")


def idle(b):
    port, server = b.moa()
    kept, b.server = b.server, server
    time.sleep(1)
    cpu = b.cpu()
    time.sleep(5)
    row("idle", "%.1f MB resident" % (b.status("VmRSS:") / 1024), "%.2f s CPU in 5 s" % (b.cpu() - cpu), "%d threads" % b.status("Threads:"))
    b.server = kept


def touch_memory(size=1 << 30):
    """Memory that a virtual machine has never used comes from its host at a tenth of the speed of other memory: some that has been used is there for the KV of the chats."""
    with mmap.mmap(-1, size) as m:
        if hasattr(mmap, "MADV_HUGEPAGE"):
            m.madvise(mmap.MADV_HUGEPAGE)
        for at in range(0, size, 4096):
            m[at] = 1


def local(b):
    """16 chats of the bundled model beside each other, and one after the other."""
    touch_memory()
    port, _ = b.moa("--ctx", "1024")
    ratios, beside, after = [], [], []
    for _ in range(b.args.repeat):
        words = ("16", "any", "max_tokens=120", "temperature=0.8", 'logit_bias={"0":-100,"2":-100}')  # its two ends: all replies have 120 tokens
        after.append(b.load(port, "", 1, *words)["seconds"])
        beside.append(b.load(port, "", 16, *words)["seconds"])
        ratios.append(beside[-1] / after[-1])
    row("16 chats of 120 tokens, the bundled model", "beside each other %.2f s" % statistics.median(beside), "one after the other %.2f s" % statistics.median(after),
        "%.2f (%s)" % (statistics.median(ratios), ", ".join("%.2f" % r for r in sorted(ratios))))


def optillm(b):
    a = b.args
    if not a.optillm:
        print("optillm: skipped, --optillm, --openai and --typing-extensions name no sources")
        return
    port = free_port()
    with open(b.dir + "/optillm.log", "w") as log:
        p = subprocess.Popen(["/usr/bin/python3", HERE + "/optillm_server.py", a.optillm, a.openai, a.typing_extensions, "--port", str(port), "--base-url",
                              "http://127.0.0.1:%d/v1" % b.mock, "--approach", "moa", "--log", "error", "--model", "fast"], stdout=log, stderr=log, env={**os.environ, "OPENAI_API_KEY": "x"})
    b.own.append(p)
    wait_port(port, p)
    for n in (1, 8, 32):
        runs = {"optillm": [], "moa": []}
        for _ in range(a.repeat):
            runs["optillm"].append(b.load(port, "fast", n, 30 if n == 1 else 120))
            runs["moa"].append(b.load(b.port, "five", n, 500 if n == 1 else 2000))
        per = {k: medians(r, "per_second") for k, r in runs.items()}
        row("5 replies in 3 steps, no delays, %d at a time" % n, "optillm %.1f/s" % per["optillm"], "moa %.0f/s" % per["moa"], "%.0f times" % (per["moa"] / per["optillm"]))
    runs = {"optillm": [], "moa": []}
    for _ in range(a.repeat):
        runs["optillm"].append(b.load(port, "a", 1, 5))
        runs["moa"].append(b.load(b.port, "five-a", 1, 5))
    for name, r in runs.items():
        row("the same with %.0f ms to the first chunk and %.0f ms a reply, %s" % (MODELS["a"][0] * 1e3, takes("a") * 1e3, name), "first text %.0f ms" % medians(r, "first_ms", "p50"),
            "whole %.0f ms" % medians(r, "total_ms", "p50"), "")


PARTS = {f.__name__: f for f in (overhead, throughput, streams, graph, cancel, idle, local, optillm)}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("part", nargs="*", choices=[*PARTS, []], default=[])
    p.add_argument("--moa", default=ROOT + "/build/moa")
    p.add_argument("--repeat", type=int, default=5)
    p.add_argument("-v", "--verbose", action="store_true")
    for name in ("--optillm", "--openai", "--typing-extensions"):
        p.add_argument(name)
    args = p.parse_args()
    args.moa = os.path.abspath(args.moa)
    if not os.path.exists(os.path.dirname(args.moa) + "/bench/serve/load"):
        sys.exit("run `make bench-serve` first")
    b = Bench(args)
    try:
        for part in args.part or PARTS:
            PARTS[part](b)
    finally:
        b.close()


main()
