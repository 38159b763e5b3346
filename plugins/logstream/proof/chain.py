"""Chains: whether the manifests of each of a destination's two follow one another without a gap, and who vouches for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from logstream.proof.manifests import BrokenManifest, digest_of, end_named_by, fields_in, name_of
from logstream.proof.signing import is_signed


class Link(NamedTuple):
    """A manifest in its chain, as it is kept."""

    sequence: int
    document: str
    digest: str
    signature: str | None
    position: int = 0
    """Its place among the manifests of both chains."""


class Place(NamedTuple):
    """Where a manifest stands among those of both chains of its destination, and what it says of that."""

    position: int
    beside: bool
    sequence: int
    digest: str
    named: tuple[int, str] | None
    """The end of the other chain that it names; see `end_named_by`."""


def chain_problems(
    chain: Iterable[Link], public_key: str | None = None, look_at: Callable[[int], bool] = lambda _: True, *,
    beside: bool = True, vouched_for: bool = False, places: list[Place] | None = None,
) -> Iterator[str]:  # fmt: skip
    """What is wrong with a chain, in words. Its manifests come in order of `sequence`.

    Once a chain is signed it stays so. With `public_key`, that of the deployment, the newest manifest must be signed with it:
    it holds, through the digests, all before it, so signing may have begun later and keys may have changed.
    Signatures are verified of the newest manifest and of those to `look_at`; the digests vouch for all others.

    `beside` tells which of its destination's two chains it is, and `vouched_for` that the newest manifest of the other one names
    its end: then it need not be signed with a key that came later. What the manifests say of the other chain goes to `places`.
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
            if places is not None:
                places.append(Place(link.position, beside, number, link.digest, end_named_by(says)))
        expected, previous = number + 1, link.digest
    if newest is not None:
        name = name_of(newest[0].sequence, beside=beside)
        yield from _newest(name, *newest, public_key, looked_at=look_at(newest[0].sequence), vouched_for=vouched_for)


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
    name: str, link: Link, key: str | None, public_key: str | None, *, looked_at: bool, vouched_for: bool
) -> Iterator[str]:
    if key is not None and not looked_at and not is_signed(link.document, link.signature, key):
        yield f"the signature of {name} is not valid"
    if vouched_for:
        return
    if public_key is not None and key is None:
        yield (
            f"{name}, the newest, is not signed by the key of connection `logstream_signing`: it was rewritten, or signing "
            "began after it; the next manifest, of a new window or of one exported again, will be signed and vouch for it"
        )
    elif public_key is not None and key != public_key:
        yield f"{name} is signed by another key than that of connection `logstream_signing`"


def order_problems(places: Iterable[Place]) -> Iterator[str]:
    """What is wrong with the order of a destination's manifests, and with what they say of the other chain, in words.

    Read in the order of their positions, those of each chain come in order, and each names the end that the other chain has
    then. Those in the ledger name the last one that was put beside the data by then, which may be an earlier one.
    """
    ends: dict[bool, tuple[int, str] | None] = {True: None, False: None}
    digests: dict[int, str] = {}  # of those beside the data
    wrong: list[str] = []
    named = 0
    for place in sorted(places, key=lambda place: place.position):
        end, own, said = ends[not place.beside], ends[place.beside], place.named
        if place.beside:
            right, digests[place.sequence] = said == end, place.digest
        elif said is None:
            right = named == 0
        else:
            right, named = named <= said[0] and digests.get(said[0]) == said[1], max(named, said[0])
        if not right or (own is not None and own[0] > place.sequence):
            wrong.append(name_of(place.sequence, beside=place.beside))
        ends[place.beside] = place.sequence, place.digest
    if wrong:
        others = f", and so it is of {len(wrong) - 1:,} more" if wrong[1:] else ""
        yield (
            f"what {wrong[0]} says of the other chain of its destination, or its place beside that, is not so{others}: "
            "manifests were rewritten, removed, added or moved, or the control database that made them is gone"
        )
