"""Bytes are in the blob exactly once.

Promises: a frame that was staged is in its blob once, in the order of its partition, behind one header; through lost,
late, cut and refused answers, crashes between any two steps, and other writers on the same blob. What refuses is told
apart from what fails to answer. Assumes: a blob does not shrink while it lives, the spool's disk keeps what was synced,
and at most one intent per base is open (the caller's duty).

Threads: all of it may be called from any thread. Limits: an append has at most 4 MiB, a name 1024 bytes and 255 per
level, a part 49,000 appends.

`store` says what a store must do, and `documents` what else; `localdir` (in a `tree`, with `journals`,
each a `journal`) and `azureblob` (over `transport`, with an `azureaccount` whose secret may be in a `secretfile`, and `remedies` for
what is refused) do it, `location` chooses. `naming`, `reconcile`, `rollover` and `backoff` decide, `appender` does (with the
`attempts` so far, and `framefiles`), and `schemas` puts types beside the data. `ledger` remembers, and `held` what is in quarantine: `records`, in the
`tables` of a `database`. `claim` says who may upload from a spool, `guarded` lets nobody else.
"""
