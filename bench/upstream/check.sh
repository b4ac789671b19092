#!/usr/bin/env bash
# Runs the tests of the patches in a copy of the caddy-l4 that go.mod names: without the
# code of its patch each of them fails, with it all pass. Then a Caddy of this plugin with
# the patched caddy-l4.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
patches=$PWD/bench/upstream
tree=$work/caddy-l4
cp -r "$(go list -m -f '{{.Dir}}' github.com/mholt/caddy-l4)" "$tree"
chmod -R u+w "$tree"
cp go.mod go.sum "$work"
go mod edit -replace "github.com/mholt/caddy-l4=$tree" "$work/go.mod"

apply() { (cd "$tree" && GIT_CEILING_DIRECTORIES=$work git apply --verbose "$@"); }
# With the dependencies of this module, most of which are built already.
tests() { go test -count=1 -timeout 5m -modfile "$work/go.mod" -run "$2" "$1"; }

# patch NAME PACKAGE TEST...: each TEST fails without the code.
patch() {
	local name=$1 package=github.com/mholt/caddy-l4/$2
	shift 2
	printf '\n-- %s: its tests alone\n' "$name"
	apply --include='*_test.go' "$patches/$name"
	local all
	all="^($(IFS='|'; echo "$*"))\$"
	tests "$package" "$all" >"$work/without" 2>&1 && { echo "they pass without the code"; exit 1; }
	for test in "$@"; do
		grep -qE "^--- FAIL: $test " "$work/without" || { cat "$work/without"; echo "$test does not fail without the code"; exit 1; }
		echo "$test fails without the code, as it should"
	done
	printf '\n-- %s: with its code\n' "$name"
	apply --exclude='*_test.go' "$patches/$name"
	tests "$package" .
}

patch proxy-truncated-streams.patch modules/l4proxy \
	TestProxyResetByDownstream TestProxyResetByUpstream TestProxyTruncatedByDownstream TestProxyAborter TestProxyResetByUpstreamOverTLS
patch accept-again.patch layer4 TestServerAcceptsAgain TestListenerWrapperAcceptsAgain
patch idle-buffers.patch modules/l4proxy TestProxyIdleMemory
tests github.com/mholt/caddy-l4/layer4 .

printf '\n-- this plugin with the patched caddy-l4\n'
go test -count=1 -timeout 5m -v -modfile "$work/go.mod" -tags patched -run '^TestPatched' ./integration | grep -E '^(---|ok|FAIL|panic:)| +---|Error'
