"""``edge-agent key``: this gateway's public key, as a key file that a collector takes."""

from __future__ import annotations

import argparse

from contracts.errors import ContractError
from contracts.keys import load_or_create
from edge_agent.commands.output import as_json
from edge_agent.commands.place import state_dir
from edge_agent.commands.words import Words
from edge_agent.errors import EdgeError
from edge_agent.state_dir import KEY, unusable


def run(options: argparse.Namespace, words: Words) -> int:
    """Prints the key, made now where there is none; the output as a whole is a valid key file."""
    folder = state_dir(options)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        public = load_or_create(folder / KEY).public
    except OSError as error:
        raise unusable(folder, error) from error
    except ContractError as error:
        raise EdgeError(str(error)) from error
    gateway, line = public.gateway_id, public.line(public.gateway_id)
    if options.json:
        print(as_json({"gateway": gateway, "fingerprint": public.fingerprint, "key": line}))
        return 0
    print(f"# {words['gateway']} {gateway}")
    print(f"# {words['fingerprint']} {public.fingerprint}")
    print(line)
    return 0
