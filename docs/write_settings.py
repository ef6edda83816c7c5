"""Write docs/settings.md from the table of settings: `python docs/write_settings.py`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fastwsgi.config.kinds import SWITCH
from fastwsgi.config.legacy import LEGACY
from fastwsgi.config.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fastwsgi.config.settings import Setting

PAGE = Path(__file__).with_name("settings.md")

HEAD = """\
# Settings

Every setting has a name, by which a configuration file and `fastwsgi.serve()` know it, and most have a flag. Names,
flags and defaults are gunicorn's where gunicorn has the setting, too. `make docs` writes this page from
`fastwsgi/config/settings.py`.

## Where they come from

From the lowest to the highest; a later one replaces an earlier one:

1. the defaults below;
2. the environment variables that are named below;
3. one configuration file: `-c PATH` or `-c python:MODULE`, else `./fastwsgi.conf.py`, else `./gunicorn.conf.py`. It is
   Python, run again at each reload, and what counts are the names that are settings;
4. the variable `GUNICORN_CMD_ARGS`, then `FASTWSGI_CMD_ARGS`, with options as in a shell;
5. the command line.

`fastwsgi --print-config` shows every setting, its value and where that comes from; `--check-config` reads all of it,
loads the app and the certificates, and says nothing if all is well; whether addresses are free, users known and log
files can be written is tried only at a start. A value that does not do is one line with name, value, origin and remedy:

```console
$ fastwsgi -w many app:app
Error: workers = 'many' (command line, -w): must be a whole number, 1 or more, or "auto"
```

Relative paths count from `chdir`. Sizes may be written as `512K`, `10M`, `1G`. A switch is turned by its flag, and is
`True` or `False` in a file. A flag may be shortened as far as it is unambiguous.

Exit codes: 0 after a normal end, 1 for a mistake in the configuration or an address that cannot be had, 3 if no worker
could boot, 4 if the app could not be loaded.
"""

LEGACY_HEAD = """
## Settings of gunicorn that mean nothing here

Those of gunicorn 27. Asked for in a file or on the command line, they are **ignored** with one warning, or **refused**
where you would get something else than you believe to have.

| name | | why |
|---|---|---|
"""


def cell(text: str) -> str:
    """Make text fit for a table."""
    return text.replace("|", "\\|")


def row(setting: Setting) -> str:
    """Write out the row of a setting."""
    flags = ", ".join(f"`{flag}`" for flag in setting.flags) or "-"
    kind = "on or off" if setting.kind is SWITCH else setting.kind.allowed
    default = setting.show(setting.default)
    default = f"`{default}`" if default and setting.default is not None else "-"
    text = setting.help
    if setting.environment:
        variable, template = setting.environment
        text += f" Default from `{variable}`" + (
            "." if template == "{}" else f", as `{template.format('$' + variable)}`."
        )
    cells = (f"`{setting.name}`", flags, kind, default, text)
    return "| " + " | ".join(map(cell, cells)) + " |\n"


def sections(settings: Iterable[Setting]) -> Iterator[str]:
    """Write out the settings, by sections."""
    section = ""
    for setting in settings:
        if setting.section != section:
            section = setting.section
            yield f"\n## {section}\n\n| name | flag | value | default | |\n|---|---|---|---|---|\n"
        yield row(setting)


def page() -> str:
    """Return the whole page."""
    legacy = (
        f"| `{name}` | {'refused' if it.is_refused else 'ignored'} | {cell(it.why)} |\n"
        for name, it in LEGACY.items()
    )
    return "".join([HEAD, *sections(SETTINGS), LEGACY_HEAD, *legacy])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
