# SPDX-License-Identifier: BSD-3-Clause
"""The checks that `tests.mutation.run` breaks are still there to be broken."""

from __future__ import annotations

import pytest

from tests.meta.tree import ROOT
from tests.mutation.mutants import MUTANTS, Mutant
from tests.mutation.run import broken


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_check_is_there_to_be_broken(mutant: Mutant) -> None:
    text = (ROOT / mutant.path).read_text(encoding="utf-8")
    assert broken(text, mutant) != text
    assert all((ROOT / tests).exists() for tests in mutant.tests)


def test_names_are_unique() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
