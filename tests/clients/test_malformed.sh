#!/bin/sh
# Ten thousand malformed requests from a seeded generator, where node is there.
. tests/support/node.sh
exec node tests/clients/test_malformed.mjs "$@"
