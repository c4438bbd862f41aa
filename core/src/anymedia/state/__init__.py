"""What outlives a call: the journal, the ledger, the continuations, the durations of past jobs.

store.py           the protocol and its records; TRANSITIONS is the journal's one table of what may follow what
errors.py          LeaseLost and IllegalTransition (the core's own to handle); the StateError family (the caller's)
rules.py ledger.py continuations.py durations.py codec.py     every decision, without I/O, for all stores alike
memory.py          MemoryStore: one process, throw-away runs
sqlite.py          SqliteStore: one file, many processes; schema.py (tables, version), database.py (connections, errors),
                   turnstile.py (writers take turns)
"""
