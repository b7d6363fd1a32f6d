// What Go's pacer does when GOGC and the memory limit change between cycles, while one marks, and while one
// sweeps: tools/golden.py puts this beside the runtime's tests and reads what it prints.
package runtime_test

import (
	"encoding/json"
	"math"
	"math/rand"
	. "runtime"
	"testing"
)

const mib = 1 << 20

func draw(r *rand.Rand, most uint64) uint64 {
	return uint64(r.Int63n(int64(most)))
}

func TestSettings(t *testing.T) {
	for seed := int64(1); seed <= 25; seed++ {
		r := rand.New(rand.NewSource(seed))
		c := NewGCController(100, math.MaxInt64)
		s := Setting{Percent: 100, Limit: math.MaxInt64, SweepDone: true, Procs: 1 + int(draw(r, 12))}
		var steps []any
		step := func(name string) {
			goal, trigger, ratio := c.State()
			steps = append(steps, map[string]any{
				"step": name, "given": s, "goal": goal, "trigger": trigger, "ratio": ratio,
			})
		}
		memory := func() {
			s.Alloc = s.Live
			s.Free = draw(r, 8*mib)
			s.Ready = s.Alloc + s.Free + draw(r, 16*mib)
			c.Memory(&s)
			step("memory")
		}
		change := func() {
			s.Percent = []int32{100, 50, 5, 200, 1000, -1, 100, 0}[draw(r, 8)]
			s.Limit = []int64{math.MaxInt64, math.MaxInt64, 20 * mib, 64 * mib, 300 * mib, 0}[draw(r, 6)]
			c.Change(&s)
			step("change")
		}
		for cycle := 0; cycle < 3; cycle++ {
			if draw(r, 2) == 0 {
				change()
			}
			_, trigger, _ := c.State()
			s.Live = max(s.Live, min(trigger, 200*mib)) + draw(r, 2*mib)
			s.Scan = s.Live / 2
			s.Heap, s.Stacks, s.Globals = 0, int64(draw(r, mib)), int64(draw(r, mib))
			memory()
			c.Begin(&s)
			s.Marking = true
			step("begin")
			stacks, globals := s.Stacks, s.Globals
			for i := 0; i < 4; i++ {
				s.Live += draw(r, 4*mib)
				s.Scan = s.Live / 2
				s.Heap += int64(draw(r, s.Scan/3+1))
				s.Stacks = int64(draw(r, uint64(stacks)+1))
				s.Globals = int64(draw(r, uint64(globals)+1))
				if draw(r, 3) == 0 {
					memory()
				}
				c.Progress(&s)
				step("progress")
				if draw(r, 2) == 0 {
					change()
				}
			}
			s.Marked = s.Live / 2
			s.Duration, s.Assist = 1e6+int64(draw(r, 1e7)), int64(draw(r, 1e6))
			c.End(&s)
			step("end")
			s.Live, s.Scan, s.Marking, s.SweepDone = s.Marked, uint64(s.Heap), false, false
			if draw(r, 2) == 0 { // while it sweeps
				change()
			}
			s.SweepDone = true
			c.Change(&s)
			step("change")
		}
		out, err := json.Marshal(steps)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("settings %s", out)
	}
}
