#!/bin/sh
# deps.sh [check] - makes sure that what the build needs is there. On Debian and its kin missing packages are
# named and installed with apt-get (as root or through sudo); elsewhere they are listed and the build stops.
# Called by make; runs once for a build folder.
set -u
cc=${CC:-gcc}
need="" like=""

has_header() { printf '#include <%s>\n' "$1" | $cc -E - >/dev/null 2>&1; }
want() { has_header "$1" || need="$need $2"; }
# The independent references of the tests are in Python, the first in PATH or Debian's: installed where that can be done; else the tests
# that ask them are skipped.
like_module() {
    for python in python3 /usr/bin/python3; do $python -c "import $1" >/dev/null 2>&1 && return; done
    like="$like python3-$1"
}

command -v "${cc%% *}" >/dev/null 2>&1 || need="$need gcc"
if command -v "${cc%% *}" >/dev/null 2>&1; then
    want stdio.h libc6-dev
    want dnnl.h libdnnl-dev
    want jansson.h libjansson-dev
    want cyaml/cyaml.h libcyaml-dev
    want sqlite3.h libsqlite3-dev
    want yaml.h libyaml-dev
    printf '#define PCRE2_CODE_UNIT_WIDTH 8\n#include <pcre2.h>\n' | $cc -E - >/dev/null 2>&1 || need="$need libpcre2-dev"
    want utf8proc.h libutf8proc-dev
    want curl/curl.h libcurl4-openssl-dev
    want microhttpd.h libmicrohttpd-dev
    [ "${1:-}" = check ] && { printf '#include <stdarg.h>\n#include <stddef.h>\n#include <setjmp.h>\n#include <stdint.h>\n#include <cmocka.h>\n' |
        $cc -E - >/dev/null 2>&1 || need="$need libcmocka-dev"; }
    [ "${1:-}" = check ] && like_module numpy && like_module jinja2
    case $($cc --version 2>/dev/null | head -n 1) in
    *clang*)
        printf '#include <omp.h>\nint main(void){return omp_get_max_threads()<1;}\n' | $cc -fopenmp -x c - -o /dev/null 2>/dev/null ||
            need="$need libomp-dev"
        [ -z "${SAN:-}" ] || printf 'int main(void){return 0;}\n' | $cc -fsanitize="$SAN" -x c - -o /dev/null 2>/dev/null ||
            need="$need libclang-rt-14-dev" ;;
    esac
else
    need="gcc libc6-dev libdnnl-dev libjansson-dev libcyaml-dev libyaml-dev libpcre2-dev libutf8proc-dev libsqlite3-dev libcurl4-openssl-dev libmicrohttpd-dev"
    [ "${1:-}" = check ] && need="$need libcmocka-dev"
fi
[ -z "$need$like" ] && exit 0
give_up() {
    [ -z "$need" ] || exit 1
    echo "moa: without$like some tests are skipped" >&2
    exit 0
}

echo "moa: missing Debian packages:$need$like" >&2
if ! command -v apt-get >/dev/null 2>&1; then
    echo "moa: this system has no apt-get. Install what these packages hold (headers and libraries of oneDNN 2.x," >&2
    echo "     jansson, libcyaml, libyaml, pcre2, utf8proc, sqlite3, libcurl, libmicrohttpd; cmocka for the tests) and run make again." >&2
    give_up
fi
root=""
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null 2>&1; then root=sudo
    else
        echo "moa: neither root nor sudo. Ask for: apt-get install$need$like" >&2
        give_up
    fi
fi
echo "moa: installing them with apt-get" >&2
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
$root apt-get install -y --no-install-recommends $need $like >/dev/null 2>&1 && exit 0
$root apt-get update >&2 || echo "moa: apt-get update failed, trying the old package lists" >&2
# shellcheck disable=SC2086
$root apt-get install -y --no-install-recommends $need $like >&2 || {
    echo "moa: could not install:$need$like" >&2
    give_up
}
