"""JSON Schemas of what queuectl reads and prints, for editors and other tools."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

NAMES = ("job", "schedule", "output")
"""The body of a job, as it is in a job's file; what schedules/NAME.json holds; what commands print with `--json`."""


def load(name: str) -> dict[str, Any]:
    """The schema of that name. That of a schedule has the fields of a job too, from the schema of a job."""
    found: dict[str, Any] = json.loads(files(__name__).joinpath(f"{name}.schema.json").read_text("utf-8"))
    if name == "schedule":
        found["properties"] = {**load("job")["properties"], **found["properties"]}
    return found
