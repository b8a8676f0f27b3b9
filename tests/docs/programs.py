"""Python: run as it stands, page by page; what stands beside an expression, after `#`, is its value."""

from __future__ import annotations

import ast

from tests.docs.reading import Block, Reader

COMMENT = "  # "


def run_python(block: Block, reader: Reader) -> None:
    """Statements are run; an expression with a comment must have that value."""
    program = reader.here(block.text)
    lines, name = program.splitlines(), str(block)
    for statement in ast.parse(program).body:
        _, marked, shown = lines[statement.end_lineno - 1][statement.end_col_offset :].partition(COMMENT)
        if isinstance(statement, ast.Expr) and marked:
            value = eval(compile(ast.Expression(statement.value), name, "eval"), reader.values)
            assert repr(value) == shown, ast.unparse(statement)
        else:
            exec(compile(ast.Module([statement], []), name, "exec"), reader.values)
