package clew.client;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Asks in SQL over JDBC: {@code Sql HOST:PORT}. Prints the answers as JSON. */
public final class Sql {
  private Sql() {}

  public static void main(String[] arguments) throws SQLException {
    String url = "jdbc:arrow-flight-sql://" + arguments[0] + "?useEncryption=false";
    Map<String, Object> answers = new LinkedHashMap<>();
    try (Connection connection = DriverManager.getConnection(url)) {
      answers.put("rows", rows(connection));
      answers.put("prepared", prepared(connection));
      answers.put("tables", tables(connection));
      answers.put("refused", refused(connection));
    }
    System.out.println(Json.write(answers));
  }

  private static List<Object> rows(Connection connection) throws SQLException {
    List<Object> rows = new ArrayList<>();
    String query = "SELECT service_name, count(*) FROM spans GROUP BY 1 ORDER BY 1";
    try (Statement statement = connection.createStatement(); ResultSet found = statement.executeQuery(query)) {
      while (found.next()) {
        rows.add(List.of(found.getString(1), found.getLong(2)));
      }
    }
    return rows;
  }

  private static long prepared(Connection connection) throws SQLException {
    String query = "SELECT count(*) FROM spans WHERE service_name = ? AND duration > ?";
    try (var statement = connection.prepareStatement(query)) {
      statement.setString(1, "shop");
      statement.setLong(2, 200_000_000);
      try (ResultSet found = statement.executeQuery()) {
        found.next();
        return found.getLong(1);
      }
    }
  }

  private static List<Object> tables(Connection connection) throws SQLException {
    List<Object> tables = new ArrayList<>();
    try (ResultSet found = connection.getMetaData().getTables(null, null, "%", null)) {
      while (found.next()) {
        tables.add(found.getString("TABLE_NAME"));
      }
    }
    return tables;
  }

  private static String refused(Connection connection) throws SQLException {
    try (Statement statement = connection.createStatement()) {
      statement.execute("DROP TABLE spans");
      return "it was done";
    } catch (SQLException error) {
      return error.getMessage();
    }
  }
}
