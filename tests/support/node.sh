# node.sh - sourced by tests in JavaScript: goes on where node is there and new enough for what they use.
skip() { echo "skip: $1"; echo "[  SKIPPED ] 1 test(s)"; exit 0; }
command -v node >/dev/null 2>&1 || skip "no node (apt-get install nodejs npm)"
[ "$(node -p 'parseInt(process.versions.node)')" -ge 20 ] || skip "node $(node -v) is older than 20"
