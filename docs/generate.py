"""`make docs`: write docs/api.md from the service's OpenAPI document, each operation with a real answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from pullback_service.app import create_app
from pullback_service.settings import Settings

PAGE = Path(__file__).with_name("api.md")
JSON = "application/json"
TENSOR = "[tensor](tensors.md)"
DTYPE = "[dtype](tensors.md)"
REFERENCE = "#/components/schemas/"

HEAD = """\
# API

<!-- Written by `make docs` from /openapi.json; do not edit. -->

Bodies are JSON, or safetensors files where [tensors](tensors.md) says how, and may be compressed with gzip or zstd. A
tensor is numbers alone, or `{"dtype", "shape", "data"}`. What goes wrong is told by a [Problem](#problem), as
`application/problem+json`, with one of these [codes](errors.md). Where the service has [keys](settings.md#keys),
everything under `/v1/` needs one.
"""

OMITTED = {"meta", "adjoint_error", "torch_version"}
"""What depends on the machine, or is told at length elsewhere."""

BY_HAND = {
    "/v1/ops": '{"ops":[{"name":"...","aliases":[...], ...}, ...], ...}',
    "/health/ready": '{"status":"ok", ...}',
    "/metrics": "# HELP pullback_requests_total Requests that were answered\n...",
}
"""Answers of which only the form is shown."""

EXAMPLES = {"{name}": "relu"}


class Page:
    """The page, from the OpenAPI document of `service`."""

    def __init__(self, service: TestClient) -> None:
        self._service = service
        self._document = service.get("/openapi.json").json()
        self._schemas: dict[str, Any] = self._document["components"]["schemas"]
        self._mentioned = ["Problem"]

    def written(self) -> str:
        """The whole page."""
        operations = [
            "\n".join(self._operation(method.upper(), path, operation))
            for path, methods in self._document["paths"].items()
            for method, operation in methods.items()
        ]
        return "\n".join([HEAD, *operations, "## Objects\n", *self._objects()])

    def _operation(self, method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
        yield f"## {method} {path}\n"
        summary, description = f"{operation['summary']}.\n", operation["description"] + "\n"
        if method == "POST" and not description.startswith(summary):
            yield summary
        yield description
        if parameters := operation.get("parameters"):
            yield "| parameter | in | type | meaning |\n|---|---|---|---|"
            for one in parameters:
                yield f"| `{one['name']}` | {one['in']} | {self._kind(one['schema'])} | {one.get('description', '')} |"
            yield ""
        if "requestBody" in operation:
            yield from self._fields(operation["requestBody"]["content"][JSON]["schema"], "request")
        if answered := operation["responses"]["200"].get("content", {}).get(JSON):
            yield from self._fields(answered["schema"], "answer")
        yield f"Statuses: {', '.join(operation['responses'])}.\n"
        yield from self._example(method, path, operation)

    def _example(self, method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
        for name, value in EXAMPLES.items():
            path = path.replace(name, value)
        command, body = f"curl -s localhost:8000{path}", None
        if method == "POST":
            body = next(iter(operation["requestBody"]["content"][JSON]["examples"].values()))["value"]
            text = ",\n  ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in body.items())
            command += f" -H 'content-type: application/json' -d '{{\n  {text}}}'"
        yield f"```sh\n{command}\n```\n"
        answer = self._service.request(method, path, json=body)
        answer.raise_for_status()
        language = "text" if path == "/metrics" else "json"
        yield f"```{language}\n{BY_HAND.get(path) or shown(answer.json())}\n```\n"

    def _fields(self, schema: dict[str, Any], title: str) -> Iterator[str]:
        model = self._schemas[_name(schema)]
        has_defaults = title == "request"
        yield f"| {title} | type |{' default |' if has_defaults else ''} meaning |"
        yield "|---" * (4 if has_defaults else 3) + "|"
        for name, field in model["properties"].items():
            default = "needed" if name in model.get("required", ()) else f"`{json.dumps(field.get('default'))}`"
            cells = [f"`{name}`", self._kind(field), *([default] if has_defaults else []), self._meaning(field)]
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
        yield ""

    def _meaning(self, field: dict[str, Any]) -> str:
        if "description" in field or "$ref" not in field:
            return str(field.get("description", ""))
        return str(self._schemas[_name(field)]["description"]).partition("\n")[0]

    def _objects(self) -> Iterator[str]:
        for name in self._mentioned:  # which grows meanwhile
            yield f"### {name}\n"
            yield re.sub(r"(?<!\n)\n(?!\n)", " ", self._schemas[name]["description"]) + "\n"
            yield from self._fields({"$ref": REFERENCE + name}, "request" if _is_sent(name) else "field")

    def _kind(self, schema: dict[str, Any]) -> str:
        if "$ref" in schema:
            return self._link(_name(schema))
        if choices := schema.get("oneOf") or schema.get("anyOf"):
            return self._choice(choices)
        if "enum" in schema:
            return DTYPE if "bfloat16" in schema["enum"] else ", ".join(f"`{value}`" for value in schema["enum"])
        match schema.get("type"):
            case "array":
                kind = self._kind(schema["items"])
                return f"list of ({kind})" if " or " in kind else f"list of {kind}"
            case "object":
                values = schema.get("additionalProperties") or next(iter(schema["patternProperties"].values()))
                return f"{{name: {self._kind(values)}}}"
            case list(types):
                return "argument" if "null" in types else "numbers"
            case None:
                return "anything"
            case plain:
                return str(plain)

    def _choice(self, choices: list[dict[str, Any]]) -> str:
        names = [_name(choice) for choice in choices if "$ref" in choice]
        if "FullTensor" not in names:
            return " or ".join(self._kind(choice) for choice in choices)
        return f"{TENSOR} or {self._link('TensorSpec')}" if "TensorSpec" in names else TENSOR

    def _link(self, name: str) -> str:
        if name == "TensorValue":
            return TENSOR
        if name not in self._mentioned:
            self._mentioned.append(name)
        return f"[{name}](#{name.lower()})"


def _name(schema: dict[str, Any]) -> str:
    return str(schema["$ref"]).removeprefix(REFERENCE)


def _is_sent(name: str) -> bool:
    """Whether it is part of requests, and so has defaults that matter."""
    return name in ("Graph", "Node", "TensorSpec", "JacobianOptions")


def shown(answer: dict[str, Any]) -> str:
    """The answer, a line a field, without what is omitted."""
    return "{" + ",\n ".join(f"{json.dumps(key)}:{_shown(key, value)}" for key, value in answer.items()) + "}"


def _shown(key: str, value: Any) -> str:
    if key in OMITTED:
        return "..."
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{_shown(name, inner)}" for name, inner in value.items()) + "}"
    return json.dumps(value, separators=(",", ":"))


def page() -> str:
    """What docs/api.md is to hold."""
    with TestClient(create_app(Settings(worker_kind="inline"))) as service:
        return Page(service).written()


if __name__ == "__main__":
    PAGE.write_text(page())
