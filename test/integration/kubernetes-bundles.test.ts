// The trust bundle in ConfigMaps and as a ClusterTrustBundle, against a real API server.
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { BundlePublisher, type BundlePublishingConfig } from '../../controller/bundles/bundle-publisher.ts';
import { systemClock } from '../../core/clock.ts';
import { Current } from '../../core/current.ts';
import { openKubeClient, type KubeClient } from '../../runtime/kubernetes/client.ts';
import type { KubeObject } from '../../runtime/kubernetes/object.ts';
import {
  CLUSTER_TRUST_BUNDLES,
  CONFIG_MAPS,
  CUSTOM_RESOURCE_DEFINITIONS,
  NAMESPACES,
  type ResourceType,
} from '../../runtime/kubernetes/resource-types.ts';
import { Bundle, parseBundleDocument } from '../../spiffe/bundle.ts';
import { encodePem } from '../../spiffe/pem.ts';
import { TestApiServer } from '../support/kubernetes/api-server.ts';
import { KUBERNETES, kubernetesMissing } from '../support/kubernetes/binaries.ts';
import { createNamespace } from '../support/kubernetes/stand-in-node.ts';
import { TestCa } from '../support/test-ca.ts';

const clock = systemClock;
const log = pino({ level: 'silent' });
const NAME = 'countersign-bundle';
const BUNDLE_NAME = 'countersign.dev:svid:example.org';
const CHOSEN = { 'trust-bundle': 'yes' };

const config: BundlePublishingConfig = {
  configMap: { name: NAME, namespaceSelector: { matchLabels: CHOSEN, matchExpressions: [] } },
  clusterTrustBundle: true,
  signerName: 'countersign.dev/svid',
};

// The newest serves ClusterTrustBundles in another version than the oldest.
describe.each([KUBERNETES.current, KUBERNETES.oldest])('Kubernetes %s', (version) => {
  describe.skipIf(kubernetesMissing({ version }) !== undefined)('published bundles (needs go, or KUBEBUILDER_ASSETS)', () => {
    suite(version);
  });
});

