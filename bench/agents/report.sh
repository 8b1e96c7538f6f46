#!/bin/sh
# The table of docs/agents/README.md: every mix that works with one model, on held-out items of the microworld, against the vote at as many generated
# tokens. usage: bench/agents/report.sh [ITEMS of each family] [OUT.md]; moa is build/moa
set -e
items=${1:-60} out=${2:-docs/agents/report.md}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
set --
for m in greedy single vote:n=2 vote:n=3 vote:n=4 vote vote:n=8 vote:n=12 vote:n=16 vote:n=16,until=agree,wave=2 self-moa:n=3 self-moa \
    self-moa:until=agree,wave=2 self-moa-seq moa:layers=1,n=3 moa smoa smoa:by=agreement best-of-n self-consistency \
    self-consistency:checker=calculator vote:n=12,checker=calculator best-of-n:rate=likelihood best-of-n:rate=calculator patched-moa \
    universal-self-consistency ranker fuse mcts mora mora:identify=calculator mora:identify=calculator,repair=again,rounds=8; do
    set -- "$@" --mix "$m"
done
build/moa eval microworld -n "$items" --seed 1 -q --json --journal "$work/journal" "$@" >"$work/report.json"
python3 "$(dirname "$0")/report.py" "$work/report.json" >"$out"
echo "$out"
