"""What one operation costs the release build, in instructions and system calls, is within tests/cost/budgets.txt."""

import warnings

import pytest
from support import cost, cost_budgets
from support.cost_budgets import INSTRUCTIONS


def test_cost_is_within_budget(tmp_path):
    release = cost_budgets.release()
    budget = cost_budgets.load().get(release)
    if not budget:
        pytest.skip(f"{cost_budgets.BUDGETS} has no budgets of {release}; with {cost_budgets.SET} it gets them")
    try:
        costs = cost.measure(tmp_path / "cost")
    except cost.NotCountable as reason:
        pytest.skip(str(reason))
    dear, cheap = cost_budgets.judge(budget, cost_budgets.counted(costs))
    if cheap:
        # Good news, but a budget that is too high lets the next change waste it again.
        warnings.warn("\n".join([*cheap, f"lower the budget: {cost_budgets.SET}"]), stacklevel=1)
    profile = "where it goes: tests/cost/run --profile OPERATION; if it is worth it: " + cost_budgets.SET
    assert not dear, "\n".join([*dear, profile])


BUDGET = {("connect", INSTRUCTIONS): 1000, ("connect", "sendto"): 3, ("get", INSTRUCTIONS): 2000}


@pytest.mark.parametrize(
    "key, value, dear, cheap",
    [
        (("connect", INSTRUCTIONS), 1049, False, False),
        (("connect", INSTRUCTIONS), 1051, True, False),
        (("connect", INSTRUCTIONS), 951, False, False),
        (("connect", INSTRUCTIONS), 949, False, True),
        (("connect", "sendto"), 3.05, False, False),
        (("connect", "sendto"), 3.2, True, False),
        (("connect", "sendto"), 2, False, True),
        # A call that was not there, an operation without a budget.
        (("connect", "getpid"), 1, True, False),
        (("connect", "mmap"), 0.05, False, False),
        (("post", INSTRUCTIONS), 1, True, False),
    ],
)
def test_judging_a_cost(key, value, dear, cheap):
    told = cost_budgets.judge(BUDGET, BUDGET | {key: value})
    assert [bool(lines) for lines in told] == [dear, cheap]
    for line in [*told[0], *told[1]]:
        assert line.startswith(f"{key[0]}: ")
        assert key[1] in line


def test_setting_budgets_keeps_other_releases(tmp_path):
    path = tmp_path / "budgets.txt"
    path.write_text("# why\n\noperation  count         bookworm\nconnect    instructions  1000\nconnect    sendto  3\n")
    cost_budgets.store("trixie", {("connect", INSTRUCTIONS): 1234.4, ("connect", "recvfrom"): 5.03}, path)
    assert path.read_text().startswith("# why\n")
    assert cost_budgets.load(path) == {
        "bookworm": {("connect", INSTRUCTIONS): 1000, ("connect", "sendto"): 3},
        "trixie": {("connect", INSTRUCTIONS): 1234, ("connect", "recvfrom"): 5},
    }
