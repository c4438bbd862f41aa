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
def test_what_json_holds_comes_back_as_json_gives_it_back(value: Any) -> None:
    expected = json.loads(json.dumps(value))
    assert json.loads(dump(value, "it")) == expected


@given(_values, _strange)
def test_what_json_does_not_hold_is_refused_however_deep_it_lies(value: Any, strange: Any) -> None:
    for wrong in (strange, [value, strange], {"a": value, "b": {"c": (strange,)}}):
        with pytest.raises(PluginContractError, match="it must be plain JSON"):
            dump(wrong, "it")
