#!/bin/sh
# check_registry.sh - every row `const moa_KIND moa_KIND_NAME = ` in src/ must be listed as (NAME) in some .def.
# (The other way round, a listed row that no file defines fails to link.)
bad=0
listed=$(find src -name '*.def' -exec sed -nE 's/^[A-Z_0-9]+\(([a-z_0-9A-Z]+).*/\1/p' {} + | sort -u)
for row in $(grep -rhoE '^const moa_[a-z0-9_]+ moa_[A-Za-z0-9_]+ = ' src | awk '{k = $2; n = $3; sub(k "_", "", n); print k ":" n}'); do
    name=${row#*:}
    printf '%s\n' "$listed" | grep -qx "$name" || { echo "registry: row $row stands in no .def file"; bad=1; }
done
for def in $(find src -name '*.def'); do
    twice=$(sed -nE 's/^([A-Z_0-9]+\([a-z_0-9A-Z]+\)).*/\1/p' "$def" | sort | uniq -d)
    [ -z "$twice" ] || { echo "registry: $def lists twice: $twice"; bad=1; }
done
exit $bad
