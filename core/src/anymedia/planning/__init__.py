"""Decide where a request is sent and what it costs, before anything is spent. Pure: no I/O, the date is an argument.

planner.py      Planner: fit every candidate, order them, choose the best
types.py        Plan and its parts
candidate.py    one candidate while a request is fitted to it; rules between fields; the price
fit_inputs.py   inputs: supported or rejected
fit_options.py  advisory and adjustable options: size, aspect ratio, resolution, n, output_format
explain.py      the error if no candidate can honour the request; what the caller named
"""

from ..errors import Reason as Reason
from .candidate import is_over_cap as is_over_cap
from .planner import Planner as Planner
from .planner import plan as plan
from .types import BackendView as BackendView
from .types import Candidate as Candidate
from .types import Check as Check
from .types import Default as Default
from .types import InputForm as InputForm
from .types import Plan as Plan
from .types import PlannedCall as PlannedCall
from .types import Quote as Quote
from .types import Rejection as Rejection
