"""The capability matrix: what a backend's models can do, as data anyone can read and patch.

options.py    what values an option takes: Choice, Range, Text, Pixels, Anything
rows.py       CapabilityMatrix -> ModelSpec -> OperationSpec, inputs, rules, prices, lifecycle
table.py      a TOML table that complains with file, row and field
reading.py    capabilities.toml -> CapabilityMatrix; a malformed file is refused
matrix_cache.py  parsed matrices, kept in the user's cache
installed.py  whether what a row requires is installed
snapshots.py  rows as a service listed them on a day, kept in the user's cache
"""

from .catalog import load_refreshed
from .matrix_cache import load_matrix
from .model import (
    CapabilityMatrix,
    ContinueRule,
    CredentialSet,
    Fidelity,
    InputRule,
    Lifecycle,
    MaskRule,
    ModelSpec,
    OperationSpec,
    Price,
    ReferencesRule,
    Requirement,
    Rule,
    Stage,
    TypicalSeconds,
)
from .options import Anything, Choice, Option, Pixels, Range, Text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .loader import parse_matrix

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
    "ModelSpec",
    "OperationSpec",
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


def __getattr__(name: str) -> object:
    """Import the parser when it is asked for: with all matrices in the cache, nothing needs it."""
    if name != "parse_matrix":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .loader import parse_matrix

    return parse_matrix
