// The signer of pod certificates against a real API server, whose own validation of the status must take it, and a real CA.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { requesterPolicy } from '../../controller/pod-certificates/requester-policy.ts';
import { Bundle as BundleService } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { parseWireBundle } from '../../runtime/bundle-conversion.ts';
import { decodePem } from '../../spiffe/pem.ts';
import { verifyX509Svid } from '../../spiffe/x509-svid.ts';
import { KUBERNETES, kubernetesMissing } from '../support/kubernetes/binaries.ts';
import { clientOf, PodCertificateRig, SIGNER, type PodSettings } from '../support/pod-certificate-rig.ts';
import { bundleSource } from '../support/test-ca.ts';
import { createTestKey } from '../support/test-keys.ts';

/** All that the signer may do: what it needs, and no more. */
const RBAC = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: signer }
rules:
  - { apiGroups: [certificates.k8s.io], resources: [podcertificaterequests], verbs: [list, watch] }
  - { apiGroups: [certificates.k8s.io], resources: [podcertificaterequests/status], verbs: [patch] }
  - { apiGroups: [certificates.k8s.io], resources: [signers], resourceNames: [${SIGNER}], verbs: [sign] }
  - { apiGroups: [""], resources: [pods, serviceaccounts, nodes], verbs: [get] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: signer }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: signer }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: User, name: controller }]
