"""`python -m bench.report RESULTS.json...`: write the report, or put its tables into a README."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import write
from .markdown import insert

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Write what is asked for; return 0 if that was done."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.report",
        description="Write a page (HTML) and tables (Markdown). Of a case in several files the last counts.",
    )
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS.json")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to (beside the last of the files)")
    parser.add_argument(
        "--readme",
        type=Path,
        metavar="FILE",
        help="put the tables between the markers of this file, and write no page",
    )
    options = parser.parse_args(argv)
    try:
        if options.readme:
            insert(options.results, options.readme)
            written = [options.readme]
        else:
            written = write(options.results, options.output or options.results[-1].parent)
    except ModuleNotFoundError as exc:
        print(f"Error: {exc}: pip install -r bench/report/requirements.txt", file=sys.stderr)
        return 1
    except (OSError, ValueError) as exc:
        print(f"Error: {exc}", file=sys.stderr)
        return 1
    for path in written:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
