"""The client's decisions: what is sent again, when, and what becomes of an answer. No network, no clock."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from pullback import AnswerError, Client, NoAnswerError, Options, PullbackError, operations
from pullback.exchange import Send, Wait, exchange, retry_after

OPTIONS = Options(base_url="http://service/", api_key="secret-key", timeout_s=30.0)
BUSY = {"type": "urn:pullback:problem:busy", "title": "busy", "status": 503, "code": "busy", "detail": "all are busy"}


def response(status: int, content: str | dict[str, object] = "", **headers: str) -> httpx.Response:
    text = content if isinstance(content, str) else json.dumps(content)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, text=text, headers=sent, request=httpx.Request("GET", "http://service/v1/ops"))


OPS = response(200, {"ops": [], "torch_version": "2"})


def run(*outcomes, options=OPTIONS, drawn=0.0):
    """What the exchange asks for, given these outcomes of what it sends, and how it ends."""
    call = exchange(operations.ops(), options, jitter=lambda: drawn)
    left, steps, told = list(outcomes), [], None
    try:
        while True:
            steps.append(call.send(told))
            told = left.pop(0) if isinstance(steps[-1], Send) else None
    except StopIteration as done:
        return steps, done.value
    except PullbackError as error:
        return steps, error


def waits(steps) -> list[float]:
    return [step.seconds for step in steps if isinstance(step, Wait)]


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_what_may_pass_is_sent_again(status):
    steps, answer = run(response(status), response(status), OPS)
    assert answer.ops == []
    assert waits(steps) == [0.5, 1.0]


@pytest.mark.parametrize("lost", [httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadError, httpx.RemoteProtocolError])
def test_lost_connections_are_tried_again(lost):
    steps, answer = run(lost("lost"), OPS)
    assert answer.ops == []
    assert len(waits(steps)) == 1


@pytest.mark.parametrize("outcome", [httpx.ReadTimeout("slow"), httpx.UnsupportedProtocol("ftp"), response(422)])
def test_what_would_come_again_is_not_sent_again(outcome):
    steps, error = run(outcome)
    assert len(steps) == 1
    assert isinstance(error, PullbackError)


def test_retries_end():
    steps, error = run(*[response(503, BUSY)] * 3)
    assert len(waits(steps)) == 2
    assert (error.status, error.code) == (503, "busy")


def test_no_retries_may_be_asked_for():
    steps, error = run(httpx.ConnectError("refused"), options=Options(base_url="http://service", max_retries=0))
    assert len(steps) == 1
    assert isinstance(error, NoAnswerError)
    assert "refused" in str(error)


def test_jitter_spreads_callers():
    assert waits(run(response(503), OPS, drawn=0.5)[0]) == [0.375]
    assert waits(run(response(503, retry_after="4"), OPS, drawn=0.5)[0]) == [4.5]


def test_the_service_says_when_to_come_again():
    assert waits(run(response(429, retry_after="7"), OPS)[0]) == [7.0]


def test_whoever_is_to_wait_too_long_hears_of_it_instead():
    steps, error = run(response(503, BUSY, retry_after="3600"))
    assert waits(steps) == []
    assert error.retry_after_s == 3600


@pytest.mark.parametrize("text", ["soon", "", "-3", "1.5.2", "Mon, 99 Foo 2026 00:00:00 GMT"])
def test_a_retry_after_that_cannot_be_read_is_none(text):
    assert retry_after(response(503, retry_after=text)) is None


def test_a_retry_after_may_be_a_date():
    later = datetime.now(UTC) + timedelta(hours=1)
    assert 3590 < (retry_after(response(503, retry_after=format_datetime(later, usegmt=True))) or 0) < 3601
    assert retry_after(response(503, retry_after="Fri, 31 Dec 1999 23:59:59 GMT")) == 0


def test_one_request_id_is_kept_across_retries_and_told_with_errors():
    steps, error = run(httpx.ReadError("lost"), response(503), response(500, "oops"))
    sent = {step.headers["x-request-id"] for step in steps if isinstance(step, Send)}
    assert sent == {error.request_id}
    assert error.request_id in str(error)


def test_the_services_own_request_id_is_told_if_it_sends_one():
    _, error = run(response(422, {**BUSY, "status": 422}, x_request_id="abc"))
    assert error.request_id == "abc"


def test_the_service_is_told_the_key_and_how_long_the_caller_waits():
    (step, *_), _ = run(OPS)
    assert step.url == "http://service/v1/ops"
    assert step.headers["authorization"] == "Bearer secret-key"
    assert step.headers["pullback-timeout"] == "30.000"
    assert step.timeout.read > 30


def test_whoever_waits_for_ever_says_nothing_of_it():
    (step, *_), _ = run(OPS, options=Options(base_url="http://service", timeout_s=None))
    assert "pullback-timeout" not in step.headers
    assert step.timeout.read is None


def test_an_answer_of_somebody_else_is_an_error_with_its_status():
    _, error = run(*[response(502, "<html>bad gateway</html>")] * 3)
    assert isinstance(error, AnswerError)
    assert (error.status, error.code, error.problem, error.hint) == (502, None, None, None)
    assert "502" in str(error)
    _, error = run(response(200, "<html>welcome</html>"))
    assert error.status == 200


def test_errors_survive_pickling():
    for outcome in (response(422, {**BUSY, "status": 422, "pointer": "/graph"}), httpx.ReadTimeout("slow")):
        _, error = run(outcome)
        again = pickle.loads(pickle.dumps(error))
        assert str(again) == str(error)
        assert again.request_id == error.request_id


def test_the_key_is_never_shown():
    for outcomes in ([response(401, "no")], [httpx.ConnectError("refused")] * 3):
        _, error = run(*outcomes)
        assert "secret" not in str(error) + repr(error)
    assert "secret" not in repr(OPTIONS)


def test_neither_is_a_password_in_the_address():
    options = Options(base_url="http://user:secret@service:81", max_retries=0)
    _, error = run(httpx.ConnectError("refused"), options=options)
    assert "http://service:81" in str(error)
    with Client(options.base_url) as client:
        assert "secret" not in str(error) + repr(error) + repr(options) + repr(client)


@pytest.mark.parametrize("wrong", [{"timeout_s": 0.0}, {"timeout_s": -1.0}, {"max_retries": -1}])
def test_options_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="number of"):
        Options(base_url="http://service", **wrong)


def test_what_took_the_service_too_long_is_not_asked_again_and_a_proxys_504_is():
    late = {**BUSY, "status": 504, "code": "deadline_exceeded"}
    steps, error = run(response(504, late))
    assert len(steps) == 1
    assert isinstance(error, AnswerError)
    assert len(waits(run(response(504, "<html>"), OPS)[0])) == 1


@pytest.mark.parametrize("key", ["top\nsecret", "schlüssel", "tab\tkey", "a space at the end "])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(key):
    with pytest.raises(ValueError, match="api_key") as caught:
        Options(base_url="http://service/", api_key=key)
    assert key not in str(caught.value)


def test_a_step_does_not_show_the_key():
    (step, *_), _ = run(OPS)
    assert "secret-key" not in repr(step)


def test_the_callers_own_headers_replace_ours_whatever_their_case():
    options = Options(
        base_url="http://service/", api_key="ours", headers={"AUTHORIZATION": "theirs", "X-Request-Id": "1"}
    )
    (step, *_), _ = run(OPS, options=options)
    assert [value for name, value in step.headers.items() if name.lower() == "authorization"] == ["theirs"]
    assert [value for name, value in step.headers.items() if name.lower() == "x-request-id"] == ["1"]


@pytest.mark.parametrize("text", ["Fri, 31 Dec 99999 23:59:59 GMT", "Fri, 31 Dec 100000 23:59:59 GMT"])
def test_a_date_beyond_the_calendar_is_none_that_can_be_read(text):
    assert retry_after(response(503, retry_after=text)) is None


def test_a_wait_without_end_is_refused():
    with pytest.raises(ValueError, match="timeout_s"):
        Options(base_url="http://service/", timeout_s=float("inf"))
