#!/bin/sh
# Writes what Go's own reader finds in traces, as golden files for tests/gotrace.
#
#   tools/gotrace_golden.sh TRACE...      writes tests/golden/gotrace/NAME.json for each
#                                         NAME.trace or NAME.trace.gz
#   tools/gotrace_golden.sh -o PROGRAM    only builds the reference, a program that takes
#                                         uncompressed traces and prints the same
#
# The reference is tools/gotrace_reference with the package internal/trace of the Go on PATH, copied to a
# temporary folder and renamed so that it can be imported.
set -eu

usage() {
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

[ $# -ge 1 ] || usage
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
goroot=$(go env GOROOT)

cp "$root/tools/gotrace_reference/main.go" "$work/"
printf 'module gotracereference\n\ngo %s\n' "$(go env GOVERSION | sed 's/^go//; s/[ -].*//')" >"$work/go.mod"
(cd "$goroot/src/internal" && find trace -name '*.go' ! -name '*_test.go' \
    ! -path '*/testdata/*' ! -path '*/traceviewer/*' ! -path '*/testtrace/*' ! -path '*/raw/*' \
    -exec cp --parents {} "$work" \;)
find "$work/trace" -name '*.go' -exec sed -i 's,"internal/trace,"gotracereference/trace,' {} +
(cd "$work" && GOFLAGS=-mod=mod GOWORK=off go build -o reference .)

if [ "$1" = -o ]; then
    [ $# -eq 2 ] || usage
    cp "$work/reference" "$2"
    exit
fi
mkdir -p "$root/tests/golden/gotrace"
for trace; do
    name=$(basename "$trace")
    name=${name%.gz}
    case $trace in
    *.gz) gzip -dc "$trace" >"$work/trace.bin" ;;
    *) cp "$trace" "$work/trace.bin" ;;
    esac
    "$work/reference" "$work/trace.bin" >"$work/out.json"
    mv "$work/out.json" "$root/tests/golden/gotrace/${name%.trace}.json"
done
