"""The committed table of operators, its guards, and the installed torch agree."""

from __future__ import annotations

import pytest

from pullback_service.program import guards
from pullback_service.program.catalogue import catalogue
from pullback_service.program.classification import GUARDED, REFUSED_OVERLOADS, REFUSED_PACKETS, TABLE, table
from pullback_service.program.names import FUNCTIONAL

ROWS = [line.split("\t") for line in TABLE.read_text().splitlines()]


def test_the_table_is_what_the_rule_says_of_the_installed_torch():
    assert TABLE.read_text() == table(), "run `make operators` and review the difference"


def test_every_row_that_is_not_open_has_a_reason():
    assert all(reason for _, tier, _, reason in ROWS if tier != "open")


@pytest.mark.parametrize("name", [*GUARDED, *REFUSED_OVERLOADS])
def test_every_exception_names_an_overload_that_exists(name):
    assert name in {row[0] for row in ROWS}


def test_every_refused_packet_exists():
    packets = {row[0].split(".")[1] for row in ROWS}
    assert set(REFUSED_PACKETS) <= packets


def test_every_guard_belongs_to_an_operator_that_is_served():
    served = {operator.name for packet in catalogue().packets for operator in catalogue().overloads(packet)}
    guarded = {*guards.ARGUMENT_GUARDS, *guards.VALUE_GUARDS, *guards.PIECES}
    assert guarded <= served


def test_every_functional_spelling_names_an_operator_that_is_served():
    for spelling in FUNCTIONAL.values():
        assert catalogue().overloads(spelling.packet), spelling


@pytest.mark.parametrize(
    "word", ["from_file", "as_strided", "set_", "resize_", "_reshape_alias", "empty", "manual_seed"]
)
def test_no_operator_that_reaches_outside_is_served(word):
    assert catalogue().overloads(word) == []
