"""The capability matrix: what a backend's models can do, as data anyone can read and patch.

options.py    what values an option takes: Choice, Range, Text, Pixels, Anything
rows.py       CapabilityMatrix -> ModelRow -> OperationRow, inputs, rules, prices, lifecycle
table.py      a TOML table that complains with file, row and field
reading.py    capabilities.toml -> CapabilityMatrix; a malformed file is refused
installed.py  whether what a row requires is installed
snapshots.py  rows as a service listed them on a day, kept in the user's cache
"""

from .options import Anything, Choice, Option, Pixels, Range, Text
from .reading import load_matrix, parse_matrix
from .rows import (
    CapabilityMatrix,
    ContinueRule,
    CredentialSet,
    Fidelity,
    InputRule,
    Lifecycle,
    MaskRule,
    ModelRow,
    OperationRow,
    Price,
    ReferencesRule,
    Requirement,
    Rule,
    Stage,
    TypicalSeconds,
)
from .snapshots import load_refreshed

__all__ = [
    "Anything",
    "CapabilityMatrix",
    "Choice",
    "ContinueRule",
    "CredentialSet",
    "Fidelity",
    "InputRule",
    "Lifecycle",
    "MaskRule",
    "ModelRow",
    "OperationRow",
    "Option",
    "Pixels",
    "Price",
    "Range",
    "ReferencesRule",
    "Requirement",
    "Rule",
    "Stage",
    "Text",
    "TypicalSeconds",
    "load_matrix",
    "load_refreshed",
    "parse_matrix",
]
