"""The licence report: what a hub needs at run time, under which licences, as a table.

.venv/bin/python scripts/licences.py        # exit code 1 when one is of no allowed kind
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Final

from packaging.requirements import Requirement

ROOT: Final = "sheepfold"
EXTRAS: Final = ("", "contrib")
ALLOWED: Final = re.compile(
    r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|MPL|Mozilla|Zlib|HPND|Unlicense|0BSD|CC0"
    r"|Eclipse Distribution|Public Domain|Boost",
    re.IGNORECASE,
)
"""None that asks the user of a hub to publish anything."""
ONE_LINE_MAX: Final = 60
"""Longer is the licence itself in the place of its name."""


def main() -> int:
    """Print the report."""
    needed = closure(ROOT)
    print("| package | version | licence |\n|---|---|---|")
    unknown = []
    for name in sorted(needed, key=str.lower):
        found = licence(needed[name])
        print(f"| {name} | {needed[name].version} | {found} |")
        if not ALLOWED.search(found):
            unknown.append(f"{name}: {found or 'says none'}")
    print("\n".join(unknown), file=sys.stderr)
    return 1 if unknown else 0


def closure(root: str) -> dict[str, Distribution]:
    """What is installed of all that a package needs, by name; itself not."""
    found: dict[str, Distribution] = {}
    waiting = [(root, EXTRAS)]
    while waiting:
        name, extras = waiting.pop()
        for text in distribution(name).requires or ():
            wanted = Requirement(text)
            marker = wanted.marker
            if marker and not any(marker.evaluate({"extra": extra}) for extra in extras):
                continue
            try:
                there = distribution(wanted.name)
            except PackageNotFoundError:
                continue  # for another system
            if there.metadata["Name"] not in found:
                found[there.metadata["Name"]] = there
                waiting.append((wanted.name, ("", *wanted.extras)))
    return found


def licence(package: Distribution) -> str:
    """As the package says: SPDX (PEP 639), else its classifiers, else its one-line text."""
    said = package.metadata
    if expression := said.get("License-Expression"):
        return str(expression)
    classified = [
        line.rpartition(" :: ")[2]
        for line in said.get_all("Classifier") or ()
        if line.startswith("License ::")
    ]
    text = str(said.get("License") or "")
    return ", ".join(classified) or (text if len(text) <= ONE_LINE_MAX else text.splitlines()[0])


if __name__ == "__main__":
    sys.exit(main())
