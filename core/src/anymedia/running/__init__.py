"""Carrying out a plan, station by station. Only router.py knows them all.

engine.py      what every station needs: store, registry, instances, clock, clients, fetcher
records.py     the JSON of the journal: requests, jobs, outcomes, errors
preparing.py   facts of local files, inputs read once in the form the plan chose
submitting.py  one billable call: journalled, reserved, sent once, or known not to have been sent
following.py   looking at a job until it is over
finishing.py   collecting files, converting, pasting back, continuations
results.py     rows of the journal -> Result
"""
