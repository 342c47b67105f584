// The ConfigMap from which whoever comes to a cluster learns what to trust, and those who start from it.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { systemClock } from '../../core/clock.ts';
import { LocalAuthority } from '../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts';
import { loadBootstrapBundle } from '../../runtime/bootstrap-bundle.ts';
import { BUNDLE_PEM_KEY } from '../../runtime/kubernetes/bundle-config-map.ts';
import { createLogger } from '../../runtime/log.ts';
import { parsePemCertificates } from '../../spiffe/certificate.ts';
import { parseTrustDomain } from '../../spiffe/trust-domain.ts';
import { clusterMissing, ClusterOfPods, SYSTEM } from '../support/cluster-of-pods.ts';
import type { TestObject } from '../support/kubernetes/rest.ts';
import { RunningCa } from '../support/running-ca.ts';

const NAME = 'countersign-bundle';
const PATH = `/api/v1/namespaces/${SYSTEM}/configmaps`;
const POLL = { timeout: 20_000 };

describe.skipIf(clusterMissing !== undefined)('the bundle ConfigMap (needs go, or KUBEBUILDER_ASSETS)', () => {
  const resources = new AsyncDisposableStack();
  let cluster: ClusterOfPods;
  let ca: RunningCa;

  const startCa = (): Promise<RunningCa> => {
    const target = `namespace: ${SYSTEM}, name: ${NAME}, kubeconfig: ${cluster.kubeconfig}`;
    return RunningCa.start({ yaml: `kubernetes: { bundleConfigMap: { ${target} } }` });
  };
  const find = async (): Promise<TestObject | undefined> => {
    const { status, body } = await cluster.server.api.send('GET', `${PATH}/${NAME}`);
    // The cast is sound: the API server answers with the object.
    return status === 200 ? (body as TestObject) : undefined;
  };
  const authorities = async (): Promise<number> => {
    const { data = {} } = ((await find()) ?? {}) as { readonly data?: Readonly<Record<string, string>> }; // Sound: a ConfigMap.
    return parsePemCertificates(data[BUNDLE_PEM_KEY] ?? '').length;
  };
  const checks = async (): Promise<Readonly<Record<string, { readonly ok: boolean; readonly reason: string }>>> => {
    const response = await fetch(`http://127.0.0.1:${ca.ca.httpPort}/readyz`);
    // The cast is sound: the listener is ours.
    return ((await response.json()) as { checks: Awaited<ReturnType<typeof checks>> }).checks;
  };
  const bootstrap = (signal?: AbortSignal) => {
    const from = { namespace: SYSTEM, name: NAME, key: BUNDLE_PEM_KEY, kubeconfigFile: cluster.kubeconfig };
    const log = createLogger({ level: 'fatal', name: 'test' });
    const context = { trustDomain: parseTrustDomain('example.org'), clock: systemClock, log, signal };
    return loadBootstrapBundle({ kind: 'configMap', ...from }, context);
  };

  beforeAll(async () => {
    cluster = resources.use(await ClusterOfPods.start());
  });
  afterAll(() => resources[Symbol.asyncDispose]());

  test('is waited for, then made; who waited trusts what it says', async () => {
    const waiting = bootstrap();
    ca = resources.use(await startCa());
    expect((await waiting)?.x509Authorities).toHaveLength(1);
    const { metadata } = (await find()) ?? {};
    expect(metadata?.['labels']).toEqual({ 'app.kubernetes.io/managed-by': 'countersign-ca' });
    expect((await checks())['bundleConfigMap']).toEqual({ ok: true, reason: 'the bundle ConfigMap is current' });
  });

  test('follows the bundle', async () => {
    await ca.local(LocalAuthority).prepareX509Authority({});
    await expect.poll(authorities, POLL).toBe(2);
  });

  test('is repaired when it is edited or deleted', async () => {
    const patch = { data: { [BUNDLE_PEM_KEY]: 'forged' } };
    await cluster.server.api.expect('PATCH', `${PATH}/${NAME}`, patch, 'application/merge-patch+json');
    await expect.poll(authorities, POLL).toBe(2);
    await cluster.server.api.expect('DELETE', `${PATH}/${NAME}`);
    await expect.poll(authorities, POLL).toBe(2);
  });

  test('does not keep the CA from serving while the API server is away', async () => {
    await cluster.server.stop();
    await ca.local(LocalAuthority).prepareJWTAuthority({});
    const reasonNow = async (): Promise<string> => (await checks())['bundleConfigMap']?.reason ?? '';
    await expect.poll(reasonNow, POLL).toMatch(/^degraded: /);
    expect((await checks())['bundleConfigMap']?.ok).toBe(true);
    await cluster.server.restart();
    await expect.poll(reasonNow, { timeout: 60_000 }).toBe('the bundle ConfigMap is current');
  });

  test('says what is missing when it may not be read', async () => {
    const kubeconfigFile = await cluster.server.userKubeconfig('nobody');
    const from = { namespace: SYSTEM, name: NAME, key: BUNDLE_PEM_KEY, kubeconfigFile };
    const log = createLogger({ level: 'fatal', name: 'test' });
    const context = { trustDomain: parseTrustDomain('example.org'), clock: systemClock, log };
    await expect(loadBootstrapBundle({ kind: 'configMap', ...from }, context)).rejects.toMatchObject({
      code: 'permission_denied',
    });
  });
});
