"""Benchmarks: ``python -m benchmarks`` prints a table of measurements and their limits.

__main__.py     the command
figures.py      a measurement, its limit and the table; measuring in interleaved rounds
start.py        imports, commands as processes, reading the matrices
plans.py        planning over 5 and over 200 backends
keeping.py      a durable state change; waiting for a job
guards.py       header checks and path resolution
calls.py        the router compared with a bare HTTP session
openai_sdk.py   the router compared with the OpenAI SDK; decoding an image from JSON
fetching.py     fifty concurrent downloads
local.py        operations of the local backend

Commands with more detail: journal.py, waiting.py, downloads.py, openai_call.py. faults.py and kills.py count submits instead of
measuring time.
"""
