// A session with mysql2: a query, the same prepared, and COM_CHANGE_USER.
const fs = require('fs');
const mysql = require('mysql2/promise');

const [port, user, password, root, other] = process.argv.slice(2);

async function main() {
  const options = { host: '127.0.0.1', port: Number(port), user, password, connectTimeout: 10000 };
  if (root) {
    options.ssl = { ca: fs.readFileSync(root), checkServerIdentity: () => undefined };
  }
  const connection = await mysql.createConnection(options);
  const first = ([rows]) => Object.values(rows[0])[0];
  console.log(first(await connection.query('SELECT CONCAT(6*7)')));
  console.log(first(await connection.execute('SELECT CONCAT(6*7)')));
  await connection.changeUser({ user: other, password });
  console.log(first(await connection.query('SELECT SUBSTRING_INDEX(USER(), "@", 1)')));
  await connection.end();
}

main().catch((err) => {
  console.error(err.message);
  process.exit(1);
});
