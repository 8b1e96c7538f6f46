#!/bin/sh
# graphs.sh MOA - the pictures of docs/agents: docs/agents/graphs/NAME.svg of every mix, drawn by `moa mix`. Where a mix's own numbers make a picture that is too
# wide for a page, or need more models than one to be understood, the settings stand here, and in the picture's title. tests/cli/test_mix.c draws each again.
set -e
moa=$1
mkdir -p docs/agents/graphs
for name in $("$moa" list strategies | cut -d' ' -f1); do
    case $name in
        cascade) mix=cascade:proposers=small,aggregator=large ;;
        free-agent) mix=free-agent:roster=2 ;;
        mcts) mix=mcts:simulations=2 ;;
        ranker | fuse) mix=$name:n=3 ;;
        *) mix=$name ;;
    esac
    "$moa" mix "$mix" --svg "docs/agents/graphs/$name.svg"
done
