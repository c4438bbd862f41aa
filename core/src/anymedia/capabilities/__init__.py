"""The capability matrix: what a backend's models support, as data.

options.py        the values that an option accepts: Choice, Range, Text, Pixels, Anything
model.py          CapabilityMatrix -> ModelSpec -> OperationSpec, inputs, rules, prices, lifecycle
loader.py         capabilities.toml -> CapabilityMatrix; reports file, model and field of every problem
matrix_cache.py   cache of parsed matrices; snapshots: whole model specs from a service's own list
overlay.py        what a provider said about single models, per instance and account
custom_models.py  model specs from the settings file
json_schema.py    the spec of a model whose input a JSON Schema or OpenAPI document describes
"""

import importlib

from .matrix_cache import load_matrix as load_matrix
from .model import BillingRule as BillingRule
from .model import CapabilityMatrix as CapabilityMatrix
from .model import ContinueRule as ContinueRule
from .model import CredentialSet as CredentialSet
from .model import Fidelity as Fidelity
from .model import InputRule as InputRule
from .model import Lifecycle as Lifecycle
from .model import MaskRule as MaskRule
from .model import ModelSpec as ModelSpec
from .model import OperationSpec as OperationSpec
from .model import Price as Price
from .model import ReferencesRule as ReferencesRule
from .model import Requirement as Requirement
from .model import Rule as Rule
from .model import Stage as Stage
from .model import TypicalSeconds as TypicalSeconds
from .options import Anything as Anything
from .options import Choice as Choice
from .options import Option as Option
from .options import Pixels as Pixels
from .options import Range as Range
from .options import Text as Text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .json_schema import from_json_schema as from_json_schema
    from .loader import parse_matrix as parse_matrix


def __getattr__(name: str) -> object:
    """Import the parser on first use: with all matrices in the cache, nothing needs it."""
    if (module := {"parse_matrix": "loader", "from_json_schema": "json_schema"}.get(name)) is not None:
        found: object = getattr(importlib.import_module(f".{module}", __name__), name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
