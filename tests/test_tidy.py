"""The house rules, as tests. What does not keep a rule yet is listed here by name; the lists only shrink."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest

import core

ROOT = Path(__file__).parent.parent
ROOMS = ("core", "edge", "origin", "loadtests")

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
TYPESCRIPT_LINES_MAX = 500
BANNED_NAMES = re.compile(r"^(.*_)?(utils?|helpers?|manager|common|misc)(_.*)?$", re.IGNORECASE)

# Beyond the standard library, what the pure part of core may import (ARCHITECTURE.md, "Who may import whom").
PURE_PACKAGES = {"core", "numpy", "cryptography", "msgspec"}
IMPURE_MODULES = {
    "asyncio", "concurrent", "datetime", "io", "logging", "multiprocessing", "os", "pathlib", "random", "secrets",
    "select", "signal", "socket", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "urllib", "http",
}  # fmt: skip
IMPURE_FOLDERS = ("core/fabric/", "core/host/")

# --- ratchet: exceptions that still stand, to be removed one by one ------------------------------------------------
LONG_FILES: set[str] = set()
LONG_FUNCTIONS: set[str] = set()
UNTESTED: set[str] = set()


@cache
def tracked() -> tuple[str, ...]:
    """Files git knows or would know (new ones included), as paths from the root; deleted ones left out."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return tuple(sorted({name for name in names if name and (ROOT / name).is_file()}))


def python_files(*folders: str) -> list[str]:
    return [name for name in tracked() if name.endswith(".py") and (not folders or name.startswith(folders))]


@cache
def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(text(name), name)


def text_files() -> Iterator[str]:
    for name in tracked():
        if b"\0" not in (ROOT / name).read_bytes()[:8_192]:
            yield name


def report(offenders: list[str]) -> None:
    if offenders:
        pytest.fail("\n".join(offenders), pytrace=False)


def test_files_are_short() -> None:
    offenders = []
    for name in tracked():
        if name.endswith((".py", ".ts")) and name not in LONG_FILES:
            lines = text(name).count("\n")
            if lines > FILE_LINES_MAX:
                offenders.append(f"{name}: {lines} lines, at most {FILE_LINES_MAX}")
    report(offenders)


def test_functions_are_short() -> None:
    offenders = []
    for name in python_files():
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX and f"{name}:{node.name}" not in LONG_FUNCTIONS:
                    offenders.append(f"{name}:{node.lineno} {node.name}: {lines} lines, at most {FUNCTION_LINES_MAX}")
    report(offenders)


def test_core_is_pure() -> None:
    offenders = []
    for name in python_files("core/"):
        if name.startswith(IMPURE_FOLDERS):
            continue
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                offenders += [f"{name}:{node.lineno} imports {module}" for module in modules if impure(module)]
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("open", "print"):
                offenders.append(f"{name}:{node.lineno} calls {node.func.id}")
    report(offenders)


def impure(module: str) -> bool:
    top = module.partition(".")[0]
    if module.startswith(("core.fabric", "core.host")):
        return True
    return top not in PURE_PACKAGES and (top in IMPURE_MODULES or top not in sys.stdlib_module_names)


def test_names_say_something() -> None:
    offenders = [
        f"{name}: {part} says nothing"
        for name in tracked()
        if name.endswith((".py", ".ts"))
        for part in Path(name).with_suffix("").parts
        if BANNED_NAMES.match(part)
    ]
    report(offenders)


def test_every_source_file_has_its_test() -> None:
    tests = {Path(name).name for name in python_files("tests/")}
    offenders = []
    for name in python_files("core/"):
        path = Path(name)
        if path.name == "__init__.py" or name in UNTESTED or is_only_declarations(name):
            continue
        if not any(test == f"test_{path.name}" or test.endswith(f"_{path.name}") for test in tests):
            offenders.append(f"{name}: no test_{path.name}")
    report(offenders)


