"""What outlives a call: the journal, the ledger, the continuations (see store.py for the protocol)."""
