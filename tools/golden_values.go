// Prints, as JSON, what a running Go program says of its values: how slices, buffers and builders grow,
// what maps, channels, strings, interfaces and pools allocate, and with which texts things panic. Facts
// for tests, made by tools/golden.py.
//
// What is counted is counted until two runs agree, since the runtime has allocations of its own. Where a
// map's hash seed, which is random, decides, there are the least, the median and the most of many runs.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	gomaps "maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

type counts struct {
	Mallocs int `json:"mallocs"`
	Bytes   int `json:"bytes"`
}

var sink any

func once(f func()) counts {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return counts{int(after.Mallocs - before.Mallocs), int(after.TotalAlloc - before.TotalAlloc)}
}

// What f allocates, if that is always the same.
func count(f func()) counts {
	last := once(f)
	for range 100 {
		if last.Bytes > 1<<20 {
			runtime.GC()
		}
		next := once(f)
		if next == last {
			return next
		}
		last = next
	}
	panic("no two runs agree")
}

// --- Slices ---

type (
	three [3]byte
	big24 [3]int
	big40 [5]int
	pair  struct {
		p *int
		x int
	}
	mixed32 struct {
		a    int
		p    *int
		b, c int
	}
	mixed64 struct {
		a    [4]int
		p, q *int
		b    [2]int
	}
	huge136 [17]int
	huge600 struct {
		p    *int
		rest [74]int
	}
)

type growth struct {
	Elem string   `json:"elem"`
	Size int      `json:"size"`
	N    int      `json:"n"`
	Caps [][2]int `json:"caps"` // length at which the capacity changed, and the new one
	counts
}

type holder[T any] struct{ s []T }

func grow[T any](elem string, size, n int) growth {
	g := growth{Elem: elem, Size: size, N: n}
	var zero T
	h := &holder[T]{}
	sink = h
	g.counts = count(func() {
		h.s = nil
		for range n {
			h.s = append(h.s, zero)
		}
	})
	h.s = nil
	for last := 0; len(h.s) < n; {
		h.s = append(h.s, zero)
		if cap(h.s) != last {
			last = cap(h.s)
			g.Caps = append(g.Caps, [2]int{len(h.s), last})
		}
	}
	h.s = nil
	runtime.GC()
	return g
}

func growths() []growth {
	const million = 1000000
	return []growth{
		grow[byte]("uint8", 1, million),
		grow[int16]("int16", 2, million),
		grow[three]("[3]uint8", 3, million),
		grow[int32]("int32", 4, million),
		grow[int]("int64", 8, million),
		grow[complex128]("complex128", 16, million),
		grow[big24]("[3]int64", 24, million),
		grow[big40]("[5]int64", 40, million),
		grow[*int]("*int64", 8, million),
		grow[string]("string", 16, million),
		grow[[]int]("[]int64", 24, million),
		grow[mixed32]("mixed32", 32, million),
		grow[mixed64]("mixed64", 64, million),
		grow[huge136]("[17]int64", 136, 100000),
		grow[huge600]("huge600", 600, 20000),
		grow[struct{}]("[0]int64", 0, 20),
	}
}

// Length, capacity, how many are appended at once, and the capacity after it.
type bulk [4]int

func bulks[T any]() []bulk {
	var out []bulk
	for _, c := range []int{0, 1, 2, 5, 8, 100, 255, 256, 257, 500, 1000, 5000} {
		for _, add := range []int{1, 2, 3, 5, 7, 20, 100, 255, 256, 1000, 3000} {
			h := &holder[T]{make([]T, c, c)}
			sink = h
			h.s = append(h.s, make([]T, add)...)
			out = append(out, bulk{c, c, add, cap(h.s)})
		}
	}
	return out
}

func preallocation() map[string]counts {
	h := &holder[int]{}
	sink = h
	return map[string]counts{
		"grown": count(func() {
			h.s = nil
			for i := range 100000 {
				h.s = append(h.s, i)
			}
		}),
		"made": count(func() {
			h.s = make([]int, 0, 100000)
			for i := range 100000 {
				h.s = append(h.s, i)
			}
		}),
	}
}

