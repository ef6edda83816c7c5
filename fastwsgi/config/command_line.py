"""The command line: words become settings that are given, unread; and `--help`.

Must not know: other sources of settings (sources.py), what a setting means (settings.py has the table).
"""

from __future__ import annotations

import argparse
import difflib
import shutil
import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from ..errors import ConfigError
from .kinds import SWITCH
from .legacy import LEGACY
from .settings import BY_NAME, SETTINGS, Setting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["ENVIRONMENT_ARGUMENTS", "USAGE", "Arguments", "help_text", "parse_arguments"]

USAGE = "fastwsgi [options] [module:app]"
ENVIRONMENT_ARGUMENTS = ("GUNICORN_CMD_ARGS", "FASTWSGI_CMD_ARGS")


class Arguments(NamedTuple):
    """A command line taken apart: for each setting that was given, its word (unread) and its origin.

    `legacy` holds those of gunicorn that mean nothing here.
    """

    given: Mapping[str, tuple[Any, str]]
    legacy: Mapping[str, tuple[Any, str]]
    help: bool
    version: bool


class _Collect(argparse.Action):
    """Puts (setting, flag, word) on a list; words are read later, by the same code for every source."""

    def __call__(
        self, _parser: object, namespace: argparse.Namespace, values: object, flag: str | None = None
    ) -> None:
        namespace.words.append((self.dest, flag, values))


class _Parser(argparse.ArgumentParser):
    def __init__(self, origin: str) -> None:
        super().__init__(prog="fastwsgi", usage=USAGE, add_help=False)
        self.origin = origin

    def error(self, message: str) -> NoReturn:
        # argparse would print the usage and exit with 2; a wrong option is a configuration error.
        msg = f"{message} ({self.origin})"
        raise ConfigError(msg)


def _parser(origin: str) -> _Parser:
    parser = _Parser(origin)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("-v", "--version", action="store_true")
    # SUPPRESS keeps argparse from calling the action where the word is absent.
    parser.add_argument(
        "wsgi_app", nargs="?", action=_Collect, default=argparse.SUPPRESS, metavar="module:app"
    )
    for setting in SETTINGS:
        if setting.flags:
            kind = setting.kind
            nargs = 0 if kind is SWITCH else None if kind.bare is None else "?"
            parser.add_argument(
                *setting.flags, dest=setting.name, action=_Collect, nargs=nargs, const=kind.bare
            )
    for legacy in LEGACY.values():
        if legacy.flags:
            nargs = 0 if legacy.is_switch else None
            parser.add_argument(*legacy.flags, dest=legacy.name, action=_Collect, nargs=nargs)
    return parser


def parse_arguments(words: Sequence[str], origin: str = "command line") -> Arguments:
    """Take a command line apart.

    Args:
        words: the arguments, without the program's name.
        origin: where they come from, for messages.

    Raises:
        ConfigError: an option is unknown or lacks its value.
    """
    parser = _parser(origin)
    namespace, extra = parser.parse_known_args(words, argparse.Namespace(words=[]))
    if extra:
        raise ConfigError(_unknown_argument(extra[0], origin))
    given: dict[str, tuple[Any, str]] = {}
    legacy: dict[str, tuple[Any, str]] = {}
    for name, flag, word in namespace.words:
        where = f"{origin}, {flag}" if flag else origin
        if name in LEGACY:
            legacy[name] = (LEGACY[name].is_switch or word, where)
            continue
        setting = BY_NAME[name]
        value: Any = word
        if setting.kind is SWITCH:
            value = not setting.default
        elif setting.kind.repeats:
            value = [*given[name][0], word] if name in given else [word]
        given[name] = (value, where)
    return Arguments(given, legacy, namespace.help, namespace.version)


def _unknown_argument(word: str, origin: str) -> str:
    if not word.startswith("-"):
        return f"unexpected argument {word!r} ({origin}): there is one application, and it is named once"
    flag = word.partition("=")[0]
    known = [flag for setting in SETTINGS for flag in setting.flags]
    close = difflib.get_close_matches(flag, known, 1)
    remedy = f"did you mean {close[0]}?" if close else "fastwsgi --help lists all options"
    return f"unknown option {flag} ({origin}): {remedy}"


def help_text() -> str:
    """Write out `--help`, in groups, at most 100 columns wide."""
    column = 32
    width = max(min(shutil.get_terminal_size().columns, 100), column + 30)
    lines = [f"usage: {USAGE}", ""]

    def add(left: str, right: str) -> None:
        left = f"  {left}"
        if len(left) >= column:
            lines.append(left)
            left = ""
        indent = " " * column
        text = textwrap.wrap(right, width, initial_indent=indent, subsequent_indent=indent)
        lines.append(left + text[0][len(left) :])
        lines.extend(text[1:])

    add("module:app", "The WSGI application: the attribute app of module. Also module:factory(1, 'x').")
    section = ""
    for setting in SETTINGS:
        if not setting.flags:
            continue
        if setting.section != section:
            section = setting.section
            lines += ["", f"{section}:"]
        add(_show_flags(setting), setting.help + _show_default(setting))
    for section in dict.fromkeys(setting.section for setting in SETTINGS):
        names = [s.name for s in SETTINGS if s.section == section and not s.flags]
        if names and all(not s.flags for s in SETTINGS if s.section == section):
            lines += ["", f"{section}, in a configuration file:"]
            lines += textwrap.wrap(", ".join(names), width, initial_indent="  ", subsequent_indent="  ")
            lines.append("")
    add("-v, --version", "Show the version and exit.")
    add("-h, --help", "Show this help and exit.")
    defaults, options = ", ".join(_environment_names()), ", ".join(ENVIRONMENT_ARGUMENTS)
    text = f"The environment may give defaults ({defaults}) and options ({options})."
    lines += ["", *textwrap.wrap(f"{text} The command line has the last word.", width)]
    return "\n".join(lines) + "\n"


def _show_flags(setting: Setting) -> str:
    # One short and one long spelling; further ones are for old habits.
    short = [flag for flag in setting.flags if not flag.startswith("--")]
    long = [flag for flag in setting.flags if flag.startswith("--")]
    return f"{', '.join(short + long[:1])} {setting.kind.metavar}".rstrip()


def _show_default(setting: Setting) -> str:
    default = setting.show(setting.default)
    longest = 40
    return (
        ""
        if setting.default in (None, ()) or setting.kind is SWITCH or len(default) > longest
        else f" [{default}]"
    )


def _environment_names() -> Iterator[str]:
    return (setting.environment[0] for setting in SETTINGS if setting.environment)
