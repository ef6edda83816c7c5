"""The way in: a command line or keywords become a Config, and the Config a Master that runs.

Everything a user can get wrong before the first worker starts ends here as one line and an exit code. Heavy
parts are imported only once they are needed, so that `--help` and mistakes answer at once.

Must not know: how settings are merged (config.py), what a master does (master.py).
"""

from __future__ import annotations

import os
import platform
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import __version__, app
from .config import command_line, sources
from .errors import EXIT_APP_LOAD, EXIT_CONFIG, EXIT_OK, AppImportError, ConfigError
from .logs import access_format
from .processes import daemon, origin
from .processes.environment import Variables
from .processes.identity import Identity
from .processes.launch import Launch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .config.settings import Config
    from .master.master import Master

__all__ = ["main", "serve_application", "serve_keywords"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command `fastwsgi` and return its exit code.

    Args:
        argv: the arguments without the program's name; by default those of this process, which then ends.
    """
    if argv is not None:
        return _guarded(lambda: _run_command(argv))
    code = _guarded(lambda: _run_command(sys.argv[1:]))
    # The interpreter takes its time to end: who asks for that once more must not change the exit code.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    return code


def serve_keywords(settings: Mapping[str, object]) -> int:
    """Serve as `fastwsgi.serve` says, and return the exit code."""
    launch = _launch()

    def read_config(warn: sources.Warn) -> Config:
        return sources.from_keywords(settings, os.environ, launch.directory, warn)

    return _guarded(lambda: _run_master(read_config, launch))


def serve_application(read_config: Callable[[sources.Warn, str], Config]) -> int:
    """Serve as `fastwsgi.Application` says, and return the exit code."""
    launch = _launch()
    return _guarded(lambda: _run_master(lambda warn: read_config(warn, launch.directory), launch))


def _say(text: str) -> None:
    sys.stderr.write(text)


def _guarded(run: Callable[[], int], say: Callable[[str], object] = _say) -> int:
    """Call `run`; turn the user's mistakes into a line, by default on standard error, and an exit code."""
    try:
        return run()
    except ConfigError as exc:
        say(f"Error: {exc}\n")
        return EXIT_CONFIG
    except AppImportError as exc:
        say(f"Error: {app.explain(exc)}\n")
        return EXIT_APP_LOAD
    except KeyboardInterrupt:
        # ^C before the master has taken its signals over: there is nothing to stop yet.
        return EXIT_OK


def _run_command(argv: Sequence[str]) -> int:
    arguments = command_line.parse_arguments(argv)
    if arguments.help:
        sys.stdout.write(command_line.help_text())
        return EXIT_OK
    if arguments.version:
        sys.stdout.write(f"{_version()}\n")
        return EXIT_OK
    launch = _launch()
    return _run_master(lambda warn: sources.load(arguments, os.environ, launch.directory, warn), launch)


def _run_master(read_config: Callable[[sources.Warn], Config], launch: Launch) -> int:
    def load_config(warn: sources.Warn) -> Config:
        """Read the configuration; the master calls this again at a reload."""
        cfg = read_config(warn)
        if cfg.wsgi_app is None and not cfg.print_config:
            msg = f"no application is named; usage: {command_line.USAGE}, where app is a callable in module"
            raise ConfigError(msg)
        if cfg.accesslog is not None:
            access_format.check_format(cfg.access_log_format)
        app.set_paths(cfg.chdir, cfg.pythonpath)
        return cfg

    try:
        return _start(load_config, launch)
    except (ConfigError, AppImportError) as exc:
        launch.report_failure(EXIT_CONFIG if isinstance(exc, ConfigError) else EXIT_APP_LOAD, str(exc))
        raise


def _start(load_config: Callable[[sources.Warn], Config], launch: Launch) -> int:
    cfg = load_config(sources.warn_on_stderr)
    if cfg.print_config:
        sys.stdout.write(sources.describe(cfg))
    if cfg.check_config and cfg.wsgi_app is not None:
        if cfg.is_ssl:
            from .tls import make_context  # noqa: PLC0415 - it brings OpenSSL along

            make_context(cfg)
        if os.geteuid() == 0:
            # No app is loaded by root; whoever else checks cannot take on another identity, and need not.
            Identity.of(cfg).take_on(cfg)
        Variables().put(cfg.raw_env)
        app.load(cfg.wsgi_app)
    if cfg.print_config or cfg.check_config:
        return EXIT_OK
    master = _load_engine()

    def serve(command: daemon.Command | None = None) -> int:
        return master(load_config, cfg, launch, command).run()

    # A master that follows another one is in the background already.
    if not cfg.daemon or launch.predecessor:
        return serve()
    _warn_of_daemon(cfg)
    return daemon.start(
        lambda command: _guarded(lambda: serve(command), command.say),
        keep_output=cfg.enable_stdio_inheritance,
    )


def _warn_of_daemon(cfg: Config) -> None:
    if "NOTIFY_SOCKET" in os.environ:
        sources.warn_on_stderr("systemd watches the process that it starts; leave daemon out in a service")
    elsewhere = (
        cfg.syslog,
        cfg.logconfig,
        cfg.logconfig_dict,
        cfg.logconfig_json,
        cfg.enable_stdio_inheritance,
    )
    if cfg.errorlog == "-" and not any(elsewhere):
        sources.warn_on_stderr("a daemon's standard error leads nowhere; set errorlog to a file, or syslog")


def _load_engine() -> type[Master]:
    try:
        from .master.master import Master  # noqa: PLC0415 - see the module's docstring
    except ImportError as exc:
        msg = (
            f"the server's own modules do not load ({exc}); "
            "build them again (`make build`), or run pure Python with FASTWSGI_NO_EXTENSIONS=1"
        )
        raise ConfigError(msg) from exc
    return Master


def _launch() -> Launch:
    """Look at how this process was started, before anything changes that."""
    return Launch.take(os.environ, _start_directory(), origin.AT_IMPORT)


def _start_directory() -> str:
    """Name the current directory as the shell does.

    Deployments point a symbolic link `current` to the new release and reload: the link must stay in the name.
    """
    shell = os.environ.get("PWD", "")
    try:
        return shell if shell and Path(shell).samefile(".") else str(Path.cwd())
    except OSError:
        return str(Path.cwd())


def _version() -> str:
    from . import _impl  # noqa: PLC0415 - loads the engine

    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"fastwsgi {__version__} ({_impl.describe()}; {python})"


if __name__ == "__main__":
    sys.exit(main())
