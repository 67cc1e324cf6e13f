import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.util.Properties;
import java.util.concurrent.CompletableFuture;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;

/**
 * The extension as a program with JDBC sees it: prints what it saw as one JSON object.
 *
 * <p>PGHOST, PGPORT, PGUSER and PGDATABASE say where. POOLED=1: through a pooler in transaction mode. A line of input says
 * that the request which it is to cancel is under way.
 */
public class Jdbc {
    static final boolean POOLED = "1".equals(System.getenv("POOLED"));
    static final String CREATE =
        "SELECT upstream_id, data, updated_idx, deleted, upstream_created_at, extra"
            + " FROM sequin_create(?, ?, ?::jsonb, await_consumers => ?, timeout_ms => ?)";

    static Connection connection;
    static PreparedStatement create;

    interface Call {
        void run() throws SQLException;
    }

    static Connection connect(String mode) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("preferQueryMode", mode);
        // Else the fifth execution of a statement prepares it.
        if (POOLED) properties.setProperty("prepareThreshold", "0");
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/";
        return DriverManager.getConnection(url + System.getenv("PGDATABASE"), properties);
    }

    /** The first row. The statement stays open, and so does the row, until the next call. */
    static ResultSet create(String data, String consumer) throws SQLException {
        create.setString(1, "sync");
        create.setString(2, "salesforce:contact");
        create.setString(3, data);
        create.setArray(4, consumer == null ? null : connection.createArrayOf("text", new String[] {consumer}));
        if (consumer == null) create.setNull(5, java.sql.Types.INTEGER);
        else create.setInt(5, 60000);
        ResultSet row = create.executeQuery();
        row.next();
        return row;
    }

    static ResultSet create(String data) throws SQLException {
        return create(data, null);
    }

    static String value(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            ResultSet row = statement.executeQuery(sql);
            row.next();
            return row.getString(1);
        }
    }

    static String quoted(String text) {
        if (text == null) return "null";
        StringBuilder json = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') json.append('\\').append(c);
            else if (c < ' ') json.append(String.format("\\u%04x", (int) c));
            else json.append(c);
        }
        return json.append('"').toString();
    }

    /** A JSON object of names and values that are JSON already. */
    static String object(String... parts) {
        StringBuilder json = new StringBuilder("{");
        for (int i = 0; i < parts.length; i += 2) {
            json.append(i == 0 ? "" : ",").append(quoted(parts[i])).append(':').append(parts[i + 1]);
        }
        return json.append('}').toString();
    }

    static String errorOf(Call call) {
        try {
            call.run();
        } catch (SQLException error) {
            ServerErrorMessage message = ((PSQLException) error).getServerErrorMessage();
            return object(
                "sqlstate", quoted(error.getSQLState()),
                "message", quoted(message.getMessage()),
                "detail", message.getDetail() == null ? "null" : message.getDetail(),
                "hint", quoted(message.getHint()),
                "context", quoted(message.getWhere()),
                "class", quoted(error.getClass().getSimpleName()),
                "whole", quoted(error.getMessage()));
        }
        throw new IllegalStateException("no error");
    }

    static String named(String name) {
        return "{\"Name\": \"" + name + "\"}";
    }

    static String typeOf(Object value) {
        return value == null ? "null" : value.getClass().getSimpleName();
    }

    public static void main(String[] arguments) throws Exception {
        connection = connect("extended");
        create = connection.prepareStatement(CREATE);

        for (int n = 0; n < 7; n++) create(named("Paul"));
        ResultSet row = create(named("Paul"));
        StringBuilder types = new StringBuilder();
        for (int column = 1; column <= 6; column++) {
            types.append(column == 1 ? "" : ",").append(quoted(typeOf(row.getObject(column))));
        }
        Timestamp created = row.getTimestamp(5);
        String found = object(
            "name", row.getString(2).contains("\"Name\": \"Paul\"") ? quoted("Paul") : quoted(row.getString(2)),
            "is_new", String.valueOf(!row.getBoolean(4)),
            "has_id", String.valueOf(!row.getString(1).isEmpty() && row.getLong(3) > 0 && created != null),
            "extra", row.getString(6) == null ? "null" : row.getString(6));
        String prepared =
            value(connection, "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%sequin_create%'");

        String simple;
        try (Connection other = connect("simple")) {
            simple = value(other,
                "SELECT data->>'Name' FROM sequin_create('sync', 'salesforce:contact', '" + named("Chani") + "')");
        }

        String upstreamId = create(named("Leto"), "contacts").getString(1);
        String read = value(connection, "SELECT data->>'Name' FROM contacts WHERE upstream_id = '" + upstreamId + "'");

        String rejected = errorOf(() -> create("{\"Email\": \"nobody\"}"));
        String unknown = errorOf(() -> create(named("gets 504")));
        String refused = errorOf(() -> create(named("gets 401")));
        String busy = errorOf(() -> create(named("gets 429")));
        String confirmed = errorOf(() -> create(named("gets 500")));
        String argument = errorOf(() -> create("[]"));

        connection.setAutoCommit(false);
        create(named("stays"));
        errorOf(() -> create("{\"Email\": \"nobody either\"}"));
        connection.rollback();
        connection.setAutoCommit(true);

        String notified = "null";
        try (Statement statement = connection.createStatement()) {
            if (!POOLED) statement.execute("LISTEN sequin_outbox");
            statement.execute(
                "SELECT * FROM sequin_enqueue('create', 'sync', 'salesforce:contact', '{\"data\": {\"Name\": \"Alia\"}}')");
        }
        if (!POOLED) {
            // Waits for ever for the first one.
            PGNotification[] notifications = connection.unwrap(PGConnection.class).getNotifications(0);
            notified = notifications[0].getParameter();
        }

        CompletableFuture<String> call = CompletableFuture.supplyAsync(() -> errorOf(() -> create(named("stalls"))));
        System.in.read();
        create.cancel();
        String cancelled = call.get();
        String after = create(named("after")).getString(2).contains("after") ? "after" : "?";

        System.out.println(object(
            "row", found,
            "types", "[" + types + "]",
            "prepared", prepared,
            "simple", quoted(simple),
            "read", quoted(read),
            "errors", object(
                "rejected", rejected, "unknown", unknown, "refused", refused, "busy", busy, "confirmed", confirmed,
                "argument", argument, "cancelled", cancelled),
            "notified", notified,
            "after", quoted(after)));
    }
}
