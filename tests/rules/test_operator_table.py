"""The committed table of operators, its guards, and the installed torch agree."""

from __future__ import annotations

import pytest

from pullback_service.program import guards, sizes
from pullback_service.program.catalogue import catalogue
from pullback_service.program.classification import GUARDED, ISOLATED, REFUSED_OVERLOADS, REFUSED_PACKETS, TABLE, table
from pullback_service.program.names import FUNCTIONAL
from pullback_service.program.purity import CHANGES

ROWS = [line.split("\t") for line in TABLE.read_text().splitlines()]


def test_the_table_is_what_the_rule_says_of_the_installed_torch():
    assert TABLE.read_text() == table(), "run `make operators` and review the difference"


def test_every_row_that_is_not_open_has_a_reason():
    assert all(reason for _, tier, _, reason in ROWS if tier != "open")


@pytest.mark.parametrize("name", [*GUARDED, *ISOLATED, *REFUSED_OVERLOADS])
def test_every_exception_names_an_overload_that_exists(name):
    assert name in {row[0] for row in ROWS}


def test_every_refused_packet_exists():
    packets = {row[0].split(".")[1] for row in ROWS}
    assert set(REFUSED_PACKETS) <= packets


CHECKS = {
    "literals": guards.LITERAL_GUARDS,
    "shapes": guards.SHAPE_GUARDS,
    "values": guards.VALUE_GUARDS,
    "pieces": sizes.PIECES,
    "bounds": sizes.BOUNDS,
    "operators that read the data of fake tensors": sizes.READS_DATA,
    "arguments that are changed first": CHANGES,
}


@pytest.mark.parametrize("checked", CHECKS.values(), ids=CHECKS)
def test_every_check_belongs_to_an_operator_that_is_served(checked):
    served = {operator.name for packet in catalogue().packets for operator in catalogue().overloads(packet)}
    assert set(checked) <= served


def test_an_operator_that_reads_the_data_of_fake_tensors_has_another_bound():
    """Its shape is not inferred, so that nothing else would hold it."""
    assert set(sizes.READS_DATA) <= set(sizes.BOUNDS)


def test_every_functional_spelling_names_an_operator_that_is_served():
    for spelling in FUNCTIONAL.values():
        assert catalogue().overloads(spelling.packet), spelling


@pytest.mark.parametrize(
    "word", ["from_file", "set_", "set_data", "resize_", "_reshape_alias", "empty", "empty_like", "manual_seed"]
)
def test_no_operator_that_reaches_outside_is_served(word):
    assert catalogue().overloads(word) == []


def test_no_operator_that_is_served_changes_its_arguments_or_takes_what_json_cannot_hold():
    for packet in catalogue().packets:
        for operator in catalogue().overloads(packet):
            schema = operator.torch_op._schema
            assert not schema.is_mutable, operator.name
            assert operator.returns, operator.name
            assert not {"Generator", "Storage", "Stream"} & {str(a.type) for a in schema.arguments}, operator.name
