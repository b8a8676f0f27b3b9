"""Requests whose bounds or addressee two readers could see differently: one of them may be a proxy in front."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.security.raw import (
    BODY,
    CHUNKED,
    CHUNKS,
    HOST,
    LAST,
    LENGTH,
    LIVE,
    POST,
    SMUGGLED,
    Answer,
    connect,
    exchange,
    read,
    square,
)

GET = b"GET /health/live HTTP/1.1\r\n"


def post(headers: bytes, body: bytes = BODY) -> bytes:
    return POST + HOST + headers + b"\r\n" + body


def length(value: bytes) -> bytes:
    return post(b"content-length: " + value + b"\r\n")


def coded(value: bytes, more: bytes = b"") -> bytes:
    return post(b"transfer-encoding:" + value + b"\r\n" + more, CHUNKS)


def chunk(size: bytes, end: bytes = b"\r\n0\r\n\r\n") -> bytes:
    return post(CHUNKED, size + b"\r\n" + BODY + end)


def header(line: bytes) -> bytes:
    return post(LENGTH + line + b"\r\n")


SIZE = b"%x" % len(BODY)

REFUSED = {
    # Where a body ends
    "a length before chunks": post(b"content-length: 4\r\n" + CHUNKED, b"0\r\n\r\n"),
    "chunks before a length": post(CHUNKED + b"content-length: 4\r\n", CHUNKS),
    "two lengths": post(LENGTH * 2),
    "two lengths that differ": post(LENGTH + b"content-length: 4\r\n"),
    "a list of lengths": length(b"%d, %d" % (len(BODY), len(BODY))),
    "a negative length": length(b"-1"),
    "a length with a sign": length(b"+%d" % len(BODY)),
    "a length in hex": length(b"0x10"),
    "a length as a float": length(b"4e1"),
    "a length with an underscore": length(b"1_0"),
    "a length with a blank inside": length(b"1 0"),
    "an empty length": length(b""),
    "a length beyond 64 bits": length(b"9" * 30),
    "a length beyond 64 bits by as much": length(b"%d" % (2**64 + len(BODY))),
    "a length in digits that are no ASCII": length("٤٤".encode()),
    "chunks, misspelt": coded(b" xchunked"),
    "chunks, in quotes": coded(b' "chunked"'),
    "chunks after a vertical tab": coded(b" \x0bchunked"),
    "chunks after another coding": coded(b" identity, chunked"),
    "chunks before another coding": coded(b" chunked, identity"),
    "chunks of gzip": coded(b" gzip, chunked"),
    "chunks twice": coded(b" chunked", CHUNKED),
    "chunks after identity": coded(b" identity", CHUNKED),
    "chunks before identity": coded(b" chunked", b"transfer-encoding: identity\r\n"),
    "identity": post(b"transfer-encoding: identity\r\n" + LENGTH),
    "no coding at all": post(b"transfer-encoding:\r\n" + LENGTH),
    "chunks on a line of its own": coded(b"\r\n chunked"),
    "chunks before a colon with a blank": post(b"transfer-encoding : chunked\r\n", CHUNKS),
    "chunks over HTTP/1.0": b"POST /v1/backward HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n" + CHUNKS,
    "chunks in a header that hides": post(b"x: y\rtransfer-encoding: chunked\r\n", CHUNKS),
    # Where a chunk ends
    "a chunk of no size": chunk(b""),
    "a chunk with a letter": chunk(SIZE + b"g"),
    "a chunk in 0x": chunk(b"0x" + SIZE),
    "a chunk with a sign": chunk(b"+" + SIZE),
    "a negative chunk": chunk(b"-1"),
    "a chunk with a blank before": chunk(b" " + SIZE),
    "a chunk with a blank behind": chunk(SIZE + b" "),
    "a chunk beyond 64 bits": chunk(b"1" + SIZE.rjust(16, b"0")),
    "a chunk that ends by a line feed": post(CHUNKED, SIZE + b"\n" + BODY + b"\r\n0\r\n\r\n"),
    "a chunk whose data ends by a line feed": chunk(SIZE, b"\n0\r\n\r\n"),
    "a chunk whose data has no end": chunk(SIZE, b"0\r\n\r\n"),
    "a last chunk that ends by line feeds": chunk(SIZE, b"\r\n0\n\n"),
    "an extension that ends by a line feed": post(CHUNKED, SIZE + b";a\n" + BODY + b"\r\n0\r\n\r\n"),
    "an extension with a return": chunk(SIZE + b";a\rb"),
    "an extension with a quoted line feed": chunk(SIZE + b';a="\n"'),
    "a trailer that tells a length": chunk(SIZE, b"\r\n0\r\ncontent-length: 4\r\n\r\n"),
    "a trailer that tells of chunks": chunk(SIZE, b"\r\n0\r\ntransfer-encoding: chunked\r\n\r\n"),
    # Where a line ends
    "line feeds alone": (POST + HOST + LENGTH + b"\r\n").replace(b"\r\n", b"\n") + BODY,
    "a first line that ends by a line feed": POST.replace(b"\r\n", b"\n") + HOST + LENGTH + b"\r\n" + BODY,
    "a header that ends by a line feed": POST + b"host: x\n" + LENGTH + b"\r\n" + BODY,
    "a last header that ends by a line feed": post(LENGTH.replace(b"\r\n", b"\n")),
    "a head that ends by a line feed": POST + HOST + LENGTH + b"\n" + BODY,
    "returns alone": (POST + HOST + LENGTH + b"\r\n").replace(b"\r\n", b"\r") + BODY,
    "a header that ends by a return": POST + b"host: x\r" + LENGTH + b"\r\n" + BODY,
    "a value with a return": header(b"x: a\rb"),
    "a value with two returns": header(b"x: a\r"),
    "a folded header": header(b"x: a\r\n b"),
    "a folded first header": POST + b" x: a\r\n" + HOST + LENGTH + b"\r\n" + BODY,
    # What a header is
    "a null byte in a name": header(b"x\0: a"),
    "a null byte in a value": header(b"x: a\0"),
    "a null byte in a length": length(b"%d\0" % len(BODY)),
    "a control character in a value": header(b"x: a\x01"),
    "a delete in a value": header(b"x: a\x7f"),
    "a letter beyond ASCII in a name": header(b"x\xff: a"),
    "a blank before a colon": header(b"x : a"),
    "a blank in a name": header(b"x y: a"),
    "a header without a name": header(b": a"),
    "a header without a colon": header(b"x"),
    # Whom it is for
    "two hosts": GET + HOST + b"host: y\r\n\r\n",
    "one host twice": GET + HOST + HOST + b"\r\n",
    "no host": GET + b"\r\n",
    "a host with a blank": GET + b"host: x y\r\n\r\n",
    "a host with a path": GET + b"host: x/../y\r\n\r\n",
    "a host with a user": GET + b"host: a@b\r\n\r\n",
    "a list of hosts": GET + b"host: x\r\nHost: y\r\n\r\n",
    # What it asks for
    "a path beyond ASCII": b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n",
    "a path with a tab": b"GET /a\tb HTTP/1.1\r\n" + HOST + b"\r\n",
    "a path with a null byte": b"GET /a\0b HTTP/1.1\r\n" + HOST + b"\r\n",
    "a path with backslashes": b"GET \\health\\live HTTP/1.1\r\n" + HOST + b"\r\n",
    "a path without a slash": b"GET health/live HTTP/1.1\r\n" + HOST + b"\r\n",
    "an address with two users": b"GET http://a@b@c/health/live HTTP/1.1\r\n" + HOST + b"\r\n",
    "tabs between the words": b"GET\t/health/live\tHTTP/1.1\r\n" + HOST + b"\r\n",
    "a method of 300 letters": b"A" * 300 + b" / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tunnel": b"CONNECT elsewhere:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    # In which protocol
    "HTTP/0.9": b"GET /health/live\r\n" + HOST + b"\r\n",
    "HTTP/0.9 by its number": b"GET /health/live HTTP/0.9\r\n" + HOST + b"\r\n",
    "HTTP/1.2": b"GET /health/live HTTP/1.2\r\n" + HOST + b"\r\n",
    "HTTP/2.0": b"GET /health/live HTTP/2.0\r\n" + HOST + b"\r\n",
    "http in lower case": b"GET /health/live http/1.1\r\n" + HOST + b"\r\n",
    "an HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an upgrade beside a body": post(LENGTH + b"connection: upgrade\r\nupgrade: h2c\r\n"),
}
"""Each is followed by another request, which must not be answered: nobody knows where it begins."""


@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED)
def test_what_two_readers_could_see_differently_is_refused_and_ends_the_connection(real_url, sent):
    (answer,) = exchange(real_url, sent + SMUGGLED)
    assert (answer.status, answer.body["code"]) == (400, "not_http"), answer
    assert answer.headers["connection"] == "close"
    square(real_url)


UPGRADE = GET + HOST + b"connection: Upgrade\r\n"
SOCKET = b"upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

ENDED = {
    "a refusal behind an answer": ([200], LIVE + b"GARBAGE\r\n\r\n" + SMUGGLED),
    "a refusal behind a gradient": ([200], post(LENGTH) + b"GARBAGE\r\n\r\n" + SMUGGLED),
    "a refusal behind two answers": ([200, 200], LIVE + post(LENGTH) + GET + b"\r\n" + SMUGGLED),
    "an upgrade to HTTP/2": ([200], UPGRADE + b"upgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n" + SMUGGLED),
    "an upgrade to a web socket": ([200], UPGRADE + SOCKET + SMUGGLED),
    "a connection that ends": ([200], LAST + SMUGGLED),
    "HTTP/1.0": ([200], GET.replace(b"1.1", b"1.0") + b"\r\n" + SMUGGLED),
    "HTTP/1.0 that would go on": ([200], GET.replace(b"1.1", b"1.0") + b"connection: keep-alive\r\n\r\n" + SMUGGLED),
    "a tunnel to a path": ([405], b"CONNECT /health/live HTTP/1.1\r\n" + HOST + b"\r\n" + SMUGGLED),
    "more than is answered at once": ([200] * 17, LIVE * 18 + SMUGGLED),
}
"""What came before is answered, and then the connection ends."""


@pytest.mark.parametrize(("statuses", "sent"), ENDED.values(), ids=ENDED)
def test_what_comes_behind_the_last_request_of_a_connection_is_not_answered(real_url, statuses, sent):
    assert [answer.status for answer in exchange(real_url, sent)] == statuses
    square(real_url)


def at(target: str, method: str = "GET") -> bytes:
    first = f"{method} {target} HTTP/1.1\r\n".encode() + HOST
    return first + (LENGTH + b"\r\n" + BODY if method == "POST" else b"\r\n")


ANSWERED = {
    "a length with zeros before it": ([200], length(b"000%d" % len(BODY))),
    "a length with blanks around it": ([200], length(b" \t%d \t" % len(BODY))),
    "chunks in capitals": ([200], coded(b"\tCHUNKED")),
    "a chunk with zeros before it": ([200], chunk(SIZE.rjust(40, b"0"))),
    "a chunk with an extension": ([200], chunk(SIZE + b";a=b;c")),
    "a trailer": ([200], chunk(SIZE, b"\r\n0\r\nx-checksum: 1\r\n\r\n")),
    "a value beyond ASCII": ([200], header(b"x: a\xff")),
    "a length under another name": ([400], post(b"content_length: 4\r\n", b"")),
    "a request for a body": ([100, 200], post(b"Expect: 100-Continue\r\n" + LENGTH)),
    "a request for a body that is not there": ([200], GET + HOST + b"expect: 100-continue\r\n\r\n"),
    "an expectation that nobody knows": ([200], post(b"expect: everything\r\n" + LENGTH)),
    "a body that is refused unread": ([415], post(b"content-type: text/plain\r\n" + LENGTH)),
    "a body that looks like a request": ([400], post(b"content-length: %d\r\n" % len(SMUGGLED), SMUGGLED)),
    "a body that nobody wants": ([200], GET + HOST + b"content-length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED),
    "chunks that nobody wants": (
        [200],
        GET + HOST + CHUNKED + b"\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED),
    ),
    "a length that the connection is to drop": ([200], post(LENGTH + b"connection: content-length\r\n")),
    "a method in a header": (
        [405],
        at("/v1/backward")[:-2] + b"x-http-method-override: POST\r\n\r\n",
    ),
    "an address in a header": ([404], at("/no")[:-2] + b"x-original-url: /health/live\r\n\r\n"),
    "an address with its host": ([200], at("http://elsewhere/health/live")),
    "an operation with its host": ([200], at("https://elsewhere:1/v1/backward", "POST")),
    "two slashes": ([404], at("//health/live")),
    "two slashes before an operation": ([404], at("//v1/backward", "POST")),
    "a host for a path": ([404], at("//elsewhere/%2e%2e")),
    "dots": ([404], at("/v1/../health/live")),
    "encoded dots": ([404], at("/v1/%2e%2e/health/live")),
    "dots encoded twice": ([404], at("/v1/ops/%252e%252e%252fhealth")),
    "an encoded slash": ([404], at("/v1%2fbackward", "POST")),
    "an encoded letter": ([404], at("/v1/%62ackward", "POST")),
    "a slash at the end": ([404], at("/health/live/")),
    "a slash behind an operation": ([404], at("/v1/backward/", "POST")),
    "a semicolon": ([404], at("/health/live;x")),
    "an encoded null byte": ([404], at("/health/live%00")),
    "encoded line ends": ([404], at("/health%0d%0ahost:%20y")),
    "half an escape": ([404], at("/%zz%")),
    "a query": ([200], at("/health/live?%0d%0ax=1&y=../..")),
    "everything": ([404], at("*", "OPTIONS")),
    "a trace": ([405], at("/health/live", "TRACE")),
    "a trace of an operation": ([405], at("/v1/backward", "TRACE")),
    "another protocol's method": ([405], at("/v1/backward", "PROPFIND")),
    "an empty line before": ([200], b"\r\n" + LIVE),
}
"""What can be read in one way only is answered, and so is what follows."""


@pytest.mark.parametrize(("statuses", "sent"), ANSWERED.values(), ids=ANSWERED)
def test_what_can_be_read_in_one_way_is_answered_and_so_is_what_follows(real_url, statuses, sent):
    *answers, last = exchange(real_url, sent + LAST)
    assert [answer.status for answer in answers] == statuses
    assert last.body == {"status": "ok"}


@pytest.mark.parametrize("rest", [b"ZZZ\r\n", b"-1\r\n", b"2\r\n{}X"])
def test_a_body_that_goes_wrong_after_its_answer_gets_no_other(real_url, rest):
    with connect(real_url) as connection:
        connection.sendall(b"POST /nothing HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n")
        assert connection.recv(12) == b"HTTP/1.1 404"
        connection.sendall(rest)
        came = b"".join(iter(lambda: connection.recv(2**16), b""))
    assert b"HTTP/1.1" not in came


@pytest.mark.parametrize("status", [413, 415])
def test_who_is_refused_instead_of_asked_for_the_body_is_told_that_the_connection_ends(real_url, status):
    media, size = (b"text/plain", 3) if status == 415 else (b"application/json", 10**12)
    expecting = b"expect: 100-continue\r\ncontent-type: %b\r\ncontent-length: %d\r\n" % (media, size)
    (answer,) = exchange(real_url, post(expecting, b""))
    assert (answer.status, answer.headers["connection"]) == (status, "close")


def spread(size: int) -> bytes:
    """The body with blanks behind it, as JSON may have."""
    return BODY + b" " * (size - len(BODY))


SIZES = [2**16 - 1, 2**16 + 200, 2**17 - 100, 2**17, 2**18, 2**18 + 1, 2**19 + 17, 3_000_001]


@pytest.mark.parametrize("pause_at", [None, 100, 2**17, -1], ids=str)
def test_what_follows_a_large_body_is_the_next_request_wherever_the_bytes_are_cut(real_url, pause_at):
    """The one body has a request's bytes in it, which are none."""
    with connect(real_url) as connection:
        for size in SIZES:
            of_length = post(b"content-length: %d\r\n" % size, spread(size))
            in_chunks = post(CHUNKED, b"%x\r\n%b\r\n0\r\n\r\n" % (size, spread(size)))
            hidden = b"content-length: %d\r\n" % size, (SMUGGLED * size)[:size]
            sent = of_length + in_chunks + post(*hidden) + of_length
            for piece in (sent[:pause_at], sent[pause_at:]) if pause_at else (sent,):
                connection.sendall(piece)
                assert_alive(real_url)  # and so the first piece is read before the second comes
        connection.sendall(LAST)
        statuses = [answer.status for answer in read(connection)]
    assert statuses == [200, 200, 400, 200] * len(SIZES) + [200]