// --- Maps ---

type spread struct {
	N       int    `json:"n"`
	Hint    bool   `json:"hint"`
	Mallocs [3]int `json:"mallocs"` // least, median, most
	Bytes   [3]int `json:"bytes"`
}

type key200 [200]byte
type keyMixed struct {
	a int32
	b string
}

func triple(x []int) [3]int {
	slices.Sort(x)
	return [3]int{x[0], x[len(x)/2], x[len(x)-1]}
}

func mapCounts[K comparable, V any](keys []K, n int, hint bool) spread {
	runs := 21
	if n > 20000 {
		runs = 9
	}
	var zero V
	var mallocs, sizes []int
	for range runs {
		var m map[K]V
		c := once(func() {
			if hint {
				m = make(map[K]V, n)
			} else {
				m = make(map[K]V)
			}
			for _, k := range keys[:n] {
				m[k] = zero
			}
		})
		sink = m
		mallocs, sizes = append(mallocs, c.Mallocs), append(sizes, c.Bytes)
	}
	sink = nil
	runtime.GC()
	return spread{n, hint, triple(mallocs), triple(sizes)}
}

func maps[K comparable, V any](most int, key func(int) K) []spread {
	var out []spread
	keys := make([]K, most)
	for i := range keys {
		keys[i] = key(i)
	}
	for _, n := range []int{0, 1, 7, 8, 9, 14, 15, 28, 29, 56, 57, 100, 112, 113, 224, 225, 448, 449, 896,
		897, 1000, 2000, 5000, 10000, 30000, 100000} {
		if n <= most {
			out = append(out, mapCounts[K, V](keys, n, false), mapCounts[K, V](keys, n, true))
		}
	}
	return out
}

func allMaps() map[string][]spread {
	integer := func(i int) int { return i * 7919 }
	text := func(i int) string { return fmt.Sprint("key", i) }
	return map[string][]spread{
		"map[int64]int64":       maps[int, int](100000, integer),
		"map[string]int64":      maps[string, int](100000, text),
		"map[int64][17]int64":   maps[int, huge136](10000, integer),
		"map[int32]bool":        maps[int32, bool](100000, func(i int) int32 { return int32(i) }),
		"map[string]string":     maps[string, string](30000, text),
		"map[int64]*int64":      maps[int, *int](30000, integer),
		"map[int64]struct{}":    maps[int, struct{}](30000, integer),
		"map[[200]uint8]int64":  maps[key200, int](2000, func(i int) (k key200) { k[0], k[1] = byte(i), byte(i>>8); return }),
		"map[float64][16]int64": maps[float64, [16]int](10000, func(i int) float64 { return float64(i) }),
		"map[keyMixed]mixed32":  maps[keyMixed, mixed32](10000, func(i int) keyMixed { return keyMixed{int32(i), "x"} }),
		"map[interface {}]int64": maps[any, int](10000, func(i int) any { return fmt.Sprint(i) }),
		"map[[0]int64][0]int64": maps[[0]int, [0]int](1, func(int) [0]int { return [0]int{} }),
		"map[uint8]uint8":       maps[uint8, uint8](225, func(i int) uint8 { return uint8(i) }),
	}
}

func mapReuse() map[string]counts {
	m := map[int]int{}
	for i := range 800 {
		m[i] = i
	}
	sink = m
	return map[string]counts{
		"delete all, fill again": count(func() {
			for i := range 800 {
				delete(m, i)
			}
			for i := range 800 {
				m[i] = i
			}
		}),
		"clear, fill again": count(func() {
			clear(m)
			for i := range 800 {
				m[i] = i
			}
		}),
		"read": count(func() {
			for i := range 2000 {
				if _, ok := m[i]; ok != (i < 800) {
					panic("wrong")
				}
			}
		}),
	}
}

// What maps.Clone takes of a map of n entries, of which some were deleted.
type clone struct {
	N int `json:"n"`
	counts
}

