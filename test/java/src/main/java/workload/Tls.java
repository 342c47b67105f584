package workload;

import io.spiffe.provider.SpiffeSslContextFactory;
import io.spiffe.provider.SpiffeSslContextFactory.SslContextOptions;
import io.spiffe.spiffeid.SpiffeId;
import io.spiffe.workloadapi.DefaultX509Source;
import io.spiffe.workloadapi.X509Source;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.net.InetAddress;
import java.nio.charset.StandardCharsets;
import java.security.cert.X509Certificate;
import java.util.List;
import java.util.Map;
import java.util.Set;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;

/** Mutual TLS by a source that follows the agent; the peer is authorised by its SPIFFE ID. */
final class Tls {
    private Tls() {
    }

    /** Answers each line with the caller's SPIFFE ID and the line, one connection after another. */
    static void serve(String peer) throws Exception {
        X509Source source = DefaultX509Source.newSource();
        var sockets = contextOf(source, peer).getServerSocketFactory();
        try (var listener = (SSLServerSocket) sockets.createServerSocket(0, 50, InetAddress.getLoopbackAddress())) {
            listener.setNeedClientAuth(true);
            SpiffeId id = source.getX509Svid().getSpiffeId();
            Workload.print(Map.of("listening", "127.0.0.1:" + listener.getLocalPort(), "id", id));
            while (true) {
                try (var connection = (SSLSocket) listener.accept()) {
                    answer(connection);
                } catch (IOException error) {
                    Workload.print(Map.of("refused", error.toString()));
                }
            }
        }
    }

    private static void answer(SSLSocket connection) throws IOException {
        connection.startHandshake();
        String peer = peerId(connection);
        Workload.print(Map.of("peer", peer));
        BufferedReader lines = linesOf(connection);
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            send(connection, peer + " " + line);
        }
    }

    /** Sends one line and prints who answered what. */
    static void dial(String peer, String address) throws Exception {
        String[] parts = address.split(":");
        try (X509Source source = DefaultX509Source.newSource();
                var socket = (SSLSocket) contextOf(source, peer).getSocketFactory().createSocket(parts[0], Integer.parseInt(parts[1]))) {
            send(socket, "hello");
            Workload.print(Map.of("peer", peerId(socket), "reply", String.valueOf(linesOf(socket).readLine())));
        }
    }

    private static SSLContext contextOf(X509Source source, String peer) throws Exception {
        SslContextOptions options = SslContextOptions.builder()
                .sslProtocol("TLSv1.3")
                .x509Source(source)
                .acceptedSpiffeIdsSupplier(() -> Set.of(SpiffeId.parse(peer)))
                .build();
        return SpiffeSslContextFactory.getSslContext(options);
    }

    private static BufferedReader linesOf(SSLSocket socket) throws IOException {
        return new BufferedReader(new InputStreamReader(socket.getInputStream(), StandardCharsets.UTF_8));
    }

    private static void send(SSLSocket socket, String line) throws IOException {
        OutputStream out = socket.getOutputStream();
        out.write((line + "\n").getBytes(StandardCharsets.UTF_8));
        out.flush();
    }

    private static String peerId(SSLSocket socket) throws IOException {
        try {
            var leaf = (X509Certificate) socket.getSession().getPeerCertificates()[0];
            for (List<?> name : leaf.getSubjectAlternativeNames()) {
                if (name.get(0).equals(6)) return name.get(1).toString();
            }
            throw new IOException("the peer's certificate has no URI");
        } catch (java.security.cert.CertificateException error) {
            throw new IOException(error);
        }
    }
}
