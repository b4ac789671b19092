#!/usr/bin/env bash
# Compares this plugin with other proxies, and leaves tables and plots in bench/results, or where
# -out says. Other flags: bench/load.sh -h.
set -euo pipefail
cd "$(dirname "$0")/load"
ulimit -n "$(ulimit -Hn)"
case " $* " in *" -out "*) ;; *) mkdir -p ../results; set -- -out "$PWD/../results" "$@" ;; esac
exec go run . "$@"
