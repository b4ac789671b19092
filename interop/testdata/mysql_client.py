"""A session with PyMySQL: a query, a statement with arguments, and what is known of TLS. With "large" behind the other
arguments also packets of more than 16 MiB in both directions, and a file that the server asks for."""
import sys
import tempfile

import pymysql

port, user, password, root, *large = sys.argv[1:]
conn = pymysql.connect(host="localhost", port=int(port), user=user, password=password, ssl={"ca": root, "check_hostname": True},
                       autocommit=None, connect_timeout=10, read_timeout=60, max_allowed_packet=64 << 20, local_infile=True)
with conn.cursor() as cursor:
    cursor.execute("SELECT 6*7")
    print("text:", cursor.fetchone()[0])
    print("tls:", conn._sock.version())
    if large:
        size = 17 << 20
        cursor.execute("SELECT LENGTH(%s), REPEAT('y', %s)", ("x" * size, size))
        sent, got = cursor.fetchone()
        print("large:", sent == size, got == "y" * size)
        cursor.execute("SELECT seq FROM app.seq_1_to_10000")
        print("sum:", sum(row[0] for row in cursor.fetchall()))
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as rows:
            rows.write("some words\n" * 100000)
            rows.flush()
            cursor.execute("CREATE TEMPORARY TABLE app.words (w TEXT)")
            print("rows:", cursor.execute("LOAD DATA LOCAL INFILE %s INTO TABLE app.words", (rows.name,)))
conn.close()
