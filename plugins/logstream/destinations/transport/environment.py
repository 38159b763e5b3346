"""Variables of the environment that obstore reads by itself: nothing but the connection and the options decides.

What a client is told overrides its variables, so it is told all that can be. What it cannot be told to leave alone
is refused here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from logstream.errors import InputError


def refuse_variables(names: Iterable[str], instead: str) -> None:
    """Raise `InputError` naming the first of some variables that is set, and what to do `instead`."""
    there = {name.upper() for name, value in os.environ.items() if value}
    for name in names:
        if name in there:
            raise InputError(
                f"the environment sets {name}, which would change what is sent for every connection: unset it for Logstream; "
                f"{instead}"
            )
