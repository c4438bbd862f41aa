"""plan(): the router's answer before spending. Pure: no I/O, the date is an argument.

types.py       Plan and what it is made of
selection.py   what the caller named
draft.py       a request on its way to one candidate
inputs.py      intent: honoured or rejected
options.py     advisory and adjustable options, n, output_format
geometry.py    size, aspect ratio, resolution
rules.py       rules between fields
quote.py       what it will cost
choose.py      plan(): fit every candidate, order them, take the best
refusal.py     nobody can: why, what is nearest, who could
"""

from .planner import plan
from .quote import is_over_cap
from .types import BackendView, Candidate, Check, InputForm, Plan, PlannedCall, Quote, Reason, Rejection

__all__ = ["BackendView", "Candidate", "Check", "InputForm", "Plan", "PlannedCall", "Quote", "Reason", "Rejection", "is_over_cap", "plan"]
