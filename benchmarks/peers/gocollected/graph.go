package main

import (
	"math/bits"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"
	"unsafe"
)

const (
	buckets    = 256
	entries    = 256 // of a map, of a list
	valueBytes = 464 // of the eight sizes together
	unitBytes  = buckets*8 + 2*entries*(24+valueBytes/8) + 16
	churnShare = 10
	forced     = 6
	slots      = 4096
	batch      = 1024
)

type entry struct {
	key   uint64
	value *byte
	next  *entry
}

type listNode struct {
	next, previous *listNode
	value          *byte
}

type list struct {
	first, last *listNode
}

type table = [buckets]*entry

type graph struct {
	maps    []*table
	lists   []*list
	rng     uint64
	nextKey uint64
	timed   bool
}

var theGraph graph // its pointers are roots

func (g *graph) random() uint64 {
	x := g.rng
	x ^= x << 13
	x ^= x >> 7
	x ^= x << 17
	g.rng = x
	return x
}

// --- Latencies: buckets of an eighth of a power of two ---

const subBits = 3

var (
	latencies  [64 << subBits]uint64
	nlatencies uint64
)

func noteLatency(ns uint64) {
	log := 63 - bits.LeadingZeros64(ns|1<<subBits)
	latencies[log<<subBits+int(ns>>(log-subBits)&(1<<subBits-1))]++
	nlatencies++
}

func latencyQuantile(share float64) float64 {
	left := uint64(share*float64(nlatencies-1)) + 1
	i := 0
	for latencies[i] < left {
		left -= latencies[i]
		i++
	}
	step := float64(uint64(1)<<(i>>subBits)) / (1 << subBits)
	return 1e-3 * step * (float64(1<<subBits+i&(1<<subBits-1)) + 0.5)
}

// --- The graph ---

// newValue makes one of eight sizes: of constant sizes, as the compiler knows them in other programs.
func newValue(random uint64) *byte {
	switch random >> 40 & 7 {
	case 0, 1:
		return &new([16]byte)[0]
	case 2:
		return &new([32]byte)[0]
	case 3:
		return &new([48]byte)[0]
	case 4, 5:
		return &new([64]byte)[0]
	case 6:
		return &new([96]byte)[0]
	default:
		return &new([128]byte)[0]
	}
}

func nanoseconds() uint64 {
	return uint64(time.Since(began))
}

// newPair makes a value and what leads to it.
func newPair[T any](g *graph) (*byte, *T) {
	random := g.random()
	var start, middle uint64
	if g.timed {
		start = nanoseconds()
	}
	value := newValue(random)
	if g.timed {
		middle = nanoseconds()
	}
	holder := new(T)
	if g.timed {
		noteLatency(middle - start)
		noteLatency(nanoseconds() - middle)
	}
	*(*uint64)(unsafe.Pointer(value)) = 0x0101010101010101
	return value, holder
}

func (g *graph) putEntry(t *table) {
	value, e := newPair[entry](g)
	bucket := &t[g.random()>>30&(buckets-1)]
	e.key = g.nextKey
	g.nextKey++
	e.value = value
	e.next = *bucket
	*bucket = e
}

func (g *graph) append(l *list) {
	value, n := newPair[listNode](g)
	n.value = value
	n.previous = l.last
	if l.last != nil {
		l.last.next = n
	} else {
		l.first = n
	}
	l.last = n
}

func (g *graph) replaceEntry(t *table) {
	bucket := g.random() >> 30 & (buckets - 1)
	for t[bucket] == nil {
		bucket = (bucket + 1) % buckets
	}
	t[bucket] = t[bucket].next
	g.putEntry(t)
}

func (g *graph) replaceNode(l *list) {
	n := l.first
	l.first = n.next
	n.next.previous = nil
	g.append(l)
}

func (g *graph) churn(steps int) {
	for i := range steps {
		unit := g.random() >> 32 * uint64(len(g.maps)) >> 32
		if i%2 == 0 {
			g.replaceEntry(g.maps[unit])
		} else {
			g.replaceNode(g.lists[unit])
		}
	}
}

func (g *graph) roundSteps() int {
	return len(g.maps) * 2 * entries / churnShare
}

