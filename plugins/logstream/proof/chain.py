"""Chains: whether the manifests of each of a destination's two follow one another without a gap, and who vouches for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from logstream.proof.manifests import BrokenManifest, digest_of, fields_in, name_of
from logstream.proof.signing import is_signed


class Link(NamedTuple):
    """A manifest in its chain, as it is kept."""

    sequence: int
    document: str
    digest: str
    signature: str | None


def chain_problems(
    chain: Iterable[Link], public_key: str | None = None, look_at: Callable[[int], bool] = lambda _: True, *,
    beside: bool = True, goes_on: bool = True,
) -> Iterator[str]:  # fmt: skip
    """What is wrong with a chain, in words. Its manifests come in order of `sequence`.

    Once a chain is signed it stays so. With `public_key`, that of the deployment, the newest manifest must be signed with it:
    it holds, through the digests, all before it, so signing may have begun later and keys may have changed.
    Signatures are verified of the newest manifest and of those to `look_at`; the digests vouch for all others.

    `beside` tells which of its destination's two chains it is. One that does not go on, because its destination is of the other
    kind by now, gets no more manifests: it need not be signed with a key that came later.
    """
    expected, previous = 1, None
    where = "" if beside else " in the ledger"
    first: int | None = None  # of the signed ones
    ours: int | None = None  # of those signed by this deployment's key
    newest: tuple[Link, str | None] | None = None
    for link in chain:
        number = link.sequence
        name = name_of(number, beside=beside)
        if number != expected:
            missing = f"{expected:,}" if number == expected + 1 else f"{expected:,} to {number - 1:,}"
            yield f"manifest {missing} of the chain{where} is removed"
            previous = None
        if digest_of(link.document) != link.digest:
            yield f"{name} was altered: its digest is not that of its bytes"
        try:
            says = fields_in(link.document)
        except BrokenManifest as error:
            yield f"{name} was altered: {error}"
        else:
            held = (previous,) if previous is not None or number == 1 else None
            yield from _place(name, number, says, held, beside=beside)
            key = says["key"]
            if key is None and first is not None:
                yield f"{name} is not signed, though manifest {first:,} before it is"
            elif key is not None and ours is not None and key != public_key:
                yield f"{name} is signed by another key than manifest {ours:,} before it"
            if key is not None:
                first = first or number
                ours = number if ours is None and key == public_key else ours
                if look_at(number) and not is_signed(link.document, link.signature, key):
                    yield f"the signature of {name} is not valid"
            newest = link, key
        expected, previous = number + 1, link.digest
    if newest is not None:
        name = name_of(newest[0].sequence, beside=beside)
        yield from _newest(name, *newest, public_key, looked_at=look_at(newest[0].sequence), goes_on=goes_on)


def _place(
    name: str, number: int, says: Mapping[str, Any], held: tuple[str | None] | None, *, beside: bool
) -> Iterator[str]:
    """What is wrong with the place of a manifest. `held`: the digest that it must hold, if that is known."""
    if says["sequence"] != number:
        yield f"{name} is in another's place: it says it is {says['sequence']:,}"
    elif says.get("ledger_only") and beside:
        yield f"{name} is in another's place: it says it is in the ledger only"
    elif held is not None and says["previous"] != held[0]:
        yield f"the chain is broken at {name}: it does not hold the digest of the one before it"


def _newest(
    name: str, link: Link, key: str | None, public_key: str | None, *, looked_at: bool, goes_on: bool
) -> Iterator[str]:
    if key is not None and not looked_at and not is_signed(link.document, link.signature, key):
        yield f"the signature of {name} is not valid"
    if not goes_on:
        return
    if public_key is not None and key is None:
        yield (
            f"{name}, the newest, is not signed by the key of connection `logstream_signing`: it was rewritten, or signing "
            "began after it; the next manifest, of a new window or of one exported again, will be signed and vouch for it"
        )
    elif public_key is not None and key != public_key:
        yield f"{name} is signed by another key than that of connection `logstream_signing`"
