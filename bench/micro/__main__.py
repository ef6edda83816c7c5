"""The command: prints the table, and writes the section as JSON where that is asked for."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ..environments import NotInstalled
from . import MicroError, markdown, measure


def main() -> int:
    """Time everything; return 0 if that went well."""
    parser = argparse.ArgumentParser(prog="python -m bench.micro", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows and repetitions: 20 seconds")
    parser.add_argument("--cpu", type=int, help="the CPU on which everything runs (any)")
    parser.add_argument("--json", type=Path, help="a file for the section of the result")
    options = parser.parse_args()
    try:
        section = measure(quick=options.quick, cpu=options.cpu)
    except (MicroError, NotInstalled) as exc:
        sys.stderr.write(f"Error: {exc}\n")
        return 1
    print(markdown(section))
    for implementation, reason in section["skipped"].items():
        print(f"\nskipped: {implementation}: {reason}")
    if options.json is not None:
        options.json.write_text(
            json.dumps({"format": 2, "micro": section}, indent=1) + "\n", encoding="utf-8"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
