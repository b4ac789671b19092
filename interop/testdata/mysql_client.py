"""A session with PyMySQL: a query, a statement with arguments, and what is known of TLS."""
import sys

import pymysql

port, user, password, root = sys.argv[1:]
conn = pymysql.connect(host="127.0.0.1", port=int(port), user=user, password=password, database="app",
                       ssl={"ca": root, "check_hostname": False}, connect_timeout=10, read_timeout=30)
with conn.cursor() as cursor:
    cursor.execute("SELECT seq FROM seq_1_to_10000")
    print("sum:", sum(row[0] for row in cursor.fetchall()))
    print("tls:", conn._sock.version())
    cursor.execute("SELECT %s", (1,))
    print("again:", cursor.fetchone()[0])
conn.close()