def assert_alive(url: str) -> None:
    (answer,) = exchange(url, LAST)
    assert answer.status == 200


@pytest.mark.parametrize("target", ["/health/live/", "/v1/ops/", "//elsewhere", "/docs/"])
def test_nobody_is_sent_to_where_a_host_header_says(real_url, target):
    (answer,) = exchange(real_url, f"GET {target} HTTP/1.1\r\nhost: elsewhere\r\nconnection: close\r\n\r\n".encode())
    assert answer.status == 404
    assert "elsewhere" not in str(answer)


# Against another reader

PIECES = st.sampled_from(
    [
        POST,
        GET,
        HOST,
        LENGTH,
        CHUNKED,
        CHUNKS,
        BODY,
        LIVE,
        SMUGGLED,
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\0",
        b"0\r\n\r\n",
        b"content-length: 0\r\n",
        b"content-length: 5\r\n",
        b"transfer-encoding: identity\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"x: y\r\n",
        b"x:\r\n",
        b" folded\r\n",
        b"connection: close\r\n",
        b"connection: upgrade\r\nupgrade: h2c\r\n",
        b"expect: 100-continue\r\n",
        b"3\r\n{ }\r\n",
    ]
)

WELL_FORMED = st.sampled_from([LIVE, post(LENGTH), post(CHUNKED, CHUNKS), b"\r\n" + LIVE])


