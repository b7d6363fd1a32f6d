#!/bin/sh
# Records execution traces of benchmarks of Go's own packages.
#
#   tools/record_traces.sh FOLDER [NAME...]
#
# Writes FOLDER/NAME.trace for each NAME, by default all: json parser http template flate, which have
# allocation events (GODEBUG=traceallocfree=1); json_plain, which has none; and generations, which runs
# for a few seconds, so that it has several generations. json_unmarshal, the trace in gomem/data, is
# recorded only when it is asked for. Needs `go` on PATH. Programs that write allocation events crash now
# and then while they stop tracing (Go 1.26): these are run again.
set -eu

usage() {
    sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

# record NAME PACKAGE BENCHMARK BENCHTIME [GODEBUG [FLAGS...]]
record() {
    echo "$1: $2, Benchmark$3, $4" >&2
    name=$1 package=$2 benchmark=$3 time=$4 debug=${5-traceallocfree=1}
    shift $(($# < 5 ? $# : 5))
    for attempt in 1 2 3 4 5; do
        GODEBUG=$debug go test -run=NONE -bench="$benchmark\$" -benchtime="$time" "$@" \
            -o "$work/test" -outputdir="$folder" -trace="$name.trace" "$package" \
            >"$work/log" 2>&1 && return
        rm -f "$folder/$name.trace"
    done
    tail -n 20 "$work/log" >&2
    exit 1
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
    flate) record flate compress/flate 'Encode/Digits/Speed/1e4' 30000x ;;
    json_plain) record json_plain encoding/json CodeUnmarshal 40x '' ;;
    generations) record generations encoding/json CodeMarshal 1200x '' ;;
    json_unmarshal) record json_unmarshal encoding/json CodeUnmarshal 4x traceallocfree=1 -cpu=4 ;;
    *) usage ;;
    esac
done