func clones[K comparable, V any](key func(int) K) []clone {
	var out []clone
	for _, n := range []int{0, 1, 8, 9, 14, 15, 100, 800} {
		m := map[K]V{}
		var zero V
		for i := range n {
			m[key(i)] = zero
		}
		for i := range n / 3 {
			delete(m, key(i))
		}
		out = append(out, clone{n, count(func() { sink = gomaps.Clone(m) })})
	}
	return out
}

// --- Builders and buffers ---

type operation struct {
	op  string
	n   int
	len int // after it
	cap int
}

func (o operation) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{o.op, o.n, o.len, o.cap})
}

type sequence struct {
	Ops []operation `json:"ops"`
	counts
}

var random uint64 = 1

func below(n int) int {
	random = random*6364136223846793005 + 1442695040888963407
	return int(random>>33) % n
}

// Kinds of operations, and how large they are at most.
func plan(n int, kinds string, most int) []operation {
	var ops []operation
	for range n {
		ops = append(ops, operation{op: string(kinds[below(len(kinds))]), n: 1 + below(most)})
	}
	return ops
}

func plans(kinds string) [][]operation {
	once := func(op string, n, times int) []operation {
		return slices.Repeat([]operation{{op: op, n: n}}, times)
	}
	out := [][]operation{
		once("w", 1, 3000), once("w", 10, 500), once("w", 63, 50), once("w", 64, 50), once("w", 65, 50),
		once("w", 1000, 30), once("w", 40000, 10), append(once("g", 100, 1), once("w", 7, 100)...),
		append(once("w", 5, 1), once("g", 300, 3)...), once("g", 0, 2), once("w", 0, 2),
	}
	for _, most := range []int{5, 30, 100, 600, 5000} {
		out = append(out, plan(150, kinds, most))
	}
	return out
}

func runBuffer(ops []operation) sequence {
	data := make([]byte, 1<<20)
	var b *bytes.Buffer
	run := func(record bool) {
		b = new(bytes.Buffer)
		sink = b
		for i := range ops {
			op := &ops[i]
			switch op.op {
			case "w":
				b.Write(data[:op.n])
			case "g":
				b.Grow(op.n)
			case "r":
				b.Next(op.n)
			case "t":
				b.Truncate(min(op.n, b.Len()))
			case "z":
				b.Reset()
			}
			if record {
				op.len, op.cap = b.Len(), b.Cap()
			}
		}
	}
	run(true)
	return sequence{ops, count(func() { run(false) })}
}

func runBuilder(ops []operation) sequence {
	data := strings.Repeat("x", 1<<20)
	var b *strings.Builder
	run := func(record bool) {
		b = new(strings.Builder)
		sink = b
		for i := range ops {
			op := &ops[i]
			switch op.op {
			case "w":
				b.WriteString(data[:op.n])
			case "g":
				b.Grow(op.n)
			case "z":
				b.Reset()
			}
			if record {
				op.len, op.cap = b.Len(), b.Cap()
			}
		}
	}
	run(true)
	return sequence{ops, count(func() { run(false) })}
}

func buffers() map[string][]sequence {
	out := map[string][]sequence{}
	for _, ops := range plans("wwwrrgtz") {
		out["buffer"] = append(out["buffer"], runBuffer(ops))
	}
	for _, ops := range plans("wwwwgz") {
		out["builder"] = append(out["builder"], runBuilder(ops))
	}
	return out
}

// --- What package slices does with a slice, and how buffers are read ---

// [op, i, j, n, len, cap]: the last two are after it.
type edit [6]any

func edits[T any]() []sequenceOfEdits {
	var out []sequenceOfEdits
	values := make([]T, 4000)
	for _, most := range []int{2, 9, 40, 400} {
		var ops []edit
		var s []T
		plan := []edit{}
		for range 120 {
			n := len(s)
			i := below(n + 1)
			j := i + below(min(n-i, most)+1)
			e := edit{string("iiiidrrgcC"[below(10)]), i, j, below(most + 1)}
			s = apply(s, e, values)
			plan = append(plan, e)
			e[4], e[5] = len(s), cap(s)
			ops = append(ops, e)
		}
		out = append(out, sequenceOfEdits{ops, count(func() {
			var s []T
			for _, e := range plan {
				s = apply(s, e, values)
			}
			sink = &s[:1][0]
		})})
	}
	return out
}

