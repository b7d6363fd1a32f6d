// Prints, as JSON, how slices.SortFunc leaves elements of which some are equal: the trace reader sorts as
// it does. tests/golden/sorts.json is made from it:
//
//	python tools/golden.py
package main

import (
	"cmp"
	"encoding/json"
	"os"
	"slices"
)

// worstKeys are n keys for which slices.SortFunc finds bad pivots only (McIlroy, A Killer Adversary for
// Quicksort): which of two is greater is decided as late as possible; but of the first ones by turns, or
// they would be found to be nearly sorted.
func worstKeys(n int) []int {
	keys, order := make([]int, n), make([]int, n)
	for i := range keys {
		keys[i], order[i] = n, i
	}
	solid, candidate, first := 0, 0, 40
	slices.SortFunc(order, func(a, b int) int {
		if keys[a] == n && keys[b] == n {
			if first > 0 && first%2 == 0 || first == 0 && a == candidate {
				keys[a] = solid
			} else {
				keys[b] = solid
			}
			solid++
			first = max(first-1, 0)
		}
		if keys[a] == n {
			candidate = a
		} else if keys[b] == n {
			candidate = b
		}
		return cmp.Compare(keys[a], keys[b])
	})
	return keys
}

// sorts has keys, many of them equal, and in which order slices.SortFunc puts their indices.
func sorts() []map[string]any {
	var out []map[string]any
	random := uint64(1)
	below := func(n int) int {
		random = random*6364136223846793005 + 1442695040888963407
		return int(random>>33) % n
	}
	for _, n := range []int{3, 12, 13, 16, 30, 49, 50, 64, 120, 300} {
		for _, kind := range []string{"few", "many", "sorted but for some", "falling", "one", "worst"} {
			keys := make([]int, n)
			if kind == "worst" {
				keys = worstKeys(n)
			}
			for i := range keys {
				switch kind {
				case "few":
					keys[i] = below(4)
				case "many":
					keys[i] = below(n)
				case "sorted but for some":
					keys[i] = i / 2
				case "falling":
					keys[i] = n - max(i, 3)
				}
			}
			if kind == "sorted but for some" {
				for range 3 {
					keys[below(n)] = below(n / 2)
				}
			}
			order := make([]int, n)
			for i := range order {
				order[i] = i
			}
			slices.SortFunc(order, func(a, b int) int { return cmp.Compare(keys[a], keys[b]) })
			out = append(out, map[string]any{"keys": keys, "order": order})
		}
	}
	return out
}

func main() {
	if err := json.NewEncoder(os.Stdout).Encode(map[string]any{"cases": sorts()}); err != nil {
		panic(err)
	}
}
