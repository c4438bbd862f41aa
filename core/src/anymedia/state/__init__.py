"""Everything that outlives a call: the journal, the ledger, continuations, durations of past jobs.

store.py          its records and errors; TRANSITIONS lists which state may follow which
transitions.py    which changes are allowed, without I/O
ledger.py         spending and caps
codec.py          records <-> columns; requests, jobs, outcomes and errors <-> JSON
sql.py            Store, in the SQL that both databases have in common; schema.py tables and version, queues.py calls that wait
database.py       what a store needs of a database
sqlite.py         SqliteStore: one file for many processes, or in memory
postgres.py       PostgresStore: for many machines (extra ``fleet``)
"""
