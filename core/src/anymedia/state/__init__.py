"""Everything that outlives a call: the journal, the ledger, continuations, durations of past jobs.

store.py          the protocol, its records and its errors; TRANSITIONS lists which state may follow which
transitions.py    which changes are allowed, without I/O, for all stores
ledger.py         spending and caps
codec.py          records <-> columns; requests, jobs, outcomes and errors <-> JSON
sqlite.py         SqlStore, the store in SQL, and SqliteStore: one file for many processes, or in memory; schema.py tables and version
database.py       what a store needs of a database; connection.py SQLite's connections and locks
postgres.py       PostgresStore: for many machines (extra ``fleet``)
"""
