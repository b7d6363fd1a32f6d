// Prints, as JSON, what channels and goroutines do in Go: the texts of panics, what a program whose goroutines
// are all asleep prints, and the order in which goroutines on one P do things. From it tools/golden.py makes
// tests/golden/sync.json; tests/sync/test_golden_sync.py has the same programs.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"sort"
	"strconv"
	"strings"
)

// --- Panics ---

func panicOf(f func()) (text string) {
	defer func() { text = fmt.Sprint(recover()) }()
	f()
	return
}

func closed() chan int {
	c := make(chan int, 1)
	close(c)
	return c
}

func panics() map[string]string {
	var none chan int
	other := make(chan int)
	negative := -1
	return map[string]string{
		"send":      panicOf(func() { closed() <- 1 }),
		"close":     panicOf(func() { close(closed()) }),
		"close nil": panicOf(func() { close(none) }),
		"make":      panicOf(func() { _ = make(chan int, negative) }),
		"select send": panicOf(func() {
			select {
			case closed() <- 1:
			case <-other:
			}
		}),
		"select default": panicOf(func() {
			select {
			case closed() <- 1:
			default:
			}
		}),
		"parked send": panicOf(func() {
			c := make(chan int)
			go close(c)
			c <- 1
		}),
		"parked select": panicOf(func() {
			c := make(chan int)
			go close(c)
			select {
			case c <- 1:
			case <-other:
			}
		}),
	}
}

// --- All asleep ---

func block(c chan int) { <-c }

var asleep = map[string]func(){
	"receive":     func() { <-make(chan int) },
	"send":        func() { make(chan int) <- 1 },
	"send full":   func() { c := make(chan int, 1); c <- 1; c <- 2 },
	"nil receive": func() { var c chan int; <-c },
	"nil send":    func() { var c chan int; c <- 1 },
	"range": func() {
		for range make(chan int) {
		}
	},
	"select": func() {
		select {
		case <-make(chan int):
		case make(chan int) <- 1:
		}
	},
	"select none": func() { select {} },
	"select one": func() {
		select {
		case <-make(chan int):
		}
	},
	"select nil": func() {
		var a, b chan int
		select {
		case <-a:
		case b <- 1:
		}
	},
	"two": func() {
		c, d := make(chan int), make(chan int)
		go block(c)
		runtime.Gosched()
		go func() { d <- 1 }()
		runtime.Gosched()
		select {}
	},
}

// The first line, the exit status, and the goroutines by their ids: status, and by whom it was created.
func report(name string) map[string]any {
	cmd := exec.Command(os.Args[0], name)
	cmd.Env = append(os.Environ(), "GOTRACEBACK=single", "GOMAXPROCS=1")
	out, _ := cmd.CombinedOutput()
	first, rest, _ := strings.Cut(string(out), "\n")
	type row struct {
		id   int
		text []string
	}
	var rows []row
	for _, block := range strings.Split(rest, "\n\n") {
		header := regexp.MustCompile(`goroutine (\d+) (?:gp=\S+ m=\S+ (?:mp=\S+ )?)?\[(.*)\]:`).FindStringSubmatch(block)
		if header == nil {
			continue
		}
		by := regexp.MustCompile(`created by main\.(\S+) in goroutine (\d+)`).FindStringSubmatch(block)
		text := []string{header[2], "", ""}
		if by != nil {
			text[1], text[2] = by[1], by[2]
		}
		id, _ := strconv.Atoi(header[1])
		rows = append(rows, row{id, text})
	}
	sort.Slice(rows, func(i, j int) bool { return rows[i].id < rows[j].id })
	goroutines := [][]string{}
	for _, r := range rows {
		goroutines = append(goroutines, r.text)
	}
	return map[string]any{"first": first, "status": cmd.ProcessState.ExitCode(), "goroutines": goroutines}
}

// --- Orders ---

var events []string

func log(format string, args ...any) { events = append(events, fmt.Sprintf(format, args...)) }

func orderOf(f func()) []string {
	events = []string{}
	f()
	return events
}

