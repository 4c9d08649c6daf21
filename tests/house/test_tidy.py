"""What the linters do not know about how this code reads, held for every file of the checkout."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("contracts", "amqp", "participants", "orchestrator", "migrations")
SHIPPED = (*PACKAGES, "simulation")
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
VAGUE_NAMES = frozenset({"utils", "util", "helpers", "common", "manager", "base", "misc"})
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def files() -> tuple[Path, ...]:
    """Every file that is in the checkout or would be by `git add`; links are their targets."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = (ROOT / name for name in listed.stdout.splitlines())
    return tuple(file for file in found if file.is_file() and not file.is_symlink())


def sources(*folders: str) -> list[Path]:
    """The Python files, all or those beneath top folders of the checkout."""
    return [
        file
        for file in files()
        if file.suffix == ".py" and (not folders or file.relative_to(ROOT).parts[0] in folders)
    ]


@cache
def tree_of(file: Path) -> ast.Module:
    """A source file, parsed once for all rules."""
    return ast.parse(file.read_text(), str(file))


def where(file: Path, line: int = 1) -> str:
    """`path:line`, as editors understand it."""
    return f"{file.relative_to(ROOT)}:{line}"


def functions(file: Path) -> Iterator[Function]:
    """All functions and methods of a file."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, Function):
            yield node


def nodes(found: Callable[[ast.AST], bool], among: list[Path]) -> list[str]:
    """Where nodes stand that `found` says yes to."""
    return [
        where(file, node.lineno)
        for file in among
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.expr | ast.stmt) and found(node)
    ]


def lines(pattern: str, among: list[Path]) -> list[str]:
    """Where lines stand that `pattern` is found in."""
    wanted = re.compile(pattern)
    return [
        f"{where(file, number)}: {line.strip()}"
        for file in among
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1)
        if wanted.search(line)
    ]


def pyproject(folder: str = ".") -> dict[str, object]:
    """The `project` table of a distribution."""
    read = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())
    project: dict[str, object] = read["project"]
    return project


def test_every_file_opens_with_what_belongs_in_it() -> None:
    """Each Python file has a docstring of its own."""
    assert [where(file) for file in sources() if not ast.get_docstring(tree_of(file))] == []


def test_files_stay_readable() -> None:
    """No Python file is longer than ten screens."""
    long = {where(file): file.read_text().count("\n") for file in sources()}
    assert {file: count for file, count in long.items() if count > FILE_LINES_MAX} == {}


def test_functions_fit_on_a_screen() -> None:
    """No function is longer than one screen."""
    assert [
        f"{where(file, function.lineno)}: {function.name}"
        for file in sources()
        for function in functions(file)
        if (function.end_lineno or 0) - function.lineno + 1 > FUNCTION_LINES_MAX
    ] == []


def test_modules_are_named_for_what_they_hold() -> None:
    """No module has a name that would take anything in."""
    assert [
        where(file)
        for file in sources()
        if VAGUE_NAMES.intersection(re.split(r"[_/]", str(file.relative_to(ROOT).with_suffix(""))))
    ] == []


def test_nothing_is_left_undone() -> None:
    """The packages hold no reminders and no functions that only refuse."""
    assert lines(r"\b(TODO|FIXME|XXX|HACK)\b|\bNotImplementedError\b", sources(*SHIPPED)) == []


def test_packages_do_not_print() -> None:
    """Only the command line writes to the standard output."""
    quiet = [file for file in sources(*SHIPPED) if "cli" not in file.relative_to(ROOT).parts]
    assert nodes(is_print, quiet) == []


def is_print(node: ast.AST) -> bool:
    """Whether a node calls the builtin `print`."""
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    )


def test_ignores_have_their_reason() -> None:
    """A check silenced outside of the tests is named, with the reason beside it or just above."""
    among = sources(*SHIPPED, "examples", "benchmarks")
    assert [
        f"{where(file, number)}: {line.strip()}"
        for file in among
        for number, (above, line) in enumerate(pairs(file), 1)
        if SILENCED.search(line) and not (above.lstrip().startswith("#") or REASONED.search(line))
    ] == []


SILENCED = re.compile(r"#\s*(noqa|type:\s*ignore|pyright:\s*ignore|pragma)\b")
REASONED = re.compile(r"#\s*(noqa:\s*[A-Z0-9, ]+|(type|pyright):\s*ignore\[[\w, -]+\])\s+(-|#) \w")


def pairs(file: Path) -> Iterator[tuple[str, str]]:
    """Each line with the one above it."""
    text = file.read_text().splitlines()
    return zip(["", *text], text, strict=False)


def test_the_core_imports_contracts_and_the_standard_library_only() -> None:
    """The core decides without IO, clock or chance, and needs nothing installed."""
    allowed = sys.stdlib_module_names - {
        *("asyncio", "logging", "multiprocessing", "os", "pathlib", "random", "secrets"),
        *("socket", "ssl", "subprocess", "sys", "threading", "time"),
    } | {"amends_contracts", "amends_orchestrator"}
    core = [file for file in sources("orchestrator") if "core" in file.parent.parts]
    assert nodes(lambda node: bool(imported(node) - allowed), core) == []


def imported(node: ast.AST) -> set[str]:
    """The top packages that an import statement names."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").partition(".")[0]}
    return set()


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    """No path of a machine and no host of a package registry stands in any file."""
    hosts = ("pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "deb.debian" + ".org")
    machine = r"(?<![\w.$}/-])/(work|root|opt(?!/homebrew))/\w"
    text = [file for file in files() if file.suffix not in {".png", ".ico", ".woff2"}]
    assert lines("|".join([machine, *map(re.escape, hosts), "--(extra-)?index-url"]), text) == []


def test_the_lock_has_hashes_and_no_hosts() -> None:
    """Every locked distribution is pinned and hashed, none of ours is among them."""
    lock = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"\n(?=\S)", re.sub(r"(?m)^#.*\n", "", lock).strip())
    unfit = [e.splitlines()[0] for e in entries if "==" not in e or "--hash=sha256:" not in e]
    ours = [e.splitlines()[0] for e in entries if e.startswith("amends")]
    assert (unfit, ours, "://" in lock) == ([], [], False)


def test_all_distributions_share_one_version() -> None:
    """One version, exact pins between ours, and the changelog speaks of it."""
    version = pyproject()["version"]
    assert [pyproject(folder)["version"] for folder in PACKAGES] == [version] * len(PACKAGES)
    pins = {
        pin
        for folder in (".", *PACKAGES)
        for pin in re.findall(r'"amends[\w\[\],-]*([^"\w\[\],-][^"]*)"', str_dependencies(folder))
    }
    assert pins == {f"=={version}"}
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def str_dependencies(folder: str) -> str:
    """The dependencies of a distribution, each in double quotes."""
    dependencies = pyproject(folder)["dependencies"]
    assert isinstance(dependencies, list)
    return " ".join(f'"{one}"' for one in dependencies)  # pyright: ignore[reportUnknownVariableType] - TOML has no types


def test_every_test_is_a_sentence() -> None:
    """Each test function says in one sentence what it shows."""
    assert [
        f"{where(file, function.lineno)}: {function.name}"
        for file in sources("tests")
        for function in functions(file)
        if function.name.startswith("test_") and not is_sentence(ast.get_docstring(function))
    ] == []


def is_sentence(text: str | None) -> bool:
    """Whether a docstring is one sentence, however long."""
    if text is None:
        return False
    whole = " ".join(text.split())
    return whole.endswith((".", "?")) and not re.search(r"[.!?] [A-Z]", whole)
