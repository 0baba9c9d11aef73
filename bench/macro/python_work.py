"""python_work: what scripts do all day: parse and print JSON, count words, sort objects, join strings, build
and drop dictionaries. Prints a checksum. Argument: how many rounds."""

import collections
import hashlib
import json
import sys


class Record:
    def __init__(self, number):
        self.number = number
        self.name = f"record {number * 7919 % 100003}"
        self.tags = [f"tag{number % k}" for k in (3, 5, 7)]

    def document(self):
        return {
            "number": self.number,
            "name": self.name,
            "tags": self.tags,
            "nested": {"half": self.number / 2},
        }


def work(seed):
    records = [Record(number + seed) for number in range(4000)]
    text = json.dumps([record.document() for record in records])
    parsed = json.loads(text)
    words = collections.Counter(word for item in parsed for word in item["name"].split())
    by_tag = collections.defaultdict(list)
    for item in parsed:
        for tag in item["tags"]:
            by_tag[tag].append(item["name"])
    ordered = sorted(records, key=lambda record: (record.name, record.number))
    joined = "".join(record.name for record in ordered)
    lengths = {tag: len("|".join(names)) for tag, names in sorted(by_tag.items())}
    return f"{len(text)} {len(words)} {hashlib.sha256(joined.encode()).hexdigest()} {lengths}"


digest = hashlib.sha256()
for round_number in range(int(sys.argv[1])):
    digest.update(work(round_number).encode())
print(digest.hexdigest())
