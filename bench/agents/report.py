"""The table of report.sh: accuracy of each mix, and against the vote at as many generated tokens (linear between the votes that were run), on the same items."""
import json, sys

report = json.load(open(sys.argv[1]))
whole = report["results"][0]["task"]
for r in report["results"]:  # the row over all families has most runs
    if r["n"] > next(x for x in report["results"] if x["task"] == whole)["n"]:
        whole = r["task"]
rows = [r for r in report["results"] if r["task"] == whole]
first = {d["mix"]: d for d in report["differences"] if d.get("task", whole) == whole}
curve = sorted((r["completion_tokens"] / r["n"], r["accuracy"]) for r in rows if r["mix"] == "single" or r["mix"] == "vote" or (r["mix"].startswith("vote:n=") and "," not in r["mix"]))


def vote_at(tokens):
    """Accuracy of the vote that spends so many tokens an item; None outside of what was run."""
    for (a, x), (b, y) in zip(curve, curve[1:]):
        if a <= tokens <= b:
            return x + (y - x) * (tokens - a) / (b - a)
    return None


def points(x):
    return f"{100 * x:+.1f}"


print("| mix | accuracy, 95 % interval | against greedy, paired | generated tokens an item | prompt tokens | calls | seconds | against the vote at as many tokens |")
print("|---|---|---|---|---|---|---|---|")
for r in sorted(rows, key=lambda r: -r["accuracy"]):
    n, d, at = r["n"], first.get(r["mix"]), vote_at(r["completion_tokens"] / r["n"])
    beside = "" if d is None else f"{points(d['difference'])} ({points(d['ci95'][0])} .. {points(d['ci95'][1])})"
    print(f"| `{r['mix']}` | {100 * r['accuracy']:.1f} %, {100 * r['ci95'][0]:.1f} .. {100 * r['ci95'][1]:.1f} | {beside} | {r['completion_tokens'] / n:.0f} | {r['prompt_tokens'] / n:.0f} |"
          f" {r['calls'] / n:.1f} | {1000 * r['seconds'] / n:.0f} ms | {'' if at is None else points(r['accuracy'] - at)} |")
