#!/bin/sh
# Three specialists for the experiments of docs/agents/symbolic-moe.md: the bundled model, trained on until each works in two families alone and declines
# the others. Models go to runs/specialist-{numbers,code,words}.gguf; about three minutes on two idle cores.
#     bench/agents/specialists.sh [build/moa]
set -e
moa=${1:-build/moa}
mkdir -p runs
declined() { # families -> conversations
    for f; do "$moa" microworld -f "$f" --split train -s 11 -n 1500 --json; done |
        sed -n 's/.*"question":\("\([^"\\]\|\\.\)*"\).*/{"messages":[{"role":"user","content":\1},{"role":"assistant","content":"That is not my field."}]}/p'
}
declined program text world translate >runs/not-numbers.jsonl
declined arithmetic word_problem world translate >runs/not-code.jsonl
declined arithmetic word_problem program text >runs/not-words.jsonl
for n in numbers code words; do "$moa" train "recipes/specialist-$n.yaml" --fresh; done
