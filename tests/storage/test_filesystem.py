"""Which filesystems a store may be on."""

import subprocess
from pathlib import Path

import pytest
from sanitizer import plain_environment

from ownerd.engine.engine import Engine, Opening
from ownerd.server.config import SHARED_FILESYSTEM_NAMES
from ownerd.storage.directory import StoreError
from ownerd.storage.filesystem import (
    FLEETING_FILESYSTEMS,
    NAMES,
    SHARED_FILESYSTEMS,
    check_filesystems,
    judge_filesystem,
)

EXT4, XFS, BTRFS, ZFS = 0xEF53, 0x58465342, 0x9123683E, 0x2FC12FC1
# As statfs(2) and the kernel's sources have them, written down a second time.
REFUSED = {
    "nfs": 0x6969,
    "smb": 0x517B,
    "cifs": 0xFF534D42,
    "9p": 0x01021997,
    "ceph": 0x00C36400,
    "fuse": 0x65735546,
    "gfs2": 0x01161970,
    "ocfs2": 0x7461636F,
    "lustre": 0x0BD00BD0,
    "gpfs": 0x47504653,
    "vboxsf": 0x786F4256,
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_shared_filesystem_is_refused_unless_it_is_allowed_by_name(name: str) -> None:
    magic = REFUSED[name]
    with pytest.raises(StoreError, match=f"allow_filesystems = {name}"):
        judge_filesystem(magic, "/store")
    with pytest.raises(StoreError):
        judge_filesystem(magic, "/store", [other for other in NAMES if other != name])
    warning = judge_filesystem(magic, "/store", [name])
    assert warning is not None
    assert warning[0] == name


def test_a_type_with_its_highest_bit_set_is_known_whatever_its_sign() -> None:
    """The field is a long, in which some kernels hand out 32 bits with a sign."""
    with pytest.raises(StoreError):
        judge_filesystem(0xFF534D42 - 2**32, "/store")


@pytest.mark.parametrize("magic", FLEETING_FILESYSTEMS)
def test_what_may_be_gone_after_a_restart_is_warned_of(magic: int) -> None:
    assert judge_filesystem(magic, "/store") is not None


@pytest.mark.parametrize("magic", [EXT4, XFS, BTRFS, ZFS])
def test_a_local_filesystem_is_nothing_to_speak_of(magic: int) -> None:
    assert judge_filesystem(magic, "/store") is None


def test_a_directory_is_judged_by_what_it_is_on() -> None:
    assert [name for name, _ in check_filesystems(["/dev/shm", "/dev/shm"])] == ["tmpfs"]


def test_the_setting_takes_the_names_that_the_guard_knows() -> None:
    assert SHARED_FILESYSTEM_NAMES == NAMES
    assert set(SHARED_FILESYSTEMS.values()) == set(NAMES)


@pytest.fixture
def user_space(tmp_path: Path) -> Path:
    """A directory, and the same one as a filesystem in user space."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "mount").mkdir()
    try:
        subprocess.run(
            ["bindfs", str(tmp_path / "disk"), str(tmp_path / "mount")],
            env=plain_environment(),
            check=True,
            timeout=20,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("bindfs cannot be used here")
    return tmp_path


def test_a_store_on_a_filesystem_in_user_space_is_refused(user_space: Path) -> None:
    store = user_space / "mount" / "store"
    try:
        with pytest.raises(StoreError, match="fuse"):
            Engine(str(store), background=False)
        assert not (store / "LOCK").exists()
        opening = Opening(allowed_filesystems=["fuse"])
        for expected in ({"store_created", "filesystem_not_safe"}, {"filesystem_not_safe"}):
            opening.found.clear()
            with Engine(str(store), background=False, opening=opening) as engine:
                assert engine.revision == 0
            assert {event for event, _ in opening.found} == expected
    finally:
        subprocess.run(["umount", "-l", str(user_space / "mount")], check=True, timeout=20)


def test_half_of_a_store_may_not_be_elsewhere_either(user_space: Path) -> None:
    """A link, or a mount, has its log on another filesystem."""
    store = user_space / "store"
    try:
        with Engine(str(store), background=False):
            pass
        (store / "log").rename(user_space / "disk" / "log")
        (store / "log").symlink_to(user_space / "mount" / "log")
        with pytest.raises(StoreError, match="fuse"):
            Engine(str(store), background=False)
    finally:
        subprocess.run(["umount", "-l", str(user_space / "mount")], check=True, timeout=20)
