"""dependencies_test.py SOURCE BUILD PROGRAM...: a machine that has a compiler and header-only packages alone can build and run what
ORCH_BARE builds.

The headers of every other package lie beside the C library's on the machine that tests, so that a source which includes one compiles
here. What is looked at is therefore what the sources say.
"""

import json
import pathlib
import re
import shlex
import subprocess
import sys
import unittest

ROOMS = ("kernels", "worker/comm", "worker/infer", "worker/model", "worker/train")
# Sources in those folders that are parts of other libraries: these need MPI, PCRE2, utf8proc or yaml-cpp.
OTHERS = ("worker/comm/mpi_transport.cpp", "worker/comm/ranks.cpp", "worker/model/chat/", "worker/model/tokenizer/")

# Headers of C++ are those without a dot. Then those of C, POSIX and Linux, which are the C library's and the kernel's, and the compiler's.
STANDARD = re.compile(r"[a-z_]+|(sys|net|netinet|arpa|linux)/\w+\.h|(fcntl|ifaddrs|poll|sched|unistd|immintrin)\.h")
HEADER_ONLY = re.compile(r"nlohmann/json\.hpp")
FOR_TESTS = re.compile(r"g(mock|test)/g(mock|test)\.h")
LIBRARIES = re.compile(r"lib(c|m|gcc_s|stdc\+\+|pthread|gtest|gtest_main|gmock)\.so[.\d]*|ld-linux.*")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


class Dependencies(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.compiled = {}  # each source, and the folders in which its compiler looks for headers
        for entry in json.loads((BUILD / "compile_commands.json").read_text()):
            words = shlex.split(entry["command"])
            folders = [pathlib.Path(word[2:]) for word in words if word.startswith("-I")]
            cls.compiled[pathlib.Path(entry["file"])] = [folder for folder in folders if folder.is_relative_to(SOURCE)]

    def test_has_every_source_of_the_rooms(self):
        for room in ROOMS:
            for path in sorted((SOURCE / room).rglob("*.cpp")):
                name = path.relative_to(SOURCE).as_posix()
                if not name.startswith(OTHERS):
                    self.assertTrue(path in self.compiled, f"{name} is not built with ORCH_BARE")

    def test_includes_nothing_that_a_bare_machine_does_not_have(self):
        seen, asked = set(), []
        for path, folders in self.compiled.items():
            self.follow(path, folders, seen, asked)
        self.assertGreater(len(asked), 100)  # a search that finds nothing must not pass
        self.assertIn("nlohmann/json.hpp", [header for _, header in asked])
        for path, header in asked:
            of_test = path.is_relative_to(SOURCE / "tests") and FOR_TESTS.fullmatch(header)
            self.assertTrue(STANDARD.fullmatch(header) or HEADER_ONLY.fullmatch(header) or of_test,
                            f"{path.relative_to(SOURCE)} includes <{header}>")

    def follow(self, path, folders, seen, asked):
        """Collects the headers in angles that a file asks for, itself or through files of the tree."""
        if path in seen:
            return
        seen.add(path)
        for kind, header in INCLUDE.findall(path.read_text()):
            if kind == "<":
                asked.append((path, header))
                continue
            found = next((folder / header for folder in [path.parent, *folders] if (folder / header).is_file()), None)
            self.assertIsNotNone(found, f'{path.relative_to(SOURCE)} includes "{header}", which is not in the tree')
            self.follow(found, folders, seen, asked)

    def test_makes_programs_that_need_the_languages_libraries_alone(self):
        for program in PROGRAMS:
            said = subprocess.run(["readelf", "-d", program], capture_output=True, text=True, check=True).stdout
            needed = re.findall(r"\(NEEDED\).*\[(.*)\]", said)
            self.assertTrue(any(library.startswith("libc.so") for library in needed), said)
            for library in needed:
                self.assertTrue(LIBRARIES.fullmatch(library), f"{pathlib.Path(program).name} needs {library}")


if __name__ == "__main__":
    SOURCE, BUILD = map(pathlib.Path, sys.argv[1:3])
    PROGRAMS = sys.argv[3:]
    unittest.main(argv=sys.argv[:1])
