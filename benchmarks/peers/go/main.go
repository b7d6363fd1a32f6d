// What Go's own allocator takes for the objects of BenchmarkMalloc8, 16, 32,
// BenchmarkMallocTypeInfo8, 16, 32 and BenchmarkMallocLargeStruct (runtime/malloc_test.go).
//
//	program NAME MILLISECONDS
//
// A line a benchmark of testing.Benchmark: nanoseconds of CPU an object, its share of the collections
// included. (Of CPU, of all the program's threads, because a benchmark is so long that other programs
// get a turn meanwhile; the repetitions of the C programs are shorter.) Objects die at once: with a heap of Go's least size, 4 MiB, a benchmark of 50 ms sees ten
// collections or more. Run with GOMAXPROCS=1, the collector works on the same CPU.
package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"
)

const benchTime = "50ms"

type largeStruct struct {
	x [16][]byte
}

var (
	never bool
	sink  any
)

// escape makes the compiler put what p points to on the heap, and costs a test.
func escape[T any](p T) {
	if never {
		sink = p
	}
}

var benchmarks = map[string]func(b *testing.B){
	"malloc8": func(b *testing.B) {
		for i := 0; i < b.N; i++ {
			escape(new(int64))
		}
	},
	"malloc16": func(b *testing.B) {
		for i := 0; i < b.N; i++ {
			escape(new([2]int64))
		}
	},
	"malloc32": func(b *testing.B) {
		for i := 0; i < b.N; i++ {
			escape(new([4]int64))
		}
	},
	"typeinfo8": func(b *testing.B) {
		for i := 0; i < b.N; i++ {
			escape(new(struct{ p [1]*int }))
		}
	},
	"typeinfo16": func(b *testing.B) {
		for i := 0; i < b.N; i++ {
			escape(new(struct{ p [2]*int }))
		}
	},
	"typeinfo32": func(b *testing.B) {
		for i := 0; i < b.N; i++ {
			escape(new(struct{ p [4]*int }))
		}
	},
	"largestruct": func(b *testing.B) {
		for i := 0; i < b.N; i++ {
			escape(make([]largeStruct, 2))
		}
	},
}

// cpu returns the nanoseconds of CPU the program has had.
func cpu() int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

func main() {
	testing.Init()
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: program NAME MILLISECONDS")
		os.Exit(1)
	}
	f, ok := benchmarks[os.Args[1]]
	ms, err := strconv.Atoi(os.Args[2])
	if !ok || err != nil {
		fmt.Fprintln(os.Stderr, "no such benchmark, or no such time")
		os.Exit(1)
	}
	if err := flag.Set("test.benchtime", benchTime); err != nil {
		panic(err)
	}
	end := time.Now().Add(time.Duration(ms) * time.Millisecond)
	for first := true; first || time.Now().Before(end); first = false {
		var used int64 // of the last, the longest, of its runs
		r := testing.Benchmark(func(b *testing.B) {
			start := cpu()
			f(b)
			used = cpu() - start
		})
		fmt.Printf("%.4g\n", float64(used)/float64(r.N))
	}
}