NONSENSE = b"\r\nNONSENSE\r\n\r\n"
"""Ends every connection, unless it is in a body."""


def seen_by_another(sent: bytes) -> int:
    """How many whole requests h11 finds; it does not skip the empty lines that may stand before one."""
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(sent.lstrip(b"\r\n"))
    try:
        while not isinstance(event := reader.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                return 0
    except h11.ProtocolError:
        return 0
    rest, _ = reader.trailing_data
    return 1 + (seen_by_another(rest) if reader.their_state is h11.DONE else 0)


def believed(answers: list[Answer]) -> list[Answer]:
    """Without what tells that there is no request, or none that is whole."""
    none = ("not_http", "head_timeout", "body_timeout")
    return [answer for answer in answers if answer.status != 100 and (answer.body or {}).get("code") not in none]


def test_no_bytes_whatever_get_more_answers_than_another_reader_sees_requests(start_service, stop_service):
    process, url = start_service(WORKERS="1", HEAD_TIMEOUT_S="2", BODY_TIMEOUT_S="0.2")

    @settings(max_examples=300, derandomize=True, deadline=None, database=None)
    @given(st.lists(WELL_FORMED, max_size=2), st.lists(PIECES, max_size=9), st.lists(WELL_FORMED, max_size=2))
    def check(before: list[bytes], middle: list[bytes], after: list[bytes]) -> None:
        sent = b"".join([*before, *middle, *after, NONSENSE])
        answers = exchange(url, sent)
        assert not [answer for answer in answers if answer.status >= 500]
        assert len([a for a in believed(answers) if a.status != 408]) <= seen_by_another(sent), answers

    try:
        check()
        square(url)
    finally:
        assert stop_service(process) == 0
