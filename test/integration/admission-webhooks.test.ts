// The webhook server and the keeper of its trust bundle against a real API server: Go's verification of our certificates.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { CaBundleKeeper } from '../../controller/admission/ca-bundle-keeper.ts';
import { createAdmissionMetrics } from '../../controller/admission/admission-metrics.ts';
import { startAdmission, type Admission } from '../../controller/admission/admission-server.ts';
import { ACCEPTED, type Reviewer } from '../../controller/admission/review.ts';
import type { ServingCredentials } from '../../controller/admission/serving-certificate.ts';
import { webhookConfiguration } from '../../controller/admission/webhook-configuration.ts';
import { systemClock } from '../../core/clock.ts';
import { Current } from '../../core/current.ts';
import { openKubeClient, type KubeClient } from '../../runtime/kubernetes/client.ts';
import { createLogger } from '../../runtime/log.ts';
import { createMetrics } from '../../runtime/metrics.ts';
import { X509Authority, type Bundle } from '../../spiffe/bundle.ts';
import { TestApiServer } from '../support/kubernetes/api-server.ts';
import { KUBERNETES, kubernetesMissing } from '../support/kubernetes/binaries.ts';
import { TestCa, type Issued } from '../support/test-ca.ts';

const SERVICE = { namespace: 'countersign-system', name: 'countersign-controller' };
const NAME = 'countersign';
// The cast is sound: the function makes it so.
const WEBHOOKS_OF_IT = webhookConfiguration({ name: NAME, service: SERVICE })['webhooks'] as readonly unknown[];
const WEBHOOKS = '/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations';
const WIDGETS = '/apis/countersign.dev/v1alpha1/namespaces/payments/workloadidentities';
const log = createLogger({ level: 'fatal', name: 'test' });

/** A kind of ours whose schema takes anything: what is tested is the way to the webhook, not the schema. */
const OPEN_CRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: workloadidentities.countersign.dev }
spec:
  group: countersign.dev
  scope: Namespaced
  names: { plural: workloadidentities, kind: WorkloadIdentity }
  versions:
    - name: v1alpha1
      served: true
      storage: true
      subresources: { status: {} }
      schema: { openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true } }
