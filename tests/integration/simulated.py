"""What the simulation prints."""

import re

import peer


def check_simulation(test, out, name, size, id, steps):
    """Checks that it shows these steps, in order, and the name, size and MD5 of the file."""
    text = out.decode()
    numbers = [int(number) for number in re.findall(r"^ ?(\d+)  (?:client|server) ", text, re.M)]
    test.assertEqual(sorted(set(numbers)), list(steps))
    test.assertEqual(numbers, sorted(numbers), "in order")
    for what in ("of the file", "that the server has", "of the copy"):
        test.assertEqual(re.findall(r"^MD5 %s +(\S+)$" % what, text, re.M), [id])
    test.assertEqual(len(re.findall(r"^MD5 ", text, re.M)), 3)
    test.assertEqual(text.rstrip("\n").rsplit("\n", 1)[-1], "Success")
    test.assertNotIn("Fail", text)
    test.assertNotIn("\x1b", text)
    # The lines shown are those sent on the wire.
    wire = peer.escape(name).decode()
    test.assertIn(" 5  client says: UPLOAD\n", text)
    test.assertIn(" 7  client says: %s;%d\n" % (wire, size), text)
    test.assertIn(" 9  client sends the file: %d bytes\n" % size, text)
    test.assertIn("11  server says: %s\n" % id, text)
    test.assertIn("server says: %s;%s;%d\n" % (id, wire, size), text)
    test.assertIn("19  server sends the file: %d bytes\n" % size, text)
