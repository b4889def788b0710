"""Asks in SQL over ADBC: `sql.py URL EXAMPLE`. EXAMPLE is a program that sets `result` to a data frame. Prints the answers as JSON."""

import json
import sys

import adbc_driver_flightsql.dbapi as flight_sql
import pyarrow
from adbc_driver_flightsql import DatabaseOptions


def rows(cursor, query, parameters=None):
    cursor.execute(query, parameters)
    return [list(row) for row in cursor.fetchall()]


def refused(what):
    """Why something is not done; None when it is."""
    try:
        what()
    except flight_sql.Error as error:
        return str(error)
    return None


def tables(connection):
    catalogs = connection.adbc_get_objects(depth="tables").read_all().to_pylist()
    schemas = [schema for catalog in catalogs for schema in catalog["catalog_db_schemas"]]
    return sorted(table["table_name"] for schema in schemas for table in schema["db_schema_tables"])


def main():
    url, example = sys.argv[1:]
    names = {"uri": url}
    exec(compile(example, "example", "exec"), names)
    answers = {"example": names["result"].values.tolist()}
    with flight_sql.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        numbered = "SELECT count(*) FROM spans WHERE duration > $2 AND service_name = $1"
        answers["numbered"] = rows(cursor, numbered, ("shop", 200_000_000))
        answers["tables"] = tables(connection)
        answers["columns"] = {field.name: str(field.type) for field in connection.adbc_get_table_schema("spans")}
        many = "SELECT count(*) FROM spans WHERE service_name = $1"
        answers["refused"] = {
            "column": refused(lambda: cursor.execute("SELECT nope FROM spans")),
            "ddl": refused(lambda: cursor.execute("DROP TABLE spans")),
            "write": refused(lambda: cursor.execute("INSERT INTO resources SELECT * FROM resources")),
            "several": refused(lambda: cursor.executemany(many, [("shop",), ("payments",)])),
            "ingest": refused(lambda: cursor.adbc_ingest("x", pyarrow.table({"a": [1]}))),
        }
    header = {DatabaseOptions.RPC_CALL_HEADER_PREFIX.value + "x-scope-orgid": "team-a"}
    with flight_sql.connect(url, db_kwargs=header, autocommit=True) as connection, connection.cursor() as cursor:
        answers["tenant"] = rows(cursor, "SELECT count(*) FROM spans")
    json.dump(answers, sys.stdout)


main()