function suite(version: string): void {
  let server: TestApiServer;
  let client: KubeClient;
  let bundleType: ResourceType;
  let stop: AbortController;
  let running: Promise<void>;
  const one = { bundle: TestCa.create().bundle() };
  const two = { bundle: TestCa.create().bundle() };
  let bundle: Current<Bundle>;

  beforeAll(async () => {
    server = await TestApiServer.start({ version });
    client = await openKubeClient({ kubeconfigFile: server.kubeconfigFile, clock, log });
    const served = await client.firstServed(CLUSTER_TRUST_BUNDLES);
    if (served === undefined) throw new Error('the API server serves no ClusterTrustBundles');
    bundleType = served;
  });

  afterAll(async () => {
    client?.[Symbol.dispose]();
    await server?.[Symbol.asyncDispose]();
  });

  beforeEach(() => {
    bundle = new Current(one.bundle);
    stop = new AbortController();
  });

  afterEach(async () => {
    stop.abort();
    await running;
  });

  function start(options: { readonly ownerCrd?: string } = {}): void {
    running = new BundlePublisher({ client, bundle, config, clock, log, ...options }).run(stop.signal);
  }

  const pemOf = (...bundles: readonly Bundle[]): string =>
    bundles
      .flatMap(({ x509Authorities }) => x509Authorities)
      .map(({ der }) => encodePem('CERTIFICATE', der))
      .join('');

  async function published(namespace: string): Promise<KubeObject | undefined> {
    return client.find(CONFIG_MAPS, { namespace, name: NAME });
  }

  /** Waits until a namespace's ConfigMap holds exactly this PEM. */
  async function publishes(namespace: string, pem: string | undefined): Promise<void> {
    await expect
      .poll(async () => ((await published(namespace))?.['data'] as Record<string, string> | undefined)?.['bundle.crt'])
      .toBe(pem);
  }

  it('is made in chosen namespaces, and taken from those that are no longer chosen', async () => {
    await createNamespace(server, 'before', CHOSEN);
    await createNamespace(server, 'other');
    start();
    await publishes('before', pemOf(one.bundle));
    await createNamespace(server, 'after', CHOSEN);
    await publishes('after', pemOf(one.bundle));
    expect(await published('other')).toBeUndefined();
    const [document = ''] = [(await published('after'))?.['data'] as Record<string, string>].map((data) => data['bundle.json']);
    expect(parseBundleDocument(document ?? '', one.bundle.trustDomain).x509Authorities[0]?.der).toEqual(
      one.bundle.x509Authorities[0]?.der,
    );
    await client.patch(NAMESPACES, { name: 'after' }, { metadata: { labels: { 'trust-bundle': null } } }, { kind: 'merge' });
    await publishes('after', undefined);
    await publishes('before', pemOf(one.bundle));
  });

  it('follows a rotation everywhere, and never becomes empty', async () => {
    const names = ['r1', 'r2', 'r3'];
    for (const name of names) await createNamespace(server, name, CHOSEN);
    start();
    const both = new Bundle({
      trustDomain: one.bundle.trustDomain,
      x509Authorities: [...one.bundle.x509Authorities, ...two.bundle.x509Authorities],
    });
    for (const [next, pem] of [
      [one.bundle, pemOf(one.bundle)],
      [both, pemOf(one.bundle, two.bundle)],
      [two.bundle, pemOf(two.bundle)],
      [new Bundle({ trustDomain: one.bundle.trustDomain }), pemOf(two.bundle)],
    ] as const) {
      bundle.set(next);
      for (const name of names) await publishes(name, pem);
      await expect
        .poll(async () => (await client.find(bundleType, { name: BUNDLE_NAME }))?.['spec'])
        .toEqual({ signerName: 'countersign.dev/svid', trustBundle: pem });
    }
  });

  it('is repaired when somebody changes or removes it', async () => {
    await createNamespace(server, 'edited', CHOSEN);
    start();
    await publishes('edited', pemOf(one.bundle));
    const name = { namespace: 'edited', name: NAME };
    await client.patch(CONFIG_MAPS, name, { data: { 'bundle.crt': 'mine', extra: 'x' } }, { kind: 'merge' });
    await publishes('edited', pemOf(one.bundle));
    expect(Object.keys((await published('edited'))?.['data'] as object).sort()).toEqual(['bundle.crt', 'bundle.json']);
    await client.delete(CONFIG_MAPS, name);
    await publishes('edited', pemOf(one.bundle));
    await client.delete(bundleType, { name: BUNDLE_NAME });
    await expect.poll(async () => client.find(bundleType, { name: BUNDLE_NAME })).toBeDefined();
    await client.patch(bundleType, { name: BUNDLE_NAME }, { spec: { trustBundle: pemOf(two.bundle) } }, { kind: 'merge' });
    await expect
      .poll(async () => (await client.get(bundleType, { name: BUNDLE_NAME }))['spec'])
      .toMatchObject({ trustBundle: pemOf(one.bundle) });
  });

  it("leaves somebody else's ConfigMap of that name alone", async () => {
    await createNamespace(server, 'foreign', CHOSEN);
    await client.create(CONFIG_MAPS, { metadata: { namespace: 'foreign', name: NAME }, data: { 'bundle.crt': 'theirs' } });
    await createNamespace(server, 'ours', CHOSEN);
    start();
    await publishes('ours', pemOf(one.bundle));
    await publishes('foreign', 'theirs');
  });

  it('writes nothing where nothing differs, and goes on after an outage', async () => {
    await createNamespace(server, 'quiet', CHOSEN);
    start();
    await publishes('quiet', pemOf(one.bundle));
    stop.abort();
    await running;
    const before = [await published('quiet'), await client.get(bundleType, { name: BUNDLE_NAME })];
    stop = new AbortController();
    start();
    await createNamespace(server, 'marker', CHOSEN);
    await publishes('marker', pemOf(one.bundle));
    expect([await published('quiet'), await client.get(bundleType, { name: BUNDLE_NAME })]).toEqual(before);
    await server.stop();
    bundle.set(two.bundle);
    await server.restart();
    await publishes('quiet', pemOf(two.bundle));
  });

  it('belongs to the installation, so that it goes with it', async () => {
    const schema = { openAPIV3Schema: { type: 'object' } };
    const crd = await client.create(CUSTOM_RESOURCE_DEFINITIONS, {
      metadata: { name: 'things.example.org' },
      spec: {
        group: 'example.org',
        names: { kind: 'Thing', plural: 'things' },
        scope: 'Cluster',
        versions: [{ name: 'v1', served: true, storage: true, schema }],
      },
    });
    await createNamespace(server, 'owned', CHOSEN);
    start({ ownerCrd: 'things.example.org' });
    await publishes('owned', pemOf(one.bundle));
    expect((await published('owned'))?.metadata.ownerReferences).toEqual([
      {
        apiVersion: 'apiextensions.k8s.io/v1',
        kind: 'CustomResourceDefinition',
        name: 'things.example.org',
        uid: crd.metadata.uid,
      },
    ]);
  });
}
