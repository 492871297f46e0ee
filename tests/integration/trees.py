"""The base of the tests that transfer whole folders."""

import os
import random
import subprocess

import peer
from contents import MIB, NAMES, make_data
from program_case import Case

DEEP = "/".join("%d" % (level % 10) for level in range(100))


class Trees(Case):
    space_in_memory = 64 * MIB

    def write_tree(self, folder):
        """Writes files with special names, sizes and times. Returns their names and bytes."""
        rng = random.Random(7)
        files = {name: b"content of " + os.fsencode(name) for name in NAMES}
        files.update({"names/" + name: b"again " + os.fsencode(name) for name in NAMES
                      if len(name) < 200})
        files.update({"sub %d/%d/f" % (i % 7, i): make_data(rng.randrange(3000), i)
                      for i in range(150)})
        files.update({"c" * 200: b"long", "d" * 120 + "/" + "e" * 134: b"as long as can be",
                      DEEP + "/end": b"deep", "empty": b"", "sub/empty": b"",
                      "large": make_data(700001), "sub.txt": b"beside sub", "twin one": b"twins",
                      "twin/two": b"twins", "twin/two (again)": b"twins"})
        for name, data in files.items():
            path = self.write(folder + "/" + name, data)
            os.utime(path, ns=(0, rng.choice((-1, 1)) * rng.randrange(2 * 10**18)))
        return files

    def write_many(self, count):
        """Writes that many small files to the folder tree. Returns their names and bytes."""
        files = {"sub %d/f%03d" % (number % 5, number): make_data(2000, number)
                 for number in range(count)}
        for name, data in files.items():
            self.write("tree/" + name, data)
        return files

    def damage(self, path, position=0):
        """Overwrites some bytes of a stored file."""
        os.chmod(path, 0o600)
        with open(path, "r+b") as file:
            file.seek(position)
            file.write(b"damage")

    def names(self, server, *arguments):
        """The names that the server lists, unescaped."""
        entries = [line.split(b";")
                   for line in self.client(server, "list", *arguments).splitlines()]
        return sorted(os.fsdecode(peer.decode_name(entry[1])) for entry in entries)

    def assert_same_trees(self, expected, actual):
        result = subprocess.run(["diff", "-r", expected, actual], cwd=self.folder,
                                capture_output=True)
        self.assertEqual((result.returncode, result.stdout), (0, b""), result)

    def assert_same_times(self, expected, actual, names):
        for name in names:
            self.assertEqual(os.stat(self.path(actual, name)).st_mtime_ns,
                             os.stat(self.path(expected, name)).st_mtime_ns, name)
