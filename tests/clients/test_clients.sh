#!/bin/sh
# The SDKs that people use, against moa serve, where node and their npm packages (make deps-ui) are there.
. tests/support/node.sh
exec node tests/clients/test_clients.mjs "$@"