type sequenceOfEdits struct {
	Ops []edit `json:"ops"`
	counts
}

func apply[T any](s []T, e edit, values []T) []T {
	i, j, n := e[1].(int), e[2].(int), e[3].(int)
	switch e[0] {
	case "i":
		return slices.Insert(s, i, values[:n]...)
	case "d":
		return slices.Delete(s, i, j)
	case "r":
		return slices.Replace(s, i, j, values[:n]...)
	case "g":
		return slices.Grow(s, n)
	case "c":
		return slices.Clip(s)
	default:
		return slices.Clone(s)
	}
}

// [op, n, what it gave, len, cap]
func reads() [][][]any {
	var out [][][]any
	text := []byte("plain\nä€𝄞 \xff\xe2\x82\n\xed\xa0\x80\xc0\x80\xf4\x90\x80\x80\xf0\x9d end\n")
	runes := []rune{'x', 0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xd800, 0xdfff, 0xe000, 0xffff, 0x10000, 0x10ffff, 0x110000, -1}
	for range 12 {
		var b bytes.Buffer
		var steps [][]any
		for range 150 {
			op, n := string("wwRRrrruuUbsBnp"[below(15)]), below(len(text))
			var gave any
			var err error
			switch op {
			case "w":
				gave, err = b.Write(text[n:])
			case "R":
				n = int(runes[below(len(runes))])
				gave, err = b.WriteRune(rune(n))
			case "r":
				var r rune
				var size int
				r, size, err = b.ReadRune()
				gave = []int{int(r), size}
			case "u":
				err = b.UnreadRune()
			case "U":
				err = b.UnreadByte()
			case "b":
				gave, err = b.ReadByte()
			case "s":
				var s string
				s, err = b.ReadString('\n')
				gave, err = fmt.Sprintf("%x", s), nil
			case "B":
				var s []byte
				s, err = b.ReadBytes(' ')
				gave, err = fmt.Sprintf("%x", s), nil
			case "n":
				gave = fmt.Sprintf("%x", b.Next(n))
			case "p":
				var s []byte
				s, err = b.Peek(n)
				gave, err = fmt.Sprintf("%x", s), nil
			}
			if err != nil {
				gave = err.Error()
			}
			steps = append(steps, []any{op, n, gave, b.Len(), b.Cap()})
		}
		out = append(out, steps)
	}
	return out
}

// --- Strings, channels, interfaces ---

type sized struct {
	Size int `json:"size"`
	Cap  int `json:"cap"`
	counts
}

func texts() map[string][]sized {
	out := map[string][]sized{}
	data := make([]byte, 100000)
	for _, n := range []int{0, 1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 100, 1000, 32768, 32769, 100000} {
		var s string
		out["string"] = append(out["string"], sized{n, n, count(func() { s = string(data[:n]); sinkString = s })})
		var b []byte
		c := count(func() { b = []byte(s); sinkBytes = b })
		out["bytes"] = append(out["bytes"], sized{n, cap(b), c})
		other := "ab"[:below(3)]
		out["concat"] = append(out["concat"], sized{n, len(other), count(func() { sinkString = s + other })})
	}
	return out
}

var sinkString string
var sinkBytes []byte

type channel struct {
	Elem string `json:"elem"`
	N    int    `json:"n"`
	counts
}

func chans[T any](elem string) []channel {
	var out []channel
	for _, n := range []int{0, 1, 2, 10, 100, 1000} {
		var c chan T
		out = append(out, channel{elem, n, count(func() { c = make(chan T, n); sink = c })})
	}
	return out
}

//go:noinline
func box[T any](x T) { sink = x }

func boxed[T any](x T) int { return count(func() { box(x) }).Mallocs }

