"""The guards: what a plan must not exceed, and what a person has to type."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import replace

import pytest

from partner_tools.errors import GuardError, InputError
from partner_tools.guards import (
    Limits,
    check,
    count_nobodys,
    expected_answer,
    question,
    read_hold_list,
    refuse_too_few,
)
from partner_tools.model import (
    Customer,
    Device,
    Identity,
    Outcome,
    PlannedCustomer,
    PlannedDevice,
    TenantId,
)
from partner_tools.plan import holds

TENANT = TenantId("8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21")


def planned(removals: int, others: int = 0) -> list[PlannedDevice]:
    outcomes = [Outcome.PENDING] * removals + [Outcome.NOT_FOUND] * others
    return [
        PlannedDevice(
            index=number,
            device=Device(row=number + 2, identity=Identity(serial_number=str(number))),
            customer=TENANT,
            outcome=outcome,
        )
        for number, outcome in enumerate(outcomes)
    ]


def contoso(removals: int, estate: int) -> PlannedCustomer:
    customer = Customer(tenant_id=TENANT, domain="contoso.onmicrosoft.com", name="Contoso")
    return PlannedCustomer(customer=customer, estate=estate, removals=removals)


@pytest.mark.parametrize(
    ("limits", "removals", "today", "message"),
    [
        (Limits(), 500, 0, None),
        (Limits(), 501, 0, "501 devices would be removed, more than the limit of 500"),
        (Limits(max_devices=0), 1, 0, "1 device would be removed, more than the limit of 0"),
        (Limits(max_devices_per_day=10), 4, 6, None),
        (Limits(max_devices_per_day=10), 5, 6, "above the daily limit of 10"),
        (Limits(max_estate_share=0.5), 500, 0, None),
        (Limits(max_estate_share=0.4), 500, 0, "500 of the 1000 devices"),
        (Limits(max_estate_share=0.005), 6, 0, "6 of the 1000 .* the share of 0.5%"),
    ],
)
def test_a_plan_above_a_limit_is_refused(
    limits: Limits, removals: int, today: int, message: str | None
) -> None:
    expectation = pytest.raises(GuardError, match=message) if message else nullcontext()

    with expectation:
        check(limits, planned(removals, 3), [contoso(removals, 1000)], {TENANT: today})


def test_what_the_plan_says_of_a_customer_is_not_what_is_counted() -> None:
    """The devices are: a plan that lists no customer, or too few removals, evades no limit."""
    for customers in ([], [contoso(0, 1000)]):
        with pytest.raises(GuardError, match="above the daily limit of 10"):
            check(Limits(max_devices_per_day=10), planned(5), customers, {TENANT: 6})
    with pytest.raises(GuardError, match="5 of the 9 devices"):
        check(Limits(max_estate_share=0.5), planned(5), [contoso(1, 9)], {})


def test_a_limit_of_one_customer_leaves_the_others() -> None:
    small = Customer(tenant_id=TenantId("fabrikam"), domain="fabrikam.example")
    customers = [
        contoso(4, 5),
        PlannedCustomer(customer=small, estate=100, removals=1),
    ]
    others = [replace(each, customer=small.tenant_id) for each in planned(1)]

    refused = check(
        Limits(max_estate_share=0.5, max_devices=1), [*planned(4), *others], customers, {}
    )

    assert list(refused) == [TENANT]
    assert "4 of the 5 devices" in refused[TENANT].detail


def test_the_question_says_how_much_of_whose_estate_goes() -> None:
    text = question([contoso(412, 430), contoso(0, 9)])

    assert text == (
        f"  Contoso · contoso.onmicrosoft.com ({TENANT}): 412 of this customer's 430 devices"
    )


@pytest.mark.parametrize(("removals", "answer"), [(50, None), (51, "contoso.onmicrosoft.com")])
def test_more_than_fifty_removals_want_the_domain_typed(removals: int, answer: str | None) -> None:
    assert answer == expected_answer([contoso(removals, 1000)])


def test_devices_of_no_customer_are_asked_about_too() -> None:
    """On OEM Direct, where a customer need not be named."""
    assert count_nobodys([*planned(2), replace(planned(1)[0], customer=None)]) == 1
    assert question([], nobodys=1) == "  no customer named: 1 device"
    assert question([contoso(2, 0)], 3).endswith("2 devices\n  no customer named: 3 devices")
    assert expected_answer([contoso(40, 0)], nobodys=11) == "contoso.onmicrosoft.com"
    assert expected_answer([], nobodys=51) is None


@pytest.mark.parametrize(
    ("line", "serial"),
    [
        ("sn-1", "SN-1"),
        ("SN-1\u200b", "SN-1"),
        ("\ufeff SN-1\u00a0", "SN-1"),
        ("\uff33\uff2e\uff0d\uff11", "SN-1"),
        ("SN-1 do not touch", "SN-1"),
        ("SN 1", "SN1"),
        ("SN-1", "sn-1 "),
        ("STRASSE1", "Stra\u00dfe1"),
        ("/7XYZAB3/CNPE0042/", "7XYZAB3"),
    ],
)
def test_a_line_of_the_hold_list_protects_however_it_is_spelled(line: str, serial: str) -> None:
    assert holds(read_hold_list(f"# ours\n\n{line}\n", "hold.txt"), (serial,))


@pytest.mark.parametrize(
    "line", ["SN-1,note", "SN-1 # x", '"SN-1"', "SN-1;2", "SN|1", "\u201cS\u201d"]
)
def test_a_line_of_the_hold_list_that_is_not_one_identifier_is_refused(line: str) -> None:
    with pytest.raises(InputError, match="line 3 of the hold list") as raised:
        read_hold_list(f"# ours\nSN-0\n{line}\n", "hold.txt")
    assert (raised.value.exit_code, raised.value.rule) == (3, "hold-list-line")


def test_the_hold_list_protects_nothing_else() -> None:
    held = read_hold_list("SN-1\n", "hold.txt")
    assert not holds(held, ("SN-10", "N-1", "SN1", ""))
    assert not holds(read_hold_list("\u200b\n \n#SN-1\n", "hold.txt"), ("SN-1", ""))


@pytest.mark.parametrize(("removals", "refused"), [(10, False), (11, True)])
def test_a_customer_without_earlier_removals_has_its_whole_day(
    removals: int, refused: bool
) -> None:
    expectation = pytest.raises(GuardError, match="daily limit of 10") if refused else nullcontext()

    with expectation:
        check(Limits(max_devices_per_day=10), planned(removals), [contoso(removals, 1000)], {})


@pytest.mark.parametrize("removals", [1, 49])
def test_fewer_than_fifty_removals_want_no_domain(removals: int) -> None:
    assert expected_answer([contoso(removals, 1000)]) is None


@pytest.mark.parametrize(
    ("found", "missing", "refused"), [(5, 5, False), (4, 6, True), (1, 8, False), (0, 10, True)]
)
def test_a_wrong_customer_is_told_by_how_few_are_found(
    found: int, missing: int, refused: bool
) -> None:
    """Half of ten are enough, and nine could be a list that is mistyped as a whole."""
    lost = [replace(each, outcome=Outcome.NOT_FOUND) for each in planned(missing)]
    expectation = pytest.raises(GuardError, match=f"only {found} of") if refused else nullcontext()

    with expectation:
        refuse_too_few([*planned(found), *lost], 0.5, ())


@pytest.mark.parametrize(
    ("belonged_to", "said"),
    [((), "nothing was removed$"), (("Fabrikam", "Adatum"), "Earlier runs .* Fabrikam, Adatum")],
)
def test_the_customers_that_the_devices_belonged_to_are_named(
    belonged_to: tuple[str, ...], said: str
) -> None:
    lost = [replace(each, outcome=Outcome.NOT_FOUND) for each in planned(10)]

    with pytest.raises(GuardError) as caught:
        refuse_too_few(lost, 0.5, belonged_to)

    assert re.search(said, str(caught.value))
