"""The heads of answers: nothing in a header can be read as another one."""

from __future__ import annotations

import h11
import pytest

from pullback_service.http.answer_head import written_head


def test_another_reader_finds_the_headers_as_they_were_given():
    given = [(b"content-length", b"0"), (b"x-a", b"b\tc d"), (b"x-latin", "é".encode("latin-1"))]
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(written_head(404, given))
    found = reader.next_event()
    assert isinstance(found, h11.Response)
    assert (found.status_code, found.reason, list(found.headers)) == (404, b"Not Found", given)


@pytest.mark.parametrize("text", [b"a\r\nb: c", b"a\rb", b"a\nb", b"a\0", b"\x7f", b"\r\n\r\nHTTP/1.1 200 OK"])
@pytest.mark.parametrize("place", ["name", "value"])
def test_a_header_with_a_control_character_is_none(text, place):
    header = (text, b"v") if place == "name" else (b"n", text)
    with pytest.raises(RuntimeError, match="control character"):
        written_head(200, [(b"content-length", b"0"), header])
