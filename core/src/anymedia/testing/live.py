"""With real keys: one call of each kind of making, within a budget. Off unless asked for."""

from __future__ import annotations

import tempfile
from typing import Any

from ..errors import BudgetExceeded
from ..policy import Budget, Policy
from ..requests import KINDS
from ..router import Router
from .case_values import minimal_fields
from .cases import Case, CaseMaker
from .harness import KeptStore, run
from .rules import rule
from .verify_media import decode

__all__ = ["LiveRules"]

#: One ledger for a whole run, so that the budget counts all its calls.
_LEDGER = KeptStore()


class LiveRules(CaseMaker):
    """What only the real service can show. Settings and keys are the user's own."""

    @rule("L01")
    def test_l01_live_each_kind_of_making_works(self, case: Case, anymedia_live_budget: float) -> None:
        """If this fails: the service has changed, or the matrix claims too much; the error says which."""
        import pytest

        budget = Budget(per_day=anymedia_live_budget)  # a price that is not known is refused as well
        request: Any = KINDS[case.shape.operation](**minimal_fields(case.shape))

        async def go(folder: str) -> None:
            async with Router(store=_LEDGER, policy=Policy(budget=budget, retries=0, preview=True)) as router:
                name = next((n for n, i in router.instances.items() if i.plugin == self.backend and i.service == case.service), "")
                if not name or not router.instances[name].usable:
                    pytest.skip(f"no usable instance of {self.backend} {case.service}".rstrip())
                try:
                    made = await router.execute(request, backend=name, model=case.shape.model.id, output=f"{folder}/", deadline=900.0)
                except BudgetExceeded as error:
                    pytest.skip(f"over the budget of {anymedia_live_budget} USD: {error}")
                for file in made.files:
                    decode(file.path, case.shape.model.media)

        with tempfile.TemporaryDirectory(prefix="anymedia-live-") as folder:
            run(go(folder))
