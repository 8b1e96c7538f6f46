#!/bin/sh
# Which mixes beat the model's own greedy answer? The second table of docs/agents/README.md: many held-out items, so that a point can be told from none.
# usage: bench/agents/greedy.sh [ITEMS of each family] [OUT.md]; moa is build/moa
set -e
items=${1:-800} out=${2:-docs/agents/greedy.md}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
set --
for m in greedy single vote:n=12 vote:n=12,checker=calculator vote:n=12,checker=calculator,until=agree,wave=3 self-consistency:n=6 self-consistency \
    self-consistency:checker=calculator best-of-n:rate=likelihood,n=12 best-of-n:rate=calculator best-of-n:rate=calculator,n=12 \
    self-moa:n=12 self-moa:n=12,checker=calculator smoa:by=agreement smoa:by=agreement,checker=calculator \
    mora:identify=calculator,repair=again mora:identify=calculator,repair=again,rounds=8; do
    set -- "$@" --mix "$m"
done
build/moa eval microworld -n "$items" --seed 101 -q --json --journal "$work/journal" "$@" >"$work/report.json"
python3 "$(dirname "$0")/report.py" "$work/report.json" >"$out"
echo "$out"
