module benchmarks/servers

go 1.21
