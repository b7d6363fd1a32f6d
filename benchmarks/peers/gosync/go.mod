module gomem/benchmarks/peers/gosync

go 1.22
