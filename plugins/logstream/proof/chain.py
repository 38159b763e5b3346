"""Chains: whether a destination's manifests follow one another without a gap, and who vouches for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from logstream.proof.manifests import BrokenManifest, digest_of, fields_in
from logstream.proof.signing import is_signed


class Link(NamedTuple):
    """A manifest in its chain, as it is kept."""

    sequence: int
    document: str
    digest: str
    signature: str | None


def chain_problems(
    chain: Iterable[Link], public_key: str | None = None, look_at: Callable[[int], bool] = lambda _: True
) -> Iterator[str]:
    """What is wrong with a chain, in words. Its manifests come in order of `sequence`.

    Once a chain is signed it stays so. With `public_key`, that of the deployment, the newest manifest must be signed with it:
    it holds, through the digests, all before it, so signing may have begun later and keys may have changed.
    Signatures are verified of the newest manifest and of those to `look_at`; the digests vouch for all others.
    """
    expected, previous = 1, None
    first: int | None = None  # of the signed ones
    ours: int | None = None  # of those signed by this deployment's key
    newest: tuple[Link, str | None] | None = None
    for link in chain:
        number = link.sequence
        if number != expected:
            missing = f"{expected:,}" if number == expected + 1 else f"{expected:,} to {number - 1:,}"
            yield f"manifest {missing} of the chain is removed"
            previous = None
        if digest_of(link.document) != link.digest:
            yield f"manifest {number:,} was altered: its digest is not that of its bytes"
        try:
            says = fields_in(link.document)
        except BrokenManifest as error:
            yield f"manifest {number:,} was altered: {error}"
        else:
            if says["sequence"] != number:
                yield f"manifest {number:,} is in another's place: it says it is {says['sequence']:,}"
            elif (previous is not None or number == 1) and says["previous"] != previous:
                yield f"the chain is broken at manifest {number:,}: it does not hold the digest of the one before it"
            key = says["key"]
            if key is None and first is not None:
                yield f"manifest {number:,} is not signed, though manifest {first:,} before it is"
            elif key is not None and ours is not None and key != public_key:
                yield f"manifest {number:,} is signed by another key than manifest {ours:,} before it"
            if key is not None:
                first = first or number
                ours = number if ours is None and key == public_key else ours
                if look_at(number) and not is_signed(link.document, link.signature, key):
                    yield f"the signature of manifest {number:,} is not valid"
            newest = link, key
        expected, previous = number + 1, link.digest
    if newest is not None:
        yield from _newest(*newest, public_key, looked_at=look_at(newest[0].sequence))


def _newest(link: Link, key: str | None, public_key: str | None, *, looked_at: bool) -> Iterator[str]:
    name = f"manifest {link.sequence:,}"
    if key is not None and not looked_at and not is_signed(link.document, link.signature, key):
        yield f"the signature of {name} is not valid"
    if public_key is not None and key is None:
        yield (
            f"{name}, the newest, is not signed by the key of connection `logstream_signing`: it was rewritten, or signing "
            "began after it; the next manifest, of a new window or of one exported again, will be signed and vouch for it"
        )
    elif public_key is not None and key != public_key:
        yield f"{name} is signed by another key than that of connection `logstream_signing`"
