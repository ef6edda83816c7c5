"""Certificates for tests, made by the program openssl: it is there where Python packages for that may not be."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from pathlib import Path

OPENSSL: Final = shutil.which("openssl") or ""

needs_openssl = pytest.mark.skipif(
    not OPENSSL and not os.environ.get("CI"), reason="makes certificates with openssl, which is not installed"
)


def openssl(*arguments: str) -> None:
    subprocess.run([OPENSSL or "openssl", *arguments], check=True, capture_output=True, timeout=60)


class Issued:
    """A certificate and its key, in files of PEM."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.certificate = certificate
        self.key = key

    @property
    def arguments(self) -> tuple[str, ...]:
        """What tells a server to use it."""
        return ("--certfile", str(self.certificate), "--keyfile", str(self.key))


class Authority:
    """A certificate authority of its own, with what it has issued, in one directory."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._count = 0
        self.name = name
        self.certificate = folder / f"{name}.pem"
        self._key = folder / f"{name}-key.pem"
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *(
                "-days",
                "30",
                "-subj",
                f"/CN={name}",
                "-keyout",
                str(self._key),
                "-out",
                str(self.certificate),
            ),
        )

    def issue(self, name: str = "localhost") -> Issued:
        """Issue a certificate for `name`, good for 127.0.0.1 as well."""
        self._count += 1
        stem = f"{self.name}-{self._count}-{name}"
        issued = Issued(self._folder / f"{stem}.pem", self._folder / f"{stem}-key.pem")
        request, extra = self._folder / f"{stem}.csr", self._folder / f"{stem}.ext"
        extra.write_text(f"subjectAltName=DNS:{name},IP:127.0.0.1\n")
        openssl(
            *(
                "req",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-subj",
                f"/CN={name}",
            ),
            *("-keyout", str(issued.key), "-out", str(request)),
        )
        openssl(
            *("x509", "-req", "-in", str(request), "-CA", str(self.certificate), "-CAkey", str(self._key)),
            *("-set_serial", str(self._count), "-days", "30", "-extfile", str(extra)),
            *("-out", str(issued.certificate)),
        )
        return issued

    def client(self, issued: Issued | None = None) -> ssl.SSLContext:
        """Return a client's context that trusts this authority, and shows `issued` if asked."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        if issued is not None:
            context.load_cert_chain(issued.certificate, issued.key)
        return context
