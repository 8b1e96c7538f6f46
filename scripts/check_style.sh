#!/bin/sh
# check_style.sh - what a reader should not have to watch for: banned functions, missing licence lines, files that
# grew too long, functions over 100 lines (kernels and block formats excepted), work left open, library code that prints.
bad=0
say() { echo "style: $1"; bad=1; }
files=$(find include src tests bench -name '*.[ch]')
for f in $files; do
    grep -q 'SPDX-License-Identifier: Apache-2.0' "$f" || say "$f: no SPDX line"
    n=$(wc -l <"$f")
    [ "$n" -le 1500 ] || say "$f: $n lines (at most 1500)"
done
hits=$(grep -nE '(^|[^a-z_A-Z0-9.>])(strcpy|strcat|sprintf|vsprintf|atoi|atof|alloca|gets|strtok|tmpnam|mktemp)\(' $files /dev/null)
[ -z "$hits" ] || say "banned function:
$hits"
hits=$(grep -nE '(^|[^a-z_A-Z0-9])(printf|puts|putchar|exit|abort)\(|fprintf\(stderr' $(find src -name '*.[ch]' ! -path 'src/cli/*' ! -path 'src/base/err.c') /dev/null)
[ -z "$hits" ] || say "the library prints or exits:
$hits"
hits=$(grep -nE '\b(TO''DO|FIX''ME|XX''X|HA''CK)\b' $files /dev/null)
[ -z "$hits" ] || say "left open:
$hits"
long=$(for f in $(find src -name '*.c' ! -path '*/kernels/*' ! -path '*/quant/*'); do
    awk -v f="$f" '/^[a-zA-Z].*\{$/ { start = NR; name = $0 } /^}/ && start { if (NR - start > 100) print f ": " NR - start " lines: " name; start = 0 }' "$f"
done)
[ -z "$long" ] || say "functions over 100 lines:
$long"
exit $bad
