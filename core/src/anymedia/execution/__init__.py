"""Execution of a plan, step by step.

engine.py          what every step needs: store, registry, instances, clock, clients, fetcher
prepare_inputs.py  inputs, read once in the form that the plan chose
plan_runner.py     a whole plan, call by call, with fallback candidates
execute_call.py    one call: wait in line, submit once, poll, finalize
poll.py            status checks until a job ends; poll_schedule.py when to make them
finalize.py        save, convert, paste back, record continuations; save_piece.py one piece of an outcome -> a checked file
lease.py           the leases of calls, and who waits for those of others
resume.py          resume, cancel, forget, share or export the calls of a run
runs.py            the records of a run -> Result; run keys
run_registry.py    the tasks of this process: wait for them, stop them
"""
