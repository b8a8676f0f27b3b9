"""Answers as bytes in pieces: one document, whatever the sizes of its tensors."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import torch

from pullback_schemas.problems import LimitExceeded
from pullback_schemas.safetensors import read
from pullback_service.forms import Form
from pullback_service.protocols.answer import Answer, Later
from pullback_service.protocols.doors import write_answer

SIZES = [0, 1, 3, 200, 300, 5_000, 70_000]


def document(count: int) -> dict[str, Any]:
    outputs = {f"y{n}": torch.arange(SIZES[n % len(SIZES)], dtype=torch.float64) + n for n in range(count)}
    return {
        "outputs": outputs,
        "text": "a null\0 and \u2028",
        "none": None,
        "deep": [{"x": torch.tensor(n)} for n in SIZES],
    }


@pytest.mark.parametrize("count", [0, 1, 20, 900])
@pytest.mark.parametrize("encoding", ["nested", "base64"])
def test_the_pieces_of_an_answer_are_one_document(count, encoding):
    given = document(count)
    pieces = write_answer(Answer(given, encoding), Form.JSON, 2**30)
    found = json.loads(b"".join(pieces))
    assert (found["text"], found["none"]) == (given["text"], None)
    assert found["outputs"].keys() == given["outputs"].keys()
    for name, tensor in given["outputs"].items():
        data = found["outputs"][name]["data"]
        if encoding == "nested":
            assert data == tensor.tolist()
        else:
            assert base64.b64decode(data, validate=True) == tensor.numpy().tobytes()
    assert len(pieces) > 1 or count < 6


@pytest.mark.parametrize("form", Form)
def test_what_is_known_only_later_is_in_the_document_too(form):
    later = Later(lambda: {"ms": 1.5})
    file = b"".join(write_answer(Answer({"outputs": {"y": torch.ones(2)}, "meta": later}), form, 2**30))
    text = file if form is Form.JSON else read(file)[0]["result"]
    assert json.loads(text)["meta"] == {"ms": 1.5}


@pytest.mark.parametrize("form", Form)
def test_an_answer_over_the_limit_is_refused(form):
    with pytest.raises(LimitExceeded):
        write_answer(Answer(document(20)), form, 1000)


STRANGE = {
    "one element, strided": torch.arange(6.0).as_strided((1,), (3,), 2),
    "one element of three axes": torch.arange(6.0).reshape(2, 3)[1:, 1:2, None],
    "no element, strided": torch.arange(6.0).as_strided((0, 2), (0, 5)),
    "one for all": torch.tensor([2.5]).expand(4),
    "a column": torch.arange(6.0).reshape(2, 3)[:, 1],
    "a conjugate": torch.tensor([1 + 2j, 3 - 4j]).conj(),
    "one conjugate, strided": torch.tensor([1 + 2j, 3 - 4j]).conj()[1::2],
    "an imaginary part": torch.tensor([1 + 2j, 3 - 4j], dtype=torch.complex128).conj().imag,
    "on a tape": torch.ones(2, requires_grad=True) * 2,
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_tensor_is_written_by_its_elements_however_it_lies_in_memory(name):
    tensor = STRANGE[name].detach()
    expected = bytes(tensor.clone(memory_format=torch.contiguous_format).resolve_conj().resolve_neg().numpy().tobytes())
    (_, found) = read(b"".join(write_answer(Answer({"y": STRANGE[name]}), Form.SAFETENSORS, 2**30)))
    assert bytes(found["y"].data) == expected
    document = json.loads(b"".join(write_answer(Answer({"y": STRANGE[name]}, "base64"), Form.JSON, 2**30)))
    assert base64.b64decode(document["y"]["data"]) == expected
