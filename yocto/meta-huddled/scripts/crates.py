#!/usr/bin/env python3
"""Writes huddled-crates.inc beside the recipe: every crate of Cargo.lock with its checksum.

usage: crates.py [Cargo.lock [huddled-crates.inc]]
"""

import pathlib
import re
import sys
import tomllib

LAYER = pathlib.Path(__file__).resolve().parent.parent
LOCK = LAYER.parent.parent / "Cargo.lock"
LIST = LAYER / "recipes-huddled/huddled/huddled-crates.inc"
CHECKSUM = re.compile(r"[0-9a-f]{64}\Z")
# A registry as Cargo.lock names it: its host, as bitbake's fetcher wants it, is the index's name.
REGISTRY = re.compile(r"registry\+https://[^ ]+/([a-z0-9.-]+)-index\Z")


def crates(lock):
    """Yields registry, name, version and checksum of every package that is not our own."""
    for package in tomllib.loads(lock.read_text(encoding="utf-8"))["package"]:
        if "source" not in package:
            continue
        name, version = package["name"], package["version"]
        registry = REGISTRY.match(package["source"])
        checksum = package.get("checksum", "")
        if not registry or not CHECKSUM.match(checksum):
            sys.exit(f"{lock}: {name} {version} is not from a registry with a checksum; bitbake needs both")
        yield registry[1], name, version, checksum


def main():
    """Writes the list."""
    lock = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else LOCK
    target = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else LIST
    found = sorted(crates(lock))
    if not found:
        sys.exit(f"{lock}: there is no crate in it")
    lines = ["# Made from Cargo.lock by scripts/crates.py of this layer; make it again after every change there.", ""]
    lines.append(f'HUDDLED_CRATES = "{len(found)}"')
    lines.append('SRC_URI += "\\')
    lines += [f"    crate://{registry}/{name}/{version} \\" for registry, name, version, _ in found]
    lines += ['"', ""]
    lines += [f'SRC_URI[{name}-{version}.sha256sum] = "{checksum}"' for _, name, version, checksum in found]
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{target}: {len(found)} crates")


main()
