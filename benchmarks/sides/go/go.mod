module benchmarks/sides

go 1.21
