"""What went wrong, as data: RFC 9457 problem documents and the exceptions that become them.

A problem's `code` and `status` are stable; its sentences are not.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

MAX_LISTED = 32
MAX_TEXT = 2000


class Problem(BaseModel):
    """One problem document, as in `application/problem+json`."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(description="a URN that ends in the code")
    title: str = Field(description="what kind of problem it is; the same for every problem of this code")
    status: int = Field(description="the HTTP status")
    code: str = Field(description="stable; programs may switch on it")
    detail: str = Field(description="what went wrong this time, for a person")
    pointer: str | None = Field(default=None, description="JSON pointer (RFC 6901) into the request")
    node: str | None = Field(default=None, description="the graph's node")
    expected: Any = Field(default=None, description="what should have stood there")
    got: Any = Field(default=None, description="what stood there")
    hint: str | None = Field(default=None, description="what to do about it")
    excerpt: str | None = Field(default=None, description="the text form's line, with a caret under the place")
    errors: list[Problem] | None = Field(default=None, description="every problem found, when several were")


class ProblemError(Exception):
    """Something the caller can act on; one subclass a code."""

    code: ClassVar[str]
    title: ClassVar[str]
    status: ClassVar[int] = 422

    def __init__(
        self,
        detail: str,
        *,
        pointer: str = "",
        node: str | None = None,
        expected: Any = None,
        got: Any = None,
        hint: str | None = None,
        excerpt: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.pointer = pointer
        self.node = node
        self.expected = expected
        self.got = got
        self.hint = hint
        self.excerpt = excerpt

    def to_problem(self) -> Problem:
        """The document for this one problem."""
        return Problem(
            type=f"urn:pullback:problem:{self.code}",
            title=self.title,
            status=self.status,
            code=self.code,
            detail=_short(self.detail),
            pointer=_short(self.pointer) or None,
            node=self.node,
            expected=self.expected,
            got=_short(self.got) if isinstance(self.got, str) else self.got,
            hint=self.hint and _short(self.hint),
            excerpt=self.excerpt,
        )


def _short(text: str) -> str:
    """Whatever a request holds, a problem does not send megabytes of it back."""
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "..."


class ProblemsError(Exception):
    """Several problems of one request, in the order in which they were found."""

    def __init__(self, errors: list[ProblemError]) -> None:
        super().__init__("; ".join(error.detail for error in errors))
        self.errors = errors


def each_problem(error: ProblemError | ProblemsError) -> list[ProblemError]:
    """The single problems inside `error`."""
    return [error] if isinstance(error, ProblemError) else error.errors


def describe(error: ProblemError | ProblemsError) -> Problem:
    """The document to answer with: the first problem, and under `errors` all of them when there are several."""
    found = [problem.to_problem() for problem in each_problem(error)[:MAX_LISTED]]
    first = found[0]
    return first if len(found) == 1 else first.model_copy(update={"errors": found})


class under:  # reads as a preposition: `with under("/inputs/x"):`
    """Whatever problem is raised inside lies under `prefix` of the request."""

    __slots__ = ("prefix",)

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if isinstance(error, ProblemError | ProblemsError):
            for problem in each_problem(error):
                problem.pointer = self.prefix + problem.pointer


class _Catch:
    __slots__ = ("errors",)

    def __init__(self, errors: list[ProblemError]) -> None:
        self.errors = errors

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> bool:
        if isinstance(error, ProblemError | ProblemsError):
            self.errors.extend(each_problem(error))
            return True
        return False


class Findings:
    """Collects problems, so that a caller hears of all of them at once."""

    def __init__(self) -> None:
        self.errors: list[ProblemError] = []

    def add(self, error: ProblemError) -> None:
        """Note one problem and go on."""
        self.errors.append(error)

    def add_under(self, prefix: str, error: ProblemError | ProblemsError) -> None:
        """Note problems that lie under `prefix` of the request, and go on: as `catch` and `under`, for short loops."""
        for problem in each_problem(error):
            problem.pointer = prefix + problem.pointer
            self.errors.append(problem)

    def catch(self) -> _Catch:
        """Note the problems raised inside and go on after the block."""
        return _Catch(self.errors)

    def check(self) -> None:
        """Raise what was found, if anything was."""
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise ProblemsError(self.errors)


def pointer_to(*parts: str | int) -> str:
    """The JSON pointer with these parts, escaped as RFC 6901 asks."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


# The request as such


class NotJson(ProblemError):
    """The body is not strict JSON."""

    code, title, status = "not_json", "The body is not JSON", 400


class DuplicateKey(ProblemError):
    """An object has the same key twice."""

    code, title, status = "duplicate_key", "A key stands twice in one object", 400


class InvalidSafetensors(ProblemError):
    """The body is not a safetensors file as the format has it."""

    code, title, status = "invalid_safetensors", "The body is not a safetensors file", 400


class InvalidCoding(ProblemError):
    """The body is not compressed as its content encoding says."""

    code, title, status = "invalid_coding", "The body cannot be inflated", 400


class UnsupportedMediaType(ProblemError):
    """The body's content type is not served."""

    code, title, status = "unsupported_media_type", "The content type is not supported", 415


class NotAcceptable(ProblemError):
    """No content type that the caller accepts is served."""

    code, title, status = "not_acceptable", "No acceptable content type can be produced", 406


class BodyTooLarge(ProblemError):
    """The body passes the size limit."""

    code, title, status = "body_too_large", "The body is too large", 413


class Unauthorized(ProblemError):
    """The service needs a key, and the request has none that it knows."""

    code, title, status = "unauthorized", "A key is needed", 401


class CrossSite(ProblemError):
    """A browser sends what a page of another site makes it send."""

    code, title, status = "cross_site", "Pages of other sites may not call", 403


class QuotaExceeded(ProblemError):
    """The caller has asked for more than its quota."""

    code, title, status = "quota_exceeded", "The quota is used up", 429

    def __init__(self, detail: str, *, retry_after_s: int, hint: str | None = None) -> None:
        super().__init__(detail, hint=hint)
        self.retry_after_s = retry_after_s
        """Seconds until it is worth another try."""


class NotFound(ProblemError):
    """There is nothing at this address."""

    code, title, status = "not_found", "Nothing is found here", 404


class MethodNotAllowed(ProblemError):
    """The address exists; this method does not."""

    code, title, status = "method_not_allowed", "The method is not allowed here", 405


class UnknownField(ProblemError):
    """The request has a field that means nothing here."""

    code, title = "unknown_field", "A field is unknown"


class MissingField(ProblemError):
    """The request lacks a field."""

    code, title = "missing_field", "A field is missing"


class InvalidField(ProblemError):
    """A field holds a value of the wrong kind."""

    code, title = "invalid_field", "A field has an invalid value"


class TooDeep(ProblemError):
    """The JSON or the text is nested too deeply."""

    code, title = "too_deep", "The request is nested too deeply"


class LimitExceeded(ProblemError):
    """The request asks for more than a limit allows."""

    code, title = "limit_exceeded", "A limit is exceeded"


# Tensors


class RaggedData(ProblemError):
    """Nested data whose lists differ in length or depth."""

    code, title = "ragged_data", "Nested data is ragged"


class WrongCount(ProblemError):
    """The data does not hold as many elements as the shape says."""

    code, title = "wrong_count", "The data does not fill the shape"


class InvalidElement(ProblemError):
    """An element of the data is not of the kind that the dtype holds."""

    code, title = "invalid_element", "An element has the wrong kind"


class ValueOutOfRange(ProblemError):
    """An element is too large for its dtype."""

    code, title = "value_out_of_range", "A value does not fit the dtype"


class InvalidBase64(ProblemError):
    """The data is not base64."""

    code, title = "invalid_base64", "The data is not base64"


class ShapeMismatch(ProblemError):
    """A tensor has another shape than it must have here."""

    code, title = "shape_mismatch", "A tensor has the wrong shape"


class DtypeMismatch(ProblemError):
    """A tensor has another dtype than it must have here."""

    code, title = "dtype_mismatch", "A tensor has the wrong dtype"


# Graphs


class UnknownTensor(ProblemError):
    """The request refers to a tensor that its file does not have."""

    code, title = "unknown_tensor", "The file has no such tensor"


class UnusedTensor(ProblemError):
    """The file has a tensor that the request does not use."""

    code, title = "unused_tensor", "A tensor of the file is not used"


class InvalidSyntax(ProblemError):
    """The text form cannot be read, or uses what is not part of it."""

    code, title = "invalid_syntax", "The graph's text cannot be read"


class InvalidName(ProblemError):
    """A name that cannot stand for a value."""

    code, title = "invalid_name", "A name is not allowed"


class DuplicateName(ProblemError):
    """Two things in the graph have one name."""

    code, title = "duplicate_name", "A name is defined twice"


class UndefinedName(ProblemError):
    """A reference to a name that nothing defines."""

    code, title = "undefined_name", "A name is not defined"


class GraphCycle(ProblemError):
    """Nodes that need each other's values."""

    code, title = "graph_cycle", "The graph has a cycle"


class EmptyGraph(ProblemError):
    """A graph without an output."""

    code, title = "empty_graph", "The graph has no output"


class UnknownOp(ProblemError):
    """No operator has this name."""

    code, title = "unknown_op", "The operator is unknown"


class RefusedOp(ProblemError):
    """The operator exists, and is not served."""

    code, title = "refused_op", "The operator is not served"


class BadArgument(ProblemError):
    """An argument does not fit the operator's signature."""

    code, title = "bad_argument", "An argument does not fit the operator"


class BadReference(ProblemError):
    """A reference picks an output that its node does not have."""

    code, title = "bad_reference", "A reference picks no single value"


class IncompatibleArguments(ProblemError):
    """Each argument is of the right kind; their shapes or dtypes do not go together."""

    code, title = "incompatible_arguments", "Shapes or dtypes do not go together"


class OpFailed(ProblemError):
    """The operator refuses these numbers."""

    code, title = "op_failed", "An operator failed on these values"


class OpCrashed(ProblemError):
    """An isolated operator ended its process on these arguments."""

    code, title = "op_crashed", "An operator crashed on these arguments"


class MemoryLimit(ProblemError):
    """The request needs more memory than a worker may take."""

    code, title = "memory_limit", "The request needs too much memory"


class Quarantined(ProblemError):
    """The graph ended workers again and again, and is refused for a while."""

    code, title = "quarantined", "The graph is refused for a while"


# Derivatives


class MissingInput(ProblemError):
    """The graph has an input that the request does not give."""

    code, title = "missing_input", "An input is missing"


class UnknownInput(ProblemError):
    """The graph has no such input."""

    code, title = "unknown_input", "The graph has no such input"


class UnknownOutput(ProblemError):
    """The graph has no such output."""

    code, title = "unknown_output", "The graph has no such output"


class GradTensorRequired(ProblemError):
    """An output with several elements came without its grad_tensor."""

    code, title = "grad_tensor_required", "A grad_tensor is missing"


class NotDifferentiable(ProblemError):
    """A derivative was asked of something that has none."""

    code, title = "not_differentiable", "There is no derivative"


class InconsistentDerivative(ProblemError):
    """Two ways to one derivative disagree, so that none is given."""

    code, title = "inconsistent_derivative", "A derivative contradicts itself"


class UnusedInput(ProblemError):
    """No output depends on the input, and the caller wanted to know."""

    code, title = "unused_input", "No output depends on this input"


# The service


class DeviceUnavailable(ProblemError):
    """The service has no such device."""

    code, title = "device_unavailable", "The device is not available"


class BodyTimeout(ProblemError):
    """The body did not arrive in time."""

    code, title, status = "body_timeout", "The body came too slowly", 408


class HeadTimeout(ProblemError):
    """The request's line and headers did not arrive in time."""

    code, title, status = "head_timeout", "The request's head came too slowly", 408


class HeadTooLarge(ProblemError):
    """The request's line and headers have too many bytes."""

    code, title, status = "head_too_large", "The request's head is too large", 431


class NotHttp(ProblemError):
    """What came is not HTTP/1.1."""

    code, title, status = "not_http", "The request is not HTTP", 400


class Busy(ProblemError):
    """Every worker is busy and the queue is full, or none is up yet."""

    code, title, status = "busy", "The service is busy", 503


class WorkerDied(ProblemError):
    """The worker process ended while it ran the request."""

    code, title, status = "worker_died", "The worker died while it ran this request", 503


class DeadlineExceeded(ProblemError):
    """The request ran past its deadline."""

    code, title, status = "deadline_exceeded", "The deadline has passed", 504


class InternalError(ProblemError):
    """Our own bug."""

    code, title, status = "internal_error", "The service failed", 500


def problem_classes() -> dict[str, type[ProblemError]]:
    """Every problem there is, by code."""
    return {kind.code: kind for kind in ProblemError.__subclasses__()}
