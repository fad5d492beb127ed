"""How both programs start and end: Ctrl-C at any time, little of the machine, closed streams.

What they load is no work for the garbage collector.
"""

import os
import shutil
import subprocess
import sys
import threading

import pytest
from sanitizer import in_front, patient_s, plain_environment

from ownerd import machine
from ownerd.ctl.terminal.exits import Exit

PROGRAMS = ("ownerd", "ownerctl")


def start(program, *arguments, before=(), shim="", tmp_path=None):
    """Run a program as its script does; `shim` takes the place of a library that both import."""
    path = []
    if shim:
        (tmp_path / "cyclopts.py").write_text(shim)
        path = [str(tmp_path)]
    code = f"from ownerd import programs; programs.{program}()"
    return subprocess.run(
        [*in_front(*before), sys.executable, "-c", code, *arguments],
        env={
            **(plain_environment() if before else os.environ),
            "PYTHONPATH": os.pathsep.join(path),
            "OWNERD_SERVER": "127.0.0.1:1",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patient_s(60),
    )


CTRL_C = "import os, signal; os.kill(os.getpid(), signal.SIGINT); raise ImportError('went on')"


@pytest.mark.parametrize("program", PROGRAMS)
def test_ctrl_c_while_a_program_loads_is_one_line(program, tmp_path):
    ended = start(program, "--version", shim=CTRL_C, tmp_path=tmp_path)
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr == f"{program}: interrupted\n"


def test_ctrl_c_where_python_loses_it_ends_a_program_that_loads_more(tmp_path):
    lost = "import os, signal, weakref\nclass Lock: pass\nlock = Lock()\n"
    lost += "gone = weakref.ref(lock, lambda _: os.kill(os.getpid(), signal.SIGINT))\ndel lock\n"
    (tmp_path / "loses_it.py").write_text(lost)
    code = "from ownerd.loading import loading\nwith loading('ownerd'): import loses_it\n"
    ended = subprocess.run(
        [sys.executable, "-c", f"{code}print('went on')"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=patient_s(60),
    )
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr == "ownerd: interrupted\n"


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_job_that_is_to_ignore_ctrl_c_does(program, tmp_path):
    ignoring = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
    ended = start(program, "--version", before=ignoring, shim=CTRL_C, tmp_path=tmp_path)
    assert ended.returncode in (1, Exit.INTERNAL)
    assert ended.stderr == f"{program}: cannot start: went on\n"


@pytest.mark.parametrize("program", PROGRAMS)
def test_ctrl_c_while_a_program_ends_is_one_line(program, tmp_path):
    late = "import atexit, os, signal\natexit.register(os.kill, os.getpid(), signal.SIGINT)\n"
    (tmp_path / "sitecustomize.py").write_text(late)
    shim = "raise ImportError('no more')"
    code = f"import sitecustomize; from ownerd import programs; programs.{program}()"
    ended = subprocess.run(
        [sys.executable, "-c", code, "--version"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=patient_s(60),
    )
    assert shim and ended.returncode == 130
    assert ended.stderr == f"{program}: interrupted\n"


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="no prlimit here")
@pytest.mark.parametrize(("program", "code"), [("ownerd", 1), ("ownerctl", Exit.INTERNAL)])
@pytest.mark.parametrize("descriptors", [8, 12])
def test_too_few_descriptors_are_told_in_one_line(program, code, descriptors):
    ended = start(program, "config", before=("prlimit", f"--nofile={descriptors}"))
    assert (ended.returncode, ended.stdout) == (code, "")
    assert ended.stderr.startswith(f"{program}: cannot start: {descriptors} open files are allowed")
    assert ended.stderr.count("\n") == 1


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="no prlimit here")
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_soft_limit_on_descriptors_is_raised(program):
    ended = start(program, "--version", before=("prlimit", "--nofile=12:1024"))
    assert (ended.returncode, ended.stderr) == (0, "")


def test_too_few_threads_are_told_by_how_many(monkeypatch):
    allowed = iter(range(3))
    begin = threading.Thread.start

    def start_some(thread):
        if next(allowed, None) is None:
            raise RuntimeError("can't start new thread")
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", start_some)
    with pytest.raises(machine.TooLittle, match="gives 3 threads and 5 are needed"):
        machine.need_threads(5)
    assert not [each for each in threading.enumerate() if "need_threads" in each.name]


def test_ownerctl_tells_that_there_are_too_few_threads(ctl, monkeypatch):
    def too_little(_):
        raise machine.TooLittle("the system gives 2 threads and 12 are needed")

    monkeypatch.setattr("ownerd.machine.need_threads", too_little)
    code, out, err = ctl("status")
    assert (code, out) == (Exit.INTERNAL, "")
    assert err == "ownerctl: the system gives 2 threads and 12 are needed\n"


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_streams_that_are_closed_are_stood_in_for(program, closed):
    before = ("sh", "-c", f'exec "$@" {closed}', "sh")
    ended = start(program, "--version", before=before)
    assert (ended.returncode, ended.stderr) == (0, "") and ended.stdout.strip()


@pytest.mark.parametrize("words", [["config"], ["config", "-o", "json"], ["--help"], ["--version"]])
def test_ownerd_fails_where_what_it_prints_cannot_be_written(words):
    for redirected in (">&-", ">/dev/full"):
        before = ("sh", "-c", f'exec "$@" {redirected}', "sh")
        ended = start("ownerd", *words, before=before)
        assert ended.returncode == 1, redirected
        assert ended.stderr.startswith("ownerd: ") and ended.stderr.count("\n") == 1


@pytest.mark.parametrize("columns", [1, 2, 19])
def test_ownerd_at_a_narrow_terminal_is_no_trap(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    for words in (["--help"], ["serve", "--help"], ["config"]):
        ended = start("ownerd", *words)
        assert (ended.returncode, ended.stderr) == (0, "")


def test_ownerd_shows_no_control_character_of_its_settings(monkeypatch):
    monkeypatch.setenv("OWNERD_DATA", "/\x1b]0;PWNED\x07[red]x")
    for words in (["config"], ["config", "-o", "json"]):
        out = start("ownerd", *words).stdout
        assert "PWNED" in out and "[red]x" in out
        assert all(c.isprintable() or c == "\n" for c in out)
    monkeypatch.setenv("OWNERD_DATA", "")
    monkeypatch.setenv("OWNERD_LOG_LEVEL", "\x1b[2J")
    ended = start("ownerd", "config")
    assert ended.returncode == 2 and "\x1b" not in ended.stderr


@pytest.mark.parametrize(
    ("module", "word"), [("ownerd.ctl", "--version"), ("ownerd.server", "serve")]
)
def test_the_garbage_collector_leaves_alone_what_was_loaded(module, word):
    code = (
        "import atexit, gc, runpy, sys\n"
        "frozen = lambda: gc.get_freeze_count() > len(gc.get_objects())\n"
        "atexit.register(lambda: print(gc.isenabled(), frozen()))\n"
        f"sys.argv[1:] = [{word!r}]\n"
        f"runpy.run_module({module!r}, run_name='__main__')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OWNERD_DATA": "/proc/nothing"},
        capture_output=True,
        text=True,
        timeout=patient_s(60),
    )
    assert ended.stdout.splitlines()[-1] == "True True", ended.stderr


def test_a_command_waits_for_its_own_module_only():
    code = (
        "import sys; from ownerd.ctl.cli import main; main(['wrapup', 'list', '--columns'])\n"
        "print([name for name in sys.modules if name.startswith('ownerd.ctl.commands.')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=patient_s(60)
    )
    loaded = {f"ownerd.ctl.commands.{name}" for name in ("options", "wrapups")}
    assert set(eval(done.stdout)) == loaded, done.stderr
