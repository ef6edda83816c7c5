"""The examples in deploy/: every command line is one of ours, says what it assumes, and its times fit together."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from fastwsgi.config import sources
from fastwsgi.config.command_line import parse_arguments
from tests.live import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from fastwsgi.config.settings import Config

FOLDER = ROOT / "deploy"
EXAMPLES = sorted(path for path in FOLDER.rglob("*") if path.is_file())
MARGIN = 2.0
"""Seconds between the end of graceful_timeout and the KILL of whoever started the server."""


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def in_text(text: str) -> list[list[str]]:
    """Return the arguments of the commands that stand in a text, up to the name of the app."""
    pattern = r"\bfastwsgi (-[^\n]*? [a-z]\w*(?:\.\w+)*:[a-z]\w*)\b"
    return [shlex.split(line) for line in re.findall(pattern, text)]


def in_lists(found: Any) -> list[list[str]]:
    """Return the arguments of the commands that are lists of words, somewhere in JSON or YAML."""
    if isinstance(found, list) and found[:1] == ["fastwsgi"]:
        return [found[1:]]
    inside = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
    return [command for value in inside for command in in_lists(value)]


def commands(path: Path) -> list[list[str]]:
    text = path.read_text()
    if path.suffix == ".yaml":
        return in_lists(list(yaml.safe_load_all(text)))
    if path.name == "Dockerfile":
        return in_lists([json.loads(line) for line in re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)])
    return in_text(text)


def load(words: list[str], warnings: list[str]) -> Config:
    return sources.load(parse_arguments(words), {}, str(ROOT / "examples"), warnings.append)


def only(name: str) -> Config:
    (words,) = commands(FOLDER / name)
    return load(words, [])


def name_of(path: Path) -> str:
    return path.relative_to(FOLDER).as_posix()


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_two_lines_say_what_it_assumes(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#!")]
    assert re.match(r"[#;] Assumes: ", lines[0])
    assert re.match(r"[#;] ", lines[1])
    assert not any(len(line) > 120 for line in lines if line.startswith(("#", ";")))


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_command_lines_are_read_without_a_warning(path: Path) -> None:
    mentioned = len(re.findall(r"\bfastwsgi\W+--?[a-z]", path.read_text()))
    found = commands(path)
    assert len(found) == mentioned
    warnings: list[str] = []
    for words in found:
        assert load(words, warnings).wsgi_app
    assert warnings == []


def test_there_is_a_command_line_for_everybody() -> None:
    having = {path.parent.name for path in EXAMPLES if commands(path)}
    assert having >= {"nginx", "haproxy", "docker", "kubernetes", "heroku", "supervisor", "systemd"}


# --- times -------------------------------------------------------------------------------------------------


def seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+)(s|ms)?", text)
    assert match, text
    return int(match[1]) / (1000 if match[2] == "ms" else 1)


def end_of(cfg: Config) -> float:
    """Return how long the end may take after TERM."""
    return cfg.drain_delay + cfg.graceful_timeout + MARGIN


@pytest.mark.parametrize("name", ["tcp.conf", "unix.conf"])
def test_nginx_closes_idle_connections_first(name: str) -> None:
    match = re.search(r"keepalive_timeout (\w+);", (FOLDER / "nginx" / name).read_text())
    assert match
    assert only(f"nginx/{name}").keepalive > seconds(match[1]) + MARGIN


def test_haproxy_closes_idle_connections_first() -> None:
    text = (FOLDER / "haproxy" / "haproxy.cfg").read_text()
    match = re.search(r"timeout http-keep-alive (\w+)", text)
    assert match
    cfg = only("haproxy/haproxy.cfg")
    assert cfg.keepalive > seconds(match[1]) + MARGIN
    assert cfg.proxy_protocol == "v2"
    assert text.count("send-proxy-v2") == text.count("\n    server ")


def test_docker() -> None:
    docker_stop = 10.0  # seconds, where nothing else is said
    assert end_of(only("docker/Dockerfile")) <= docker_stop
    (compose,) = documents("docker/compose.yaml")
    assert end_of(only("docker/compose.yaml")) <= seconds(compose["services"]["app"]["stop_grace_period"])


def test_dockerfile() -> None:
    text = (FOLDER / "docker" / "Dockerfile").read_text()
    assert text.count("\nFROM ") == 2
    last = text[text.rindex("\nFROM ") :]
    assert re.search(r"^USER (?!root)", last, re.MULTILINE)
    assert "STOPSIGNAL SIGTERM" in last
    health = re.search(r"^ +CMD (\[.*\])$", last, re.MULTILINE)
    assert health
    compile(json.loads(health[1])[2], "health check", "exec")
    for source in re.findall(r"^COPY (?!--)(\S+) ", last, re.MULTILINE):
        assert (ROOT / source).exists()


def test_kubernetes() -> None:
    deployment, service = documents("kubernetes/app.yaml")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    cfg = only("kubernetes/app.yaml")
    assert pod["terminationGracePeriodSeconds"] >= end_of(cfg)
    assert cfg.drain_delay > 0  # endpoints are taken away while TERM is handled, not before
    assert cfg.bind == (f"0.0.0.0:{container['ports'][0]['containerPort']}",)
    alive = container["livenessProbe"]
    assert alive["periodSeconds"] * alive["failureThreshold"] > cfg.timeout + cfg.abort_grace
    assert {"startupProbe", "readinessProbe"} <= set(container)
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels == service["spec"]["selector"]
    assert service["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]


def test_heroku() -> None:
    kills_after = 30.0
    assert end_of(only("heroku/Procfile")) <= kills_after
    assert re.search(r"^web: fastwsgi ", (FOLDER / "heroku" / "Procfile").read_text(), re.MULTILINE)


def test_supervisor() -> None:
    text = (FOLDER / "supervisor" / "app.conf").read_text()
    wait = re.search(r"^stopwaitsecs=(\d+)$", text, re.MULTILINE)
    assert wait
    assert end_of(only("supervisor/app.conf")) <= int(wait[1])


def test_systemd() -> None:
    text = (FOLDER / "systemd" / "fastwsgi.service").read_text()
    wait = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert wait
    assert end_of(only("systemd/fastwsgi.service")) <= int(wait[1])
