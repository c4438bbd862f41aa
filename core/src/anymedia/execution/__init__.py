"""Execution of a plan, step by step.

engine.py          what every step needs: store, registry, instances, clock, clients, fetcher
prepare_inputs.py  inputs, read once in the form that the plan chose
submit.py          one billable request: recorded, sent once, or known not to have been sent
poll.py            status checks until a job ends; poll_schedule.py when to make them
lease.py           the lease of a call, renewed while it is processed
save_piece.py      one piece of an outcome -> a checked file
finalize.py        save, convert, paste back, record continuations
run_result.py      the records of a run -> Result
plan_runner.py     a whole plan, call by call, with fallback candidates
resume.py          resume, cancel or forget the calls of a run
run_registry.py    the tasks of this process: wait for them, stop them
"""
