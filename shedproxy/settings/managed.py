"""The table `[snapshot]`: where an instance gets its policy from, and whom it believes."""

from __future__ import annotations

from typing import Annotated

from shedproxy.settings.quantities import Duration, Size, TextList, at_least
from shedproxy.settings.section import Section, form, preset

__all__ = ["SnapshotSettings"]

SnapshotUrl = Annotated[
    str,
    form(
        r"^((https?|file|s3)://\S+|/\S*|[^:/\s][^:\s]*)?$",
        'a path, or like "https://host/name", "file:///folder/name", "s3://bucket/name"',
    ),
]
InstanceName = Annotated[
    str,
    form(r"^([A-Za-z0-9][A-Za-z0-9._-]{0,127})?$", "letters, digits, . _ and -, at most 128"),
]


class SnapshotSettings(Section):
    """Managed mode: the policy comes in signed snapshots, and nothing else changes it but the
    break-glass `shedproxy mode off` or `observe`, which ends by itself. A reload takes what is the
    host's own (certificate, upstreams where the snapshot names none, control, log, telemetry), and
    names what it does not take. Read at the start only; needs shedproxy[control].
    """

    source: SnapshotUrl = ""
    """Fetched whole in every period: a path, "https://host/name", "file:///folder/name" or
    "s3://bucket/name"; {instance} stands for the name of this instance. "": these settings rule."""
    keys: Annotated[list[str], TextList] = preset([], max_length=8)
    """Files of public keys that are trusted; with two of them a key can be replaced by another."""
    folder: str = ""
    """Folder of this instance alone, which keeps the last good snapshots: a start needs only it."""
    period: Annotated[Duration, at_least("100ms")] = preset("10s")
    """Time between two fetches. Where in it an instance fetches depends on its name, and stays."""
    move_period: Annotated[Duration, at_least("100ms")] = preset("200ms")
    """Time between two fetches while a key changes its cell (`shedproxy control move-tenant`), if
    that is shorter: requests of that key wait for some of them."""
    first_wait: Annotated[Duration, at_least("0s")] = preset("60s")
    """An instance without any good snapshot (an empty or damaged folder, and a source that is away)
    is not ready for so long after its start, and asks every second. Then it serves by these
    settings, which know of no moved key, and says so in log, status and metrics: a fleet must be
    able to start without its store."""
    timeout: Annotated[Duration, at_least("100ms")] = preset("5s")
    """For one fetch, and for one report."""
    size_max: Size = preset("16MiB", ge=256 * 1024, le=64 * 1024 * 1024)
    """Larger snapshots are refused before they are looked at."""
    stale_after: Annotated[Duration, at_least("1s")] = preset("5m")
    """Without a good fetch for this long an alarm is raised; what is in force stays."""
    shed_max: float = preset(0.2, ge=0, le=1)
    """Share of what was served in the last hour that a new snapshot may refuse; one that would
    refuse more is not put in force unless it is signed with --force."""
    instance: InstanceName = ""
    """Name of this instance, unlike all others; "": that of the host."""
    report: SnapshotUrl = ""
    """Where status reports are put (http URLs: posted); "": beside an object, as
    reports/{instance}, and nowhere for a path or an http URL."""
    token_file: str = ""
    """File with the bearer token that http URLs are asked with."""
