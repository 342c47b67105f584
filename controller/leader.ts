import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { Current } from '../core/current.ts';
import { LeaderElection } from '../runtime/kubernetes/leader-election.ts';
import { CaBundleKeeper } from './admission/ca-bundle-keeper.ts';
import type { Assembly } from './assembly.ts';
import { BundlePublisher, type BundlePublisherOptions } from './bundles/bundle-publisher.ts';
import type { ControllerConfig } from './config.ts';
import type { Connected } from './connected.ts';
import { PodCertificateSigner } from './pod-certificates/pod-certificate-signer.ts';
import { signSvidOver } from './pod-certificates/sign-svid.ts';
import { runTogether, type Work } from './run-together.ts';
import type { Cluster } from './surroundings.ts';

const SIGNER_NAME = 'countersign.dev/svid';
const EVERYWHERE = { matchLabels: {}, matchExpressions: [] };

/** Writes while this process is the one that does: always where resources come from a folder, else whenever it is elected. */
export async function lead(options: Assembly, connected: Connected, signal: AbortSignal): Promise<void> {
  const { metrics, log } = options;
  const { parts, cluster } = connected;
  const leading = new Current(false);
  const { index, entries, policies } = parts;
  metrics.watch({ index, entries, policies, isLeading: () => leading.value });
  const term = async (ends: AbortSignal): Promise<void> => {
    leading.set(true);
    parts.latency.start();
    log.info('this controller writes entries now');
    try {
      await runTogether(worksOf(options, connected), ends);
    } finally {
      leading.set(false);
      parts.latency.stop();
    }
  };
  if (cluster === undefined) await term(signal);
  else await electionOf(options, cluster).run(term, signal);
}

function electionOf({ config, clock, log, metrics }: Assembly, { client }: Cluster): LeaderElection {
  return new LeaderElection({
    client,
    ...config.leaderElection,
    identity: `${hostname()}-${randomUUID().slice(0, 8)}`,
    clock,
    log: log.child({ component: 'leader' }),
    metrics: metrics.kube,
  });
}

/** All that is done in a term. */
function worksOf(options: Assembly, { parts, session, cluster }: Connected): readonly Work[] {
  const { entries, relationships, statuses, pods, policies } = parts;
  const reconciling: readonly Runs[] = [entries, relationships, statuses, pods, policies];
  const publishing: readonly (Runs | undefined)[] =
    cluster === undefined
      ? []
      : [
          bundlePublisher(options, { session, cluster }),
          podCertificateSigner(options, { parts, session, cluster }),
          caBundleKeeper(options, { session, cluster }),
        ];
  return [...reconciling, ...publishing].flatMap((each) => (each === undefined ? [] : [(signal) => each.run(signal)]));
}

interface Runs {
  run(signal: AbortSignal): Promise<void>;
}

interface InCluster extends Pick<Connected, 'session'> {
  readonly cluster: Cluster;
}

function bundlePublisher({ config, clock, log }: Assembly, { session, cluster }: InCluster): Runs | undefined {
  if (config.bundles === undefined) return undefined;
  return new BundlePublisher({
    client: cluster.client,
    bundle: session.bundle,
    config: publishing(config.bundles, signerNameOf(config)),
    clock,
    log: log.child({ component: 'bundles' }),
  });
}

function publishing(
  { configMap, clusterTrustBundle }: NonNullable<ControllerConfig['bundles']>,
  signerName: string,
): BundlePublisherOptions['config'] {
  const named = configMap && { name: configMap.name, namespaceSelector: configMap.namespaceSelector ?? EVERYWHERE };
  return { configMap: named, clusterTrustBundle, signerName };
}

function podCertificateSigner(
  { config, clock, log, metrics }: Assembly,
  { parts, session, cluster }: InCluster & Pick<Connected, 'parts'>,
): Runs | undefined {
  if (config.podCertificates === undefined) return undefined;
  return new PodCertificateSigner({
    client: cluster.client,
    entries: parts.podEntries,
    sign: signSvidOver(session.connection),
    events: cluster.events,
    signerName: signerNameOf(config),
    clock,
    log: log.child({ component: 'pod-certificates' }),
    metrics: metrics.podCertificates,
  });
}

function signerNameOf({ podCertificates }: ControllerConfig): string {
  return podCertificates?.signerName ?? SIGNER_NAME;
}

function caBundleKeeper({ config, clock, log }: Assembly, { session, cluster }: InCluster): Runs | undefined {
  if (config.admission === undefined || config.listen.webhook === undefined) return undefined;
  // One replica alone: two whose bundles differ for a while would undo each other's writes.
  return new CaBundleKeeper({
    client: cluster.client,
    bundle: session.bundle,
    name: config.admission.webhookConfiguration,
    clock,
    log: log.child({ component: 'admission' }),
  });
}
