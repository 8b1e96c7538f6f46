#!/bin/sh
# The page in Chromium, where node, its npm package (make deps-ui) and the browser are there.
. tests/support/node.sh
exec node tests/ui/test_browser.mjs "$@"
