"""The report of a benchmark: a page of HTML and Markdown tables, made of result files.

`results` reads and merges, `standings` says where we are first and where not, `plots` draws, `page` and
`markdown` put it down. Only `plots` needs matplotlib, and only the page needs Jinja2: both are imported when
a page is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .markdown import tables
from .results import Results

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["write"]


def write(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Write the page and the tables of result files into a folder, named as the last of the files.

    Raises:
        ValueError: one of them is not a result file.
        ModuleNotFoundError: what is in requirements.txt is not installed; the tables have been written.
    """
    results = Results.load(paths)
    folder.mkdir(parents=True, exist_ok=True)
    page, text = (folder / f"{paths[-1].stem}{end}" for end in (".html", ".md"))
    text.write_text(tables(results), encoding="utf-8")
    from . import plots  # noqa: PLC0415 - see above
    from .page import render  # noqa: PLC0415 - see above

    page.write_text(render(results, plots), encoding="utf-8")
    return [page, text]
