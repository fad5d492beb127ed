"""What the demo starts ends with it, whenever it is interrupted."""

import signal
import subprocess
import sys

import pytest
from sanitizer import patient_s

from ownerd.demo.children import Child, uninterrupted


class Sleeper(Child):
    """A process that would outlast the test; interrupts itself where it is told to."""

    def __init__(self, interrupted: str = "", times: int = 1) -> None:
        self._interrupted = interrupted
        self._times = times
        self.steps: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None

    def _launch(self) -> None:
        self._step("before")
        self.process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
        self._step("launched")

    def _wait_until_it_serves(self) -> None:
        self._step("waited")

    def _stop(self) -> None:
        assert self.process is not None
        self.process.kill()
        self._step("stopping")
        self.process.wait(patient_s(30))
        self._step("stopped")

    def _step(self, name: str) -> None:
        if name == self._interrupted:
            signal.raise_signal(signal.SIGINT)
        self.steps.append(name)


@pytest.mark.parametrize("when", ["before", "launched", "waited", "stopping", "stopped"])
def test_a_child_ends_whenever_it_is_interrupted(when: str) -> None:
    child = Sleeper(when)
    with pytest.raises(KeyboardInterrupt), child:
        pass
    assert child.process is not None and child.process.poll() is not None
    assert child.steps[-1] == "stopped" and "launched" in child.steps
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_child_ends_with_its_block() -> None:
    with Sleeper() as child:
        assert child.process is not None and child.process.poll() is None
    assert child.process.poll() is not None


def test_what_is_put_off_comes_once_the_block_is_over() -> None:
    said = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        said.append("whole")
    assert said == ["whole"]
