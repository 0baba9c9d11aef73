"""install: what `cmake --install` leaves is enough to build and run a program, and to read the manual.

Started with BUILT (where the library was built), CMAKE, CC and LIBRARY_FOLDER in the environment."""

import os
import subprocess
import tempfile
import unittest

PROGRAM = """
#include <brim.h>
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    void *p = malloc(100);
    puts(brim_owns(p) ? "brim" : "another");
    free(p);
    return 0;
}
"""


def run(*command, **variables):
    return subprocess.run(command, env=os.environ | {"LC_ALL": "C.UTF-8"} | variables, text=True, check=True,
                          capture_output=True, timeout=120).stdout


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        holder = tempfile.TemporaryDirectory(prefix="brim-install-")
        cls.addClassCleanup(holder.cleanup)
        cls.folder = os.path.join(holder.name, "with a space")
        cls.libraries = os.path.join(cls.folder, os.environ["LIBRARY_FOLDER"])
        run(os.environ["CMAKE"], "--install", os.environ["BUILT"], "--prefix", cls.folder)
        cls.program = os.path.join(holder.name, "program")
        with open(cls.program + ".c", "w", encoding="ascii") as file:
            file.write(PROGRAM)

    def test_files(self):
        for name in ("libbrim.so", "libbrim.so.1", "libbrim.a", "pkgconfig/brim.pc"):
            self.assertTrue(os.path.exists(os.path.join(self.libraries, name)), name)
        self.assertTrue(os.path.exists(os.path.join(self.folder, "include", "brim.h")))

    def package(self, *wanted):
        # The prefix is where the file lies, not where the build was once meant for.
        words = run("pkg-config", f"--define-variable=prefix={self.folder}".replace(" ", "\\ "), *wanted, "brim",
                    PKG_CONFIG_PATH=os.path.join(self.libraries, "pkgconfig"))
        return [word.replace("\\ ", " ") for word in words.replace("\\ ", "\0").split()], words

    def test_pkg_config(self):
        self.assertRegex(self.package("--modversion")[1], r"^\d+\.\d+\.\d+\n$")
        words = [word.replace("\0", " ") for word in self.package("--cflags", "--libs")[0]]
        run(os.environ["CC"], self.program + ".c", "-o", self.program, *words)
        self.assertEqual(run(self.program, LD_LIBRARY_PATH=self.libraries), "brim\n")

    def test_static(self):
        run(os.environ["CC"], "-static", self.program + ".c", "-o", self.program, f"-I{self.folder}/include",
            "-Wl,-u,malloc", os.path.join(self.libraries, "libbrim.a"))
        self.assertEqual(run(self.program), "brim\n")

    def test_preload(self):
        run(os.environ["CC"], "-fno-builtin", self.program + ".c", "-o", self.program, f"-I{self.folder}/include",
            f"-L{self.libraries}", "-lbrim")
        self.assertEqual(run(self.program, LD_LIBRARY_PATH=self.libraries), "brim\n")

    def test_manual(self):
        pages = os.path.join(self.folder, "share", "man")
        for name, text in [("brim", "ENVIRONMENT"), ("brim_heap_free", "brim_heap_usable_size"),
                           ("brim_owns", "RETURN VALUES")]:
            self.assertIn(text, run("man", "-M", pages, "-P", "cat", "7" if name == "brim" else "3", name))


if __name__ == "__main__":
    unittest.main(verbosity=2)
