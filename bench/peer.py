#!/usr/bin/env python3
"""peer.py - moa beside ik_llama.cpp on one machine, in turns; ratios of medians count.

    PEER=path/to/ik_llama.cpp/build/bin bench/peer.py MODEL.gguf ... [--runs 5] [--prompt 512] [--threads N] [--isa avx2] [--json FILE]

PEER holds llama-bench and llama-batched-bench of https://github.com/ikawrakow/ik_llama.cpp, built for the instruction set to compare with
(for --isa avx2: a build without AVX-512). Both programs get the same file and the same number of threads; the peer runs with flash
attention, with and without -rtr (weights repacked when it loads), and its better figure counts. Models in true shapes:
`moa shape llama-336m l.gguf Q4_0`. The works are those of `moa bench speed`: prefill of a prompt, and decoding of 1, 4, 8, 16
sequences that share that prompt. moa loads, measures and ends once a turn, as the peer does.
"""
import argparse, json, os, re, statistics, subprocess, sys, tempfile

BATCH = (1, 4, 8, 16)


def run(cmd, env=None, merge=False, cwd=None):
    p = subprocess.run(cmd, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT if merge else subprocess.PIPE, text=True, env=env)
    if p.returncode:
        sys.exit(f"peer.py: {' '.join(cmd)} ended with {p.returncode}:\n{(p.stderr or p.stdout)[-2000:]}")
    return p.stdout


def moa(a, model):
    env = dict(os.environ, **({"MOA_ISA": a.isa} if a.isa else {}))
    o = json.loads(run([a.moa, "bench", "speed", "-m", model, "-t", str(a.threads), "-r", "3", "--json", f"prefill:{a.prompt},decode:{a.prompt}"], env))
    out = {"prefill": o["prefill_tps"]}
    out.update({f"decode {b['n']}": b["tps"] for b in o["batch"] if b["n"] in BATCH})
    return out, o["read_gbps"]


def peer(a, model, repack):
    flags = ["-fa", "1", "-rtr", "1"] if repack else ["-fa", "1"]
    o = json.loads(run([f"{a.peer}/llama-bench", "-m", model, "-p", str(a.prompt), "-n", "0", "-t", str(a.threads), "-r", "3", "-ub",
                        str(a.prompt), "-b", str(a.prompt), "-o", "json", *flags]))
    out = {"prefill": o[0]["avg_ts"]}
    flags = ["-fa", "1", "-rtr"] if repack else ["-fa", "1"]
    text = run([f"{a.peer}/llama-batched-bench", "-m", model, "-c", str(a.prompt + 64 * max(BATCH)), "-b", "2048", "-ub", "512", "-npp",
                str(a.prompt), "-ntg", "32", "-npl", ",".join(map(str, BATCH)), "-pps", "-t", str(a.threads), *flags], merge=True, cwd=a.scratch)
    for line in text.splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if len(cells) >= 8 and re.fullmatch(r"\d+", cells[0]):
            out[f"decode {cells[2]}"] = float(cells[7])  # S_TG: tokens of all sequences a second
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", nargs="+")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--prompt", type=int, default=512)
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--isa")
    p.add_argument("--json")
    p.add_argument("--moa", default="build/moa")
    a = p.parse_args()
    a.peer = os.environ.get("PEER") or sys.exit("peer.py: set PEER to the folder with llama-bench and llama-batched-bench")
    a.peer, a.model = os.path.abspath(a.peer), [os.path.abspath(m) for m in a.model]
    scratch = tempfile.TemporaryDirectory()
    a.scratch = scratch.name  # the peer leaves logs where it runs
    report = {}
    for model in a.model:
        ours, theirs, reads = {}, {}, []
        for _ in range(a.runs):
            o, gbps = moa(a, model)
            reads.append(gbps)
            for k, v in o.items():
                ours.setdefault(k, []).append(v)
            both = [peer(a, model, r) for r in (False, True)]
            for k in both[0]:
                theirs.setdefault(k, []).append(max(b.get(k, 0) for b in both))
        print(f"{os.path.basename(model)}, {a.threads} threads, {a.isa or 'best'}: medians of {a.runs}; the machine reads {statistics.median(reads):.1f} GB/s")
        print(f"  {'work':<12}{'moa tok/s':>12}{'peer tok/s':>12}{'ratio':>8}   (of single turns)")
        for k in ours:
            if k not in theirs:
                continue
            m, t = statistics.median(ours[k]), statistics.median(theirs[k])
            each = sorted(x / y for x, y in zip(ours[k], theirs[k]))
            print(f"  {k:<12}{m:>12.1f}{t:>12.1f}{m / t:>8.2f}   {each[0]:.2f} to {each[-1]:.2f}", flush=True)
        report[os.path.basename(model)] = {"moa": ours, "peer": theirs, "read_gbps": reads}
    if a.json:
        with open(a.json, "w") as f:
            json.dump(report, f)


if __name__ == "__main__":
    main()
