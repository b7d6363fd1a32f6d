// The work of sync_main.c in Go.
//
//	program ITEMS
//
// Run with GOMAXPROCS=1. Lines are figures: a name and ns an item.
package main

import (
	"fmt"
	"os"
	"sort"
	"strconv"
	"sync"
	"syscall"
)

const (
	repetitions = 7
	buffer      = 100
)

// cpu returns the seconds of CPU the program has had.
func cpu() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) * 1e-9
}

func pipe(items, capacity int) {
	c := make(chan int, capacity)
	go func() {
		for i := 0; i < items; i++ {
			c <- i
		}
	}()
	for i := 0; i < items; i++ {
		<-c
	}
}

func uncontended(items int) {
	c := make(chan int, buffer)
	for i := 0; i < items/2/buffer; i++ {
		for j := 0; j < buffer; j++ {
			c <- 0
		}
		for j := 0; j < buffer; j++ {
			<-c
		}
	}
}

func selecting(items int) {
	a, b := make(chan int, 1), make(chan int, 1)
	a <- 0
	for i := 0; i < items; i++ {
		select {
		case v := <-a:
			b <- v
		case v := <-b:
			a <- v
		}
	}
}

func going(items int) {
	var done sync.WaitGroup
	for i := 0; i < items/buffer; i++ {
		done.Add(buffer)
		for j := 0; j < buffer; j++ {
			go done.Done()
		}
		done.Wait()
	}
}

func main() {
	items, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	figures := []struct {
		name string
		run  func(items int)
	}{
		{"unbuffered", func(items int) { pipe(items, 0) }},
		{"buffered", func(items int) { pipe(items, buffer) }},
		{"uncontended", uncontended},
		{"select", selecting},
		{"go", going},
	}
	for _, figure := range figures {
		times := make([]float64, repetitions)
		for i := range times {
			start := cpu()
			figure.run(items)
			times[i] = cpu() - start
		}
		sort.Float64s(times)
		fmt.Printf("%s %.9g\n", figure.name, times[repetitions/2]*1e9/float64(items))
	}
}
