"""Everything that outlives a call: the journal, the ledger, continuations, durations of past jobs.

store.py          the protocol and its records; TRANSITIONS lists which state may follow which
errors.py         LeaseLost and IllegalTransition (handled by the core); the StateError family (for the caller)
transitions.py    which changes are allowed, without I/O, for all stores
ledger.py         spending and caps
codec.py          records <-> columns; call_codec.py requests, jobs and outcomes <-> JSON
sqlite.py         SqliteStore: one file for many processes, or in memory; schema.py tables and version, connection.py connections and locks
"""
