from __future__ import annotations

import doctest

import pytest

from gateline.monitoring import parity_rules, parity_words, rules, windows


@pytest.mark.parametrize("module", [parity_rules, parity_words, rules, windows], ids=lambda module: module.__name__)
def test_the_examples_in_the_documentation_are_right(module):
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0
