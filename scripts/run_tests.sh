#!/bin/sh
# run_tests.sh BINARY... - runs each test program from the repository root, prints one line a program, every skip with
# its reason, the whole log of a failure, and a closing line with the sums.
pass=0 fail=0 skip=0
log=$(mktemp)
# What programs keep between runs (measured limits) is the tests' own.
XDG_CACHE_HOME=$(mktemp -d)
export XDG_CACHE_HOME
trap 'rm -rf "$log" "$XDG_CACHE_HOME"' EXIT
limit=${TEST_TIMEOUT:-300}
all0=$(date +%s)
for t in "$@"; do
    name=${t##*tests/}
    t0=$(date +%s)
    # ARGS of fuzz replays: the corpus folder of the target's name
    case $name in
    fuzz_*) timeout "$limit" "$t" "tests/fuzz/corpus/${name#fuzz_}" >"$log" 2>&1 ;;
    *) timeout "$limit" "$t" >"$log" 2>&1 ;;
    esac
    rc=$?
    p=$(sed -nE 's/^\[  PASSED  \] ([0-9]+) test.*/\1/p' "$log" | awk '{s += $1} END {print s + 0}')
    s=$(sed -nE 's/^\[  SKIPPED \] ([0-9]+) test.*/\1/p' "$log" | awk '{s += $1} END {print s + 0}')
    f=$(sed -nE 's/^\[  FAILED  \] ([0-9]+) test.*/\1/p' "$log" | awk '{s += $1} END {print s + 0}')
    case $name in fuzz_*) [ $rc -eq 0 ] && p=1 ;; esac
    if [ $rc -ne 0 ]; then
        [ "$f" -gt 0 ] || f=1
        echo "FAIL $name (exit $rc$([ $rc -eq 124 ] && echo ", over $limit s"))"
        tail -n 80 "$log"
    else
        printf 'ok   %-34s %3d passed%s  %ds\n' "$name" "$p" "$([ "$s" -gt 0 ] && echo ", $s skipped")" "$(($(date +%s) - t0))"
    fi
    grep -aE '^ *skip:' "$log" | sort -u | sed 's/^/     /'
    pass=$((pass + p)) fail=$((fail + f)) skip=$((skip + s))
done
echo "$(($(date +%s) - all0)) s in all"
if [ "$skip" -gt 0 ]; then echo "$pass passed, $fail failed, $skip skipped"; else echo "$pass passed, $fail failed"; fi
[ "$fail" -eq 0 ]
