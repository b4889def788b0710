"""Asks a collector over ADBC, and DuckDB over its blocks, the same: `beside.py URL DOCUMENT`. DOCUMENT is docs/schema.md, whose
examples make DuckDB's views. Prints how many queries gave equal answers; of the first that did not, both."""

import pathlib
import sys

import adbc_driver_flightsql.dbapi as flight_sql
import duckdb
from pandas.testing import assert_frame_equal
from run import EXAMPLE

HERE = pathlib.Path(__file__).parent


def read(name):
    return (HERE / name).read_text(encoding="utf-8")


def main():
    url, document = sys.argv[1:]
    database = duckdb.connect()
    for name, language, text in EXAMPLE.findall(pathlib.Path(document).read_text(encoding="utf-8")):
        if name in ("blocks", "spans", "attribute"):
            database.execute(text)
    database.execute(read("beside_views.sql"))
    queries = [query.strip() for query in read("beside.sql").split(";") if query.strip()]
    with flight_sql.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        for query in queries:
            cursor.execute(query)
            clew = cursor.fetch_df()
            duck = database.execute(query).df()
            try:
                if duck.empty:
                    raise AssertionError("it finds nothing, and so shows nothing")
                assert_frame_equal(clew, duck, check_dtype=False)
            except AssertionError as error:
                sys.exit(f"{query}\nClew:\n{clew}\nDuckDB:\n{duck}\n{error}")
    print(len(queries))


main()
