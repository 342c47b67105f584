import { constants, sign, type KeyObject } from 'node:crypto';
import { describe, expect, test } from 'vitest';

import { parseCertificateRequest, type CertificateRequest } from '../../../../controller/pod-certificates/certificate-request.ts';
import { grantRequest } from '../../../../controller/pod-certificates/grant-request.ts';
import { RequestRefused, RequestWaits } from '../../../../controller/pod-certificates/refusal.ts';
import type { SignRequest, SignSvid } from '../../../../controller/pod-certificates/sign-svid.ts';
import type { PodEntry } from '../../../../controller/ports.ts';
import { systemClock } from '../../../../core/clock.ts';
import { IdentityError } from '../../../../core/errors.ts';
import type { KubeObject } from '../../../../runtime/kubernetes/object.ts';
import type { ResourceType } from '../../../../runtime/kubernetes/resource-types.ts';
import { TestCa } from '../../../support/test-ca.ts';
import { createTestCsr } from '../../../support/test-csr.ts';
import { createTestKey, type TestKeyKind } from '../../../support/test-keys.ts';

const SIGNER = 'countersign.dev/svid';
const ca = TestCa.create();
const key = createTestKey();

const VOLUMES = [{ name: 'svid', projected: { sources: [{ podCertificate: { signerName: SIGNER, keyType: 'ECDSAP256' } }] } }];

/** The objects that the request is about, by kind. */
const LIVE: Readonly<Record<string, KubeObject>> = {
  Pod: {
    metadata: { name: 'web', uid: 'pod-1', labels: { app: 'web' } },
    spec: { nodeName: 'n1', serviceAccountName: 'web', volumes: VOLUMES },
  },
  ServiceAccount: { metadata: { name: 'web', uid: 'account-1' } },
  Node: { metadata: { name: 'n1', uid: 'node-1' } },
};

function requestOf(spec: Readonly<Record<string, unknown>> = {}): CertificateRequest {
  return parseCertificateRequest({
    metadata: { namespace: 'payments', name: 'req-1', uid: 'request-1', resourceVersion: '7' },
    spec: {
      signerName: SIGNER,
      podName: 'web',
      podUID: 'pod-1',
      serviceAccountName: 'web',
      serviceAccountUID: 'account-1',
      nodeName: 'n1',
      nodeUID: 'node-1',
      maxExpirationSeconds: 86_400,
      stubPKCS10Request: base64(createTestCsr({ key, uris: [], attributes: [] })),
      ...spec,
    },
  });
}

function entryOf(path: string, change: Partial<PodEntry['entry']> = {}, entryId: string | undefined = path): PodEntry {
  const entry = {
    key: path,
    spiffeId: `spiffe://example.org${path}`,
    parentId: 'spiffe://example.org/spire/agent/k8s_psat/main/node-1',
    selectors: ['k8s:pod-uid:pod-1'],
    x509SvidTtlSeconds: 0,
    jwtSvidTtlSeconds: 0,
    federatesWith: [],
    admin: false,
    downstream: false,
    dnsNames: [],
    hint: '',
    storeSvid: false,
    jwtClaims: undefined,
    ...change,
  };
  return { entryId, entry, declaredBy: { kind: 'WorkloadIdentity', namespace: 'payments', name: 'web', uid: '' } };
}

interface World {
  readonly live?: Readonly<Record<string, KubeObject | undefined>>;
  readonly entries?: readonly PodEntry[];
  readonly sign?: SignSvid;
  readonly attempt?: number;
}

/** Signs as the CA does: dated back by ten seconds, as long as it is asked to be, an hour at most. */
function signing(orders: SignRequest[] = [], lifetimeSeconds = 3_610): SignSvid {
  return (order) => {
    orders.push(order);
    const notBeforeMs = Math.floor(Date.now() / 1000) * 1000 - 10_000;
    const notAfterMs = notBeforeMs + Math.min(lifetimeSeconds, order.maxLifetimeSeconds) * 1000;
    return Promise.resolve(ca.issueX509Svid('/web', { notBeforeMs, notAfterMs, key }).chain);
  };
}

function grant(
  request: CertificateRequest,
  { live = {}, entries = [entryOf('/web')], sign: signer = signing(), attempt = 0 }: World = {},
) {
  const objects: Readonly<Record<string, KubeObject | undefined>> = { ...LIVE, ...live };
  // The cast is sound: a test knows what it put there.
  const find = <T extends KubeObject>({ kind }: ResourceType) => Promise.resolve(objects[kind] as T | undefined);
  const options = {
    client: { find },
    entries: { entriesOfPod: () => entries },
    sign: signer,
    signerName: SIGNER,
    clock: systemClock,
  };
  return grantRequest(request, options, { attempt, signal: new AbortController().signal });
}

