#!/bin/sh
# Records execution traces of benchmarks of Go's own packages.
#
#   tools/record_traces.sh FOLDER [NAME...]
#
# Writes FOLDER/NAME.trace for each NAME, by default all: json parser http template flate, which have
# allocation events (GODEBUG=traceallocfree=1); json_plain, which has none; and generations, which runs
# for a few seconds, so that it has several generations. Needs `go` on PATH.
set -eu

usage() {
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

# record NAME PACKAGE BENCHMARK BENCHTIME [GODEBUG]
record() {
    echo "$1: $2, Benchmark$3, $4" >&2
    GODEBUG=${5-traceallocfree=1} go test -run=NONE -bench="$3\$" -benchtime="$4" \
        -o "$work/test" -outputdir="$folder" -trace="$1.trace" "$2" >"$work/log" 2>&1 ||
        { cat "$work/log" >&2; exit 1; }
}

[ $# -ge 1 ] || usage
mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ $# -gt 0 ] || set -- json parser http template flate json_plain generations
for name; do
    case $name in
    json) record json encoding/json CodeUnmarshal 20x ;;
    parser) record parser go/parser Parse 30x ;;
    http) record http net/http ClientServer 2000x ;;
    template) record template text/template/parse ParseLarge 3x ;;
    flate) record flate compress/flate 'Encode/Digits/Speed/1e4' 2000x ;;
    json_plain) record json_plain encoding/json CodeUnmarshal 40x '' ;;
    generations) record generations encoding/json CodeMarshal 1200x '' ;;
    *) usage ;;
    esac
done
