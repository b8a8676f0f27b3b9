"""Equations: a line `a = b = c` says that its sides are equal; a new name before the first `=` is given the value.

Sides are numbers, lists, names and sums, products (`@` of matrices), powers `^` and transposes `^T` of them.
"""

from __future__ import annotations

import ast
import re
from typing import Any

import numpy as np
from tests.docs.reading import Block, Reader

NAME = re.compile(r"[^\W\d]\w*")
KNOWN = {name: getattr(np, name) for name in ("array", "sin", "cos", "exp", "log", "conj")} | {"i": 1j}
PRINTED_DIGITS = 1e-5


class Arrays(ast.NodeTransformer):
    """A list that stands in no other one is an array."""

    def visit_List(self, node: ast.List) -> ast.expr:
        return ast.Call(ast.Name("array", ast.Load()), [node], [])


def run_equations(block: Block, reader: Reader) -> None:
    """Every side of a line has the value of every other."""
    names: dict[str, Any] = dict(KNOWN)
    is_compared = False
    for line in filter(None, (line.partition("#")[0].strip() for line in block.text.splitlines())):
        first, *others = (side.strip() for side in line.split("="))
        assert others, f"{line} says nothing"
        if NAME.fullmatch(first) and first not in names:
            names[first] = value(others[0], names)
        for other in others:
            np.testing.assert_allclose(
                value(other, names), value(first, names), rtol=PRINTED_DIGITS, err_msg=f"{line}: {other}"
            )
        is_compared |= len(others) > 1 or not NAME.fullmatch(first)
    assert is_compared, "no line has two sides that could differ"


def value(side: str, names: dict[str, Any]) -> Any:
    tree = Arrays().visit(ast.parse(side.replace("^T", ".T").replace("^", "**"), mode="eval"))
    return eval(compile(ast.fix_missing_locations(tree), side, "eval"), names)
