"""What turns the GIL on is told in the log, and other warnings go where they went."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

import pytest

from fastwsgi import gil

if TYPE_CHECKING:
    from collections.abc import Iterator

MESSAGE = (
    "The global interpreter lock (GIL) has been enabled to load module 'old._speedups', which has not "
    "declared that it can run safely without the GIL. To override this behavior and keep the GIL disabled (at "
    "your own risk), run with PYTHON_GIL=0 or -Xgil=0."
)
LOG = logging.getLogger("test of the gil")


@pytest.fixture
def no_gil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gil, "has_gil", lambda: False)


@pytest.fixture
def shown() -> Iterator[list[warnings.WarningMessage]]:
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        yield shown


@pytest.mark.usefixtures("no_gil")
def test_the_module_is_named(caplog: pytest.LogCaptureFixture, shown: list[warnings.WarningMessage]) -> None:
    before = warnings.showwarning
    with gil.reporting(LOG):
        warnings.warn(MESSAGE, RuntimeWarning, stacklevel=1)
        warnings.warn("something else", UserWarning, stacklevel=1)
    assert warnings.showwarning is before
    (record,) = caplog.records
    assert "old._speedups does not say" in record.message
    assert [str(warning.message) for warning in shown] == ["something else"]


@pytest.mark.usefixtures("no_gil", "shown")
def test_an_app_that_shows_warnings_in_its_own_way() -> None:
    def own(*_: object) -> None:
        """Show nothing."""

    with gil.reporting(LOG):
        warnings.showwarning = own  # type: ignore[assignment]
    assert warnings.showwarning is own


def test_an_ordinary_python_has_one() -> None:
    assert gil.has_gil() or gil.is_optional()
