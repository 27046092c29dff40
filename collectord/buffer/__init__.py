"""What is still to land, per partition.

Promises: holds an index into the log, never rows, so that memory does not grow while the store is down; hands out the
rows of a partition in the order of the log, each exactly once after the partition's cursor; seals by bytes, by age and on
demand.
Assumes: entries come in the order of the log; rows were checked before they were acknowledged.
Threads: not safe by itself; the pipeline holds one lock around the index. `assemble` works on what it is given.
Limits: the number of open partitions (`max_streams`) bounds the index together with the spool's budget.
"""
