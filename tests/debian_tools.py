"""Programs that come from Debian packages, which a machine may lack.

A test that needs one is skipped with the package's name, except in CI (``CI=true``), where
nothing may be skipped for want of an ``apt-get install``.
"""

from __future__ import annotations

import os
import shutil

import pytest

#: Command -> the Debian package that brings it.
PACKAGES = {
    "chattr": "e2fsprogs",
    "chromium": "chromium",
    "mbpoll": "mbpoll",
    "e2fsck": "e2fsprogs",
    "fsfreeze": "util-linux",
    "mkfs.ext4": "e2fsprogs",
    "ip": "iproute2",
    "mosquitto": "mosquitto",
    "nft": "nftables",
    "openssl": "openssl",
    "strace": "strace",
    "systemd-analyze": "systemd",
    "tc": "iproute2",
    "xfs_io": "xfsprogs",
}
#: Debian puts daemons where an ordinary user's PATH does not look.
_SYSTEM_PATHS = ("/usr/sbin", "/usr/local/sbin", "/sbin")


def find_tool(name: str) -> str:
    """Return the path of a command; without it skip the running test, or fail it when ``CI=true``."""
    path = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *_SYSTEM_PATHS)))
    if path is not None:
        return path
    reason = f"{name} is not installed (Debian package {PACKAGES.get(name, name)})"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; in CI nothing is skipped")
    pytest.skip(reason)
