"""The context that the settings ask for, and every mistake in them: one line, with the remedy."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from fastwsgi import tls
from fastwsgi.config import sources
from fastwsgi.errors import ConfigError
from tests.certificates import Authority, Issued, needs_openssl, openssl

if TYPE_CHECKING:
    from pathlib import Path

    from fastwsgi.config.settings import Config

pytestmark = needs_openssl


def configured(**settings: object) -> Config:
    return sources.from_keywords({"wsgi_app": "app:app", **settings}, {}, "/")


def made(**settings: object) -> ssl.SSLContext:
    context = tls.make_context(configured(**settings))
    assert context is not None
    return context


def mistake(**settings: object) -> str:
    with pytest.raises(ConfigError) as caught:
        tls.make_context(configured(**settings))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_without_certificate_there_is_no_tls() -> None:
    assert tls.make_context(configured()) is None


def test_what_is_spoken(issued: Issued) -> None:
    """RFC 9325 §3.1.1: nothing older than TLS 1.2, whatever else the system allows."""
    context = made(certfile=str(issued.certificate), keyfile=str(issued.key))
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_NONE
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert not context.options & ssl.OP_NO_TICKET  # clients may resume


def test_certificate_and_key_in_one_file(issued: Issued, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(issued.key.read_bytes() + issued.certificate.read_bytes())
    made(certfile=str(both))


def test_settings_reach_the_context(issued: Issued, authority: Authority) -> None:
    context = made(
        certfile=str(issued.certificate),
        keyfile=str(issued.key),
        ca_certs=str(authority.certificate),
        cert_reqs=ssl.CERT_REQUIRED,
        ciphers="ECDHE+AESGCM",
    )
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.get_ca_certs()
    old = [cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"]
    assert old
    assert all("GCM" in name for name in old)


@pytest.mark.parametrize("name", ["certfile", "keyfile", "ca_certs"])
@pytest.mark.parametrize("trouble", ["missing", "a directory", "no PEM", "DER"])
def test_a_file_that_is_not_what_it_should_be(
    name: str, trouble: str, issued: Issued, authority: Authority, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    if trouble == "a directory":
        path.mkdir()
    elif trouble == "no PEM":
        path.write_text("hello\n")
    elif trouble == "DER":
        source = issued.key if name == "keyfile" else issued.certificate
        command = "pkey" if name == "keyfile" else "x509"
        openssl(command, "-in", str(source), "-outform", "DER", "-out", str(path))
    files = {
        "certfile": str(issued.certificate),
        "keyfile": str(issued.key),
        "ca_certs": str(authority.certificate),
    }
    message = mistake(**{**files, name: str(path)})
    assert message.startswith(f"{name} = ")
    expected = {
        "missing": "No such file or directory; name a file",
        "a directory": "Is a directory; name a file",
        "no PEM": "it must be PEM, with a line -----BEGIN ",
        "DER": "it is DER, and PEM is needed: openssl ",
    }
    assert expected[trouble] in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all files")
def test_a_key_that_may_not_be_read(issued: Issued, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(issued.key.read_bytes())
    key.chmod(0)
    assert "Permission denied" in mistake(certfile=str(issued.certificate), keyfile=str(key))


def test_a_key_of_another_certificate(issued: Issued, authority: Authority) -> None:
    message = mistake(certfile=str(issued.certificate), keyfile=str(authority.issue().key))
    assert message.startswith("keyfile = ")
    assert "not that of the certificate" in message


def test_a_certificate_without_key(issued: Issued) -> None:
    message = mistake(certfile=str(issued.certificate))
    assert message.startswith("certfile = ")
    assert "name the file that does with keyfile" in message


def test_a_key_without_certificate(issued: Issued) -> None:
    message = mistake(keyfile=str(issued.key))
    assert message.startswith("keyfile = ")
    assert "name one with certfile" in message


@pytest.mark.parametrize("form", ["new", "traditional"])
def test_an_encrypted_key_is_not_asked_for(form: str, issued: Issued, tmp_path: Path) -> None:
    key = tmp_path / "encrypted.pem"
    how = ("-traditional",) if form == "traditional" else ()
    openssl(
        *("pkey", "-in", str(issued.key), "-aes256", "-passout", "pass:secret", *how, "-out", str(key)),
    )
    message = mistake(certfile=str(issued.certificate), keyfile=str(key))
    assert message.startswith("keyfile = ")
    assert "decrypt it: openssl pkey" in message


def test_a_broken_certificate(issued: Issued, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_bytes(issued.certificate.read_bytes()[:100] + b"\n-----END CERTIFICATE-----\n")
    assert "OpenSSL refuses" in mistake(certfile=str(broken), keyfile=str(issued.key))
    whole = {"certfile": str(issued.certificate), "keyfile": str(issued.key)}
    assert "OpenSSL refuses" in mistake(**whole, ca_certs=str(broken))


def test_ciphers_that_nobody_knows(issued: Issued) -> None:
    message = mistake(certfile=str(issued.certificate), keyfile=str(issued.key), ciphers="ROT13")
    assert message.startswith("ciphers = 'ROT13'")


def test_clients_that_nobody_can_verify(issued: Issued) -> None:
    whole = {"certfile": str(issued.certificate), "keyfile": str(issued.key)}
    assert "name the authorities with ca_certs" in mistake(**whole, cert_reqs=2)
    assert "set certfile" in mistake(cert_reqs=2)


def test_the_hook_makes_the_context(issued: Issued) -> None:
    seen: list[Any] = []

    def ssl_context(config: Any, default_factory: Any) -> ssl.SSLContext:
        context: ssl.SSLContext = default_factory()
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        seen.append(config.certfile)
        return context

    whole = {"certfile": str(issued.certificate), "keyfile": str(issued.key)}
    assert made(**whole, ssl_context=ssl_context).minimum_version == ssl.TLSVersion.TLSv1_3
    assert seen == [str(issued.certificate)]
    # A mistake that the default factory finds is told as without a hook.
    assert mistake(**whole, ciphers="ROT13", ssl_context=ssl_context).startswith("ciphers = ")


def test_a_hook_that_fails(issued: Issued) -> None:
    def raises(_config: object, _factory: object) -> None:
        raise RuntimeError("no luck")

    def nothing(_config: object, _factory: object) -> None:
        pass

    def client(_config: object, _factory: object) -> ssl.SSLContext:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    whole = {"certfile": str(issued.certificate), "keyfile": str(issued.key)}
    assert "it raised RuntimeError: no luck" in mistake(**whole, ssl_context=raises)
    assert "it returned None; return an ssl.SSLContext" in mistake(**whole, ssl_context=nothing)
    assert "use ssl.PROTOCOL_TLS_SERVER" in mistake(**whole, ssl_context=client)


def test_a_hook_may_verify_clients_in_its_own_way(issued: Issued, authority: Authority) -> None:
    def ssl_context(_config: object, default_factory: Any) -> ssl.SSLContext:
        context: ssl.SSLContext = default_factory()
        context.load_verify_locations(authority.certificate)
        return context

    whole = {"certfile": str(issued.certificate), "keyfile": str(issued.key)}
    context = made(**whole, cert_reqs=ssl.CERT_OPTIONAL, ssl_context=ssl_context)
    assert context.verify_mode is ssl.CERT_OPTIONAL
