"""Names of objects that a delivery has put before, or was about to put: they are not given to other events."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from logstream.destinations.base import Destination, Options
from logstream.destinations.object_options import Packaging
from logstream.destinations.objects import ObjectDestination
from logstream.destinations.parcel import Part, UsedNames
from logstream.ledger.ledger import Ledger
from logstream.ledger.records import Lane


def used_names(ledger: Ledger, destination: Destination[Options], lanes: Sequence[Lane]) -> UsedNames:
    """Those of the delivery of some lanes. Blocks.

    Where each event is an object, names come from the events themselves, and there are as many: they are asked for where the
    log store is known to have purged some, which another event could then take the name of.
    """
    number = lanes[0].delivery_id
    if not isinstance(destination, ObjectDestination):
        return UsedNames()
    if destination.options.packaging is Packaging.FILE:
        asked = ledger.keeps_superseded(number)
    else:
        asked = bool(ledger.with_superseded([number]))
    return UsedNames(_known(ledger, number)) if asked else UsedNames()


def used_among(ledger: Ledger, destination: Destination[Options], lane: Lane, names: Collection[str]) -> UsedNames:
    """Those of a lane's delivery that some more events may want. Blocks.

    Where each event is an object: those among `names`, which its events would have if no others had them. Where the ledger has
    forgotten names any other may be one, and those that it has learnt since are few; batches have numbers then that are higher
    than all in force.
    """
    if not isinstance(destination, ObjectDestination):
        return UsedNames()
    known = _known(ledger, lane.delivery_id)
    if destination.options.packaging is Packaging.FILE:
        return UsedNames((part for part in known if lane.pruned or part.name in names), forgotten=lane.pruned)
    return UsedNames(known)


def _known(ledger: Ledger, delivery_id: int) -> Iterator[Part]:
    for found in (ledger.parts, ledger.superseded):
        for _, part in found([delivery_id]):
            yield part
