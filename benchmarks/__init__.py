"""The benchmark suite: each promise about speed, against a floor measured in the same run.

    make bench                      everything; one table, and a file in benchmarks/results/
    python -m benchmarks --quick    smaller sizes, a few minutes
    python -m benchmarks --only drain --only latency
    python -m benchmarks --peers    other queues as well, as far as they are installed

`suite` lists the benchmarks, one module for each group of rows; `measure` times and compares, `machine` says
what else the machine was doing, `places` provides file systems, `program` starts the real queuectl, `stock`
makes jobs by the million, `rows` is what comes out, `report` writes it down, `plot` draws it.
"""
