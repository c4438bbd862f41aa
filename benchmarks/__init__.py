"""What anymedia costs, measured: ``python -m benchmarks`` prints one table of figures with their bars.

__main__.py     the one command
figures.py      a figure, its bar, the table; measuring in interleaved rounds
start.py        import, commands as processes, reading the matrices
plans.py        plan() over 5 and over 200 backends
keeping.py      a durable state change; waiting for a job
guards.py       header guard and path walk
calls.py        the router beside a bare HTTP session doing the same exchange
openai_sdk.py   the router beside the OpenAI SDK; an image out of its JSON
fetching.py     fifty downloads at once
local.py        what the local backend's operations take

Beside them, each a command of its own with more detail: journal.py, waiting.py, downloads.py, openai_call.py, and the two that
count instead of measuring: faults.py, kills.py.
"""
