"""The capability matrix: what a backend's models support, as data.

options.py        the values that an option accepts: Choice, Range, Text, Pixels, Anything
model.py          CapabilityMatrix -> ModelSpec -> OperationSpec, inputs, rules, prices, lifecycle
loader.py         capabilities.toml -> CapabilityMatrix; reports file, model and field of every problem
matrix_cache.py   cache of parsed matrices; snapshots: whole model specs from a service's own list
overlay.py        what a provider said about single models, per instance and account
custom_models.py  model specs from the settings file
json_schema.py    the spec of a model whose input a JSON Schema or OpenAPI document describes
"""

from .matrix_cache import load_matrix
from .model import (
    BillingRule,
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
    from .json_schema import from_json_schema
    from .loader import parse_matrix

__all__ = [
    "Anything",
    "BillingRule",
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
    "from_json_schema",
    "load_matrix",
    "parse_matrix",
]


def __getattr__(name: str) -> object:
    """Import the parser on first use: with all matrices in the cache, nothing needs it."""
    if name == "parse_matrix":
        from .loader import parse_matrix

        return parse_matrix
    if name == "from_json_schema":
        from .json_schema import from_json_schema

        return from_json_schema
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
