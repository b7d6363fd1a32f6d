// What Go's own allocator takes for the objects of BenchmarkMalloc8, 16, 32,
// BenchmarkMallocTypeInfo8, 16, 32 and BenchmarkMallocLargeStruct (runtime/malloc_test.go).
//
//	program NAME MILLISECONDS
//	program version
//
// A line a repetition: nanoseconds an object. A repetition allocates 32 MiB or more, which is eight
// collections of a heap of Go's least size, 4 MiB, so that each holds its share of the collector's
// work; objects die at once. Run with GOMAXPROCS=1, the collector works on the same CPU.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"
)

const (
	repetitionBytes = 32 << 20
	maxReports      = 4096
)

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

type workload struct {
	size int // bytes of an object
	run  func(n int)
}

var workloads = map[string]workload{
	"malloc8": {8, func(n int) {
		for i := 0; i < n; i++ {
			escape(new(int64))
		}
	}},
	"malloc16": {16, func(n int) {
		for i := 0; i < n; i++ {
			escape(new([2]int64))
		}
	}},
	"malloc32": {32, func(n int) {
		for i := 0; i < n; i++ {
			escape(new([4]int64))
		}
	}},
	"typeinfo8": {8, func(n int) {
		for i := 0; i < n; i++ {
			escape(new(struct{ p [1]*int }))
		}
	}},
	"typeinfo16": {16, func(n int) {
		for i := 0; i < n; i++ {
			escape(new(struct{ p [2]*int }))
		}
	}},
	"typeinfo32": {32, func(n int) {
		for i := 0; i < n; i++ {
			escape(new(struct{ p [4]*int }))
		}
	}},
	"largestruct": {768, func(n int) {
		for i := 0; i < n; i++ {
			escape(make([]largeStruct, 2))
		}
	}},
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "version" {
		fmt.Println(runtime.Version())
		return
	}
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: program NAME MILLISECONDS")
		os.Exit(1)
	}
	w, ok := workloads[os.Args[1]]
	ms, err := strconv.Atoi(os.Args[2])
	if !ok || err != nil {
		fmt.Fprintln(os.Stderr, "no such workload, or no such time")
		os.Exit(1)
	}
	n := repetitionBytes / w.size
	reports := make([]float64, 0, maxReports)
	w.run(n)
	end := time.Now().Add(time.Duration(ms) * time.Millisecond)
	for len(reports) < 3 || time.Now().Before(end) && len(reports) < maxReports {
		start := time.Now()
		w.run(n)
		reports = append(reports, float64(time.Since(start).Nanoseconds())/float64(n))
	}
	for _, ns := range reports {
		fmt.Printf("%.4g\n", ns)
	}
}
