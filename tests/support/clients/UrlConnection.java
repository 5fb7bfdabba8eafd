import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.Base64;
import java.util.HexFormat;
import javax.net.ssl.HttpsURLConnection;

/** java.net.HttpURLConnection, which most older Java enrollment clients use. */
public class UrlConnection {
    public static void main(String[] arguments) throws Exception {
        HttpURLConnection connection = (HttpURLConnection) new URL(arguments[1]).openConnection();
        connection.setRequestMethod(arguments[0]);
        if (arguments.length > 2) {
            connection.setDoOutput(true);
            connection.getOutputStream().write(Files.readAllBytes(Path.of(arguments[2])));
        }
        int status = connection.getResponseCode();
        InputStream stream = status < 400 ? connection.getInputStream() : connection.getErrorStream();
        String body = Base64.getEncoder().encodeToString(stream.readAllBytes());
        System.out.printf("{\"status\": %d, \"body\": \"%s\", \"certificate\": %s}%n", status, body, seen(connection));
    }

    private static String seen(HttpURLConnection connection) throws Exception {
        if (!(connection instanceof HttpsURLConnection)) {
            return "null";
        }
        byte[] der = ((HttpsURLConnection) connection).getServerCertificates()[0].getEncoded();
        return '"' + HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(der)) + '"';
    }
}
