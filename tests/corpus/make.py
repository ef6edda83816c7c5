"""Write the corpus from the tables in `valid_requests.py` and `invalid_requests.py`.

Run `python tests/corpus/make.py` after a change there; test_corpus.py fails while data and tables
differ. `NNN-name.http` holds the bytes as they come over the wire. Beside each stands its verdict:

valid/*.json    {"rfc": where it is written, "requests": [what each request is to the application:
                "method", "environ" (these keys, these values), "absent" (keys that must not be
                there), "body" (latin-1)], "after": "open" or "close", the connection's fate}
invalid/*.json  {"rfc": ..., "status": code or list of codes allowed, "before": the requests that
                are answered first, as above}
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

HERE: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

if TYPE_CHECKING:
    from collections.abc import Iterable

Case = tuple[str, bytes, dict[str, Any]]


def files(kind: str, cases: Iterable[Case]) -> dict[Path, bytes]:
    """Return the files of one half of the corpus, with their content."""
    made: dict[Path, bytes] = {}
    names = set()
    for number, (name, raw, verdict) in enumerate(cases, 1):
        assert name not in names, name
        names.add(name)
        stem = f"{number:03d}-{name}"
        made[HERE / kind / f"{stem}.http"] = raw
        made[HERE / kind / f"{stem}.json"] = (json.dumps(verdict, indent=1) + "\n").encode()
    return made


def all_files() -> dict[Path, bytes]:
    """Return every file of the corpus."""
    from tests.corpus.invalid_requests import INVALID
    from tests.corpus.valid_requests import VALID

    return {**files("valid", VALID), **files("invalid", INVALID)}


def main() -> None:
    wanted = all_files()
    for kind in ("valid", "invalid"):
        (HERE / kind).mkdir(exist_ok=True)
        for path in (HERE / kind).iterdir():
            if path not in wanted:
                path.unlink()
    for path, content in wanted.items():
        path.write_bytes(content)
    print(f"{len(wanted) // 2} requests")


if __name__ == "__main__":
    main()
