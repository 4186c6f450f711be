"""The programs of docs/python.md pass `mypy --strict`; tests/docs/test_commands.py runs them."""

from __future__ import annotations

from pathlib import Path

from mypy import api

from tests.docs.markdown import ROOT, blocks


def test_programs_are_typed(tmp_path: Path) -> None:
    """What is copied from them into a typed program has no errors."""
    files = []
    for block in blocks((ROOT / "docs/python.md").read_text()):
        if block.language == "python":
            assert block.file, f"line {block.line}: not run"
            files.append(tmp_path / block.file)
            files[-1].write_text(block.text)
    printed, _, code = api.run(
        ["--strict", "--config-file=", f"--cache-dir={ROOT / '.mypy_cache/docs'}", *map(str, files)]
    )
    assert code == 0, printed
