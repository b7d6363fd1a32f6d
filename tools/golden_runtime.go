// Prints, as JSON, what a running Go program says of its memory system: the fields of
// runtime.MemStats, the metrics of runtime/metrics, which slot an allocation of each size gets, how
// addresses are aligned, where tiny objects go, and what math/rand draws for the seeds of the pacer's
// scenarios. The files of tests/golden are made from it:
//
//	python tools/golden.py
package main

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"unsafe"
)

var (
	bytesSink    []byte
	pointersSink []*byte
	keep         []unsafe.Pointer
)

type field struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

func memstats() map[string]any {
	var m runtime.MemStats
	t := reflect.TypeOf(m)
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		kind := f.Type.Kind().String()
		if kind == "array" {
			kind = fmt.Sprintf("[%d]%s", f.Type.Len(), f.Type.Elem().Kind())
		}
		fields = append(fields, field{f.Name, kind})
	}
	runtime.ReadMemStats(&m)
	sizes := []uint32{}
	for _, b := range m.BySize {
		sizes = append(sizes, b.Size)
	}
	row := reflect.TypeOf(m.BySize[0])
	var columns []field
	for i := range row.NumField() {
		columns = append(columns, field{row.Field(i).Name, row.Field(i).Type.Kind().String()})
	}
	return map[string]any{"fields": fields, "by_size_fields": columns, "by_size": sizes}
}

func allMetrics() []map[string]any {
	kinds := map[metrics.ValueKind]string{
		metrics.KindUint64:           "uint64",
		metrics.KindFloat64:          "float64",
		metrics.KindFloat64Histogram: "histogram",
	}
	out := []map[string]any{}
	for _, d := range metrics.All() {
		out = append(out, map[string]any{
			"name": d.Name, "kind": kinds[d.Kind], "cumulative": d.Cumulative,
		})
	}
	return out
}

// What metrics say of settings that are off: no limit, no collection.
func settingsOff() map[string]uint64 {
	samples := []metrics.Sample{{Name: "/gc/gogc:percent"}, {Name: "/gc/gomemlimit:bytes"}}
	metrics.Read(samples)
	out := map[string]uint64{}
	for _, s := range samples {
		out[s.Name] = s.Value.Uint64()
	}
	return out
}

