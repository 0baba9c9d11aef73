"""pages: every function of brim.h has a manual page with its prototype, every page tells of functions that are there,
and both formatters of manual pages are content.

Started with ALLOCATOR (the folder) and CC in the environment."""

import glob
import os
import re
import subprocess
import tempfile
import unittest

ALLOCATOR = os.environ["ALLOCATOR"]
# Macros: they have pages, and no prototypes.
MACROS = {"brim_ref", "brim_get", "brim_set"}


def read(*names):
    with open(os.path.join(ALLOCATOR, *names), encoding="utf-8") as file:
        return file.read()


def squeezed(text):
    """One spelling for a declaration: no needless blanks."""
    return re.sub(r"\s*([*(),])\s*", r"\1", re.sub(r"\s+", " ", text)).strip()


HEADER = re.sub(r"/\*.*?\*/", "", read("include", "brim.h"), flags=re.DOTALL)


def declared():
    """{name: declaration} of the functions of brim.h."""
    found = {}
    for statement in re.findall(r"^[a-z][^;{}#]*\b(?:brim_\w+)\([^;{}]*\);", HEADER, re.MULTILINE):
        if statement.startswith("typedef"):
            continue
        # The first name before a parenthesis: parameters can be functions, too.
        found[re.search(r"(brim_\w+)\(", statement)[1]] = squeezed(statement.rstrip(";"))
    return found


def fields(structure):
    """The names of a structure's fields."""
    body = re.search(rf"^struct {structure} \{{(.*?)^\}};", HEADER, re.MULTILINE | re.DOTALL)[1]
    return [re.search(r"(\w+)(?:\[\w+\])?$", part)[1] for line in body.split(";") if line.strip()
            for part in line.split(",")]


PAGES = {os.path.basename(path): read("man", os.path.basename(path))
         for path in sorted(glob.glob(os.path.join(ALLOCATOR, "man", "*.[37]")))}
LINKS = {name: os.path.basename(match[1]) for name, text in PAGES.items()
         if (match := re.fullmatch(r"\.so man3/(\S+)\n", text))}
TEXTS = {name: text for name, text in PAGES.items() if name not in LINKS}


