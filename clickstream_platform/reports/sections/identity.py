"""Who is who: how many identifiers people have, and who was not merged."""

import polars as pl

from clickstream_platform.reports import numbers, pictures
from clickstream_platform.reports.sections.parts import Figure, Section, Subject, figure, total

NO_MERGES = "Nobody was merged yet: every visitor is a person of its own until a login links two."


def identity(subject: Subject) -> Section:
    """Sizes of people, and the quarantine of identity."""
    sizes, conflicts = (
        subject.figures.frame("cluster_sizes"),
        subject.figures.frame("identity_conflicts"),
    )
    largest = subject.figures.frame("largest_person")
    people = total(sizes["people"])
    pairs = total(sizes.filter(pl.col("least") == 2)["people"])  # noqa: PLR2004 - a visitor and its user
    return Section(
        id="identity",
        title="People",
        lead="A login proves that a visitor and a user are one person; two users never become one.",
        figures=[
            figure(
                "cluster-sizes",
                "Identifiers of a person",
                pictures.cluster_sizes(sizes),
                takeaway=""
                if sizes.is_empty()
                else f"{numbers.counted(people, 'person has', 'people have')} more than one "
                f"identifier, {numbers.count(pairs)} of them one visitor and one user.",
                table=subject.table(sizes.drop("least")),
                is_open=True,
                empty=NO_MERGES if sizes.is_empty() else "",
            ),
            figure(
                "largest-person",
                "The person with the most links",
                pictures.person_graph(largest),
                takeaway="Numbers stand in place of pseudonyms; "
                "`clickstream identity show --picture` draws a person by name.",
                empty=NO_MERGES if largest.is_empty() else "",
            ),
            Figure(
                id="identity-conflicts",
                title="Not merged",
                takeaway="Shared devices and accounts, storms of logins, and people who would be "
                "two: `clickstream identity show` names the links, `split` and `unmerge` mend.",
                table=subject.table(conflicts),
                empty="Nothing is in conflict." if conflicts.is_empty() else "",
                is_wide=True,
            ),
        ],
    )
