// A session with mysql2: a query, and the same prepared. With the name of another user also
// arguments and results of more than 16 MiB, a file that the server asks for, COM_CHANGE_USER,
// and a session with compression. There mysql2 miscounts its own packets if they are large.
const fs = require('fs');
const { Readable } = require('stream');
const mysql = require('mysql2/promise');

const [port, user, password, root, other] = process.argv.slice(2);
const options = {
  host: 'localhost', port: Number(port), user, password, connectTimeout: 10000, ssl: { ca: fs.readFileSync(root), verifyIdentity: true },
};
const first = ([rows]) => Object.values(rows[0])[0];

async function session(more, act) {
  const connection = await mysql.createConnection({ ...options, ...more });
  await act(connection);
  await connection.end();
}

async function queries(connection) {
  console.log(first(await connection.query('SELECT 6*7')));
  console.log(first(await connection.execute('SELECT 6*7')));
}

async function large(connection) {
  console.log(first(await connection.execute('SELECT LENGTH(?)', ['x'.repeat(17 << 20)])));
  console.log(first(await connection.query("SELECT REPEAT('y', 17 << 20)")).length);
  await connection.query('CREATE TEMPORARY TABLE app.words (w TEXT)');
  const [loaded] = await connection.query({
    sql: "LOAD DATA LOCAL INFILE 'words' INTO TABLE app.words",
    infileStreamFactory: () => Readable.from([Buffer.from('some words\n'.repeat(100000))]),
  });
  console.log(loaded.affectedRows);
  await connection.changeUser({ user: other, password });
  console.log(first(await connection.query('SELECT SUBSTRING_INDEX(USER(), "@", 1)')));
}

async function main() {
  await session({}, queries);
  if (other) {
    await session({}, large);
    await session({ compress: true }, queries);
  }
}

main().catch((err) => {
  console.error(err.message);
  process.exit(1);
});