def words_of(line):
    """The arguments of a macro, as mdoc splits them."""
    return [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', line)][1:]


def section(text, name):
    match = re.search(rf"^\.Sh {name}\n(.*?)(?=^\.Sh |\Z)", text, re.MULTILINE | re.DOTALL)
    return match[1] if match else ""


def synopsis(text):
    """{name: declaration} of a page."""
    found, kind, name, parameters = {}, "", "", []
    for line in section(text, "SYNOPSIS").splitlines():
        words = words_of(line)
        if line.startswith(".Ft "):
            kind = " ".join(words)
        elif line.startswith(".Fn ") and words[0] not in MACROS:
            found[words[0]] = squeezed(f"{kind} {words[0]}({','.join(words[1:])})")
        elif line.startswith(".Fo "):
            name, parameters = words[0], []
        elif line.startswith(".Fa "):
            parameters += words
        elif line == ".Fc":
            found[name] = squeezed(f"{kind} {name}({','.join(parameters)})")
    return found


class Pages(unittest.TestCase):
    def test_every_function_has_a_page_with_its_prototype(self):
        functions = declared()
        self.assertGreater(len(functions), 20)
        for name, declaration in functions.items():
            with self.subTest(function=name):
                self.assertIn(f"{name}.3", PAGES)
                page = LINKS.get(f"{name}.3", f"{name}.3")
                self.assertEqual(synopsis(TEXTS[page]).get(name), declaration)

    def test_every_page_is_of_something(self):
        functions = declared()
        for page, text in TEXTS.items():
            names = re.findall(r"^\.Nm (\w+)", section(text, "NAME"), re.MULTILINE)
            self.assertEqual(page.rpartition(".")[0], names[0])
            if page.endswith(".3"):
                self.assertEqual(set(synopsis(text)), set(names) - MACROS, page)
                self.assertLessEqual(set(names), set(functions) | MACROS, page)
                # Who looks for any of the names finds this page.
                linked = {link for link, target in LINKS.items() if target == page}
                self.assertEqual(linked, {f"{name}.3" for name in names[1:]}, page)

    def test_macros_are_in_the_header(self):
        for name in MACROS:
            self.assertRegex(HEADER, rf"(?m)^#define {name}\(")

    def test_links_lead_somewhere(self):
        for page, text in TEXTS.items():
            for name, number in re.findall(r"\bXr (brim\w*) (\d)", text):
                self.assertIn(f"{name}.{number}", PAGES, page)

    def test_the_overview_names_every_function(self):
        named = set(re.findall(r"\bXr (brim_\w+) 3", PAGES["brim.7"]))
        self.assertEqual(named, set(declared()))

    def test_every_option(self):
        text = section(PAGES["brim.7"], "ENVIRONMENT")
        rows = re.findall(r"^OPTION\((\w+),[^\"]*?(\w+),\s*\"(\w*)\"", read("options.def"), re.MULTILINE)
        self.assertGreater(len(rows), 10)
        told = re.findall(r"^\.It Ev BRIM_(\w+)", text, re.MULTILINE)
        self.assertEqual(sorted(told), sorted(name.upper() for name, when, _ in rows if when != "WITHOUT_EFFECT"))
        for name, when, variable in rows:
            if when == "WITHOUT_EFFECT":
                self.assertRegex(text, rf"\b{name}\b")
            elif variable:
                self.assertRegex(text, rf"\.Ev {variable}\b")

    def test_every_error(self):
        codes = re.search(r"enum brim_heap_error \{(.*?)\}", HEADER, re.DOTALL)[1]
        text = PAGES["brim_heap_error.3"]
        for name in re.findall(r"(BRIM_HEAP_\w+) =", codes):
            self.assertRegex(text, rf"\.Dv {name}\b" if name == "BRIM_HEAP_OK" else rf"\.It Dv {name}\b")
        for page, text in TEXTS.items():
            for name in re.findall(r"\bDv (BRIM_\w+)", text):
                self.assertRegex(HEADER, rf"\b{name}\b", page)

    def test_every_field(self):
        for structure, page in [("brim_stats", "brim_stats_get.3"), ("brim_arena_stats", "brim_stats_get.3"),
                                ("brim_class_stats", "brim_stats_get.3"), ("brim_heap_stats", "brim_heap_stats.3"),
                                ("brim_heap_options", "brim_heap_create.3")]:
            lines = re.findall(r"^\.(?:It Fa|Fa|Pq Fa) (.*)", PAGES[page], re.MULTILINE)
            told = set(re.findall(r"\w+", " ".join(lines)))
            if structure == "brim_heap_options":
                told.add("kind")  # the first list of the page
            for name in fields(structure):
                self.assertIn(name, told, structure)

    def test_the_program_of_the_overview_compiles(self):
        program = re.search(r"^\.Bd -literal[^\n]*\n(#include.*?)^\.Ed", PAGES["brim.7"], re.MULTILINE | re.DOTALL)[1]
        with tempfile.NamedTemporaryFile(suffix=".c", mode="w") as file:
            file.write(program.replace("\\e", "\\"))
            file.flush()
            subprocess.run([os.environ["CC"], "-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
                            f"-I{ALLOCATOR}/include", file.name], check=True)

    def test_formatters_are_content(self):
        for page in TEXTS:
            path = os.path.join(ALLOCATOR, "man", page)
            lint = subprocess.run(["mandoc", "-Tlint", "-Wstyle", path], stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True, check=False)
            # It looks for other pages in what is installed here.
            complaints = [line for line in lint.stdout.splitlines() if "referenced manual not found" not in line]
            self.assertEqual(complaints, [], page)
            man = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", path], capture_output=True,
                                 text=True, check=False, env=os.environ | {"LC_ALL": "C.UTF-8"})
            self.assertEqual((man.returncode, man.stderr), (0, ""), page)


if __name__ == "__main__":
    unittest.main(verbosity=2)
