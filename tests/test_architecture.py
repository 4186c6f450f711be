"""The import rule of docs/ARCHITECTURE.md, read off the source: core decides, spool moves, work runs, faces show."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import environment

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "queuectl"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

MAY_IMPORT = {
    "errors": set(),
    "lazy": set(),
    "tuples": set(),
    "core": {"errors", "tuples"},
    "spool": {"core", "errors", "lazy", "tuples"},
    "work": {"spool", "core", "errors", "lazy", "tuples", "version"},
    "dashboard": {"spool", "core", "errors", "version"},
    "schemas": set(),
    "conform": set(),
    "cli": {"conform", "dashboard", "work", "spool", "core", "errors", "schemas", "tuples", "version"},
    "__main__": {"cli"},
    "futures": {"spool", "core", "errors"},
    "testing": {"work", "spool", "core", "errors"},
    "": {"futures", "spool", "core", "errors"},
}
"""What each part may import apart from itself. "" is queuectl/__init__.py, "version" its __version__."""

WINGS = ("system", "reading", "moves", "upkeep", "keywords", "store")
"""The wings of spool/, each of which may import those before it."""

ONLY_IN = {
    "click": ["queuectl.cli"],
    "bottle": ["queuectl.dashboard"],
    "watchdog": ["queuectl.spool.system.trigger"],
    "portalocker": ["queuectl.spool.system.lease"],
    "cronsim": ["queuectl.core.cron"],
    "zoneinfo": ["queuectl.spool.system.zones"],
    "subprocess": ["queuectl.work.hooks", "queuectl.cli.man", "queuectl.conform"],
    "distributed": ["queuectl.work.engines.dask_cluster", "queuectl.work.engines.dask_worker"],
    "dask": [],
    "multiprocessing": [],
    "pty": [],
    # for syncfs(2), fallocate(2), getdents64(2) and posix_spawn(3)
    "ctypes": [
        "queuectl.spool.system.files",
        "queuectl.spool.system.holes",
        "queuectl.spool.system.listing",
        "queuectl.work.spawn",
    ],
    "importlib": [
        *("queuectl", "queuectl.lazy", "queuectl.cli.groups"),  # which load by name what they list
        *("queuectl.schemas", "queuectl.cli.man"),  # files of the package
        "queuectl.spool.upkeep.bundle",  # versions of packages
    ],
}
"""The modules or packages that may import a library."""

MOVES = ("rename", "renames", "replace", "link", "fsync", "fdatasync")
STARTS = ("fork", "forkpty", "system", "popen", "posix_spawn", "posix_spawnp", "execv", "execve", "execvp", "spawnv")
STARTERS = ("queuectl.work.engines.executor", "queuectl.work.engines.dask_worker")
"""What uses queuectl/work/spawn.py: commands are started by the first, and the second starts the one that ends them."""
ONLY_CALLED_IN = {
    **dict.fromkeys(MOVES, ("queuectl.spool.system.files",)),
    **dict.fromkeys(STARTS, ("queuectl.work.engines.executor",)),
    "fork": ("queuectl.work.supervise", "queuectl.work.background"),  # before there are threads
    "fsync": ("queuectl.spool.system.files",),
}
"""The modules that may use a function of `os`."""

NOT_IN_CORE = {"os", "io", "time", "pathlib", "shutil", "socket", "subprocess", "threading", "tempfile", "sys"}
"""What core has no use for: it has no input or output and no clock."""

LONGEST = 520


def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


def part_of(module: str) -> str:
    """`core`, `spool`, `work`, … or "" for the package itself."""
    return module.split(".")[1] if "." in module else ""


def imports_of(module: str) -> Iterator[str]:
    """Every module that is imported anywhere in it, inside functions too; `version` for the package's __version__."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} has a relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if name in MODULES:
                    yield name
                else:
                    yield "version" if name == "queuectl.__version__" else str(node.module)


def own_imports_of(module: str) -> set[str]:
    return {name for name in imports_of(module) if name in MODULES and name != module}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down_only(module: str) -> None:
    """A part imports itself and the parts below it."""
    part = part_of(module)
    found = {part_of(name) for name in own_imports_of(module)}
    if "version" in imports_of(module):
        found.add("version")
    assert found <= MAY_IMPORT[part] | {part}, f"{module} imports {sorted(found - MAY_IMPORT[part] - {part})}"


