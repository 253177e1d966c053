"""`python -m hrkit.testing FIRST NAME PART...`: what `hrkit plugins check` runs in a process of its own.

It writes a line of JSON per event to stdout: ["begins", number of the part, part, check], ["finding", ...] with the
fields of a `Finding`, ["error", message], and ["end"] at last. A process that ends without it has crashed, and what
began last is to blame. Parts are counted from 0, those before FIRST are left out.
"""

from __future__ import annotations

import faulthandler
import functools
import json
import os
import sys
from collections.abc import Iterator

from attrs import astuple

from hrkit.errors import HrkitError
from hrkit.testing.plugins import choose_parts, examine_loading, examine_part
from hrkit.testing.report import Finding


def main(first: str, name: str, *parts: str) -> None:
    faulthandler.enable()
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what parts print is no event

    def say(*event: object) -> None:
        print(json.dumps(event), file=events, flush=True)

    def examine() -> Iterator[Finding]:
        if first == "0":
            yield from examine_loading(name)
        for number, part in enumerate(choose_parts(name, parts)):
            if number >= int(first):
                part.watch.begins = functools.partial(say, "begins", number)
                yield from examine_part(part)

    try:
        for finding in examine():
            say("finding", *astuple(finding))
    except HrkitError as error:
        say("error", str(error))
    else:
        say("end")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
