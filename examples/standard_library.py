"""Gradients with Python's standard library alone: no package to install."""

import json
import os
import urllib.error
import urllib.request

URL = os.environ.get("PULLBACK_BASE_URL", "http://127.0.0.1:8000")


def ask(operation: str, **body: object) -> dict:
    """The answer to `POST /v1/<operation>`. Raises ValueError with the service's own words."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{URL}/v1/{operation}", data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        problem = json.load(error)
        raise ValueError(f"{problem['code']}: {problem['detail']}") from None


answer = ask("backward", graph="y = x * x", inputs={"x": [1, 2, 3]}, grad_tensors={"y": [1, 0.5, 0.25]})
print(answer["gradients"]["x"]["data"])

try:
    ask("backward", graph="y = x * x", inputs={"x": [1, 2, 3]})
except ValueError as problem:
    print(problem)
