"""Certificates for tests, made by the program openssl: it is there where Python packages for that may not be."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.live import TLS

OPENSSL: Final = shutil.which("openssl") or ""

needs_openssl = pytest.mark.skipif(
    not OPENSSL and not os.environ.get("CI"), reason="makes certificates with openssl, which is not installed"
)
own_certificates = pytest.mark.skipif(TLS is not None, reason="this run has certificates of its own")


def openssl(*arguments: str) -> str:
    """Run openssl; return what it prints."""
    command = [OPENSSL or "openssl", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


class Issued:
    """A certificate and its key, in files of PEM."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.certificate = certificate
        self.key = key

    @property
    def arguments(self) -> tuple[str, ...]:
        """What tells a server to use it."""
        return ("--certfile", str(self.certificate), "--keyfile", str(self.key))


_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-utf8")


class Authority:
    """A certificate authority of its own, with what it has issued, in one directory."""

    def __init__(self, folder: Path, name: str = "authority", issuer: Authority | None = None) -> None:
        self._folder = folder
        self._count = 0
        self.name = name
        self.certificate = folder / f"{name}.pem"
        self._key = folder / f"{name}-key.pem"
        if issuer is not None:
            issuer.sign(f"/CN={name}", self.certificate, self._key, "basicConstraints=critical,CA:TRUE")
            return
        subject = ("-days", "30", "-subj", f"/CN={name}")
        openssl("req", "-x509", *_KEY, *subject, "-keyout", str(self._key), "-out", str(self.certificate))

    def issue(
        self, name: str = "localhost", *, subject: str = "", alternatives: str = "", days: int = 30
    ) -> Issued:
        """Issue a certificate for `name`, good for 127.0.0.1 as well."""
        stem = f"{self.name}-{self._count + 1}-{name}"
        issued = Issued(self._folder / f"{stem}.pem", self._folder / f"{stem}-key.pem")
        extension = f"subjectAltName=DNS:{name},IP:127.0.0.1{alternatives}"
        self.sign(subject or f"/CN={name}", issued.certificate, issued.key, extension, days)
        return issued

    def sign(self, subject: str, certificate: Path, key: Path, extension: str, days: int = 30) -> None:
        """Make a key, and its certificate."""
        self._count += 1
        request, extra = certificate.with_suffix(".csr"), certificate.with_suffix(".ext")
        extra.write_text(f"{extension}\n")
        openssl("req", *_KEY, "-subj", subject, "-keyout", str(key), "-out", str(request))
        openssl(
            *("x509", "-req", "-in", str(request), "-CA", str(self.certificate), "-CAkey", str(self._key)),
            *("-set_serial", str(self._count), "-days", str(days), "-extfile", str(extra)),
            *("-out", str(certificate)),
        )

    def revoke(self, issued: Issued, folder: Path) -> Path:
        """Return a list of revoked certificates with this one."""
        config, database, revoked = folder / "ca.cnf", folder / "index.txt", folder / "crl.pem"
        database.touch()
        config.write_text(f"[ca]\ndefault_ca=a\n[a]\ndatabase={database}\ndefault_md=sha256\n")
        command = ("ca", "-config", str(config), "-cert", str(self.certificate), "-keyfile", str(self._key))
        openssl(*command, "-revoke", str(issued.certificate))
        openssl(*command, "-gencrl", "-crldays", "30", "-out", str(revoked))
        return revoked

    def client(self, issued: Issued | None = None) -> ssl.SSLContext:
        """Return a client's context that trusts this authority, and shows `issued` if asked."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        if issued is not None:
            context.load_cert_chain(issued.certificate, issued.key)
        return context


if __name__ == "__main__":  # for a run of tests over TLS: the authority, a certificate and its key
    folder = Path(sys.argv[1])
    made = Authority(folder).issue()
    made.certificate.replace(folder / "certificate.pem")
    made.key.replace(folder / "key.pem")
