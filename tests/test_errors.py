"""Messages are one line that a terminal can show, whatever they quote."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrkit.errors import LONGEST_LINE, HrkitError, UnknownNameError, check_number, one_line


@given(st.text(max_size=2000))
def test_any_text_is_one_line_without_control_characters(text: str) -> None:
    for message in (str(HrkitError(text)), one_line(OSError(text))):
        assert message.isprintable()
        assert len(message) <= 10 * len(text) + len("OSError")


def test_long_names_keep_their_ends() -> None:
    message = str(UnknownNameError("backbone", "a" * 2500 + "b" * 2500, ["lite"]))
    assert len(message) < 400
    assert "unknown backbone 'aaaa" in message
    assert "bbb'; choices: lite" in message
    assert len(str(HrkitError("many words " * 5000))) < LONGEST_LINE + 10


def test_short_messages_stay_as_they_are() -> None:
    assert str(HrkitError("写真.png: no such file, é")) == "写真.png: no such file, é"
    assert str(HrkitError("two\n  lines")) == "two lines"
    assert str(HrkitError("\x1b[31m\udcff")) == "\\x1b[31m\\udcff"
    assert str(pickle.loads(pickle.dumps(HrkitError("a\nb")))) == "a b"


def test_numbers_may_have_any_size() -> None:
    for number in (10**400, float("inf"), float("nan"), -1, "1"):
        with pytest.raises(HrkitError, match=r"^sigma must be a number of at least 0, not "):
            check_number("sigma", number)
    assert check_number("sigma", 10**300) == 1e300
