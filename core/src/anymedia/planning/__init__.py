"""plan(): decide where a request goes and what it costs, before spending. Pure: no I/O, the date is an argument.

types.py        Plan and its parts
selection.py    the backend and model that the caller named
candidate.py    a request while it is fitted to one candidate
fit_inputs.py   inputs: supported or rejected
fit_options.py  advisory and adjustable options: size, aspect ratio, resolution, n, output_format
rules.py        rules between fields
quote.py        the price
planner.py      plan(): fit every candidate, order them, choose the best
explain.py      why no candidate can, what comes nearest, which alternatives exist
"""

from .planner import plan
from .quote import is_over_cap
from .types import BackendView, Candidate, Check, InputForm, Plan, PlannedCall, Quote, Reason, Rejection

__all__ = ["BackendView", "Candidate", "Check", "InputForm", "Plan", "PlannedCall", "Quote", "Reason", "Rejection", "is_over_cap", "plan"]
