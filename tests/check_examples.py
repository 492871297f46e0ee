#!/usr/bin/env python3
"""check_examples.py INCLUDE_DIR SNIPPETS_DIR: fails if the reference lacks an example.

An example is a `\\snippet FILE NAME` in a doc comment: what stands between two lines `//! [NAME]`
of SNIPPETS_DIR/FILE, whose tests are run. Of the public headers there must be one for

- each free function, and each class;
- each member function `async_*`;
- each member function of the classes OPERATIONS that is no accessor: an accessor's comment begins
  with `\\return`, and accessors need none anywhere.

The overloads and forms of one operation need one between them: `async_x`, `parse_x` and `format_x`
go with `x`, in the same class. What every stream or connector has (SHARED) goes with the class, and
a class goes with any of its members. Every `\\snippet` must name a part that exists, and every part
must be named.
"""

import collections
import pathlib
import re
import sys

OPERATIONS = ("stream_layer", "client", "session", "server", "transfer_pool", "directory_store",
              "memory_store", "rados_store")
SHARED = ("read_some", "write_some", "connect")

SNIPPET = re.compile(r"\\snippet +(\S+) +(\S+)")
MARK = re.compile(r"//! \[([^\]\n]*)\]")
COMMENT = re.compile(r" *///(?!<)(.*)")
TYPE = re.compile(r"(?:requires .* )?(class|struct) ([\w:<>]+)")
FUNCTION = re.compile(r"([\w~:]+)\(")
NO_NAMES = ("requires", "decltype", "noexcept", "sizeof", "explicit")


def without_templates(text):
    """`text` without the angle brackets after `template`."""
    while True:
        begin = re.search(r"\btemplate\s*<", text)
        if not begin:
            return text
        depth, end = 1, begin.end()
        while depth > 0 and end < len(text):
            depth += {"<": 1, ">": -1}.get(text[end], 0)
            end += 1
        text = text[:begin.start()] + text[end:]


def declarations(text):
    """Yields (class, name, comment) of what is public and has a comment: a type has no name, a free
    function no class."""
    lines = text.split("\n")
    inside, access, hidden = "", "public", False
    number = 0
    while number < len(lines):
        line = lines[number]
        if line.startswith("namespace detail {"):
            hidden = True
        elif line.startswith("}  // namespace detail"):
            hidden = False
        elif line.startswith("}"):
            inside = ""
        elif re.match(r" (public|private|protected):", line):
            access = line.strip(" :")
        comment = []
        while number < len(lines) and COMMENT.fullmatch(lines[number]):
            comment.append(COMMENT.fullmatch(lines[number]).group(1).strip())
            number += 1
        indent = 0
        declared = ""
        while number < len(lines):
            line = lines[number]
            indent = indent if declared else len(line) - len(line.lstrip())
            declared = (declared + " " + line.split(" //")[0].strip()).strip()
            if re.search(r"[{};:]$|[{;]|^$", declared) or not comment:
                break
            number += 1
        number += 1
        declared = without_templates(declared).strip()
        found = TYPE.match(declared)
        if found and indent == 0:
            inside, access = found.group(2), "private" if found.group(1) == "class" else "public"
            if comment and not hidden and found.group(1) == "class" and not declared.endswith(";"):
                yield inside, "", comment
            continue
        is_member = indent == 2 and inside and access == "public"
        if not comment or hidden or "operator" in declared or not (is_member or indent == 0):
            continue
        names = [name for name in FUNCTION.findall(declared.split("{")[0]) if name not in NO_NAMES]
        if not names or declared.startswith("using "):
            continue
        if "::" in names[0]:  # a member's definition, or a call in an initializer
            continue
        if is_member or not declared.startswith(names[0]):  # that would be a deduction guide
            yield (inside if is_member else ""), names[0], comment


def operation_of(name):
    return re.sub(r"^(async_|parse_|format_)", "", name)


def needs_example(inside, name, comment):
    if name.startswith("~") or name == inside or "::" in inside:
        return False
    if name and comment[0].startswith("\\return"):
        return False
    return not inside or not name or name.startswith("async_") or inside in OPERATIONS