// Every 61st tick of the scheduler changes the order, and collections do: a program of its own has few. Being
// without a CPU for 10 ms does, too: what comes twice in a row is the order.
func usualOrder(name string) []string {
	for last := inFreshProcess(name); ; {
		log := inFreshProcess(name)
		if strings.Join(log, "\n") == strings.Join(last, "\n") {
			return log
		}
		last = log
	}
}

func inFreshProcess(name string) (log []string) {
	cmd := exec.Command(os.Args[0], "order", name)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=off")
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &log)
	}
	if err != nil {
		panic(err)
	}
	return log
}

// Runs f in n goroutines and waits until all have ended.
func each(n int, f func(i int)) {
	done := make(chan int, n)
	for i := 0; i < n; i++ {
		go func() {
			f(i)
			done <- i
		}()
	}
	for i := 0; i < n; i++ {
		log("done %d", <-done)
	}
}

func pipe(capacity int) func() {
	return func() {
		c := make(chan int, capacity)
		go func() {
			for i := 0; i < 6; i++ {
				log("send %d", i)
				c <- i
				log("sent %d", i)
			}
			close(c)
			log("closed")
		}()
		for v := range c {
			log("got %d", v)
		}
		log("end")
	}
}

var orders = map[string]func(){
	"start": func() { each(5, func(i int) { log("run %d", i) }) },
	"gosched": func() {
		each(3, func(i int) {
			for j := 0; j < 3; j++ {
				log("%d at %d", i, j)
				runtime.Gosched()
			}
		})
	},
	"unbuffered": pipe(0),
	"buffered 1": pipe(1),
	"buffered 3": pipe(3),
	"close wakes": func() {
		c, done := make(chan int), make(chan int)
		for i := 0; i < 4; i++ {
			go func() {
				_, ok := <-c
				log("%d woken %t", i, ok)
				done <- i
			}()
		}
		runtime.Gosched()
		close(c)
		log("closed")
		for i := 0; i < 4; i++ {
			log("done %d", <-done)
		}
	},
	"waiters are first in first out": func() {
		c := make(chan int)
		each(4, func(i int) {
			if i == 3 {
				for j := 0; j < 3; j++ {
					log("send %d", j)
					c <- j
				}
			} else {
				log("%d got %d", i, <-c)
			}
		})
	},
	"senders queue on a full buffer": func() {
		c := make(chan int, 1)
		go func() {
			for i := 0; i < 3; i++ {
				go func() {
					log("send %d", i)
					c <- i
					log("sent %d", i)
				}()
			}
		}()
		runtime.Gosched()
		runtime.Gosched()
		for i := 0; i < 3; i++ {
			log("got %d", <-c)
		}
		runtime.Gosched()
	},
	"select parks": func() {
		a, b, done := make(chan int), make(chan int), make(chan int)
		go func() {
			for i := 0; i < 4; i++ {
				select {
				case v, ok := <-a:
					log("a %d %t", v, ok)
				case b <- i:
					log("b took %d", i)
				}
			}
			close(done)
		}()
		runtime.Gosched()
		a <- 1
		log("sent")
		log("got %d", <-b)
		a <- 2
		close(a)
		<-done
		log("end")
	},
	"ring": func() {
		first := make(chan int)
		in := first
		for i := 0; i < 4; i++ {
			from, out := in, make(chan int)
			go func() {
				v := <-from
				log("%d passes %d", i, v)
				out <- v + 1
			}()
			in = out
		}
		first <- 0
		log("got %d", <-in)
	},
}

func main() {
	runtime.GOMAXPROCS(1)
	if len(os.Args) > 2 {
		json.NewEncoder(os.Stdout).Encode(orderOf(orders[os.Args[2]]))
		return
	}
	if len(os.Args) > 1 {
		asleep[os.Args[1]]()
		return
	}
	result := map[string]any{"panics": panics()}
	reports, logs := map[string]any{}, map[string]any{}
	for name := range asleep {
		reports[name] = report(name)
	}
	for name := range orders {
		logs[name] = usualOrder(name)
	}
	result["asleep"], result["orders"] = reports, logs
	out, err := json.Marshal(result)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(out))
}
