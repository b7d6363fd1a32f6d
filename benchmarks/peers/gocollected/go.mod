module gomem/benchmarks/peers/gocollected

go 1.22
