"""What a certificate says, as environ has it: compared with what openssl says of the same one."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastwsgi.client_certificate import distinguished_name, environ_of
from tests.certificates import Authority, Issued, needs_openssl, openssl

if TYPE_CHECKING:
    from pathlib import Path


def decoded(path: Path) -> Any:
    """Return what getpeercert() would say of a certificate."""
    return ssl._ssl._test_decode_cert(str(path))  # type: ignore[attr-defined]


def environ(issued: Issued) -> dict[str, str]:
    der = ssl.PEM_cert_to_DER_cert(issued.certificate.read_text())
    return environ_of(decoded(issued.certificate), der)


@needs_openssl
@pytest.mark.parametrize(
    "subject",
    [
        "/CN=localhost",
        "/C=DE/ST=NRW/L=Köln/O=A, B/OU=one/OU=two/CN=Jürgen ✓",
        "/CN= both ends ",
        "/CN=#one",
        '/CN=a+O=b, "c";<d>',
        "/DC=com/DC=example/UID=u/GN=G/SN=S/title=T/initials=I/description=D/serialNumber=5",
        "/emailAddress=a@example.com/street=1 Way/postalCode=50667/name=N",
        "/CN=x\\\\/CN=y\\, O=z",
    ],
)
def test_a_name_is_written_as_by_openssl(subject: str, authority: Authority) -> None:
    issued = authority.issue("client", subject=subject)
    told = openssl("x509", "-in", str(issued.certificate), "-noout", "-subject", "-nameopt", "rfc2253")
    assert f"subject={distinguished_name(decoded(issued.certificate)['subject'])}\n" == told


@needs_openssl
def test_variables(authority: Authority) -> None:
    issued = authority.issue(
        "client",
        subject="/C=DE/O=Büro/OU=one/OU=two/CN=client/emailAddress=a@example.com",
        alternatives=",DNS:other,email:b@example.com,URI:spiffe://example/client",
    )
    seen = environ(issued)
    # RFC 7468 §2: PEM has 64 characters in a line.
    assert seen.pop("SSL_CLIENT_CERT") == issued.certificate.read_text()
    dates = openssl("x509", "-in", str(issued.certificate), "-noout", "-dates")
    assert dates == f"notBefore={seen.pop('SSL_CLIENT_V_START')}\nnotAfter={seen.pop('SSL_CLIENT_V_END')}\n"
    serial = openssl("x509", "-in", str(issued.certificate), "-noout", "-serial")
    assert serial == f"serial={seen.pop('SSL_CLIENT_M_SERIAL')}\n"
    assert seen == {
        "SSL_CLIENT_VERIFY": "SUCCESS",
        "SSL_CLIENT_M_VERSION": "3",
        "SSL_CLIENT_S_DN": r"emailAddress=a@example.com,CN=client,OU=two,OU=one,O=B\C3\BCro,C=DE",
        "SSL_CLIENT_S_DN_C": "DE",
        "SSL_CLIENT_S_DN_O": "BÃ¼ro",  # PEP 3333: UTF-8 in latin-1
        "SSL_CLIENT_S_DN_OU": "one",
        "SSL_CLIENT_S_DN_OU_1": "two",
        "SSL_CLIENT_S_DN_CN": "client",
        "SSL_CLIENT_S_DN_Email": "a@example.com",
        "SSL_CLIENT_I_DN": "CN=authority",
        "SSL_CLIENT_I_DN_CN": "authority",
        "SSL_CLIENT_SAN_DNS_0": "client",
        "SSL_CLIENT_SAN_DNS_1": "other",
        "SSL_CLIENT_SAN_Email_0": "b@example.com",
        "SSL_CLIENT_SAN_URI_0": "spiffe://example/client",
    }


FIELD = st.tuples(st.sampled_from(["commonName", "organizationName", "1.2.3.4"]), st.text(max_size=12))
NAMES = st.lists(st.lists(FIELD, min_size=1, max_size=3).map(tuple), max_size=4).map(tuple)


@settings(max_examples=50, deadline=None)
@given(NAMES, NAMES)
def test_different_names_stay_different(one: Any, other: Any) -> None:
    """RFC 4514 §2.4: what could be taken for another part of the name is escaped, whatever is in it."""
    assert (distinguished_name(one) == distinguished_name(other)) == (one == other)


@settings(max_examples=50, deadline=None)
@given(NAMES)
def test_all_is_latin_1(name: Any) -> None:
    said = {
        "subject": name,
        "issuer": name,
        "version": 3,
        "serialNumber": "01",
        "notBefore": "",
        "notAfter": "",
        "subjectAltName": tuple(("DNS", value) for rdn in name for _, value in rdn),
    }
    seen = environ_of(said, b"\x30\x00")
    assert seen["SSL_CLIENT_S_DN"].isascii()
    assert seen["SSL_CLIENT_S_DN"].isprintable()
    for value in seen.values():
        assert type(value) is str
        value.encode("latin-1").decode()