// Objects made when such a value becomes an interface.
func interfaces() map[string]int {
	return map[string]int{
		"0": boxed(0), "255": boxed(255), "256": boxed(256), "-1": boxed(-1),
		"0.0": boxed(0.0), "1.5": boxed(1.5), "''": boxed(""), "'abc'": boxed("abc"),
		"True": boxed(true), "1+2j": boxed(1 + 2i),
		"slice": boxed([]int{1}), "nil slice": boxed[[]int](nil), "map": boxed(map[int]int{}),
		"pointer": boxed(new(int)),
	}
}

// --- Pools ---

type object struct{ data [128]int }

func pools() map[string]any {
	puts := []counts{}
	objects := make([]*object, 40)
	for i := range objects {
		objects[i] = new(object)
	}
	for n := range len(objects) {
		puts = append(puts, count(func() {
			p := &sync.Pool{}
			sink = p
			for _, x := range objects[:n] {
				p.Put(x)
			}
		}))
	}
	// What Get finds after so many collections.
	found := []bool{}
	for cycles := range 4 {
		p := &sync.Pool{}
		p.Put(objects[0])
		for range cycles {
			runtime.GC()
		}
		found = append(found, p.Get() != nil)
	}
	made := 0
	p := &sync.Pool{New: func() any { made++; return new(object) }}
	debug.SetGCPercent(-1)
	with := testing.AllocsPerRun(100, func() {
		x := p.Get().(*object)
		x.data[0]++
		p.Put(x)
	})
	without := testing.AllocsPerRun(100, func() {
		x := new(object)
		sink = x
	})
	// Objects come back last in, first out; another P's from the other end.
	q := &sync.Pool{}
	for i := range 12 {
		objects[i].data[0] = i
		q.Put(objects[i])
	}
	order := []int{}
	for range 12 {
		order = append(order, q.Get().(*object).data[0])
	}
	return map[string]any{"puts": puts, "found_after": found, "made": made, "with": with,
		"without": without, "order": order}
}

// --- Texts ---

func text(f func()) (out string) {
	defer func() {
		switch x := recover().(type) {
		case nil:
			out = ""
		case error:
			out = x.Error()
		default:
			out = fmt.Sprint(x)
		}
	}()
	f()
	return
}

func panics() map[string]string {
	s, str, big := make([]int, 3, 5), "abc", 1<<62
	one := 1
	neg := -one
	var none map[string]int
	m := map[any]int{1: 1}
	empty := map[any]int{}
	var b bytes.Buffer
	b.WriteString("x")
	var sb strings.Builder
	return map[string]string{
		"s[5]": text(func() { _ = s[one+4] }), "s[-1]": text(func() { _ = s[neg] }),
		"s[:6]": text(func() { _ = s[:one+5] }), "s[4:2]": text(func() { _ = s[one+3 : one+1] }),
		"s[4:]": text(func() { _ = s[one+3:] }), "s[-1:]": text(func() { _ = s[neg:] }),
		"s[:-1]": text(func() { _ = s[:neg] }), "s[0:1:6]": text(func() { _ = s[0 : 1 : one+5] }),
		"s[0:4:3]": text(func() { _ = s[0 : one+3 : one+2] }), "s[3:2:3]": text(func() { _ = s[one+2 : one+1 : one+2] }),
		"s[0:1:-1]": text(func() { _ = s[0:1:neg] }), "s[0:-1:2]": text(func() { _ = s[0:neg:2] }),
		"s[-1:1:2]": text(func() { _ = s[neg:1:2] }),
		"str[5]":    text(func() { _ = str[one+4] }), "str[-1]": text(func() { _ = str[neg] }),
		"str[2:7]": text(func() { _ = str[one+1 : one+6] }), "str[5:]": text(func() { _ = str[one+4:] }),
		"str[2:1]": text(func() { _ = str[one+1 : one] }),
		"make len": text(func() { _ = make([]int, big) }), "make -1": text(func() { _ = make([]int, neg) }),
		"make cap": text(func() { _ = make([]int, one+1, one) }), "make cap big": text(func() { _ = make([]int, one, big) }),
		"chan -1": text(func() { _ = make(chan int, neg) }), "chan big": text(func() { _ = make(chan int, big) }),
		"nil map":        text(func() { none["a"] = 1 }),
		"set unhashable": text(func() { m[[]int64{1}] = 1 }), "get unhashable": text(func() { _ = m[[]int64{1}] }),
		"set unhashable in empty":    text(func() { empty[[]int64{1}] = 1 }),
		"get unhashable in empty":    text(func() { _ = empty[[]int64{1}] }),
		"delete unhashable":          text(func() { delete(m, any([]int64{1})) }),
		"delete unhashable in empty": text(func() { delete(empty, any([]int64{1})) }),
		"map unhashable":             text(func() { m[map[int64]int64{}] = 1 }),
		"buffer grow -1":             text(func() { b.Grow(neg) }), "buffer truncate 5": text(func() { b.Truncate(5) }),
		"buffer truncate -1": text(func() { b.Truncate(neg) }), "buffer grow big": text(func() { b.Grow(big) }),
		"builder grow -1": text(func() { sb.Grow(neg) }), "builder grow big": text(func() { sb.Grow(big) }),
		"unread": b.UnreadByte().Error(),
	}
}

