"""report: reads the results that ctest wrote (JUnit), lists what failed and what was skipped, with the reason,
and ends with the one line of counts. Status 1 if any test failed or did not run without saying why, or if none
passed.

    report.py RESULTS.xml
"""

import sys
import xml.etree.ElementTree


def last_line(text):
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    return lines[-1].removeprefix("skipped: ") if lines else ""


def main():
    passed, failed, skipped = [], [], []
    for case in xml.etree.ElementTree.parse(sys.argv[1]).iter("testcase"):
        name, output = case.get("name"), case.findtext("system-out")
        note = case.find("skipped")
        if case.get("status") == "run":
            passed.append(name)
        elif note is not None and note.get("message", "").startswith("SKIP_"):
            skipped.append(f"{name}: {last_line(output) or 'gave no reason'}")
        elif case.get("status") == "fail":
            failed.append(f"{name}: {last_line(output) or 'failed in silence'}")
        else:
            failed.append(f"{name}: did not run: {last_line(output)}")
    print()
    for heading, lines in (("Skipped:", skipped), ("Failed:", failed)):
        if lines:
            print(heading, *(f"  {line}" for line in lines), sep="\n")
    counts = f"{len(passed)} passed, {len(failed)} failed"
    print(f"{counts}, {len(skipped)} skipped" if skipped else counts)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