@pytest.mark.parametrize("module", [name for name in MODULES if name.count(".") > 1 and part_of(name) == "spool"])
def test_wings_of_the_spool_point_down_only(module: str) -> None:
    """What reads imports no moves, and what the operating system does imports neither."""
    floor = WINGS.index(module.split(".")[2])
    above = [name for name in own_imports_of(module) for wing in WINGS[floor + 1 :] if f".spool.{wing}" in name]
    assert not above, f"{module} imports {above}"


@pytest.mark.parametrize("module", MODULES)
def test_library_is_used_in_one_place(module: str) -> None:
    """click, watchdog, portalocker, bottle and whatever starts a process are each imported in one place only."""
    for name in imports_of(module):
        library = name.split(".")[0]
        if library in ONLY_IN:
            is_inside = [f"{module}.".startswith(f"{place}.") for place in ONLY_IN[library] if place != "queuectl"]
            assert any(is_inside) or module in ONLY_IN[library], f"{module} imports {library}"
        assert name != "queuectl.work.spawn" or module in STARTERS, f"{module} starts processes"


@pytest.mark.parametrize("module", MODULES)
def test_kind_of_system_call_is_made_in_one_place(module: str) -> None:
    """Renames, links and fsync are in spool/files.py; processes are started in work/."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            places = ONLY_CALLED_IN.get(node.attr, (module,))
            assert module in places, f"{module}, line {node.lineno}: os.{node.attr}"
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            names = {alias.name for alias in node.names} & ONLY_CALLED_IN.keys()
            assert not names, f"{module} imports {names} from os"


@pytest.mark.parametrize("module", [name for name in MODULES if part_of(name) == "core"])
def test_core_has_no_world(module: str) -> None:
    """core/ has no input or output, no clock and no randomness: `now` and `rng` are arguments."""
    assert not NOT_IN_CORE & {name.split(".")[0] for name in imports_of(module)}
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("open", "print", "input"), f"{module}, line {node.lineno}: {called}"
            assert called.rpartition(".")[2] not in ("utcnow", "today", "getrandbits"), f"line {node.lineno}: {called}"
            assert not called.endswith(("datetime.now", "date.today")), f"{module}, line {node.lineno}: {called}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random":
            assert node.attr == "Random", f"{module}, line {node.lineno}: random.{node.attr}"
        if isinstance(node, ast.ImportFrom) and node.module == "random":
            assert [alias.name for alias in node.names] == ["Random"], f"{module}, line {node.lineno}"


def test_modules_never_import_each_other() -> None:
    """Every chain of imports ends."""
    below = {module: own_imports_of(module) for module in MODULES}
    while below:
        ends = {module for module, names in below.items() if not names}
        assert ends, f"modules that import each other are among {sorted(below)}"
        below = {module: names - ends for module, names in below.items() if module not in ends}


@pytest.mark.parametrize("module", MODULES)
def test_module_says_what_it_is_and_stays_short(module: str) -> None:
    """Every module has a docstring and fits in a reader's head."""
    assert ast.get_docstring(tree_of(module)), f"{module} has no docstring"
    assert len(MODULES[module].read_text().splitlines()) <= LONGEST


def loaded_after(code: str) -> set[str]:
    """The libraries that a fresh interpreter has loaded after running this."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules, file=sys.stderr)"],
        check=True,
        capture_output=True,
        text=True,
        env=environment(),
    )
    heavy = {"click", "bottle", "watchdog", "portalocker", "importlib.metadata", "cronsim", "zoneinfo", "distributed"}
    return heavy & set(done.stderr.split())


def test_package_loads_no_library() -> None:
    """`import queuectl` loads none of click, bottle, watchdog, portalocker and cronsim, and nor do its names."""
    assert loaded_after("import queuectl") == set()
    assert loaded_after("import queuectl\nfor name in queuectl.__all__: getattr(queuectl, name)") == set()


def test_enqueue_loads_click_alone(tmp_path: Path) -> None:
    """The command that is typed most imports only what it needs."""
    code = (
        "from queuectl.cli.main import app\n"
        f"app(['--spool', {str(tmp_path / 'spool')!r}, 'enqueue', '--', 'true'], standalone_mode=False)"
    )
    assert loaded_after(code) == {"click"}


@pytest.mark.parametrize(
    "source",
    ["import queuectl.work.worker", "def f():\n    from queuectl.spool.system import files", "import click.testing"],
)
def test_rule_is_checked_inside_functions_too(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad import is found wherever it is."""
    (tmp_path / "bad.py").write_text(source)
    monkeypatch.setitem(MODULES, "queuectl.core.bad", tmp_path / "bad.py")
    rule = test_library_is_used_in_one_place if "click" in source else test_imports_point_down_only
    with pytest.raises(AssertionError, match="imports"):
        rule("queuectl.core.bad")
