"""Settings of very many, built from YAML in one pass: what YAML says they are."""

from __future__ import annotations

import pytest

from tests.test_small_windows import MANY, each_its_own


@pytest.mark.parametrize("text", ["[" * 1_000_000, "{a: " * 200_000, "- " * 200_000, "[" * 200_000 + "]" * 200_000])
def test_settings_that_are_nested_deeply_are_refused_in_words(text: str) -> None:
    from logstream.errors import InputError
    from logstream.settings.document import parse_yaml

    with pytest.raises(InputError, match="nested too deeply"):
        parse_yaml(text)


SCALARS = [
    "1", "-3", "0x1F", "1e3", "1.5", ".inf", "~", "", "yes", "on", "2020-01-01", "'q'", '"d\\n"', "a b", "1_000", "1:30", "<<",
    "=", "!!str 5", "!foo x", "&a x", "*a", "- x", "%x", "@x", "a: b", "[1, 2]", "{a: 1, a: 2}", "{1: x, true: y}", "{2.5: x}",
    "|\n   lit\n", "{<<: {a: 1}}", "[", "\x01", "---",
]  # fmt: skip


@pytest.mark.parametrize(
    "shape", ["{0}", "k: {0}", "k: {0}\nk: {1}", "- {0}\n- {1}", "- {{a: {0}, b: [{1}]}}", "{0}: {1}"]
)
def test_settings_are_what_yaml_says_they_are(shape: str) -> None:
    import yaml

    from logstream.errors import InputError
    from logstream.settings.document import _Loader, parse_yaml

    for first in SCALARS:
        for second in SCALARS:
            text = shape.format(first, second)
            try:
                wanted = repr(yaml.load(text, Loader=_Loader))
            except (yaml.YAMLError, RecursionError):
                with pytest.raises(InputError):
                    parse_yaml(text)
            else:
                assert repr(parse_yaml(text)) == wanted, text


def test_settings_of_very_many_are_built_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    from logstream.settings.document import parse_yaml

    document = each_its_own(MANY, {"type": "file", "path": "/srv/", "packaging": "batch"}, "path")
    text, passes = yaml.safe_dump(document), list[str]()
    for name in ("load", "parse"):
        did = getattr(yaml, name)
        monkeypatch.setattr(yaml, name, lambda *a, did=did, name=name, **k: passes.append(name) or did(*a, **k))
    assert parse_yaml(text) == document
    assert passes == ["parse"]
