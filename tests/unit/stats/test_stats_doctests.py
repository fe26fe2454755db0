"""Every example in the docstrings of the package holds, and the front door is complete."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import gateline.stats

MODULES = sorted(module.name for module in pkgutil.iter_modules(gateline.stats.__path__))


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_hold(name):
    module = importlib.import_module(f"gateline.stats.{name}")
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_the_front_door_names_exist_are_sorted_and_documented():
    names = gateline.stats.__all__
    assert sorted(names) == names
    for name in names:
        assert inspect.getdoc(getattr(gateline.stats, name)), name
