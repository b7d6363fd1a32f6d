// The workloads of collected_tree.c and collected_graph.c on Go's own heap: the same objects, the same
// steps, the same random numbers, the same figures. What each workload is stands there.
//
//	program NAME ARGUMENT ...
//
// Run with GOMAXPROCS=2. Lines are figures: a name and a value.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func figure(name string, value float64) {
	fmt.Printf("%s %.9g\n", name, value)
}

func die(what string) {
	fmt.Fprintln(os.Stderr, "benchmark:", what)
	os.Exit(1)
}

// cpu returns the seconds of CPU the program has had.
func cpu() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		die(err.Error())
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) * 1e-9
}

// peakRSS returns MiB, as support.c does.
func peakRSS() float64 {
	file, err := os.Open("/proc/self/status")
	if err != nil {
		die(err.Error())
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); fields[0] == "VmHWM:" {
			kib, _ := strconv.ParseFloat(fields[1], 64)
			return kib / 1024
		}
	}
	return 0
}

func argument(i, otherwise int) int {
	if len(os.Args) <= i {
		return otherwise
	}
	n, err := strconv.Atoi(os.Args[i])
	if err != nil {
		die(err.Error())
	}
	return n
}

func collections() float64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.NumGC)
}

// figuresOfPauses prints how long the collector stopped the world, each time.
func figuresOfPauses() {
	sample := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(sample)
	h := sample[0].Value.Float64Histogram()
	var n uint64
	for _, c := range h.Counts {
		n += c
	}
	if n == 0 {
		return
	}
	quantile := func(share float64) float64 {
		left := min(uint64(share*float64(n)), n-1)
		for i, c := range h.Counts {
			if left < c {
				return (h.Buckets[i] + h.Buckets[i+1]) / 2 * 1e6
			}
			left -= c
		}
		return 0
	}
	figure("pauses", float64(n))
	figure("pause_p50", quantile(0.5))
	figure("pause_p999", quantile(0.999))
	figure("pause_max", quantile(1))
}

func median(values []float64) float64 {
	sort.Float64s(values)
	n := len(values)
	if n%2 == 1 {
		return values[n/2]
	}
	return (values[n/2-1] + values[n/2]) / 2
}

// What graph.go and tree.go have: their workloads.
var workloads = map[string]func(){}

func main() {
	if len(os.Args) < 3 {
		die("usage: program NAME ARGUMENT ...")
	}
	run, ok := workloads[os.Args[1]]
	if !ok {
		die("no such workload")
	}
	run()
}

// now returns seconds since the program began.
func now() float64 {
	return time.Since(began).Seconds()
}

var began = time.Now()