`;

describe.skipIf(kubernetesMissing() !== undefined).each([KUBERNETES.current, KUBERNETES.cluster])(
  'admission with a real API server %s (needs go, or KUBEBUILDER_ASSETS)',
  (version) => {
    const ca = TestCa.create();
    const intermediate = ca.issueIntermediate();
    const bundle = new Current<Bundle>(ca.bundle());
    const credentials = new Current<ServingCredentials | undefined>(servingCredentials(ca, intermediate));
    const stop = new AbortController();
    let server: TestApiServer;
    let client: KubeClient;
    let admission: Admission;
    let keeping: Promise<void>;
    let reviewer: Reviewer = () => ACCEPTED;
    const asked: string[] = [];

    beforeAll(async () => {
      server = await TestApiServer.start({ version });
      client = await openKubeClient({ kubeconfigFile: server.kubeconfigFile, clock: systemClock, log });
      await server.applyYaml(OPEN_CRD);
      await server.kubectl(['wait', '--for=condition=Established', 'crd/workloadidentities.countersign.dev', '--timeout=20s']);
      for (const name of [SERVICE.namespace, 'payments'])
        await server.api.expect('POST', '/api/v1/namespaces', { metadata: { name } });
      admission = await startAdmission({
        address: { kind: 'tcp', host: '127.0.0.1', port: 0 },
        credentials,
        reviewers: {
          WorkloadIdentity: (request, signal) => {
            asked.push(`${request.operation} ${request.namespace}/${request.name}`);
            return reviewer(request, signal);
          },
        },
        clock: systemClock,
        log,
        metrics: createAdmissionMetrics(createMetrics()),
      });
      // Without a node the API server cannot reach a ClusterIP: a Service by name leads it to this process.
      await server.api.expect('POST', `/api/v1/namespaces/${SERVICE.namespace}/services`, {
        metadata: { name: SERVICE.name },
        spec: { type: 'ExternalName', externalName: 'localhost' },
      });
      keeping = new CaBundleKeeper({ client, bundle, name: NAME, clock: systemClock, log }).run(stop.signal);
      await server.api.expect(
        'POST',
        WEBHOOKS,
        reachable(webhookConfiguration({ name: NAME, service: SERVICE }), admission.port),
      );
    });

    afterAll(async () => {
      stop.abort();
      await keeping;
      client[Symbol.dispose]();
      await admission[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    });

    /** The authorities that the API server now trusts for each webhook. */
    async function trusted(): Promise<readonly string[]> {
      const { webhooks } = await server.api.expect('GET', `${WEBHOOKS}/${NAME}`);
      // The cast is sound: the configuration was made above.
      const all = webhooks as readonly { readonly clientConfig: { readonly caBundle?: string } }[];
      return all.map(({ clientConfig }) => Buffer.from(clientConfig.caBundle ?? '', 'base64').toString());
    }

    beforeEach(() => {
      reviewer = () => ACCEPTED;
    });

    let count = 0;
    function create(spec: unknown, name = `w${(count += 1)}`) {
      return server.api.send('POST', WIDGETS, {
        apiVersion: 'countersign.dev/v1alpha1',
        kind: 'WorkloadIdentity',
        metadata: { name },
        spec,
      });
    }

    test('every webhook of the configuration gets the trust bundle', async () => {
      await expect.poll(trusted).toEqual(WEBHOOKS_OF_IT.map(() => ca.rootPem));
    });

    test('the API server verifies our chain by the Service name, asks, and accepts', async () => {
      await expect.poll(async () => (await create({ a: 1 }, 'first')).status).toBe(201);
      expect(asked).toContain('CREATE payments/first');
    });

    test('a refusal reaches kubectl with each field, a warning is shown', async () => {
      reviewer = () => ({
        faults: [
          { field: 'spec.pathTemplate', message: '1:3: unexpected "}"' },
          { field: 'spec.ttl', message: 'is no duration' },
        ],
        warnings: [],
      });
      const refused = await create({ a: 1 });
      expect(refused.status).toBe(422);
      expect(refused.body).toMatchObject({
        reason: 'Invalid',
        details: { causes: [{ field: 'spec.pathTemplate' }, { field: 'spec.ttl' }] },
      });
      const yaml =
        'apiVersion: countersign.dev/v1alpha1\nkind: WorkloadIdentity\nmetadata: { name: bad, namespace: payments }\nspec: {}';
      await expect(server.kubectl(['create', '-f', '-'], yaml)).rejects.toThrow('spec.pathTemplate: 1:3: unexpected "}"');
      reviewer = () => ({ faults: [], warnings: ['selects no pod'] });
      expect((await create({ a: 1 })).status).toBe(201);
    });

    test('an update is asked about only when it changes the spec', async () => {
      expect((await create({ a: 1 }, 'kept')).status).toBe(201);
      const before = asked.length;
      reviewer = () => ({ faults: [{ field: '', message: 'no' }], warnings: [] });
      const merge = 'application/merge-patch+json';
      const path = `${WIDGETS}/kept`;
      expect((await server.api.send('PATCH', path, { metadata: { finalizers: ['countersign.dev/x'] } }, merge)).status).toBe(200);
      expect((await server.api.send('PATCH', `${path}/status`, { status: { conditions: [] } }, merge)).status).toBe(200);
      expect((await server.api.send('PATCH', path, { metadata: { finalizers: null } }, merge)).status).toBe(200);
      expect(asked.length).toBe(before);
      for (const spec of [{ a: 2 }, null]) {
        const asksBefore = asked.length;
        expect((await server.api.send('PATCH', path, { spec }, merge)).status).toBe(422);
        // The API server asks again where it had to try the write again.
        expect(new Set(asked.slice(asksBefore))).toEqual(new Set(['UPDATE payments/kept']));
      }
      expect((await server.api.send('DELETE', path)).status).toBe(200);
    });

    test('rotation: both authorities are trusted, then a certificate of the new one alone, and no request fails', async () => {
      const next = TestCa.create();
      let failures = 0;
      const done = new AbortController();
      const traffic = (async () => {
        while (!done.signal.aborted) if ((await create({ a: 1 })).status !== 201) failures += 1;
      })();
      bundle.set(ca.bundle({ x509Authorities: [ca.root, next.root].map(({ der }) => new X509Authority(der)) }));
      await expect.poll(trusted).toEqual(WEBHOOKS_OF_IT.map(() => ca.rootPem + next.rootPem));
      // The API server hears of its own configuration by a watch; a CA publishes an authority hours before it signs.
      await acceptedAfterTheWatch();
      credentials.set(servingCredentials(next, next.issueIntermediate()));
      await acceptedAfterTheWatch();
      bundle.set(next.bundle());
      await expect.poll(trusted).toEqual(WEBHOOKS_OF_IT.map(() => next.rootPem));
      await acceptedAfterTheWatch();
      done.abort();
      await traffic;
      expect(failures).toBe(0);
    });

    /** Waits until the API server's own watch has told it of the newest configuration: a name that it then no longer asks about. */
    async function acceptedAfterTheWatch(): Promise<void> {
      const marker = `marker-${(count += 1)}-`;
      const condition = { name: `${marker}unasked`, expression: `!object.metadata.name.startsWith('${marker}')` };
      const patch = [{ op: 'add', path: '/webhooks/1/matchConditions/-', value: condition }];
      await server.api.expect('PATCH', `${WEBHOOKS}/${NAME}`, patch, 'application/json-patch+json');
      await expect
        .poll(async () => {
          const name = `${marker}${(count += 1)}`;
          await create({ a: 1 }, name);
          return asked.includes(`CREATE payments/${name}`);
        })
        .toBe(false);
    }

    test('somebody else’s change of the bundle is undone', async () => {
      const expected = await trusted();
      const other = Buffer.from(TestCa.create().rootPem).toString('base64');
      await server.api.expect(
        'PATCH',
        `${WEBHOOKS}/${NAME}`,
        [{ op: 'replace', path: '/webhooks/1/clientConfig/caBundle', value: other }],
        'application/json-patch+json',
      );
      await expect.poll(trusted).toEqual(expected);
    });

    test('a configuration that is deleted and made again gets its bundle again', async () => {
      const expected = await trusted();
      await server.api.expect('DELETE', `${WEBHOOKS}/${NAME}`);
      await server.api.expect(
        'POST',
        WEBHOOKS,
        reachable(webhookConfiguration({ name: NAME, service: SERVICE }), admission.port),
      );
      await expect.poll(trusted).toEqual(expected);
    });

    test('while nobody answers, our kinds are refused and can still be deleted and relabelled', async () => {
      await expect.poll(async () => (await create({ a: 1 }, 'left')).status).toBe(201);
      await server.api.expect(
        'PATCH',
        `${WEBHOOKS}/${NAME}`,
        [{ op: 'replace', path: '/webhooks/1/clientConfig/service/port', value: 1 }],
        'application/json-patch+json',
      );
      await expect.poll(async () => (await create({ a: 1 })).status).toBe(500);
      const merge = 'application/merge-patch+json';
      expect((await server.api.send('PATCH', `${WIDGETS}/left`, { metadata: { labels: { a: 'b' } } }, merge)).status).toBe(200);
      expect((await server.api.send('DELETE', `${WIDGETS}/left`)).status).toBe(200);
    });
  },
);

function servingCredentials(ca: TestCa, intermediate: Issued): ServingCredentials {
  const dnsNames = [`${SERVICE.name}.${SERVICE.namespace}.svc`];
  const { chainPem, keyPem } = ca.issueX509Svid('/spire/login/controller', { dnsNames }, [intermediate]);
  return { chainPem, privateKeyPem: keyPem };
}

/** The configuration with the port that the server of this test has. */
function reachable(configuration: Record<string, unknown>, port: number): unknown {
  return JSON.parse(JSON.stringify(configuration), (key, value: unknown) => (key === 'port' ? port : value));
}
