#!/bin/sh
# check_layers.sh - a folder of src/ may include only itself and the folders to its left in this line.
order="base tensor format mix model adapt task train agent fetch serve cli"
bad=0
seen=""
for part in $order; do
    seen="$seen $part"
    for hit in $(grep -rhoE '^#include "[a-z_]+/' "src/$part" 2>/dev/null | sed 's/.*"//; s,/,,' | sort -u); do
        case " $seen " in
        *" $hit "*) ;;
        *)
            grep -rnE "^#include \"$hit/" "src/$part" | sed "s,^,layer: ,; s,\$,   ($part may include only:$seen),"
            bad=1 ;;
        esac
    done
done
for d in src/*/; do
    case " $order " in *" $(basename "$d") "*) ;; *) echo "layer: $d is not in the line of layers"; bad=1 ;; esac
done
exit $bad
