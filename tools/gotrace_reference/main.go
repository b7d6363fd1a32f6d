// Reads execution traces with Go's own reader and prints what gomem's reader must find, as a flat
// JSON object: counts by kind, bytes by type, live objects by span class, peaks, and a hash of all events
// in their order; zeros are left out. The bookkeeping is the obvious one, with maps. Run by tools/gotrace_golden.sh, which makes Go's internal/trace
// importable as gotracereference/trace.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"gotracereference/trace"
)

// Go's table, without the class of large objects; checked against the runtime by TestSizeClasses of
// tests/ and unchanged since Go 1.16.
var classSizes = []uint64{0, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224,
	240, 256, 288, 320, 352, 384, 416, 448, 480, 512, 576, 640, 704, 768, 896, 1024, 1152, 1280, 1408,
	1536, 1792, 2048, 2304, 2688, 3072, 3200, 3456, 4096, 4864, 5376, 6144, 6528, 6784, 6912, 8192,
	9472, 9728, 10240, 10880, 12288, 13568, 14336, 16384, 18432, 19072, 20480, 21760, 24576, 27264,
	28672, 32768}

type span struct {
	base, bytes, class uint64
	heap               bool
}

type object struct {
	size, class uint64
	half        uint64 // tiny blocks: which half the last part began in
	proc        trace.ProcID
	existed     bool
	parts       int
	cycle       int
}

type state struct {
	out                     map[string]uint64
	min, page, align, stack uint64
	types                   map[uint64]string    // of the current generation
	spans                   map[uint64][]*span   // by base; the oldest first
	pages                   map[uint64]*span     // the newest
	objects                 map[uint64][]*object // by slot; the oldest first
	stacks                  map[uint64][]uint64  // sizes
	heapBytes, otherBytes   uint64
	liveBytes, liveObjects  uint64
	stackBytes, liveStacks  uint64
	peakTime                trace.Time
	first, last             trace.Time // of events but syncs
	snapshot                *trace.ClockSnapshot
	cycle                   int // ends of marking so far
}

// inOrder adds an event to the hash of all events that gomem's reader has too, in their order, with
// their Ps and times.
func (s *state) inOrder(ev trace.Event, name string, value uint64) {
	const prime = 0x100000001b3
	h := s.out["order"]
	for _, c := range []byte(name) {
		h = (h ^ uint64(c)) * prime
	}
	for _, v := range []uint64{value, uint64(ev.Proc()), uint64(ev.Time() - s.first)} {
		h = (h ^ v) * prime
	}
	s.out["order"] = h
}

func (s *state) batch(data []byte) {
	next := func() uint64 {
		v, n := binary.Uvarint(data)
		data = data[n:]
		return v
	}
	kind := data[0]
	data = data[1:]
	if kind == 1 {
		s.min, s.page, s.align, s.stack = next(), next(), next(), next()
		return
	}
	for len(data) > 0 {
		id := next()
		next() // address
		next() // size
		next() // pointer bytes
		n := next()
		s.types[id] = string(data[:n])
		data = data[n:]
	}
}

func (s *state) spanEvent(ev trace.Event, name string, args []uint64) {
	base := s.min + args[0]*s.page
	if name == "SpanFree" {
		list := s.spans[base]
		if len(list) == 0 {
			s.out["unmatched_frees"]++
			return
		}
		sp := list[0]
		s.spans[base] = list[1:]
		for p := sp.base; p < sp.base+sp.bytes; p += s.page {
			if s.pages[p] == sp {
				delete(s.pages, p)
			}
		}
		if sp.heap {
			s.heapBytes -= sp.bytes
		} else {
			s.otherBytes -= sp.bytes
		}
		return
	}
	sp := &span{base: base, bytes: args[1] * s.page, class: args[2] >> 1, heap: args[2]&1 == 0}
	s.spans[base] = append(s.spans[base], sp)
	for p := base; p < base+sp.bytes; p += s.page {
		s.pages[p] = sp
	}
	if sp.heap {
		s.heapBytes += sp.bytes
		if s.heapBytes > s.out["peak_heap_bytes"] {
			s.out["peak_heap_bytes"], s.out["peak_other_bytes"] = s.heapBytes, s.otherBytes
			s.peakTime = ev.Time()
		}
	} else {
		s.otherBytes += sp.bytes
	}
}

