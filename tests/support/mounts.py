"""Small file systems of a test's own, and processes that root's rights do not help."""

import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


def call(*command):
    """Run a system tool; what it says goes into the error where it fails."""
    it = subprocess.run([str(each) for each in command], capture_output=True, text=True, timeout=60, check=False)
    if it.returncode:
        raise OSError(f"{' '.join(map(str, command))}: {it.stderr.strip()}")


@functools.cache
def _why_no_mounts():
    if os.geteuid() != 0:
        return "needs root: mounts a file system"
    with tempfile.TemporaryDirectory() as folder:
        try:
            call("mount", "-t", "tmpfs", "-o", "size=64k", "none", folder)
        except OSError as error:
            return f"cannot mount here: {error}"
        call("umount", folder)
    return ""


@functools.cache
def _why_no_loop():
    if os.geteuid() != 0:
        return "needs root: mounts a loop device"
    if shutil.which("mkfs.ext4") is None:
        return "needs mkfs.ext4 (Debian: e2fsprogs)"
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image"
        try:
            make_ext4(image, 8)
            with loop_mount(image, Path(folder) / "mnt"):
                return ""
        except OSError as error:
            return f"cannot mount a loop device here: {error}"


def need_mounts():
    """Skip where a tmpfs cannot be mounted."""
    if reason := _why_no_mounts():
        pytest.skip(reason)


def need_loop():
    """Skip where an image cannot be mounted."""
    if reason := _why_no_loop():
        pytest.skip(reason)


def need_tool(name, package):
    """Skip where a program is missing."""
    if shutil.which(name) is None:
        pytest.skip(f"needs {name} (Debian: {package})")


@contextlib.contextmanager
def tmpfs(folder, size):
    """Mount a file system of `size` (as mount takes it) that lives in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    call("mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder)
    try:
        yield folder
    finally:
        call("umount", "--lazy", folder)


def remount(folder, options):
    """Change the options of what is mounted at `folder`."""
    call("mount", "-o", f"remount,{options}", folder)


def fill(folder):
    """Take all the room that is left in a file system; returns the file to remove."""
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    return ballast


def make_ext4(image, megabytes):
    """Make an image that holds an empty ext4."""
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    call("mkfs.ext4", "-q", "-F", image)


@contextlib.contextmanager
def loop_mount(image, folder, options=""):
    """Mount an image."""
    folder.mkdir(parents=True, exist_ok=True)
    call("mount", "-o", f"loop,{options}" if options else "loop", image, folder)
    try:
        yield folder
    finally:
        call("umount", folder)


def bound_by_permissions():
    """Words before a command that take away root's right to write everywhere; none where the user is not root."""
    if os.geteuid() != 0:
        return ()
    words = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    need_tool("setpriv", "util-linux")
    try:
        call(*words, "true")
    except OSError as error:
        pytest.skip(f"cannot drop capabilities here: {error}")
    return words
