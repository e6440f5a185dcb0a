#!/usr/bin/env python3
"""Prints the licences' notices of every crate that is linked into the programs, each text once.

usage: notices.py <target triple>
"""

import json
import pathlib
import subprocess
import sys

NAMES = ("LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")


def linked(metadata):
    """The packages reachable from ours by dependencies that are neither for building nor for testing alone."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    seen = set()
    todo = [metadata["resolve"]["root"]]
    while todo:
        package = todo.pop()
        if package in seen:
            continue
        seen.add(package)
        for dependency in nodes[package]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                todo.append(dependency["pkg"])
    seen.discard(metadata["resolve"]["root"])
    packages = [package for package in metadata["packages"] if package["id"] in seen]
    return sorted(packages, key=lambda package: (package["name"], package["version"]))


def notices(package):
    """The texts of a package's licence files; those of code it brings along, too."""
    folder = pathlib.Path(package["manifest_path"]).parent
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name.upper().startswith(NAMES) and path.suffix not in (".rs", ".toml", ".json"):
            yield path.read_text(encoding="utf-8", errors="replace").strip()


def main():
    """Prints all."""
    command = ["cargo", "metadata", "--locked", "--format-version=1", f"--filter-platform={sys.argv[1]}"]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    texts = {}
    print("Libraries that are linked into huddled and huddlectl, with their licences as they state them.\n")
    for package in linked(metadata):
        name = f"{package['name']} {package['version']}"
        print(f"{name}: {package['license'] or 'see below'}")
        for text in notices(package):
            texts.setdefault(text, []).append(name)
    for text, names in texts.items():
        print(f"\n{'=' * 78}\n{', '.join(dict.fromkeys(names))}:\n\n{text}")


main()
