"""Encodings of log stores' databases: texts in them as PostgreSQL itself reads them.

Python's codecs stand for the encodings, and know nearly what PostgreSQL's own tables do
(https://github.com/postgres/postgres/tree/master/src/backend/utils/mb/Unicode). Where the two differ, PostgreSQL's count: what it
shows to all who use the database is what arrives.
"""

from __future__ import annotations

import codecs

_IBM = (
    "ⅰⅱⅲⅳⅴⅵⅶⅷⅸⅹⅠⅡⅢⅣⅤⅥⅦⅧⅨⅩ＇＂㈱№℡炻仼僴凬匇匤﨎咊坙﨏塚增寬峵嵓﨑德悅愠敎昻晥晴朗栁﨓﨔橫"
    "櫢淸淲瀨凞猪甁皂皞益礰礼神祥福竧靖精綠緖羽荢﨟薰蘒﨡蠇諸譿賴赶﨣﨤逸郞都鄕﨧﨨閒隆﨩霻靍靑飯飼館馞髙魲鶴黑"
)
"""IBM's characters of `EUC_JP`, from 0x8ff3f3 to 0x8ff4fe (`Unicode/euc_jp_to_utf8.map`)."""


def _of_euc_jp() -> dict[bytes, str]:
    """NEC's characters, row 13 of JIS X 0208 as Windows has it (circled digits, units, company signs), and IBM's."""
    found = dict(zip((_ibm_place(number) for number in range(len(_IBM))), _IBM, strict=True))
    for cell in range(1, 95):
        trail = cell + 0x3F + (cell >= 64)  # Shift JIS leaves 0x7f out
        if character := bytes((0x87, trail)).decode("cp932", "ignore"):
            found[bytes((0xAD, 0xA0 + cell))] = character
    return found


def _ibm_place(number: int) -> bytes:
    row, cell = divmod(number + 0xF3 - 0xA1, 94)
    return bytes((0x8F, 0xF3 + row, 0xA1 + cell))


_ADDED = {
    "euc_jp": _of_euc_jp(),
    "euc_kr": {b"\xa2\xe8": "\u327e", b"\xa4\xd4": "\u3164"},
}
"""Characters that Python's codecs do not have, by the codecs' names."""

_OTHERS = {
    "euc_jp": str.maketrans(
        {
            "\u301c": "\uff5e",
            "\u2016": "\u2225",
            "\u2212": "\uff0d",
            "\u00a2": "\uffe0",
            "\u00a3": "\uffe1",
            "\u00ac": "\uffe2",
            "\u00a6": "\uffe4",
        }
    ),
    "euc_jis_2004": str.maketrans(
        {
            "\uffe3": "\u203e",
            "\u2015": "\u2014",
            "\uffe5": "\u00a5",
            "\u2985": "\uff5f",
            "\u2986": "\uff60",
        }
    ),
}
"""Characters for which PostgreSQL has others: of the same look, or of the other width."""


def codec_of(encoding: str) -> str | None:
    """The name of Python's codec for an encoding, as PostgreSQL calls it. `None`: Python has none (`EUC_TW`, `MULE_INTERNAL`)."""
    name = {"EUC_CN": "gb2312"}.get(encoding, encoding)
    try:
        return codecs.lookup(name.replace("WIN", "cp").replace("KOI8", "koi8_")).name
    except LookupError:
        return None


def read(text: bytes, codec: str, *, strict: bool = True) -> str:
    """A text from its bytes. What is no character raises `UnicodeDecodeError`, or stands as `\\xe9` if not `strict`."""
    found = text.decode(codec, _STRICT if strict else _LENIENT)
    return found.translate(_OTHERS[codec]) if codec in _OTHERS else found


_STRICT, _LENIENT = "logstream-strict", "logstream-backslashreplace"


def _added(error: UnicodeError) -> tuple[str, int] | None:
    if isinstance(error, UnicodeDecodeError):
        for length in (2, 3):
            end = error.start + length
            if character := _ADDED.get(error.encoding, {}).get(error.object[error.start : end]):
                return character, end
    return None


def _strict(error: UnicodeError) -> tuple[str | bytes, int]:
    return _added(error) or codecs.strict_errors(error)


def _lenient(error: UnicodeError) -> tuple[str | bytes, int]:
    return _added(error) or codecs.backslashreplace_errors(error)


codecs.register_error(_STRICT, _strict)
codecs.register_error(_LENIENT, _lenient)
