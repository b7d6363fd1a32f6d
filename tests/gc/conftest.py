"""All tests of the collector run with both markers."""

from __future__ import annotations

import pytest

import gomem


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    # Programs of their own take both in turn.
    if metafunc.definition.get_closest_marker("core_alone") is None:
        metafunc.fixturenames.insert(0, "marker")
        metafunc.parametrize("marker", ["span", "object"], indirect=True)


@pytest.fixture
def marker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The marker of heaps that are made without saying which."""
    value: str = request.param
    defaults = {**(gomem.Heap.__init__.__kwdefaults__ or {}), "marker": value}
    monkeypatch.setattr(gomem.Heap.__init__, "__kwdefaults__", defaults)
    return value