func (s *state) slotSize(sp *span) uint64 {
	if sp.class < 2 {
		return sp.bytes
	}
	return classSizes[sp.class>>1]
}

func (s *state) objectEvent(ev trace.Event, name string, args []uint64) {
	address := s.min + args[0]*s.align
	s.out["sum_of_addresses_"+name] += address
	// An event carries the address as its user knows it when an object is allocated (behind the malloc
	// header, inside a tiny block), and its slot's when it exists or is freed.
	if name == "HeapObjectFree" {
		list := s.objects[address]
		if len(list) == 0 {
			s.out["unmatched_frees"]++
			return
		}
		o := list[0]
		if len(list) == 1 {
			delete(s.objects, address)
		} else {
			s.objects[address] = list[1:]
		}
		s.liveBytes -= o.size
		s.liveObjects--
		s.out[fmt.Sprintf("live_class_%d", o.class)]--
		return
	}
	typ := s.types[args[1]]
	if typ == "" {
		typ = "unknown"
	}
	s.out["type_count_"+typ]++
	sp := s.pages[address&^(s.page-1)]
	if sp == nil || !sp.heap {
		s.out["object_without_span"]++
		return
	}
	size, half := s.slotSize(sp), uint64(0)
	slot := sp.base + (address-sp.base)/size*size
	if sp.class == 2<<1|1 { // blocks of tiny objects
		half = address & 15
		if list := s.objects[slot]; len(list) > 0 {
			o := list[len(list)-1]
			own := o.proc == ev.Proc() || o.existed
			// A sweep, which begins when marking ends, makes Ps give up their blocks.
			if o.half <= half && (own || half != 0) && o.parts < 16 && o.cycle == s.cycle &&
				name == "HeapObjectAlloc" {
				o.parts++
				o.half = half
				s.out["tiny_parts"]++
				return
			}
		}
	}
	s.objects[slot] = append(s.objects[slot],
		&object{size, sp.class, half, ev.Proc(), name == "HeapObject", 1, s.cycle})
	s.liveBytes += size
	s.liveObjects++
	s.out[fmt.Sprintf("live_class_%d", sp.class)]++
	s.out["type_bytes_"+typ] += size
}

func (s *state) stackEvent(name string, args []uint64) {
	address := s.min + args[0]*s.stack
	if name == "GoroutineStackFree" {
		list := s.stacks[address]
		if len(list) == 0 {
			s.out["unmatched_frees"]++
			return
		}
		s.stackBytes -= list[0]
		s.liveStacks--
		s.stacks[address] = list[1:]
		return
	}
	if args[1] == 0 {
		return // a goroutine without a stack
	}
	size := uint64(1) << (args[1] - 1)
	s.stacks[address] = append(s.stacks[address], size)
	s.stackBytes += size
	s.liveStacks++
}

func (s *state) proc(ev trace.Event, name string) {
	s.out[fmt.Sprintf("proc_%d_%s", int(ev.Proc()), name)]++
}

