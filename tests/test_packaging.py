"""What is given away: a source archive and a wheel, whole, that install into an empty place."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from sanitizer import patient_s

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = [f"python3.{minor}" for minor in range(11, 16)]
# What a build for tests has, and nobody else is given.
FOR_TESTS = re.compile(r"ownerd/\w+/testing\.|ownerd/load/engine\.")


def run(*command, **options):
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=patient_s(1_200), **options
    )
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
    return done.stdout


def published() -> dict[str, str]:
    """Return the environment of a build for users."""
    return {key: value for key, value in os.environ.items() if not key.startswith("OWNERD_")}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The source archive of a copy of what git knows."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("no git checkout")
    directory = tmp_path_factory.mktemp("sdist")
    copy = directory / "copy"
    for name in run("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT).splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    git = run("git", "rev-parse", "--absolute-git-dir", cwd=ROOT).strip()  # which names the commit
    environment = {**published(), "GIT_DIR": git}
    run(sys.executable, "setup.py", "-q", "sdist", "-d", directory, cwd=copy, env=environment)
    (found,) = directory.glob("*.tar.gz")
    return found


@pytest.mark.long
def test_the_source_archive_is_whole(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for wanted in (
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "setup.py",
        ".github/CHANGELOG.md",
        "ext/ownerd/net/listener.pyx",
        "ext/ownerd/net/listener.pyi",
        "protos/ownerd/v1/admin.proto",
        "protos/ownerd/v1/RULES.md",
        "src/ownerd/server/app.py",
        "src/ownerd/docs/apply.md",
        "src/ownerd/contrib/ownerd.service",
        "tests/support/store_format_4.txt",
    ):
        assert wanted in names, wanted
    tracked = run("git", "ls-files", "src", "ext", "protos", cwd=ROOT).splitlines()
    assert {name for name in tracked if (ROOT / name).exists()} - names == set()
    assert not [name for name in names if name.endswith((".so", ".pyc"))]


@pytest.mark.long
def test_its_description_is_right_for_an_index(sdist):
    pytest.importorskip("twine")
    assert "PASSED" in run(sys.executable, "-m", "twine", "check", "--strict", sdist)


def test_the_changelog_has_this_version():
    text = (ROOT / ".github" / "CHANGELOG.md").read_text()
    assert re.search(rf"^## {re.escape(PROJECT['version'])}\b", text, re.M)


@pytest.mark.long
@pytest.mark.parametrize("name", PYTHONS)
def test_a_wheel_installs_into_an_empty_place_on_each_python(sdist, tmp_path, name):
    python = shutil.which(name)
    # A version manager has a name for what it does not start.
    if python is None or subprocess.run([python, "-c", ""], capture_output=True).returncode:
        pytest.skip(f"no {name} here")
    place = tmp_path / name
    run(python, "-m", "venv", place)
    pip = (place / "bin" / "python", "-m", "pip", "--disable-pip-version-check")
    wheels = tmp_path / "wheels"
    run(*pip, "wheel", "-q", "--no-deps", "-w", wheels, sdist, env=published())
    (wheel,) = wheels.glob("*.whl")
    check_wheel(wheel)
    run(*pip, "install", "-q", wheel, env=published())
    ran = run(place / "bin" / "ownerd", "version", cwd=tmp_path)
    assert PROJECT["version"] in ran and not re.search(r"^commit +unknown$", ran, re.M)
    assert "apply" in run(place / "bin" / "ownerd", "docs", cwd=tmp_path)
    assert len(run(place / "bin" / "ownerd", "contrib", tmp_path / "contrib")) > 100
    assert PROJECT["version"] in run(place / "bin" / "ownerctl", "--version", cwd=tmp_path)


def check_wheel(wheel: Path) -> None:
    pytest.importorskip("twine")
    assert "PASSED" in run(sys.executable, "-m", "twine", "check", "--strict", wheel)
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert not [name for name in names if FOR_TESTS.match(name)]
    tops = {name.split("/")[0] for name in names}
    assert tops == {"ownerd", f"ownerd-{PROJECT['version']}.dist-info"}
    for wanted in ("py.typed", "commit.txt", "docs/apply.md", "contrib/ownerd.service"):
        assert f"ownerd/{wanted}" in names, wanted
    assert [name for name in names if re.match(r"ownerd/engine/engine\..*\.so$", name)]
