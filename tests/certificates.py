"""Certificates of the tests' own."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Any

    @classmethod
    def authority(cls, name: str = "authority") -> Self:
        """One that signs others."""
        return cls._made(name, None)

    def sign(self, *hosts: str, name: str = "server", full: bool = True) -> Certificate:
        """One for hosts, signed by this; for the loopback interface, if none is named.

        One that is not `full` does not name its authority's key: RFC 5280 wants that, and Python from 3.13 on.
        """
        return self._made(name, self, *hosts or ("127.0.0.1",), full=full)

    @classmethod
    def _made(cls, name: str, issuer: Certificate | None, *hosts: str, full: bool = True) -> Self:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([_general(host) for host in hosts or (name,)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if issuer is None:
            builder = builder.add_extension(_SIGNS, critical=True)
        elif full:
            issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.certificate.public_key())
            builder = builder.add_extension(issued_by, critical=False)
        return cls(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)

    @property
    def public(self) -> str:
        """The certificate, PEM."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def pem(self) -> str:
        """Certificate and key, PEM."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return self.public + str(key.decode())


_SIGNS = x509.KeyUsage(
    digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
    data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
)  # fmt: skip


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
