import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.Proxy;
import java.net.ProxySelector;
import java.net.SocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/**
 * Fetches a URL with a list of proxies, as a PAC file or a roster yields it: old|new MILLISECONDS URL HOST:PORT...
 * Prints the status, and for each proxy that Java gave up a line "failed HOST:PORT".
 */
public class ProxyLists {
    public static void main(String[] arguments) throws Exception {
        int patience = Integer.parseInt(arguments[1]);
        List<Proxy> proxies = new ArrayList<>();
        for (int i = 3; i < arguments.length; i++) {
            int colon = arguments[i].lastIndexOf(':');
            String host = arguments[i].substring(0, colon);
            int port = Integer.parseInt(arguments[i].substring(colon + 1));
            proxies.add(new Proxy(Proxy.Type.HTTP, new InetSocketAddress(host, port)));
        }
        ProxySelector selector = new ProxySelector() {
            @Override
            public List<Proxy> select(URI uri) {
                return proxies;
            }

            @Override
            public void connectFailed(URI uri, SocketAddress address, IOException why) {
                System.out.println("failed " + address);
            }
        };
        URI url = URI.create(arguments[2]);
        System.out.println(arguments[0].equals("old") ? old(url, selector, patience) : renewed(url, selector, patience));
    }

    private static int old(URI url, ProxySelector selector, int patience) throws Exception {
        ProxySelector.setDefault(selector);
        HttpURLConnection connection = (HttpURLConnection) url.toURL().openConnection();
        connection.setConnectTimeout(patience);
        connection.setReadTimeout(patience);
        int status = connection.getResponseCode();
        InputStream stream = status < 400 ? connection.getInputStream() : connection.getErrorStream();
        stream.readAllBytes();
        return status;
    }

    private static int renewed(URI url, ProxySelector selector, int patience) throws Exception {
        HttpClient client = HttpClient.newBuilder()
                .proxy(selector)
                .connectTimeout(Duration.ofMillis(patience))
                .build();
        HttpRequest request = HttpRequest.newBuilder(url).timeout(Duration.ofMillis(patience)).build();
        return client.send(request, BodyHandlers.ofByteArray()).statusCode();
    }
}
