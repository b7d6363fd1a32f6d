package main

import "runtime"

const (
	firstDepth = 4
	depthStep  = 4
)

type node struct {
	left, right *node
}

func makeTree(depth int) *node {
	if depth == 0 {
		return &node{}
	}
	return &node{makeTree(depth - 1), makeTree(depth - 1)}
}

func (n *node) count() int {
	if n.left == nil {
		return 1
	}
	return 1 + n.left.count() + n.right.count()
}

func runTree() {
	depth := argument(2, 0)
	start, used := now(), cpu()
	long := makeTree(depth)
	nodes := long.count()
	for d := firstDepth; d <= depth; d += depthStep {
		for range 1 << (depth - d + firstDepth) {
			nodes += makeTree(d).count()
		}
	}
	if long.count() != 2<<depth-1 {
		die("the long-lived tree is not what it was")
	}
	runtime.KeepAlive(long)
	figure("nodes", float64(nodes))
	figure("wall", now()-start)
	figure("cpu", cpu()-used)
	figure("rss", peakRSS())
	figure("collections", collections())
	figuresOfPauses()
}

func init() {
	workloads["tree"] = runTree
}
