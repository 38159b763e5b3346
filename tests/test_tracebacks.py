"""Tracebacks without the words of others."""

from __future__ import annotations

from logstream.tracebacks import traceback_of


def fails(word: str) -> Exception:
    try:
        try:
            raise KeyError(f"first {word}")
        except KeyError as error:
            raise ValueError(f"then {word}") from error
    except ValueError as error:
        return error


def test_places_and_types_are_told_and_words_only_as_wished() -> None:
    told = traceback_of(fails("secret"))
    assert "secret" not in told and "in fails" in told
    assert told.index("KeyError") < told.index("and then") < told.index("ValueError")
    assert "ValueError: THEN SECRET" in traceback_of(fails("secret"), str.upper)


def test_exceptions_of_a_group_are_told() -> None:
    told = traceback_of(ExceptionGroup("of secret", [fails("secret"), OSError("secret")]))
    assert "secret" not in told
    assert [word in told for word in ("ExceptionGroup", "KeyError", "ValueError", "OSError", "of which one is")] == [
        True
    ] * 5


def test_a_cause_that_leads_back_ends() -> None:
    error, other = ValueError("a"), ValueError("b")
    error.__cause__, other.__cause__ = other, error
    assert traceback_of(error).count("ValueError") == 2


def unwrapped() -> Exception:
    try:
        try:
            raise ExceptionGroup("of secret", [ValueError("secret")])
        except ExceptionGroup as group:
            raise group.exceptions[0]  # noqa: B904 - as many do who wait for one of several
    except ValueError as error:
        return error


def test_one_of_a_group_that_is_raised_by_itself_is_told_once() -> None:
    told = traceback_of(unwrapped())
    assert "and then" in told and [line for line in told.splitlines() if line.endswith("Error")] == ["ValueError"]


def test_groups_of_groups_are_told_in_part() -> None:
    error: Exception = ValueError("x")
    for depth in range(2_000):
        error = ExceptionGroup("g", [error, KeyError(depth), KeyError(depth)])
    assert len(traceback_of(error)) < 2_000


def test_an_exception_that_cannot_say_anything_is_told_by_its_type() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise AttributeError("response")

    assert traceback_of(Mute(), str.upper) == "Mute: (ITS WORDS CANNOT BE READ: ATTRIBUTEERROR)"
