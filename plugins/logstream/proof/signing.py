"""Signatures on manifests: Ed25519, by a key that only the operator has."""

from __future__ import annotations

import base64
import binascii

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from logstream.errors import InputError

Unusable = InputError


class Signer:
    """Signs manifests. The key never leaves it."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def of(cls, text: str) -> Signer:
        """From a private key: PEM (PKCS 8), or its 32 bytes in base64. Raises `InputError`."""
        try:
            if "-----BEGIN" in text:
                key = load_pem_private_key(text.replace("\\n", "\n").encode(), None)
                if not isinstance(key, Ed25519PrivateKey):
                    raise Unusable("the key of connection `logstream_signing` is no Ed25519 key")
                return cls(key)
            return cls(Ed25519PrivateKey.from_private_bytes(base64.b64decode(text, validate=True)))
        except (ValueError, TypeError, binascii.Error):
            raise Unusable(
                "the password of connection `logstream_signing` is no Ed25519 private key: PEM, or 32 bytes in base64"
            ) from None

    @property
    def public_key(self) -> str:
        """The public key, 32 bytes in base64."""
        raw = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return base64.b64encode(raw).decode()

    def sign(self, document: str) -> str:
        """The signature of a manifest's bytes, in base64."""
        return base64.b64encode(self._key.sign(document.encode())).decode()


def is_signed(document: str, signature: str | None, public_key: str) -> bool:
    """Whether a signature is that of a manifest by the owner of a public key."""
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key))
        key.verify(base64.b64decode(signature or ""), document.encode())
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True