// Sizes in bytes around everything that may be a limit.
func sizesOfInterest() []int {
	seen := map[int]bool{}
	add := func(n int) {
		if n > 0 {
			seen[n] = true
		}
	}
	for n := 1; n <= 1100; n++ {
		add(n)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	for _, b := range m.BySize {
		for d := -9; d <= 9; d++ {
			add(int(b.Size) + d)
		}
	}
	for n := 18432; n <= 33000; n += 61 {
		add(n)
	}
	for _, n := range []int{32743, 32744, 32752, 32753, 32759, 32760, 32761, 32767, 32768, 32769,
		40959, 40960, 40961, 65536, 65537, 1000000, 1 << 20} {
		add(n)
	}
	out := []int{}
	for n := 1; n <= 1<<20; n++ {
		if seen[n] {
			out = append(out, n)
		}
	}
	return out
}

// Usable bytes as append reserves them.
func roundUp(n int, scan bool) int {
	if scan {
		return 8 * cap(append([]*byte(nil), make([]*byte, n/8)...))
	}
	return cap(append([]byte(nil), make([]byte, n)...))
}

// The size of the class whose counter moves by at least `count` when as many objects are made, 0 if it
// is none of those counted.
func slotSize(n int, scan bool) uint32 {
	const count = 64
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range count {
		if scan {
			pointersSink = make([]*byte, n/8)
		} else {
			bytesSink = make([]byte, n)
		}
	}
	runtime.ReadMemStats(&after)
	for i := range after.BySize {
		if after.BySize[i].Mallocs-before.BySize[i].Mallocs >= count {
			return after.BySize[i].Size
		}
	}
	return 0
}

// The largest power of two that divides the addresses of all of many objects.
func alignment(n int, scan bool) int {
	var all uintptr
	for range 300 {
		var p unsafe.Pointer
		if scan {
			p = unsafe.Pointer(unsafe.SliceData(make([]*byte, n/8)))
		} else {
			p = unsafe.Pointer(unsafe.SliceData(make([]byte, n)))
		}
		keep = append(keep, p)
		all |= uintptr(p)
	}
	keep = keep[:0]
	return int(all & -all)
}

type placed struct {
	Size   int `json:"size"`
	Block  int `json:"block"`  // in order of appearance
	Offset int `json:"offset"` // in its block
}

// Where tiny objects of the given sizes go, beginning right after a block was opened by one byte.
func tiny(sizes []int) []placed {
	keep = make([]unsafe.Pointer, 0, 1000)
	addresses := make([]uintptr, 0, len(sizes)+1)
	out := make([]placed, 0, len(sizes))
	blocks := make([]uintptr, 0, len(sizes)+1)
	allocate := func(n int) uintptr {
		p := unsafe.Pointer(unsafe.SliceData(make([]byte, n)))
		keep = append(keep, p)
		return uintptr(p)
	}
	p := allocate(1)
	for first := true; first || p%16 != 0; first = false {
		p = allocate(1)
	}
	addresses = append(addresses, p)
	for _, n := range sizes {
		addresses = append(addresses, allocate(n))
	}
	for i, p := range addresses {
		at := -1
		for k, b := range blocks {
			if b == p&^15 {
				at = k
			}
		}
		if at < 0 {
			blocks = append(blocks, p&^15)
			at = len(blocks) - 1
		}
		if i > 0 {
			out = append(out, placed{sizes[i-1], at, int(p % 16)})
		}
	}
	return out
}

// The same until two runs agree: the runtime may have tiny objects of its own.
func tinySure(sizes []int) []placed {
	last := tiny(sizes)
	for {
		next := tiny(sizes)
		if reflect.DeepEqual(last, next) {
			return next
		}
		last = next
	}
}

func tinySequences() [][]placed {
	sequences := [][]int{
		{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
		{2, 2, 2, 2, 2, 2, 2, 2, 2},
		{4, 4, 4, 4, 4, 4},
		{8, 8, 8, 8},
		{3, 3, 3, 3, 3, 3, 3},
		{5, 5, 5, 5, 5},
		{12, 4, 12, 3, 12, 2, 1, 1},
		{15, 1, 15, 1, 14, 2, 14, 1, 1},
		{6, 6, 10, 10, 6, 9, 7, 8, 1, 13, 2, 3},
		{1, 2, 4, 8, 1, 2, 4, 8, 1, 8, 1, 8},
		{11, 11, 11, 4, 4, 5},
	}
	state := uint64(1)
	for range 20 {
		var sizes []int
		for range 40 {
			state = state*6364136223846793005 + 1442695040888963407
			sizes = append(sizes, 1+int(state>>33)%15)
		}
		sequences = append(sequences, sizes)
	}
	out := [][]placed{}
	for _, s := range sequences {
		out = append(out, tinySure(s))
	}
	return out
}

func allocsBySize() *metrics.Float64Histogram {
	var m runtime.MemStats
	runtime.ReadMemStats(&m) // counts what is in caches, too
	sample := []metrics.Sample{{Name: "/gc/heap/allocs-by-size:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Float64Histogram()
}

// Bounds of the buckets of /gc/heap/allocs-by-size but the last, which is infinite.
func sizeBuckets() []float64 {
	buckets := allocsBySize().Buckets
	return buckets[:len(buckets)-1]
}

var sized []byte

// In which of them 1000 allocations of a size are counted.
func bucketsOfSizes() [][2]int {
	var out [][2]int
	for _, size := range []int{16, 17, 100, 1024, 1025, 19073, 32760, 32768, 32769, 100000} {
		before := append([]uint64(nil), allocsBySize().Counts...)
		for i := 0; i < 1000; i++ {
			sized = make([]byte, size)
		}
		for i, count := range allocsBySize().Counts {
			if count-before[i] >= 1000 {
				out = append(out, [2]int{size, i})
			}
		}
	}
	return out
}

// Bounds of the histograms of durations, in nanoseconds but for the infinite ones at both ends.
func timeBuckets() []float64 {
	s := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(s)
	b := s[0].Value.Float64Histogram().Buckets
	return b[1 : len(b)-1]
}

// What math/rand gives from these seeds, as floats from 0 to 1.
func randoms() map[string][]float64 {
	out := map[string][]float64{}
	for _, seed := range []int64{0x0, 0x1, 0xe, 0xf, 0x53, 0x152} {
		r := rand.New(rand.NewSource(seed))
		for range 100 {
			name := fmt.Sprint(seed)
			out[name] = append(out[name], r.Float64())
		}
	}
	return out
}

func main() {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(-1)
	roundUps, slots, alignments := map[string][][2]int{}, map[string][][2]int{}, map[string][][2]int{}
	for name, scan := range map[string]bool{"noscan": false, "scan": true} {
		for _, n := range sizesOfInterest() {
			if scan && n%8 != 0 {
				continue
			}
			roundUps[name] = append(roundUps[name], [2]int{n, roundUp(n, scan)})
			if n >= 16 && n <= 18432 && (n%5 == 0 || n%64 <= 8 || n%64 >= 56) {
				slots[name] = append(slots[name], [2]int{n, int(slotSize(n, scan))})
			}
			if n <= 4096 && (n%8 == 0 && n <= 1032 || n%96 == 0) {
				alignments[name] = append(alignments[name], [2]int{n, alignment(n, scan)})
			}
		}
	}
	out := map[string]any{
		"memstats": memstats(),
		"metrics":  map[string]any{"all": allMetrics(), "off": settingsOff(), "time_buckets": timeBuckets(),
			"size_buckets": sizeBuckets(), "size_bucket_of": bucketsOfSizes()},
		"malloc": map[string]any{
			"round_up": roundUps, "slot_size": slots, "alignment": alignments,
			"tiny": tinySequences(),
		},
		"random": randoms(),
	}
	encoder := json.NewEncoder(os.Stdout)
	if err := encoder.Encode(out); err != nil {
		panic(err)
	}
}
