#!/usr/bin/env python3
"""group_by_floor.py HEADER: Doxygen's input filter. Prints a public header with its contents in the
group of its floor, which tests/check_floors.py knows."""

import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests"))
import check_floors

BEGIN = "namespace filexfer {\n"
END = "}  // namespace filexfer\n"


def main():
    path = pathlib.Path(sys.argv[1])
    text = path.read_text()
    floor = check_floors.floor_of(path.stem)
    if floor is not None and BEGIN in text and END in text:
        group = check_floors.FLOORS[floor][0].replace(" ", "_")
        first, _, rest = text.partition(BEGIN)
        inside, _, last = rest.rpartition(END)
        # On the namespace's own line, so that no line gets another number.
        text = "%snamespace filexfer { /** \\addtogroup %s */ /** \\{ */\n%s/** \\} */ %s%s" % (
            first, group, inside, END, last)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
