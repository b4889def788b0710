"""Runs the examples of a document: `run.py DOCUMENT`. Prints, as JSON, what each named one gives: the rows of the last
statement of SQL, the value of `result` of Python. An example's name is in the comment before it: `<!-- NAME -->`."""

import json
import re
import sys

import duckdb

EXAMPLE = re.compile(r"^<!-- (\w+) -->\n```(sql|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def main():
    with open(sys.argv[1], encoding="utf-8") as document:
        examples = EXAMPLE.findall(document.read())
    database, answers = duckdb.connect(), {}
    for name, language, text in examples:
        if language == "sql":
            answers[name] = database.execute(text).fetchall()
        else:
            names = {}
            exec(compile(text, name, "exec"), names)
            answers[name] = names["result"]
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
