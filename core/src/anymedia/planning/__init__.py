"""Decide where a request is sent and what it costs, before anything is spent. Pure: no I/O, the date is an argument.

planner.py      Planner: fit every candidate, order them, choose the best
types.py        Plan and its parts
candidate.py    one candidate while a request is fitted to it; rules between fields; the price
fit_inputs.py   inputs: supported or rejected
fit_options.py  advisory and adjustable options: size, aspect ratio, resolution, n, output_format
explain.py      the error if no candidate can honour the request; what the caller named
"""

from ..errors import Reason
from .candidate import is_over_cap
from .planner import Planner, plan
from .types import BackendView, Candidate, Check, Default, InputForm, Plan, PlannedCall, Quote, Rejection

__all__ = [
    "BackendView",
    "Candidate",
    "Check",
    "Default",
    "InputForm",
    "Plan",
    "PlannedCall",
    "Planner",
    "Quote",
    "Reason",
    "Rejection",
    "is_over_cap",
    "plan",
]
