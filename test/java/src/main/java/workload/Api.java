package workload;

import io.spiffe.bundle.jwtbundle.JwtBundleSet;
import io.spiffe.bundle.x509bundle.X509BundleSet;
import io.spiffe.svid.jwtsvid.JwtSvid;
import io.spiffe.svid.x509svid.X509Svid;
import io.spiffe.workloadapi.DefaultWorkloadApiClient;
import io.spiffe.workloadapi.Watcher;
import io.spiffe.workloadapi.WorkloadApiClient;
import io.spiffe.workloadapi.X509Context;
import java.security.cert.CertificateEncodingException;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;

/** The Workload API, by the library's client. */
final class Api {
    private Api() {
    }

    static void x509() throws Exception {
        try (WorkloadApiClient client = DefaultWorkloadApiClient.newClient()) {
            Workload.print(x509Line(client.fetchX509Context()));
        }
    }

    static void bundles() throws Exception {
        try (WorkloadApiClient client = DefaultWorkloadApiClient.newClient()) {
            Workload.print(Map.of("bundles", x509Bundles(client.fetchX509Bundles())));
        }
    }

    static void jwtBundles() throws Exception {
        try (WorkloadApiClient client = DefaultWorkloadApiClient.newClient()) {
            Workload.print(Map.of("bundles", keyIds(client.fetchJwtBundles())));
        }
    }

    /** Prints every update. An error is the end; the library has tried again before it tells. */
    static void watch() throws Exception {
        CountDownLatch ended = new CountDownLatch(1);
        try (WorkloadApiClient client = DefaultWorkloadApiClient.newClient()) {
            client.watchX509Context(new Watcher<X509Context>() {
                @Override
                public void onUpdate(X509Context update) {
                    Workload.print(x509Line(update));
                }

                @Override
                public void onError(Throwable error) {
                    Workload.print(Workload.errorLine(error));
                    ended.countDown();
                }
            });
            ended.await();
        }
    }

    /** Fetches and verifies here, with the bundles that the agent has. */
    static void jwt(String audience) throws Exception {
        try (WorkloadApiClient client = DefaultWorkloadApiClient.newClient()) {
            JwtBundleSet bundles = client.fetchJwtBundles();
            List<Map<String, ?>> lines = new ArrayList<>();
            for (JwtSvid svid : client.fetchJwtSvids(audience)) {
                JwtSvid.parseAndValidate(svid.getToken(), bundles, Set.of(audience));
                lines.add(jwtLine(svid));
            }
            Workload.print(Map.of("svids", lines));
        }
    }

    /** Has the agent validate. */
    static void validate(String audience, String token) throws Exception {
        try (WorkloadApiClient client = DefaultWorkloadApiClient.newClient()) {
            Workload.print(Map.of("svids", List.of(jwtLine(client.validateJwtSvid(token, audience)))));
        }
    }

    private static Map<String, ?> x509Line(X509Context context) {
        List<Map<String, ?>> svids = new ArrayList<>();
        for (X509Svid svid : context.getX509Svids()) {
            String hint = Objects.requireNonNullElse(svid.getHint(), "");
            svids.add(Map.of("id", svid.getSpiffeId(), "hint", hint, "chain", hexOf(svid.getChain())));
        }
        return Map.of("svids", svids, "bundles", x509Bundles(context.getX509BundleSet()));
    }

    private static Map<String, ?> jwtLine(JwtSvid svid) {
        String hint = Objects.requireNonNullElse(svid.getHint(), "");
        return Map.of("id", svid.getSpiffeId(), "hint", hint, "audience", svid.getAudience(), "token", svid.getToken());
    }

    /** Certificates by trust domain. */
    private static Map<String, ?> x509Bundles(X509BundleSet set) {
        Map<String, Object> bundles = new TreeMap<>();
        set.getBundles().forEach((name, bundle) -> bundles.put(name.getName(), hexOf(bundle.getX509Authorities())));
        return bundles;
    }

    /** Key IDs by trust domain. */
    private static Map<String, ?> keyIds(JwtBundleSet set) {
        Map<String, Object> bundles = new TreeMap<>();
        set.getBundles().forEach((name, bundle) -> bundles.put(name.getName(), bundle.getJwtAuthorities().keySet()));
        return bundles;
    }

    private static List<String> hexOf(Collection<X509Certificate> certificates) {
        return certificates.stream().map(Api::hexOf).toList();
    }

    private static String hexOf(X509Certificate certificate) {
        try {
            return HexFormat.of().formatHex(certificate.getEncoded());
        } catch (CertificateEncodingException error) {
            throw new IllegalStateException(error);
        }
    }
}
