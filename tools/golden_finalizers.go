// Prints, as JSON, what small programs with finalizers, cleanups and weak pointers do in Go: for each, what
// was called in each of some cycles of the collector, sorted; and the messages of wrong calls. From it
// tools/golden.py makes tests/golden/finalizers.json; tests/golden/test_golden_finalizers.py has the same programs.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"sort"
	"strings"
	"sync"
	"time"
	"unsafe"
	"weak"
)

type node struct {
	next, other *node
	name        string
	array       [4]*node
}

var (
	mu     sync.Mutex
	events []string
	global *node
)

func log(format string, args ...any) {
	mu.Lock()
	defer mu.Unlock()
	events = append(events, fmt.Sprintf(format, args...))
}

// Waits until all that is queued has run.
func settle() {
	sample := []metrics.Sample{
		{Name: "/gc/finalizers/queued:finalizers"}, {Name: "/gc/finalizers/executed:finalizers"},
		{Name: "/gc/cleanups/queued:cleanups"}, {Name: "/gc/cleanups/executed:cleanups"},
	}
	for {
		metrics.Read(sample)
		if sample[0].Value.Uint64() == sample[1].Value.Uint64() &&
			sample[2].Value.Uint64() == sample[3].Value.Uint64() {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func elsewhere(f func()) {
	done := make(chan bool)
	go func() {
		f()
		close(done)
	}()
	<-done
}

// What happens in each cycle after setup, whose variables are gone; each is called after a cycle.
func cycles(n int, setup func(), each func(int)) [][]string {
	elsewhere(setup)
	out := [][]string{}
	for i := range n {
		runtime.GC()
		settle()
		if each != nil {
			elsewhere(func() { each(i) })
		}
		mu.Lock()
		sort.Strings(events)
		out = append(out, append([]string{}, events...))
		events = nil
		mu.Unlock()
	}
	return out
}

func finalized(n *node) { log("finalizer %s", n.name) }

func cleaned(name string) { log("cleanup %s", name) }

func newNode(name string) *node {
	n := &node{name: name}
	return n
}

func withFinalizer(name string) *node {
	n := newNode(name)
	runtime.SetFinalizer(n, finalized)
	return n
}

func value(w weak.Pointer[node]) string {
	if n := w.Value(); n != nil {
		return n.name
	}
	return "nil"
}

func programs() map[string][][]string {
	var w, w2 weak.Pointer[node]
	out := map[string][][]string{}
	out["chain"] = cycles(5, func() {
		a, b, c := withFinalizer("a"), withFinalizer("b"), withFinalizer("c")
		a.next, b.next = b, c
	}, nil)
	out["what a finalizer sees"] = cycles(3, func() {
		a := newNode("a")
		a.next, a.array[2] = newNode("b"), newNode("c")
		a.next.next = newNode("d")
		runtime.SetFinalizer(a, func(n *node) {
			log("%s %s %s %s", n.name, n.next.name, n.next.next.name, n.array[2].name)
		})
	}, nil)
	out["leads to itself"] = cycles(3, func() {
		a := withFinalizer("a")
		a.next = a
	}, nil)
	out["cycle of two"] = cycles(3, func() {
		a, b := withFinalizer("a"), newNode("b")
		a.next, b.next = b, a
	}, nil)
	out["hangs on a cycle"] = cycles(3, func() {
		a, b := newNode("a"), newNode("b")
		a.next, b.next, b.other = b, a, withFinalizer("c")
	}, nil)
	out["leads to a cycle"] = cycles(3, func() {
		a, b := withFinalizer("a"), withFinalizer("b")
		a.next, b.next = b, b
	}, nil)
	out["cleanups of a cycle"] = cycles(3, func() {
		a, b := newNode("a"), newNode("b")
		a.next, b.next = b, a
		runtime.AddCleanup(a, cleaned, "a")
		runtime.AddCleanup(b, cleaned, "b")
	}, nil)
	out["finalizer and cleanups"] = cycles(4, func() {
		a := withFinalizer("a")
		runtime.AddCleanup(a, cleaned, "first")
		runtime.AddCleanup(a, cleaned, "second")
		runtime.AddCleanup(&a.array[1], cleaned, "part")
	}, nil)
	out["argument"] = cycles(4, func() {
		a, b := newNode("a"), withFinalizer("b")
		runtime.AddCleanup(a, func(n *node) { log("cleanup with %s", n.name) }, b)
	}, nil)
	out["stopped and cleared"] = cycles(2, func() {
		a := withFinalizer("a")
		runtime.SetFinalizer(a, nil)
		c := runtime.AddCleanup(a, cleaned, "stopped")
		runtime.AddCleanup(a, cleaned, "not stopped")
		c.Stop()
		c.Stop()
	}, nil)
	out["set again"] = cycles(4, func() {
		a := newNode("a")
		runtime.SetFinalizer(a, func(n *node) {
			log("first %s", n.name)
			runtime.SetFinalizer(n, func(n *node) { log("second %s", n.name) })
		})
	}, nil)
	out["brought back"] = cycles(5, func() {
		a := newNode("a")
		w = weak.Make(a)
		runtime.AddCleanup(a, cleaned, "a")
		runtime.SetFinalizer(a, func(n *node) {
			w2 = weak.Make(n)
			log("finalizer: old %s, new %s, same %v", value(w), value(w2), w == w2)
			global = n
		})
	}, func(i int) {
		log("after: old %s, new %s, same %v", value(w), value(w2), w == w2)
		if i == 1 {
			global = nil
		}
	})
	out["weak in a dead graph"] = cycles(3, func() {
		a, b := withFinalizer("a"), newNode("b")
		a.next = b
		w, w2 = weak.Make(b), weak.Make(a)
	}, func(int) { log("b %s, a %s", value(w), value(w2)) })
	var part, whole weak.Pointer[*node]
	out["weak pointers to parts"] = cycles(2, func() {
		a := newNode("a")
		w, w2 = weak.Make(a), weak.Make(a)
		part, whole = weak.Make(&a.array[1]), weak.Make(&a.next)
		again := weak.Make(&a.array[1])
		log("same %v, part %v, parts %v", w == w2, part == again, part == whole)
		log("alive %v", part.Value() == &a.array[1])
		runtime.KeepAlive(a)
	}, func(int) {
		log("%s, same %v, part %v, parts %v", value(w), w == w2, part.Value() == nil, part == whole)
	})
	out["many"] = [][]string{many(1000)}
	return out
}

// Counts after three cycles.
func many(n int) []string {
	sample := []metrics.Sample{
		{Name: "/gc/finalizers/executed:finalizers"}, {Name: "/gc/cleanups/executed:cleanups"},
	}
	metrics.Read(sample)
	finalizers, cleanups := sample[0].Value.Uint64(), sample[1].Value.Uint64()
	elsewhere(func() {
		for i := range n {
			a := newNode("a")
			runtime.SetFinalizer(a, func(*node) {})
			for range i % 3 {
				runtime.AddCleanup(a, func(int) {}, i)
			}
		}
	})
	var got []string
	for range 3 {
		runtime.GC()
		settle()
		metrics.Read(sample)
		got = append(got, fmt.Sprintf("%d finalizers, %d cleanups",
			sample[0].Value.Uint64()-finalizers, sample[1].Value.Uint64()-cleanups))
	}
	return got
}

// Calls that end the program, or panic.
var wrong = map[string]func(){
	"finalizer of nil":     func() { runtime.SetFinalizer(nil, finalized) },
	"finalizer of integer": func() { runtime.SetFinalizer(5, finalized) },
	"finalizer of a part":  func() { runtime.SetFinalizer(&newNode("a").array[1], func(**node) {}) },
	"no function":          func() { runtime.SetFinalizer(newNode("a"), 5) },
	"finalizer twice": func() {
		a := withFinalizer("a")
		runtime.SetFinalizer(a, finalized)
	},
	"finalizer of free memory": func() {
		runtime.SetFinalizer((*node)(unsafe.Pointer(uintptr(8))), finalized)
	},
	"cleanup of nil": func() { runtime.AddCleanup((*node)(nil), cleaned, "a") },
	"cleanup with its object": func() {
		a := newNode("a")
		runtime.AddCleanup(a, func(*node) {}, a)
	},
	"cleanup with a part": func() {
		a := newNode("a")
		runtime.AddCleanup(a, func(**node) {}, &a.other)
	},
	"cleanup closes over its object": func() {
		a := newNode("a")
		runtime.AddCleanup(a, func(int) { log("%s", a.name) }, 1)
	},
}

// The first line of what such a program prints.
func messages() map[string]string {
	out := map[string]string{}
	for name := range wrong {
		printed, _ := exec.Command(os.Args[0], name).CombinedOutput()
		line, _, _ := strings.Cut(string(printed), "\n")
		line = strings.TrimPrefix(strings.TrimPrefix(line, "fatal error: "), "panic: ")
		out[name] = line
	}
	return out
}

func main() {
	if len(os.Args) > 1 {
		wrong[os.Args[1]]()
		fmt.Println("nothing")
		return
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(map[string]any{"programs": programs(), "messages": messages()}); err != nil {
		panic(err)
	}
}
