"""Carrying out a plan, station by station. Only router.py knows them all.

engine.py      what every station needs: store, registry, instances, clock, clients, fetcher
records.py     the JSON of the journal: requests, jobs, outcomes, errors
preparing.py   facts of local files, inputs read once in the form the plan chose
submitting.py  one billable call: journalled, reserved, sent once, or known not to have been sent
following.py   looking at a job until it is over
finishing.py   collecting files, converting, pasting back, continuations
results.py     rows of the journal -> Result
resuming.py    taking up what another process left
cancelling.py  ending a call without its files
conduct.py     a whole plan, call by call, and who takes over
underway.py    the tasks of this process, to wait for and to stop
"""
