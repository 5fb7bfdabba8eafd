"""All cases, by group."""

from support.raw_cases import chunks, fields, framing, hop_by_hop, model, responses, targets, tunnels

TABLES = (framing, chunks, fields, targets, hop_by_hop, responses, tunnels)


def by_group():
    """{group: [cases]}, in the order of the tables."""
    groups = {}
    for table in TABLES:
        for case in table.CASES:
            groups.setdefault(case.group, []).append(case)
    return groups


def names():
    """Every name that exists for any case -> addresses."""
    found = dict(model.NAMES)
    for cases in by_group().values():
        for case in cases:
            found |= case.names
    return found
