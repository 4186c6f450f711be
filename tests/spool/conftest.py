"""Fixtures of the spool's tests."""

from __future__ import annotations

import pytest

from queuectl import Spool
from queuectl.spool.system.layout import Layout


@pytest.fixture
def layout(spool: Spool) -> Layout:
    """The paths of an empty spool."""
    return spool.layout
