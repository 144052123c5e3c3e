"""paho's client module without its search for a proxy.

paho imports ``urllib.request`` for one thing: to look in the environment for a proxy whenever it connects.  A gateway
has none, one would be used behind our back, and the import brings HTTP client, mail parser and temporary files, 1.5 MB
that the daemon carries for ever.  So paho gets a stand-in that knows no proxy.  Whoever imports ``urllib.request``
afterwards gets the real one, and so does paho then, with ``no_proxy`` as the environment says.
"""

from __future__ import annotations

import sys
import urllib
from types import ModuleType

_NAME = "urllib.request"


def _import_without_proxies() -> None:
    stand_in = ModuleType(_NAME)
    stand_in.proxy_bypass = lambda host: True  # type: ignore[attr-defined]
    sys.modules[_NAME] = stand_in
    urllib.request = stand_in  # type: ignore[assignment]
    try:
        import paho.mqtt.client  # noqa: F401
    finally:
        del sys.modules[_NAME]


if "paho.mqtt.client" not in sys.modules and _NAME not in sys.modules:
    _import_without_proxies()

import paho.mqtt.client as paho  # noqa: E402

__all__ = ["paho"]
