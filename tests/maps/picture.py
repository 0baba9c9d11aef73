"""picture: the SVG of scripts/maps shows every range, in bars that do not overlap, within its frame."""

import os
import re
import tempfile
import unittest
import xml.etree.ElementTree

from support import maps, report, running

SVG = "{http://www.w3.org/2000/svg}"


def draw(subject):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "picture.svg")
        maps("--svg", path, subject.pid)
        return xml.etree.ElementTree.parse(path).getroot()


class Bar:
    """A bar with its words: the title that a pointer over it shows, and what is beside it."""

    def __init__(self, group):
        self.name, addresses, self.details = group.find(f"{SVG}title").text.split("\n")
        self.start, self.end = (int(word, 16) for word in addresses.split(" to "))
        boxes = group.findall(f"{SVG}rect")
        self.box = {name: float(boxes[0].get(name)) for name in ("x", "y", "width", "height")}
        self.fills = {box.get("class").split()[-1]: float(box.get("width")) for box in boxes}
        self.kind = boxes[0].get("class").split()[0]
        self.words = [text.text for text in group.findall(f"{SVG}text")]


class PictureTest(unittest.TestCase):
    def bars(self, subject):
        root = draw(subject)
        width, height = (float(root.get(name)) for name in ("width", "height"))
        bars = [Bar(group) for group in root.findall(f"{SVG}g")]
        for bar in bars:
            self.assertLessEqual(bar.box["y"] + bar.box["height"], height)
            for fill in bar.fills.values():
                self.assertLessEqual(fill, bar.box["width"])
        for before, after in zip(bars, bars[1:]):
            self.assertLessEqual(before.box["y"] + before.box["height"], after.box["y"])
            self.assertLessEqual(before.end, after.start)
        for text in root.iter(f"{SVG}text"):
            # 0.62 of the size is more than letters of these fonts take on average.
            size = 18 if "title" in text.get("class") else 11 if re.search("small|mono", text.get("class")) else 12
            length = 0.62 * size * len(text.text)
            x = float(text.get("x")) - (length if "end" in text.get("class").split() else 0)
            self.assertTrue(0 <= x and x + length <= width + 24, text.text)
            self.assertLessEqual(float(text.get("y")), height)
        return bars

    def test_every_range_is_in_a_bar(self):
        with running(library=os.environ["BRIM_LIBRARY"]) as subject:
            bars, ranges = self.bars(subject), report(subject)["ranges"]
            told = subject.told
        for one in ranges:
            if one["name"] != "[vsyscall]":
                self.assertTrue(any(bar.start <= one["start"] and one["end"] <= bar.end for bar in bars), one)
        anonymous = next(bar for bar in bars if bar.start == told["anonymous"][0][0])
        self.assertEqual(anonymous.details, "8 MiB, 3 MiB resident, 3 MiB shared")
        self.assertAlmostEqual(anonymous.fills["resident"] / anonymous.box["width"], 3 / 8, places=2)
        self.assertEqual(anonymous.words[0], f"{anonymous.start:#x}")
        kinds = {bar.kind for bar in bars}
        self.assertLessEqual({"break", "mapping", "brim", "anonymous", "shared", "file", "stack", "kernel"}, kinds)

    def test_the_larger_is_the_taller(self):
        with running() as subject:
            bars, ranges = self.bars(subject), report(subject)["ranges"]

        def size(bar):
            return sum(one["figures"]["reserved"] for one in ranges if bar.start <= one["start"] < bar.end)

        heights = [height for _, height in sorted((size(bar), bar.box["height"]) for bar in bars)]
        self.assertEqual(heights, sorted(heights))

    def test_thousands_of_ranges_fit_a_page(self):
        with running(arguments=["5000"]) as subject:
            bars = self.bars(subject)
        self.assertLess(len(bars), 60)

    def test_light_and_dark(self):
        with running() as subject:
            style = draw(subject).find(f"{SVG}style").text
        light, dark = style.split("@media (prefers-color-scheme: dark)")
        self.assertEqual(sorted(re.findall(r"\.([\w-]+) \{ fill: #", light)),
                         sorted(re.findall(r"\.([\w-]+) \{ fill: #", dark)))


if __name__ == "__main__":
    unittest.main(verbosity=2)