func (g *graph) build(mib int) {
	units := mib<<20/unitBytes + 1
	g.rng = 88172645463325252
	g.maps = make([]*table, units)
	g.lists = make([]*list, units)
	for i := range units {
		g.maps[i] = new(table)
		for range entries {
			g.putEntry(g.maps[i])
		}
		g.lists[i] = new(list)
		for range entries {
			g.append(g.lists[i])
		}
	}
}

// check looks whether there are as many entries and nodes as there were at first.
func (g *graph) check() {
	n := 0
	for i := range g.maps {
		for _, e := range g.maps[i] {
			for ; e != nil; e = e.next {
				n += int(*e.value)
			}
		}
		for l := g.lists[i].first; l != nil; l = l.next {
			n += int(*l.value)
		}
	}
	if n != len(g.maps)*2*entries {
		die("the graph is not what it should be")
	}
}

func (g *graph) liveMiB() float64 {
	return float64(len(g.maps)*unitBytes) / (1 << 20)
}

// --- The workloads ---

func runGraph() {
	g := &theGraph
	g.build(argument(2, 0))
	rounds := argument(3, 1)
	start, used := now(), cpu()
	g.timed = true
	for range rounds {
		g.churn(g.roundSteps())
	}
	figure("wall", now()-start)
	figure("cpu", cpu()-used)
	figure("rss", peakRSS())
	figure("live", g.liveMiB())
	figure("collections", collections())
	figuresOfPauses()
	figure("latency_p50", latencyQuantile(0.5))
	figure("latency_p9999", latencyQuantile(0.9999))
	figure("latency_max", latencyQuantile(1))
	g.check()
	var rates []float64
	for range forced {
		used := cpu()
		runtime.GC()
		rates = append(rates, g.liveMiB()/(cpu()-used))
	}
	figure("marked", median(rates))
}

// collect runs n collections; the result turns true after them.
func collect(n int) *atomic.Bool {
	var done atomic.Bool
	go func() {
		for range n {
			runtime.GC()
		}
		done.Store(true)
	}()
	return &done
}

func runPauses() {
	debug.SetGCPercent(-1)
	g := &theGraph
	g.build(argument(2, 0))
	for done := collect(argument(3, 1)); !done.Load(); {
		g.churn(batch)
	}
	g.check()
	figuresOfPauses()
}

var pointers *[slots]*list

func (g *graph) storeBatch(table *[slots]*list) {
	for range batch {
		random := g.random()
		table[random&(slots-1)] = table[random>>20&(slots-1)]
	}
}

// cyclesEnded counts the cycles whose marking has ended.
func cyclesEnded(sample []metrics.Sample) uint64 {
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// runBarrier takes a batch for one with the barrier on when a cycle marks before and after it. Nobody says
// when marking begins: the other thread says when it asks for a cycle, which is a little earlier.
func runBarrier() {
	debug.SetGCPercent(-1)
	g := &theGraph
	g.build(argument(2, 0))
	pointers = new([slots]*list)
	for i := range pointers {
		pointers[i] = g.lists[i%len(g.lists)]
	}
	sample := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	base := cyclesEnded(sample)
	var asked atomic.Uint64
	var done atomic.Bool
	cycles := argument(3, 1)
	go func() {
		for range cycles {
			asked.Add(1)
			runtime.GC()
			time.Sleep(time.Millisecond) // some batches without
		}
		done.Store(true)
	}()
	var ns, batches [2]uint64
	marking := func() bool { return asked.Load() > cyclesEnded(sample)-base }
	before := marking()
	for !done.Load() {
		start := nanoseconds()
		g.storeBatch(pointers)
		took := nanoseconds() - start
		after := marking()
		if before == after {
			on := 0
			if after {
				on = 1
			}
			ns[on] += took
			batches[on]++
		}
		before = after
	}
	for on, name := range []string{"off", "on"} {
		if batches[on] > 0 {
			figure(name, float64(ns[on])/float64(batches[on])/batch)
		}
	}
}

func init() {
	workloads["graph"] = runGraph
	workloads["pauses"] = runPauses
	workloads["barrier"] = runBarrier
}
