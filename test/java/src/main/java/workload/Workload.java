package workload;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * What a service built on java-spiffe does. Every line that it prints is one JSON object.
 *
 * <pre>
 * workload x509 | bundles | jwtbundles | watch
 * workload jwt AUDIENCE
 * workload validate AUDIENCE TOKEN
 * workload serve PEER_ID
 * workload dial PEER_ID ADDRESS
 * </pre>
 *
 * The agent's address is in SPIFFE_ENDPOINT_SOCKET. It exits with 1 after {"error", "code"} when the agent or the peer
 * refuses.
 */
public final class Workload {
    private Workload() {
    }

    public static void main(String[] args) {
        try {
            run(args);
            System.exit(0);
        } catch (Exception error) {
            print(errorLine(error));
            System.exit(1);
        }
    }

    private static void run(String[] args) throws Exception {
        switch (args[0]) {
            case "x509" -> Api.x509();
            case "bundles" -> Api.bundles();
            case "jwtbundles" -> Api.jwtBundles();
            case "watch" -> Api.watch();
            case "jwt" -> Api.jwt(args[1]);
            case "validate" -> Api.validate(args[1], args[2]);
            case "serve" -> Tls.serve(args[1]);
            case "dial" -> Tls.dial(args[1], args[2]);
            default -> throw new IllegalArgumentException("use x509, bundles, jwtbundles, watch, jwt, validate, serve or dial");
        }
    }

    static synchronized void print(Map<String, ?> line) {
        System.out.println(Json.of(line));
        System.out.flush();
    }

    /** The text of the error and of its causes, and the gRPC status if the agent refused with one. */
    static Map<String, ?> errorLine(Throwable error) {
        List<String> texts = new ArrayList<>();
        String code = "";
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            texts.add(String.valueOf(cause.getMessage()));
            if (cause.getClass().getSimpleName().equals("StatusRuntimeException")) {
                code = cause.getMessage().split(":", 2)[0].toLowerCase(Locale.ROOT);
            }
        }
        return Map.of("error", String.join(": ", texts), "code", code);
    }
}
