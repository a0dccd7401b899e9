"""The verbs of updates over the air: make a repository, publish, serve, run a device, see what it runs."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
from typing import Any

from edgelab.cli import rollout
from edgelab.cli.answer import Add, Parser, answering, count, say
from edgelab.files import expanded


def add_verbs(add: Add) -> None:
    """Add ``ota`` and its verbs."""
    text = "Update models on devices so that none is left without one: sign, serve, install, try, commit or roll back."
    parser = add("ota", _status, text, json_too=False)
    names = "init|publish|refresh|rotate|serve|rollout|device|status"
    verbs = parser.add_subparsers(metavar=names, required=True, parser_class=Parser)

    new = verbs.add_parser(
        "init", help="make a repository and the private keys of its roles; nothing that is there is replaced"
    )
    new.set_defaults(verb=_init)
    new.add_argument("repository", type=expanded, metavar="REPO", help="the folder that will be served")
    new.add_argument("--keys", required=True, type=expanded, metavar="DIR", help="a folder for the private keys")

    new = verbs.add_parser(
        "publish", help="check a model on golden inputs and sign it as the next release, beside the earlier ones"
    )
    new.set_defaults(verb=_publish)
    new.add_argument("model", type=expanded, metavar="MODEL", help="an .onnx or .tflite file")
    new.add_argument("--repo", required=True, type=expanded, metavar="REPO", help="what `edgelab ota init` made")
    new.add_argument("--keys", required=True, type=expanded, metavar="DIR", help="the folder of the private keys")
    which = new.add_mutually_exclusive_group()
    which.add_argument(
        "--golden", type=expanded, metavar="GOLDEN", help="what `edgelab golden make` wrote; it has to pass"
    )
    which.add_argument("--data", type=expanded, metavar="FILE.npz", help="inputs by name (x for one)")
    new.add_argument("--name", default="model", help="the model's name for devices (model)")
    new.add_argument("--card", type=expanded, metavar="FILE.json", help="texts target, fails, degrades")
    new.add_argument("--hardware", action="append", default=[], metavar="NAME", help="only devices of this hardware")
    new.add_argument("--min-runtime", default="", metavar="VERSION", help="the lowest version of the runtime")
    new.add_argument("--max-latency", type=float, metavar="MS", help="the longest 95th percentile on the golden inputs")

    new = verbs.add_parser("refresh", help="sign what is published again, before its signatures expire")
    new.set_defaults(verb=_refresh)
    new.add_argument("--repo", required=True, type=expanded, metavar="REPO", help="what `edgelab ota init` made")
    new.add_argument("--keys", required=True, type=expanded, metavar="DIR", help="the folder of the private keys")

    new = verbs.add_parser("rotate", help="give a role new keys and sign anew")
    new.set_defaults(verb=_rotate)
    new.add_argument("role", choices=("root", "targets", "snapshot", "timestamp"), help="whose keys")
    new.add_argument("--repo", required=True, type=expanded, metavar="REPO", help="what `edgelab ota init` made")
    new.add_argument("--keys", required=True, type=expanded, metavar="DIR", help="the folder of the private keys")

    new = verbs.add_parser("serve", help="serve a repository on this machine, and take reports")
    new.set_defaults(verb=_serve)
    new.add_argument("repository", type=expanded, metavar="REPO", help="what `edgelab ota init` made")
    new.add_argument("--port", type=count, metavar="N", help="the port (a free one)")

    _add_device(verbs)
    rollout.add_verb(verbs)
    for each in verbs.choices.values():
        each.add_argument("--json", action="store_true", help="print JSON and nothing else (docs/json.md)")


def _add_device(verbs: Any) -> None:
    new = verbs.add_parser("device", help="run a device: look at the server, install, try, commit or roll back")
    new.set_defaults(verb=_device)
    new.add_argument("state", type=expanded, metavar="STATE", help="the device's folder")
    new.add_argument("--url", required=True, help="the server's address")
    new.add_argument("--root", type=expanded, metavar="ROOT.json", help="whom it trusts; the first time")
    new.add_argument("--once", action="store_true", help="look once, and end")
    new.add_argument("--every", type=float, default=60.0, metavar="SECONDS", help="between two looks (60)")
    new.add_argument("--check", action="store_true", help="run the golden inputs at every look, for the reports")
    new.add_argument("--model", metavar="NAME", help="the model that it runs (model); the first time")
    new.add_argument("--hardware", metavar="NAME", help="what it is (this processor); the first time")
    new.add_argument("--name", help="who it is (the folder's name); the first time")

    new = verbs.add_parser("status", help="say what runs on a device, verified")
    new.add_argument("state", type=expanded, metavar="STATE", help="the device's folder")
    new.add_argument("--path", action="store_true", help="print the path of the model that runs and nothing else")


def _init(options: argparse.Namespace) -> int:
    from edgelab.ota.publisher import initialise

    with answering(json_too=options.json) as answer:
        made = initialise(options.repository, options.keys)
        answer(made.to_dict(), made)
    return 0


def _publish(options: argparse.Namespace) -> int:
    from edgelab.files import read_json
    from edgelab.ota.manifest import Card
    from edgelab.ota.release import publish

    with answering(json_too=options.json) as answer:
        made = publish(
            options.model,
            options.repo,
            options.keys,
            golden=options.golden,
            data=options.data,
            name=options.name,
            card=None if options.card is None else Card.of(read_json(options.card)),
            hardware=options.hardware,
            min_runtime=options.min_runtime,
            max_latency_ms=options.max_latency,
        )
        answer(made.to_dict(), made)
    return 0


def _refresh(options: argparse.Namespace) -> int:
    from edgelab.ota.publisher import Publisher

    with answering(json_too=options.json) as answer:
        expires = Publisher(options.repo, options.keys).refresh()
        text = f"{options.repo} is signed anew; devices take updates until {min(expires.values())}."
        answer({"repository": str(options.repo), "expires": expires}, text)
    return 0


def _rotate(options: argparse.Namespace) -> int:
    from edgelab.ota.publisher import Publisher

    with answering(json_too=options.json) as answer:
        version = Publisher(options.repo, options.keys).rotate(options.role)
        data = {"repository": str(options.repo), "role": options.role, "root_version": version}
        answer(data, f"{options.role} has new keys, by root {version}; devices follow at their next look.")
    return 0


def _serve(options: argparse.Namespace) -> int:
    from edgelab.ota.server import Reports, make_server, url_of
    from edgelab.ota.turns import answers

    with answering(json_too=options.json) as answer:
        offer, report = answers(options.repository, keep=Reports(options.repository))
        server = make_server(options.repository, options.port or 0, offer=offer, report=report)
        data = {"repository": str(options.repository), "url": url_of(server)}
        answer(data, f"{options.repository} is served at {url_of(server)}; Ctrl-C ends it.")
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever(poll_interval=0.2)
    return 0


def _device(options: argparse.Namespace) -> int:
    from edgelab.ota.agent import looks, open_device

    who = {"model": options.model, "hardware": options.hardware, "name": options.name}
    if options.once:
        with answering(json_too=options.json) as answer:
            device = open_device(options.state, options.root, check=options.check, **who)
            with contextlib.closing(looks(device, options.url, options.every)) as outcomes:
                (outcome,) = itertools.islice(outcomes, 1)
            answer(outcome.to_dict(), outcome)
        return 0
    device = open_device(options.state, options.root, check=options.check, **who)
    with (
        contextlib.suppress(KeyboardInterrupt),
        contextlib.closing(looks(device, options.url, options.every)) as outcomes,
    ):
        for outcome in outcomes:
            say(json.dumps(outcome.to_dict(), sort_keys=True) if options.json else str(outcome))
    return 0


def _status(options: argparse.Namespace) -> int:
    from edgelab.errors import EdgelabError
    from edgelab.ota.agent import status

    with answering(json_too=options.json) as answer:
        found = status(options.state)
        if options.path and found.facts["path"] is None:
            raise EdgelabError(f"{options.state} runs nothing yet.")
        answer(found.to_dict(), found.facts["path"] if options.path else found)
    return 0
