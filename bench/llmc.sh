#!/bin/sh
# llmc.sh - training speed beside the CPU trainer of llm.c, on models of one shape, one after the other in one run.
#   LLMC=path/to/llm.c bench/llmc.sh        (https://github.com/karpathy/llm.c)
# Shape by environment: L layers, D width, H heads, V vocabulary, T tokens a row, B rows a step; STEPS for moa.
# llm.c: GPT-2 blocks, f32, its own flags (-Ofast -march=native, OpenMP). moa: llama blocks with as many weights a layer
# (three matrices of 8/3 D for two of 4 D), bf16 products, f32 weights, AdamW. Both: every token is learned; the
# figure is the median over the steps, the first three left out; forward, backward and update are in it.
set -eu
: "${LLMC:?set LLMC to a checkout of llm.c}"
MOA=${MOA:-build/moa}
L=${L:-6} D=${D:-256} H=${H:-8} V=${V:-4096} T=${T:-256} B=${B:-8} STEPS=${STEPS:-40}
CC=${CC:-gcc}
THREADS=${THREADS:-$(nproc)}
[ -f "$LLMC/train_gpt2.c" ] || { echo "llmc.sh: $LLMC/train_gpt2.c is not there" >&2; exit 2; }
[ -x "$MOA" ] || { echo "llmc.sh: $MOA is not there; run make, or set MOA" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d "${TMPDIR:-/tmp}/moa-llmc.XXXXXX")
trap 'rm -rf "$dir"' EXIT INT TERM

"$CC" -O2 -o "$dir/files" "$here/llmc_files.c" -lm
"$dir/files" "$dir" "$L" "$D" "$H" "$V" "$T"

# llm.c reads fixed paths and has B, T and the number of steps in its main; validation and samples are not timed and left out.
mkdir -p "$dir/llmc/dev/data/tinyshakespeare"
cp -r "$LLMC/train_gpt2.c" "$LLMC/llmc" "$dir/llmc/"
sed -i "s/int B = 4;/int B = $B;/; s/int T = 64;/int T = $T;/; s/step <= 40/step < ${LLMC_STEPS:-15}/
    s/int val_num_batches = 5;/int val_num_batches = 1;/; s/if (step > 0 \&\& step % 20 == 0)/if (0)/; s/if (step % 10 == 0)/if (step == 0)/" "$dir/llmc/train_gpt2.c"
grep -q "int B = $B;" "$dir/llmc/train_gpt2.c" && grep -q "int T = $T;" "$dir/llmc/train_gpt2.c" || {
    echo "llmc.sh: this llm.c keeps B and T elsewhere" >&2
    exit 1
}
mv "$dir/gpt2_124M.bin" "$dir/llmc/"
mv "$dir/train.bin" "$dir/llmc/dev/data/tinyshakespeare/tiny_shakespeare_train.bin"
mv "$dir/val.bin" "$dir/llmc/dev/data/tinyshakespeare/tiny_shakespeare_val.bin"
(cd "$dir/llmc" && "$CC" -Ofast -Wno-unused-result -march=native -fopenmp -DOMP -I. -o train_gpt2 train_gpt2.c -lm)
echo "shape: L=$L D=$D H=$H V=$V T=$T B=$B, $THREADS threads" >&2
(cd "$dir/llmc" && OMP_NUM_THREADS=$THREADS ./train_gpt2 >out.txt)

cat >"$dir/moa.yaml" <<EOF
name: llmc
model: {n_layer: $L, d_model: $D, n_head: $H, n_kv: $H, d_ff: $(((D * 8 / 3 + 31) / 32 * 32)), n_ctx: $T, tied: true}
tokenizer: {n_vocab: $V}
output: {type: F32}
stages:
  - {name: a, steps: $STEPS, batch_tokens: $((B * T)), seq_len: $T, lr: 1e-4, schedule: constant, data: [{file: $dir/text.txt}]}
EOF
"$MOA" train "$dir/moa.yaml" --out "$dir/run" --threads "$THREADS" >/dev/null

median() { sort -n | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'; }
ms_llmc=$(sed -nE 's/^step ([0-9]+):.*took ([0-9.]+) ms.*/\1 \2/p' "$dir/llmc/out.txt" | awk '$1 >= 3 { print $2 }' | median)
ms_moa=$(sed -nE 's/.*"step":([0-9]+),.*"seconds":([0-9.]+).*/\1 \2/p' "$dir/run/log.jsonl" |
    awk '{ if ($1 > 3) print 1000 * ($2 - last); last = $2 }' | median)
awk -v a="$ms_llmc" -v b="$ms_moa" -v n="$((B * T))" 'BEGIN {
    printf "llm.c  %8.1f ms a step  %8.0f tokens/s\n", a, 1000 * n / a
    printf "moa    %8.1f ms a step  %8.0f tokens/s\n", b, 1000 * n / b
    printf "ratio  %8.2f\n", a / b
}'