def is_only_declarations(name: str) -> bool:
    """No function has a body: constants, enumerations, records, protocols."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = [statement for statement in node.body if not isinstance(statement, ast.Expr | ast.Pass)]
            if body:
                return False
    return True


def test_links_lead_somewhere() -> None:
    link = re.compile(r"\]\(([^)\s]+)\)|<img[^>]+src=\"([^\"]+)\"")
    offenders = []
    for name in tracked():
        if not name.endswith(".md"):
            continue
        without_code = re.sub(r"```.*?```|`[^`\n]*`", "", text(name), flags=re.DOTALL)
        for match in link.finditer(without_code):
            target = (match[1] or match[2]).partition("#")[0]
            elsewhere = not target or "://" in target or target.startswith("mailto:")
            if not elsewhere and not ((ROOT / name).parent / target).exists():
                offenders.append(f"{name}: link to {target} leads nowhere")
    report(offenders)


def test_documents_name_files_that_exist() -> None:
    """Paths of rooms in ARCHITECTURE.md and README.md, as `core/fabric/local.py`, must exist."""
    named = re.compile(r"`((?:core|edge|origin|loadtests|examples|tests|docs)/[\w./-]+\.(?:py|ts|md|json|toml|js))`")
    offenders = [
        f"{name}: {match[1]} does not exist"
        for name in tracked()
        if name.endswith(".md")
        for match in named.finditer(text(name))
        if not (ROOT / match[1]).exists()
    ]
    report(offenders)


def test_suppressions_say_what_they_suppress() -> None:
    bare = re.compile(r"#\s*(type: ignore(?!\[)|noqa(?!: ?[A-Z]+\d)|pyright: ignore(?!\[))|@ts-ignore|@ts-nocheck")
    offenders = [
        f"{name}:{number} {line.strip()}"
        for name in tracked()
        if name.endswith((".py", ".ts")) and name != "tests/test_tidy.py"
        for number, line in enumerate(text(name).splitlines(), start=1)
        if bare.search(line)
    ]
    report(offenders)


def test_nothing_names_one_machine_or_one_registry() -> None:
    here = "|".join(re.escape(f"{folder}/") for folder in (ROOT, Path.home()) if len(folder.parts) > 1)
    machine = re.compile(rf"/home/\w|/Users/\w|(?<![\w$])/tmp/[a-z]+\.(?:log|txt|wav)\b|{here or '(?!)'}")
    registry = re.compile(
        r"--(?:extra-)?index-url|\bPIP_INDEX|registry\.npmjs|files\.pythonhosted|pypi\.org/simple|\"resolved\":"
    )
    offenders = []
    for name in text_files():
        if name == "tests/test_tidy.py":
            continue
        for number, line in enumerate(text(name).splitlines(), start=1):
            for rule, what in ((machine, "a path of one machine"), (registry, "a package registry")):
                if rule.search(line) and "--no-emit-index-url" not in line:
                    offenders.append(f"{name}:{number} names {what}: {line.strip()[:100]}")
    report(offenders)


def test_comments_are_about_the_present() -> None:
    history = re.compile(r"#\s*(TODO|FIXME|XXX|HACK)\b|//\s*(TODO|FIXME|XXX|HACK)\b|\b(issue|PR) ?#\d+")
    offenders = [
        f"{name}:{number} {line.strip()[:100]}"
        for name in tracked()
        if name.endswith((".py", ".ts", ".md", ".toml")) and name != "tests/test_tidy.py"
        for number, line in enumerate(text(name).splitlines(), start=1)
        if history.search(line)
    ]
    report(offenders)


def test_the_version_is_one() -> None:
    project = tomllib.loads(text("pyproject.toml"))["project"]
    assert project["version"] == core.__version__
    client = ROOT / "edge/client/package.json"
    if client.exists():
        assert f'"version": "{core.__version__}"' in client.read_text(encoding="utf-8")


def test_what_is_locked_covers_what_is_asked_for() -> None:
    project = tomllib.loads(text("pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    # Training is done by hand, now and then; its gigabytes are no part of what everybody installs, and neither are
    # voices and recognisers that somebody chooses by configuration, some of them under the GPL.
    chosen = {"distill", "kokoro", "piper", "whisper"}
    asked = [*project["dependencies"], *(name for key in extras if key not in chosen for name in extras[key])]
    locked = {normalized(line.split("==")[0]) for line in text("requirements.lock").splitlines() if "==" in line}
    missing = {normalized(re.split(r"[\[<>=!~; ]", name)[0]) for name in asked} - locked
    assert not missing, f"run `make lock`: {sorted(missing)} are not locked"
    packages = [line for line in text("requirements.lock").splitlines() if re.match(r"^[a-z0-9]", line)]
    assert text("requirements.lock").count("--hash=sha256:") >= len(packages)


def test_what_is_imported_is_asked_for() -> None:
    """Nothing is used only because somebody else happens to need it too."""
    project = tomllib.loads(text("pyproject.toml"))["project"]
    asked = [*project["dependencies"], *(name for names in project["optional-dependencies"].values() for name in names)]
    packages = {normalized(re.split(r"[\[<>=!~; ]", name)[0]) for name in asked}
    providers = metadata.packages_distributions()
    offenders = []
    for name in python_files():
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.Import):
                modules = {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = {(node.module or "").partition(".")[0]}
            else:
                continue
            unasked = {
                module
                for module in modules - sys.stdlib_module_names - {*ROOMS, "tests"}
                if not packages & {normalized(provider) for provider in providers.get(module, [module])}
            }
            offenders += [f"{name}: {module} is imported, but pyproject.toml does not ask for it" for module in unasked]
    report(offenders)


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def test_documents_name_what_is_there() -> None:
    """Every path in backticks and every link to a file; what is made by a command lies in a folder git ignores."""
    folders = {str(folder) for name in tracked() for folder in Path(name).parents}
    known = {*tracked(), *folders}
    tails = {"/".join(parts[start:]) for parts in (Path(name).parts for name in known) for start in range(len(parts))}
    made = ("run", "out", "edge/static", "visavis.toml", "my_voice.py")
    offenders = []
    for name in (name for name in tracked() if name.endswith(".md") and not name.startswith("tests/")):
        linked = re.findall(r"\]\(((?!https?:|#)[^)\s#]+)", text(name))
        offenders += [f"{name}: {link}" for link in linked if not (ROOT / name).parent.joinpath(link).exists()]
        named = re.findall(
            r"`([\w-]+(?:[/.][\w-]+)*\.(?:py|ts|mjs|js|toml|md|json|glb|vrm)|(?:core|edge|origin|tests)/[\w/.-]+)`",
            text(name),
        )
        offenders += [
            f"{name}: {path}" for path in named if path.rstrip("/") not in tails and not path.startswith(made)
        ]
    report(offenders)


def test_limits_have_one_home() -> None:
    """No other file of core defines a number that core/limits.py already names."""
    names = {
        target.id
        for node in tree("core/limits.py").body
        if isinstance(node, ast.AnnAssign) and isinstance(target := node.target, ast.Name)
    }
    assert len(names) > 10
    offenders = []
    for name in python_files(*(f"{room}/" for room in ROOMS)):
        if name == "core/limits.py":
            continue
        for node in tree(name).body:
            if isinstance(node, ast.Assign):
                targets: list[ast.expr] = node.targets
            elif isinstance(node, ast.AnnAssign):
                targets = [node.target]
            else:
                continue
            for each in targets:
                again = isinstance(each, ast.Name) and each.id.lstrip("_") in names
                if again and isinstance(node.value, ast.Constant):
                    offenders.append(f"{name}:{node.lineno} defines {ast.unparse(each)} again")
    report(offenders)
