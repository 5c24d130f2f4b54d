"""The ledger ties every claim and every number in the prose to a cell that ran."""


def check(claim: str, statement: str, condition: bool, **numbers: object) -> None:
    """Print ``✓ claim: statement; name = value`` if the condition holds, else raise.

    The printed numbers are the ones the prose may use.

    >>> check("A1", "the map sums to the score minus the bias", 2 + 2 == 4, residual="0.00")
    ✓ A1: the map sums to the score minus the bias; residual = 0.00

    Raises:
        AssertionError: the condition is false; the message repeats the claim and the numbers.
    """
    line = "; ".join([f"{claim}: {statement}"] + [f"{k} = {v}" for k, v in numbers.items()])
    if not condition:
        raise AssertionError(f"not so: {line}")
    print("✓", line)
