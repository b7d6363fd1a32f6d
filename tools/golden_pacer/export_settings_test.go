// What settings_test.go needs of the pacer beyond export_test.go: settings at any moment of a cycle.
package runtime

// Setting is one thing that happens to a pacer.
type Setting struct {
	Live, Scan            uint64
	Heap, Stacks, Globals int64 // scanned; or, when marking begins, expected
	Percent               int32
	Limit                 int64
	Ready, Free, Alloc    uint64
	Procs                 int
	Marked                uint64
	Duration, Assist      int64
	SweepDone, Marking    bool
}

func (c *GCController) Begin(s *Setting) {
	c.maxStackScan.Store(uint64(s.Stacks))
	c.globalsScan.Store(uint64(s.Globals))
	c.heapLive.Store(s.Live)
	c.heapScan.Store(s.Scan)
	c.startCycle(0, s.Procs, gcTrigger{kind: gcTriggerHeap})
}

func (c *GCController) Progress(s *Setting) {
	c.heapLive.Store(s.Live)
	c.heapScan.Store(s.Scan)
	c.heapScanWork.Store(s.Heap)
	c.stackScanWork.Store(s.Stacks)
	c.globalsScanWork.Store(s.Globals)
	c.revise()
}

// Change is SetGCPercent and SetMemoryLimit without their locks.
func (c *GCController) Change(s *Setting) {
	c.setGCPercent(s.Percent)
	c.setMemoryLimit(s.Limit)
	c.commit(s.SweepDone)
	if s.Marking {
		c.revise()
	}
}

func (c *GCController) Memory(s *Setting) {
	c.mappedReady.Store(s.Ready)
	c.heapFree = sysMemStat(s.Free)
	c.totalFree.Store(0)
	c.totalAlloc.Store(s.Alloc)
}

func (c *GCController) End(s *Setting) {
	c.heapLive.Store(s.Live)
	c.assistTime.Store(s.Assist)
	c.endCycle(s.Duration, s.Procs, false)
	c.resetLive(s.Marked)
	c.commit(false)
}

func (c *GCController) State() (goal, trigger uint64, ratio float64) {
	trigger, goal = c.trigger()
	return goal, trigger, c.assistWorkPerByte.Load()
}