/** `Denied/Reason`, `Failed/Reason`, `waits/Reason`, or the code of another error. */
async function outcomeOf(granting: Promise<unknown>): Promise<string> {
  try {
    await granting;
    return 'Issued';
  } catch (error) {
    if (error instanceof RequestRefused) return `${error.condition}/${error.reason}`;
    if (error instanceof RequestWaits) return `waits/${error.reason}`;
    if (error instanceof IdentityError) return error.code;
    throw error;
  }
}

describe('what is granted', () => {
  test('the entry, the key and the bounds of the API go to the CA', async () => {
    const orders: SignRequest[] = [];
    const status = await grant(requestOf({ maxExpirationSeconds: 7_200 }), { sign: signing(orders) });
    expect(orders).toEqual([{ entryId: '/web', publicKeySpki: key.spki, maxLifetimeSeconds: 7_200, minLifetimeSeconds: 3_600 }]);
    expect(status).toMatchObject({
      conditions: [{ type: 'Issued', status: 'True', reason: 'Issued' }],
      notAfter: expect.stringMatching(/\d\dZ$/),
    });
  });

  test('fields that a later version of the API adds do not matter', async () => {
    expect(await outcomeOf(grant(requestOf({ somethingNew: { a: 1 } })))).toBe('Issued');
  });

  test('a certificate that the API server would not take is none', async () => {
    expect(await outcomeOf(grant(requestOf(), { sign: signing([], 3_599) }))).toBe('failed_precondition');
    expect(await outcomeOf(grant(requestOf(), { sign: () => Promise.resolve([]) }))).toBe('internal');
  });
});

describe('the key', () => {
  test.each(['P-256', 'P-384', 'P-521', 'RSA-3072', 'Ed25519'] as const)(
    '%s by itself with a proof of possession',
    async (kind) => {
      const other = createTestKey(kind);
      const spec = {
        stubPKCS10Request: undefined,
        pkixPublicKey: base64(other.spki),
        proofOfPossession: base64(proofOf(kind, other.privateKey, 'pod-1')),
      };
      expect(await outcomeOf(grant(requestOf(spec)))).toBe('Issued');
    },
  );

  test.each([
    [
      'a proof over another pod',
      { pkixPublicKey: base64(key.spki), proofOfPossession: base64(proofOf('P-256', key.privateKey, 'pod-2')) },
      'Denied/InvalidProofOfPossession',
    ],
    [
      'a proof by another key',
      { pkixPublicKey: base64(createTestKey().spki), proofOfPossession: base64(proofOf('P-256', key.privateKey, 'pod-1')) },
      'Denied/InvalidProofOfPossession',
    ],
    ['no proof', { pkixPublicKey: base64(key.spki) }, 'Denied/InvalidRequest'],
    ['neither key nor CSR', {}, 'Denied/InvalidRequest'],
    ['a key that is none', { pkixPublicKey: 'AAAA', proofOfPossession: 'AAAA' }, 'Denied/UnsupportedKeyType'],
    [
      'a curve that is not supported',
      { pkixPublicKey: base64(createTestKey('secp256k1').spki), proofOfPossession: 'AAAA' },
      'Denied/UnsupportedKeyType',
    ],
    ['a CSR that is none', { stubPKCS10Request: 'AAAA' }, 'Denied/UnsupportedKeyType'],
    [
      'a CSR of another key',
      { stubPKCS10Request: base64(createTestCsr({ key, uris: [], attributes: [], signingKey: createTestKey() })) },
      'Denied/InvalidProofOfPossession',
    ],
    ['a CSR that asks for a name', { stubPKCS10Request: base64(createTestCsr({ key })) }, 'Denied/InvalidRequest'],
    [
      'a CSR with a subject',
      { stubPKCS10Request: base64(createTestCsr({ key, uris: [], attributes: [], subject: { organization: 'x' } })) },
      'Denied/InvalidRequest',
    ],
  ])('%s is denied', async (_what, spec, outcome) => {
    expect(await outcomeOf(grant(requestOf({ stubPKCS10Request: undefined, ...spec })))).toBe(outcome);
  });
});

