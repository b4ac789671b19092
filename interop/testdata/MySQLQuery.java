import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.Statement;

/**
 * A query by MariaDB's Connector/J, as text and prepared. With a directory also an argument of more than 16 MiB, and a
 * file from there that the server asks for.
 */
public class MySQLQuery {
	public static void main(String[] args) throws Exception {
		try (Connection connection = DriverManager.getConnection(args[0]); Statement statement = connection.createStatement()) {
			print(statement.executeQuery("SELECT 6*7"));
			print(connection.prepareStatement("SELECT 6*7").executeQuery());
			if (args.length > 1) {
				large(connection, statement, Path.of(args[1], "words.txt"));
			}
		}
	}

	private static void large(Connection connection, Statement statement, Path file) throws Exception {
		PreparedStatement length = connection.prepareStatement("SELECT LENGTH(?)");
		length.setString(1, "x".repeat(17 << 20));
		print(length.executeQuery());
		Files.writeString(file, "some words\n".repeat(100000));
		statement.execute("CREATE TEMPORARY TABLE app.words (w TEXT)");
		System.out.println(statement.executeUpdate("LOAD DATA LOCAL INFILE '" + file + "' INTO TABLE app.words"));
	}

	private static void print(ResultSet result) throws Exception {
		result.next();
		System.out.println(result.getString(1));
	}
}
