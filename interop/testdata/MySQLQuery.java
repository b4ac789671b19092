import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.Statement;

/** A query by MariaDB's Connector/J, as text and prepared. */
public class MySQLQuery {
	public static void main(String[] args) throws Exception {
		try (Connection connection = DriverManager.getConnection(args[0]); Statement statement = connection.createStatement()) {
			print(statement.executeQuery("SELECT CONCAT(6*7)"));
			print(connection.prepareStatement("SELECT CONCAT(6*7)").executeQuery());
		}
	}

	private static void print(ResultSet result) throws Exception {
		result.next();
		System.out.println(result.getString(1));
	}
}
