"""What is JSON is kept as it is, and what is not is refused, whichever way it is written."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anymedia.errors import PluginContractError
from anymedia.state.codec import dump

_texts = st.text(st.characters(exclude_categories=[]), max_size=9)  # half characters too
_plain = (
    st.none() | st.booleans() | st.integers() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | _texts
)
_values = st.recursive(
    _plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3) | st.tuples(inner, inner), max_leaves=9
)
_strange = st.sampled_from([b"x", bytearray(b"x"), math.nan, math.inf, {1, 2}, object(), 1j, memoryview(b"x")])


@given(_values)
def test_json_value_survives_a_round_trip(value: Any) -> None:
    expected = json.loads(json.dumps(value))
    assert json.loads(dump(value, "it")) == expected


@given(_values, _strange)
def test_value_that_is_not_json_is_refused_at_any_depth(value: Any, strange: Any) -> None:
    for wrong in (strange, [value, strange], {"a": value, "b": {"c": (strange,)}}):
        with pytest.raises(PluginContractError, match="it must be plain JSON"):
            dump(wrong, "it")