// --- Benchmarks' results ---

type result struct {
	N       int    `json:"n"`
	Ns      int    `json:"ns"`
	Bytes   int    `json:"bytes"`
	Mallocs int    `json:"mallocs"`
	Moved   int    `json:"moved"` // SetBytes
	Text    string `json:"text"`
}

func results() []result {
	var out []result
	for _, n := range []int{1, 3, 1000, 123456, 1000000000} {
		for _, ns := range []int{0, 1, 17, 12345, 1234567890, 999949999, 99994999999, 1 << 40} {
			for _, mem := range [][2]int{{0, 0}, {1, 1}, {123456789, 4567}, {5e9, 2e9}} {
				for _, moved := range []int{0, 1 << 20} {
					r := testing.BenchmarkResult{N: n, T: time.Duration(ns), Bytes: int64(moved),
						MemAllocs: uint64(mem[1]), MemBytes: uint64(mem[0])}
					out = append(out, result{n, ns, mem[0], mem[1], moved, r.String() + "\t" + r.MemString()})
				}
			}
		}
	}
	return out
}

func main() {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(-1)
	out := map[string]any{
		"slices": map[string]any{
			"growth": growths(),
			"bulk": map[string][]bulk{
				"uint8": bulks[byte](), "int64": bulks[int](), "*int64": bulks[*int](),
				"[5]int64": bulks[big40](), "mixed32": bulks[mixed32](), "huge600": bulks[huge600](),
			},
			"preallocation": preallocation(),
		},
		"maps":    map[string]any{"filled": allMaps(), "reuse": mapReuse()},
		"buffers": buffers(),
		"texts":   map[string]any{"sizes": texts(), "interfaces": interfaces(), "panics": panics()},
		"chans":   slices.Concat(chans[int]("int64"), chans[*int]("*int64"), chans[byte]("uint8"), chans[string]("string"), chans[struct{}]("[0]int64"), chans[mixed32]("mixed32"), chans[huge136]("[17]int64")),
		"pools":   pools(),
		"results": results(),
	}
	random = 7
	out["edits"] = map[string]any{
		"uint8": edits[byte](), "int64": edits[int](), "*int64": edits[*int](), "string": edits[string](),
		"[5]int64": edits[big40](), "mixed32": edits[mixed32](),
	}
	out["reads"] = reads()
	number := func(i int) int { return i }
	out["clones"] = map[string]any{
		"map[int64]int64": clones[int, int](number),
		"map[int64][17]int64": clones[int, huge136](number),
		"map[string]*int64": clones[string, *int](func(i int) string { return fmt.Sprintf("key%d", i) }),
		"map[[17]int64]string": clones[huge136, string](func(i int) huge136 { return huge136{i} }),
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		panic(err)
	}
}
