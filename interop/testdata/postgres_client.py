"""Uses a database through Python's client library, and reports what came of it.

postgres_client.py CONNECTION-STRING
"""

import sys
import threading

import psycopg2

connection = psycopg2.connect(sys.argv[1])
connection.autocommit = True
cursor = connection.cursor()

cursor.execute("SELECT n FROM generate_series(1, 10000) AS n")
print("sum:", sum(n for n, in cursor))
print("ssl:", "on" if connection.info.ssl_in_use else "off", connection.info.ssl_attribute("protocol"))

# A query that the server itself cancels, after which the session goes on.
cursor.execute("SET statement_timeout = 200")
try:
    cursor.execute("SELECT pg_sleep(60)")
except psycopg2.errors.QueryCanceled as error:
    print("error:", error.pgcode)

# One that the client cancels, from another thread and on another connection.
cursor.execute("SET statement_timeout = 0")
threading.Timer(1, connection.cancel).start()
try:
    cursor.execute("SELECT pg_sleep(60)")
except psycopg2.errors.QueryCanceled as error:
    print("cancelled:", error.pgcode)
cursor.execute("SELECT 1")
print("still:", cursor.fetchone()[0])
