#!/bin/sh
# man.sh MOA - the man page, made of what the program says about itself, so that it cannot grow stale.
moa=$1
esc() { sed -e 's/\\/\\e/g' -e "s/^'/\\\\\&'/" -e 's/^\./\\\&./' -e 's/-/\\-/g'; }
echo ".TH MOA 1 \"\" \"$($moa --version)\" \"User Commands\""
echo ".SH NAME"
echo "moa \\- run, tune and measure mixtures of language models"
echo ".SH SYNOPSIS"
echo ".nf"; $moa --help | esc; echo ".fi"
for c in $($moa --help | sed -nE 's/^  ([a-z-]+) .*/\1/p' | sort -u); do
    $moa "$c" --help >/dev/null 2>&1 || continue
    printf '.SH "moa %s"\n.nf\n' "$c"; $moa "$c" --help | esc; echo ".fi"
done
echo ".SH EXIT STATUS"
echo "0 done, 1 the work failed (the reason is on standard error), 2 wrong use."