describe('the objects', () => {
  const pod = (
    change: Readonly<Record<string, unknown>>,
    metadata: KubeObject['metadata'] = LIVE['Pod']?.metadata ?? {},
  ): KubeObject => ({
    metadata,
    spec: { ...Object(LIVE['Pod']?.['spec']), ...change },
  });
  test.each([
    ['a pod that is gone', { Pod: undefined }],
    ['a pod of the same name', { Pod: pod({}, { name: 'web', uid: 'pod-2' }) }],
    ['a pod on another node', { Pod: pod({ nodeName: 'n2' }) }],
    ['a pod on no node', { Pod: pod({ nodeName: undefined }) }],
    ['a pod of another service account', { Pod: pod({ serviceAccountName: 'other' }) }],
    [
      'a pod without a volume of ours',
      { Pod: pod({ volumes: [{ name: 'x', projected: { sources: [{ podCertificate: { signerName: 'x/y' } }] } }] }) },
    ],
    ['a static pod', { Pod: pod({}, { name: 'web', uid: 'pod-1', annotations: { 'kubernetes.io/config.mirror': 'x' } }) }],
    ['a service account that was made anew', { ServiceAccount: { metadata: { name: 'web', uid: 'account-2' } } }],
    ['a node that is gone', { Node: undefined }],
    ['a node that was made anew', { Node: { metadata: { name: 'n1', uid: 'node-2' } } }],
  ])('%s is denied', async (_what, live) => {
    expect(await outcomeOf(grant(requestOf(), { live }))).toBe('Denied/PodMismatch');
  });
});

describe('the entry', () => {
  test.each([
    ['none', [], 'waits/NoIdentity'],
    ['one that the CA does not have yet', [{ ...entryOf('/web'), entryId: undefined }], 'waits/NotRegistered'],
    [
      'one for a container',
      [entryOf('/web', { selectors: ['k8s:pod-uid:pod-1', 'k8s:container-name:web'] })],
      'waits/NotForWholePod',
    ],
    [
      'one with a label that the pod does not have',
      [entryOf('/web', { selectors: ['k8s:pod-uid:pod-1', 'k8s:pod-label:app:db'] })],
      'waits/NotForWholePod',
    ],
    ['one of another pod', [entryOf('/web', { selectors: ['k8s:pod-uid:pod-2'] })], 'waits/NotForWholePod'],
    ['one that lasts too short', [entryOf('/web', { x509SvidTtlSeconds: 3_589 })], 'Denied/LifetimeTooShort'],
    ['one that lasts just long enough, with what it is dated back', [entryOf('/web', { x509SvidTtlSeconds: 3_590 })], 'Issued'],
  ])('%s', async (_what, entries, outcome) => {
    expect(await outcomeOf(grant(requestOf(), { entries }))).toBe(outcome);
  });

  test('the first that holds for the whole pod is taken, and no later one while that is not registered', async () => {
    const orders: SignRequest[] = [];
    const narrow = entryOf('/narrow', { selectors: ['k8s:pod-uid:pod-1', 'k8s:container-name:web'] });
    await grant(requestOf(), { entries: [narrow, entryOf('/first'), entryOf('/second')], sign: signing(orders) });
    expect(orders.map(({ entryId }) => entryId)).toEqual(['/first']);
    const unregistered = { ...entryOf('/first'), entryId: undefined };
    expect(await outcomeOf(grant(requestOf(), { entries: [unregistered, entryOf('/second')] }))).toBe('waits/NotRegistered');
  });

  test.each([
    ['one of the pod’s', 'spiffe://example.org/second', 'Issued'],
    ['one that is not the pod’s', 'spiffe://example.org/other', 'waits/NoSuchIdentity'],
    ['something else', 'second', 'Denied/InvalidUnverifiedUserAnnotations'],
  ])('an annotation that asks for %s', async (_what, id, outcome) => {
    const request = requestOf({ unverifiedUserAnnotations: { 'countersign.dev/spiffe-id': id } });
    expect(await outcomeOf(grant(request, { entries: [entryOf('/first'), entryOf('/second')] }))).toBe(outcome);
  });

  test('a request that waits costs the API server nothing until there is an entry', async () => {
    const live = new Proxy(
      {},
      {
        get: () => {
          throw new Error('read');
        },
      },
    );
    expect(await outcomeOf(grant(requestOf(), { live, entries: [], attempt: 3 }))).toBe('waits/NoIdentity');
  });
});

describe('what the CA answers', () => {
  const refusing =
    (code: ConstructorParameters<typeof IdentityError>[0]): SignSvid =>
    () =>
      Promise.reject(new IdentityError(code, 'no'));
  test.each([
    ['failed_precondition', 'Denied/LifetimeTooShort'],
    ['invalid_argument', 'Failed/SigningFailed'],
    ['unavailable', 'unavailable'],
    ['not_found', 'waits/NotRegistered'],
    ['resource_exhausted', 'resource_exhausted'],
    ['permission_denied', 'permission_denied'],
    ['unimplemented', 'unimplemented'],
  ] as const)('%s', async (code, outcome) => {
    expect(await outcomeOf(grant(requestOf(), { sign: refusing(code) }))).toBe(outcome);
  });
});

function proofOf(kind: TestKeyKind, privateKey: KeyObject, podUid: string): Uint8Array {
  const padding = kind.startsWith('RSA') ? { padding: constants.RSA_PKCS1_PSS_PADDING } : {};
  return sign(kind === 'Ed25519' ? null : 'sha256', Buffer.from(podUid), { key: privateKey, ...padding });
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}