def without_example(headers):
    """Of a dict from a header's name to its text: what has no example but needs one."""
    needed = collections.OrderedDict()
    shown = set()
    for header, text in sorted(headers.items()):
        for inside, name, comment in declarations(text):
            what = (inside, operation_of(name))
            if needs_example(inside, name, comment):
                full_name = "::".join(filter(None, (inside, name)))
                needed.setdefault(what, "%s: %s" % (header, full_name))
            if SNIPPET.search("\n".join(comment)):
                shown.add(what)
                shown.add((inside, ""))
    for (inside, operation), where in needed.items():
        goes_with_class = operation in SHARED and (inside, "") in shown
        if (inside, operation) not in shown and not goes_with_class:
            yield where + " has no example (\\snippet)"


def broken_parts(headers, examples):
    """What is wrong with the parts of `examples`, a dict from a file's name to its text."""
    named = set()
    for header, text in sorted(headers.items()):
        for file, part in SNIPPET.findall(text):
            named.add((file, part))
            # Doxygen looks for the brackets only, wherever they are.
            count = examples.get(file, "").count("[%s]" % part)
            if count != 2:
                yield "%s: [%s] is there %d times in %s, not twice" % (header, part, count, file)
    for file, text in sorted(examples.items()):
        for part in sorted(set(MARK.findall(text))):
            if (file, part) not in named:
                yield "%s: no header shows [%s]" % (file, part)


def complaints(headers, examples):
    return list(without_example(headers)) + list(broken_parts(headers, examples))


def must_complain():
    """The check must be able to fail: each of these is wrong, and `right` is not."""
    example = {"a.cpp": "//! [f]\nf();\n//! [f]\n"}
    right = ("/// Does.\n/// \\snippet a.cpp f\nvoid f(int a = {});\n"
             "/// \\return What.\nint g();\nnamespace detail {\n/// Does.\nvoid h();\n"
             "}  // namespace detail\n"
             "/// Is.\nclass server {\n public:\n  /// Starts.\n  server();\n"
             "  /// Does.\n  /// \\snippet a.cpp f\n  template <class T = a<int>>\n"
             "    requires b<T>\n  void f(T t) {\n    g();\n  }\n"
             "  /// Asynchronous form of `f`.\n  void async_f();\n"
             " private:\n  /// Does.\n  void async_g();\n};\n")
    wrong = [
        ("/// Does.\ninline void g() {}\n", {}),
        ("/// Does.\ntemplate <class T>\nT g(T&& t,\n    int i);\n", {}),
        ("/// Is.\nclass c {\n};\n", {}),
        ("/// Is.\n/// \\snippet a.cpp f\nclass c {\n public:\n"
         "  /// Does.\n  auto async_g();\n};\n", {}),
        ("/// Is.\n/// \\snippet a.cpp f\nclass server {\n public:\n"
         "  /// Does.\n  void g();\n};\n", {}),
        ("/// Is.\n/// \\snippet a.cpp f\ntemplate <class T>\n  requires a<T, b>\nclass session {\n"
         " public:\n  /// Does.\n  void g();\n};\n", {}),
        ("/// Does.\n/// \\snippet a.cpp g\nvoid g();\n", {}),
        ("/// Does.\n/// \\snippet b.cpp f\nvoid g();\n", {}),
        ("", {"b.cpp": "//! [g]\ng();\n//! [g]\n"}),
        ("", {"a.cpp": "//! [f]\nauto x = [f] {};\n//! [f]\n"}),
    ]
    found = complaints({"a.hpp": right}, example)
    if found:
        sys.exit("This check complains of what is right: %s" % found)
    for text, more in wrong:
        if not complaints({"a.hpp": right, "b.hpp": text}, {**example, **more}):
            sys.exit("This check is blind: it accepts\n%s%s" % (text, more))


def main():
    must_complain()
    include_dir, snippets_dir = (pathlib.Path(argument) for argument in sys.argv[1:])
    headers = {path.name: path.read_text() for path in (include_dir / "filexfer").glob("*.hpp")}
    examples = {path.name: path.read_text() for path in snippets_dir.glob("*.cpp")}
    found = complaints(headers, examples)
    print("\n".join(found) or "every operation of %d headers has an example" % len(headers))
    sys.exit(1 if found or not headers or not examples else 0)


if __name__ == "__main__":
    main()
