module gomem/benchmarks/peers

go 1.21