func (s *state) event(ev trace.Event) {
	switch ev.Kind() {
	case trace.EventSync:
		if c := ev.Sync().ClockSnapshot; c != nil && s.snapshot == nil {
			s.snapshot = c
		}
		s.types = map[uint64]string{}
		for _, b := range ev.Sync().ExperimentalBatches["AllocFree"] {
			if len(b.Data) > 0 {
				s.batch(b.Data)
			}
		}
		return
	case trace.EventMetric:
		m := ev.Metric()
		s.out["metric_"+m.Name]++
		s.proc(ev, m.Name)
		s.out["last_"+m.Name] = m.Value.Uint64()
		s.inOrder(ev, m.Name, m.Value.Uint64())
	case trace.EventRangeBegin:
		s.out["begin_"+ev.Range().Name]++
		s.proc(ev, "begin_"+ev.Range().Name)
		s.inOrder(ev, "begin_"+ev.Range().Name, 0)
		if ev.Range().Name == "GC mark assist" {
			s.out["sum_of_assisting_goroutines"] += uint64(ev.Goroutine())
		}
	case trace.EventRangeActive:
		s.out["active_"+ev.Range().Name]++
		s.inOrder(ev, "active_"+ev.Range().Name, 0)
	case trace.EventRangeEnd:
		s.out["end_"+ev.Range().Name]++
		s.proc(ev, "end_"+ev.Range().Name)
		s.inOrder(ev, "end_"+ev.Range().Name, 0)
		if ev.Range().Name == "GC concurrent mark phase" {
			s.cycle++
		}
		for _, a := range ev.RangeAttributes() {
			s.out["sum_"+a.Name] += a.Value.Uint64()
		}
	case trace.EventLabel:
		if l := ev.Label().Label; strings.HasPrefix(l, "GC (") {
			s.out["label_"+l]++
			s.inOrder(ev, "label_"+l, 0)
		}
	case trace.EventExperimental:
		x := ev.Experimental()
		args := make([]uint64, len(x.Args))
		for i := range args {
			args[i] = x.ArgValue(i).Uint64()
		}
		s.out["count_"+x.Name]++
		s.proc(ev, x.Name)
		s.inOrder(ev, x.Name, args[0])
		switch {
		case strings.HasPrefix(x.Name, "Span"):
			s.spanEvent(ev, x.Name, args)
		case strings.HasPrefix(x.Name, "HeapObject"):
			s.objectEvent(ev, x.Name, args)
		default:
			s.stackEvent(x.Name, args)
		}
	}
}

func run(r io.Reader) (map[string]uint64, error) {
	s := &state{
		out:     map[string]uint64{},
		types:   map[uint64]string{},
		spans:   map[uint64][]*span{},
		pages:   map[uint64]*span{},
		objects: map[uint64][]*object{},
		stacks:  map[uint64][]uint64{},
	}
	tr, err := trace.NewReader(r)
	if err != nil {
		return nil, err
	}
	syncs := uint64(0)
	for {
		ev, err := tr.ReadEvent()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if ev.Kind() == trace.EventSync {
			syncs++
		} else {
			if s.first == 0 {
				s.first = ev.Time()
			}
			s.last = ev.Time()
		}
		s.event(ev)
	}
	o := s.out
	o["generations"] = syncs - 1
	o["min_heap_address"], o["page_size"], o["min_align"], o["min_stack"] = s.min, s.page, s.align, s.stack
	o["final_live_bytes"], o["final_live_objects"] = s.liveBytes, s.liveObjects
	o["final_heap_bytes"], o["final_other_bytes"] = s.heapBytes, s.otherBytes
	o["final_stack_bytes"], o["final_stacks"] = s.stackBytes, s.liveStacks
	// Go's reader gives no two events the same time, but moves one of them by a nanosecond: these are
	// to be compared with a tolerance.
	o["time_duration"] = uint64(s.last - s.first)
	if s.peakTime != 0 {
		o["time_peak"] = uint64(s.peakTime - s.first)
	}
	if s.snapshot != nil {
		o["time_start_unix"] = uint64(s.snapshot.Wall.UnixNano() - int64(s.snapshot.Trace-s.first))
	}
	for key, value := range o {
		if value == 0 {
			delete(o, key)
		}
	}
	return o, nil
}

func main() {
	for _, path := range os.Args[1:] {
		f, err := os.Open(path)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		out, err := run(bufio.NewReader(f))
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", path, err)
			os.Exit(1)
		}
		data, _ := json.MarshalIndent(out, "", " ")
		fmt.Println(string(data))
	}
}
