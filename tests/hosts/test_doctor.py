"""`doctor` tries what hosts share, on the directory itself."""

from __future__ import annotations

import json
import subprocess

from tests.hosts.host import Host


def test_doctor_with_peer(hosts: tuple[Host, Host]) -> None:
    """Run on two hosts at once, it finds each file claimed once, by both of them, listings fresh, and no events of the
    other host; and what the file system cannot do it says even where the kernel answers for it."""
    asked = ("doctor", "--with-peer", "--json")
    both = [host.popen(*host.queuectl(*asked), stdout=subprocess.PIPE, stderr=subprocess.PIPE) for host in hosts]
    for process in both:
        out, err = process.communicate(timeout=90)
        assert process.returncode == 0, err
        found = {check["subject"]: check for check in json.loads(out)["checks"]}
        assert found["claims"]["found"].endswith("each of them once")
        assert " and " in found["claims"]["found"].partition("files: ")[2]
        assert found["no-replace rename"]["found"].startswith("a rename cannot refuse to replace here")
        assert found["listings"]["health"] == "ok"
        assert "cause no events here" in found["events"]["found"]
        assert found["clocks"]["health"] == "ok"
    assert not [name for name in (hosts[0].spool / "tmp").iterdir() if "peer" in name.name]
