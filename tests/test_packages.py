"""The packages that `python -m build` makes: what is in them, and that they work once installed."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Sequence
from email.parser import Parser
from pathlib import Path

import pytest

from tests.support import environment

ROOT = Path(__file__).parents[1]


def run(*words: str | Path, cwd: Path, **extra: str) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        check=False,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(**extra),
    )
    assert done.returncode == 0, f"{' '.join(map(str, words))}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def tracked() -> Sequence[str]:
    """The files of the repository."""
    try:
        names = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    except (FileNotFoundError, AssertionError):
        pytest.skip("not a clone: an sdist holds what it was made of")
    return [name for name in names if (ROOT / name).exists()]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an sdist, made of a copy of the repository, and a wheel, made of the sdist."""
    base = tmp_path_factory.mktemp("build")
    names = tracked()
    for name in names:
        (base / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (base / "source" / name).write_bytes((ROOT / name).read_bytes())
    (base / "source/spool/pending/010-20300101T000000.000Z-0-mine.json").write_text('{"command": "secret"}')
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", base, cwd=base / "source")
    return base


def names_in_wheel(built: Path) -> list[str]:
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        return wheel.namelist()


def test_sdist_holds_what_the_repository_holds(built: Path) -> None:
    """Every file of the repository is in the sdist, so that the tests run from it; no job of its spool is."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as tar:
        names = {name.partition("/")[2] for name in tar.getnames() if not tar.getmember(name).isdir()}
    made = {name for name in names if name == "PKG-INFO" or name.startswith("queuectl_spool.egg-info/")}
    assert names - made == set(tracked())


def test_wheel_holds_the_package_and_its_data(built: Path) -> None:
    """Every file of the package is in the wheel, and nothing else but manual pages and completions for the system."""
    package = {name for name in tracked() if name.startswith("queuectl/")}
    names = names_in_wheel(built)
    assert {name for name in names if name.startswith("queuectl/")} == package
    shared = {name.partition(".data/data/")[2] for name in names if ".data/data/" in name}
    pages = {f"share/man/{name.removeprefix('queuectl/man/')}" for name in package if name.startswith("queuectl/man/")}
    assert shared == pages | {
        "share/bash-completion/completions/queuectl",
        "share/zsh/site-functions/_queuectl",
        "share/fish/vendor_completions.d/queuectl.fish",
    }
    assert all(name.startswith(("queuectl/", "queuectl_spool-")) for name in names)


def test_metadata_says_what_the_project_has(built: Path) -> None:
    """The author and the licence are those of LICENSE; no address is named that the project does not have."""
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
        metadata = Parser().parsestr(wheel.read(name).decode())
    assert str(metadata["Author"]) in (ROOT / "LICENSE").read_text()
    assert metadata["License"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata.get_all("Project-URL") is None
    assert "Programming Language :: Python :: 3.11" in metadata.get_all("Classifier", [])


def test_wheel_works_once_installed(built: Path, tmp_path: Path) -> None:
    """In an environment of its own it runs a job, and has its manual, completions and schemas."""
    home = tmp_path / "venv"
    venv.create(home, symlinks=True)
    (site,) = home.glob("lib/python*/site-packages")
    ours = [path for path in sys.path if path.endswith("site-packages")]
    wheel = next(built.glob("*.whl"))
    run(sys.executable, "-m", "pip", "--python", home, "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    (site / "libraries.pth").write_text(
        "\n".join(ours) + "\n"
    )  # click and the others; not this package, which is first
    queuectl = home / "bin/queuectl"
    assert str(site) in run(home / "bin/python", "-c", "import queuectl; print(queuectl.__file__)", cwd=tmp_path)
    assert run(queuectl, "--spool", "s", "enqueue", "-q", "--id", "x", "--", "true", cwd=tmp_path) == "x\n"
    run(queuectl, "--spool", "s", "worker", "start", "--drain", "--quiet", cwd=tmp_path)
    assert run(queuectl, "--spool", "s", "list", "--format", "{id} {result}", cwd=tmp_path) == "x exit0\n"
    assert (Path(run(queuectl, "man", "--path", cwd=tmp_path).strip()) / "man1/queuectl-enqueue.1").is_file()
    assert (home / "share/man/man1/queuectl-worker-start.1").is_file()
    assert run(queuectl, "schema", "job", cwd=tmp_path).startswith("{")
    for shell, path in {
        "bash": "bash-completion/completions/queuectl",
        "zsh": "zsh/site-functions/_queuectl",
        "fish": "fish/vendor_completions.d/queuectl.fish",
    }.items():
        assert (home / "share" / path).read_text() == run(queuectl, "completion", shell, cwd=tmp_path)