`;

describe.skipIf(kubernetesMissing() !== undefined).each([KUBERNETES.current, KUBERNETES.cluster, KUBERNETES.oldest])(
  'pod certificates with a real API server %s (needs go, or KUBEBUILDER_ASSETS)',
  (version) => {
    let rig: PodCertificateRig;
    let pods = 0;
    const newPod = (settings?: PodSettings) => rig.pod(`web-${(pods += 1)}`, settings);

    beforeAll(async () => {
      rig = await PodCertificateRig.start({ version, rbac: RBAC });
    });

    afterAll(() => rig[Symbol.asyncDispose]());

    test('a pod gets the SVID of its entry, and the API server takes the status', async () => {
      const pod = await newPod();
      await rig.register(pod, '/ns/payments/web', { dnsNames: ['web.payments.svc'] });
      const key = createTestKey();
      const request = await rig.ask(pod, { key });
      await expect.poll(() => rig.outcome(request)).toBe('Issued/Issued');
      const status = await rig.status(request);
      const chain = decodePem(status.certificateChain ?? '', 'CERTIFICATE');
      using connection = rig.ca.connect();
      const bundle = parseWireBundle(await connection.client(BundleService).getBundle({}));
      const { id, leaf } = verifyX509Svid(chain, bundleSource(bundle), Date.now());
      expect(id.toString()).toBe('spiffe://example.org/ns/payments/web');
      expect(leaf.dnsSans).toEqual(['web.payments.svc']);
      expect(Buffer.compare(leaf.spki, key.spki)).toBe(0);
      expect([status.notBefore, status.notAfter].map((time) => Date.parse(time ?? ''))).toEqual([
        leaf.notBeforeMs,
        leaf.notAfterMs,
      ]);
      const half = (leaf.notBeforeMs + leaf.notAfterMs) / 2;
      expect(Math.abs(Date.parse(status.beginRefreshAt ?? '') - half)).toBeLessThanOrEqual(1000);
    });

    test('a kubelet that allows no more than the least lifetime gets exactly that', async () => {
      const pod = await newPod();
      await rig.register(pod, `/least/${pod.metadata.name}`);
      const request = await rig.ask(pod, { maxExpirationSeconds: 3600 });
      await expect.poll(() => rig.outcome(request)).toBe('Issued/Issued');
      const { notBefore = '', notAfter = '' } = await rig.status(request);
      expect(Date.parse(notAfter) - Date.parse(notBefore)).toBe(3_600_000);
    });

    test('a longer entry lasts as long as the kubelet allows', async () => {
      const pod = await newPod();
      await rig.register(pod, `/long/${pod.metadata.name}`, { ttlSeconds: 4 * 3600 });
      const [short, long] = await Promise.all([rig.ask(pod, { maxExpirationSeconds: 7200 }), rig.ask(pod)]);
      for (const [request, seconds] of [
        [short, 7200],
        [long, 4 * 3600 + 10],
      ] as const) {
        await expect.poll(() => rig.outcome(request)).toBe('Issued/Issued');
        const { notBefore = '', notAfter = '' } = await rig.status(request);
        expect((Date.parse(notAfter) - Date.parse(notBefore)) / 1000).toBe(seconds);
      }
    });

    test.each(['P-256', 'P-384', 'P-521', 'RSA-3072', 'Ed25519'] as const)('a %s key is certified', async (kind) => {
      const pod = await newPod();
      await rig.register(pod, `/keys/${pod.metadata.name}`);
      const request = await rig.ask(pod, { key: createTestKey(kind) });
      await expect.poll(() => rig.outcome(request)).toBe('Issued/Issued');
    });

    test('an annotation chooses one of several identities; else it is the oldest', async () => {
      const pod = await newPod();
      const name = pod.metadata.name;
      await rig.register(pod, `/first/${name}`);
      await rig.register(pod, `/second/${name}`);
      const either = await rig.ask(pod);
      const second = await rig.ask(pod, { annotations: { 'countersign.dev/spiffe-id': `spiffe://example.org/second/${name}` } });
      await expect.poll(() => rig.outcome(either)).toBe('Issued/Issued');
      await expect.poll(() => rig.outcome(second)).toBe('Issued/Issued');
      expect((await rig.status(either)).conditions?.[0]?.message).toContain(`/first/${name}`);
      expect((await rig.status(second)).conditions?.[0]?.message).toContain(`/second/${name}`);
    });

    test('selectors that hold for the whole pod are no obstacle', async () => {
      const pod = await newPod({ labels: { app: 'web' } });
      await rig.register(pod, `/labels/${pod.metadata.name}`, {
        selectors: ['k8s:ns:payments', 'k8s:sa:web', 'k8s:pod-label:app:web'],
      });
      const request = await rig.ask(pod);
      await expect.poll(() => rig.outcome(request)).toBe('Issued/Issued');
    });

    test.each([
      ['an unknown annotation', { annotations: { 'example.org/x': 'y' } }, 'Denied/InvalidUnverifiedUserAnnotations'],
      [
        'an annotation that is no SPIFFE ID',
        { annotations: { 'countersign.dev/spiffe-id': 'web' } },
        'Denied/InvalidUnverifiedUserAnnotations',
      ],
      [
        'another UID of the pod',
        { spec: { podUID: '6a1c6f0c-0000-4000-8000-000000000000' }, byAdmin: true },
        'Denied/PodMismatch',
      ],
      ['a pod that does not exist', { spec: { podName: 'nobody' }, byAdmin: true }, 'Denied/PodMismatch'],
      ['another UID of the service account', { spec: { serviceAccountUID: 'other' }, byAdmin: true }, 'Denied/PodMismatch'],
      ['another service account', { spec: { serviceAccountName: 'other' }, byAdmin: true }, 'Denied/PodMismatch'],
      ['another UID of the node', { spec: { nodeUID: 'other' }, byAdmin: true }, 'Denied/PodMismatch'],
      ['another node', { spec: { nodeName: 'n2' }, byAdmin: true }, 'Denied/PodMismatch'],
    ])(
      '%s is denied',
      async (
        _what,
        {
          byAdmin = false,
          ...options
        }: { byAdmin?: boolean; spec?: Record<string, string>; annotations?: Record<string, string> },
        outcome,
      ) => {
        const pod = await newPod();
        await rig.register(pod, `/denied/${pod.metadata.name}`);
        const request = await rig.ask(pod, { ...options, ...(byAdmin ? { client: rig.admin } : {}) });
        await expect.poll(() => rig.outcome(request)).toBe(outcome);
      },
    );

    test('a pod without a volume for it is denied', async () => {
      const pod = await newPod({ mounts: false });
      await rig.register(pod, `/unmounted/${pod.metadata.name}`);
      const request = await rig.ask(pod, { client: rig.admin });
      await expect.poll(() => rig.outcome(request)).toBe('Denied/PodMismatch');
    });

    test('an entry that lasts less than an hour is denied, and says which resource to change', async () => {
      const pod = await newPod();
      await rig.register(pod, `/short/${pod.metadata.name}`, { ttlSeconds: 1800 });
      const request = await rig.ask(pod);
      await expect.poll(() => rig.outcome(request)).toBe('Denied/LifetimeTooShort');
      const [condition] = (await rig.status(request)).conditions ?? [];
      expect(condition?.message).toContain('1800 s (ttl of ClusterWorkloadIdentity web)');
    });

    test('a pod without an identity waits, is told so, and gets its certificate when one is registered', async () => {
      const pod = await newPod();
      const request = await rig.ask(pod);
      await expect
        .poll(() => rig.events.find(({ regarding }) => regarding.uid === pod.metadata.uid))
        .toMatchObject({
          type: 'Warning',
          reason: 'NoIdentity',
          regarding: { kind: 'Pod', namespace: 'payments' },
        });
      expect(await rig.outcome(request)).toBeUndefined();
      await rig.register(pod, `/later/${pod.metadata.name}`);
      await expect.poll(() => rig.outcome(request)).toBe('Issued/Issued');
    });

    test('an entry for one container is none for a volume', async () => {
      const pod = await newPod();
      await rig.register(pod, `/container/${pod.metadata.name}`, { selectors: ['k8s:container-name:main'] });
      const request = await rig.ask(pod);
      await expect
        .poll(() => rig.events.some(({ regarding, reason }) => regarding.uid === pod.metadata.uid && reason === 'NotForWholePod'))
        .toBe(true);
      expect(await rig.outcome(request)).toBeUndefined();
    });

    test('requests of other signers are left alone', async () => {
      const pod = await newPod();
      await rig.register(pod, `/other/${pod.metadata.name}`);
      const other = await rig.ask(pod, { signerName: 'example.org/other' });
      const ours = await rig.ask(pod);
      await expect.poll(() => rig.outcome(ours)).toBe('Issued/Issued');
      expect(await rig.outcome(other)).toBeUndefined();
    });

    test('many requests at one time are all settled', async () => {
      const all = await Promise.all(
        Array.from({ length: 40 }, async () => {
          const pod = await newPod();
          await rig.register(pod, `/many/${pod.metadata.name}`);
          return rig.ask(pod);
        }),
      );
      await expect
        .poll(async () => new Set(await Promise.all(all.map((request) => rig.outcome(request)))))
        .toEqual(new Set(['Issued/Issued']));
    });

    test.skipIf(version !== KUBERNETES.current)(
      'outages of the CA and of the API server delay a certificate and do not deny it',
      async () => {
        const [during, after] = [await newPod(), await newPod()];
        for (const pod of [during, after]) await rig.register(pod, `/outage/${pod.metadata.name}`);
        await rig.ca.stop();
        const request = await rig.ask(during);
        await expect
          .poll(() => rig.events.find(({ regarding }) => regarding.uid === during.metadata.uid))
          .toMatchObject({ reason: 'SigningFailed', type: 'Warning' });
        expect(await rig.outcome(request)).toBeUndefined();
        await rig.restartCa();
        await expect.poll(() => rig.outcome(request), { timeout: 60_000 }).toBe('Issued/Issued');
        await rig.server.restart();
        const later = await rig.ask(after);
        await expect.poll(() => rig.outcome(later), { timeout: 60_000 }).toBe('Issued/Issued');
      },
    );

    test('with the policy of the manifests, nobody but the kubelet of the node may ask', async () => {
      const pod = await newPod();
      await rig.register(pod, `/policy/${pod.metadata.name}`);
      for (const object of requesterPolicy({ name: 'countersign-pod-certificates', signerName: SIGNER })) {
        await rig.server.applyYaml(JSON.stringify(object));
      }
      const asAdmin = async (): Promise<string> => {
        try {
          await rig.ask(pod, { client: rig.admin });
          return 'created';
        } catch (error) {
          return String(error);
        }
      };
      await expect.poll(asAdmin).toContain('only the kubelet of the pod');
      using other = await clientOf(await rig.server.userKubeconfig('system:node:n2', ['system:nodes']));
      await expect(rig.ask(pod, { client: other })).rejects.toMatchObject({ code: 'permission_denied' });
      const request = await rig.ask(pod);
      await expect.poll(() => rig.outcome(request)).toBe('Issued/Issued');
      // Other signers' requests are none of its business.
      await rig.ask(pod, { client: rig.admin, signerName: 'example.org/other' });
    });
  },
);
