// What an API server may answer and a test API server never does; test/integration/k8s-psat.test.ts has the rest.
import { describe, expect, test } from 'vitest';
import type { Cluster } from '../../../../ca/kubernetes/cluster.ts';
import { verifyPodToken } from '../../../../ca/kubernetes/pod-token.ts';
import { IdentityError, isIdentityError } from '../../../../core/errors.ts';
import type { KubeObject } from '../../../../runtime/kubernetes/object.ts';

const TOKEN = 'eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl';
const EXTRA = 'authentication.kubernetes.io';
const USER = {
  username: 'system:serviceaccount:system:agent',
  extra: { [`${EXTRA}/pod-name`]: ['agent-1'], [`${EXTRA}/pod-uid`]: ['pod-uid'] },
};
const STATUS = { authenticated: true, audiences: ['spire-server'], user: USER };
const POD = {
  metadata: { name: 'agent-1', namespace: 'system', uid: 'pod-uid' },
  spec: { serviceAccountName: 'agent', nodeName: 'node-1' },
  status: { phase: 'Running', hostIP: '10.0.0.1' },
};
const NODE = { metadata: { name: 'node-1', uid: 'node-uid' } };

interface Answers {
  readonly status?: unknown;
  readonly pod?: KubeObject | IdentityError;
  readonly node?: KubeObject | IdentityError;
  readonly review?: IdentityError;
}

function clusterWith({ status = STATUS, pod = POD, node = NODE, review }: Answers): Cluster {
  const answer = (object: KubeObject | IdentityError): Promise<KubeObject> =>
    object instanceof IdentityError ? Promise.reject(object) : Promise.resolve(object);
  const api = {
    get: ({ kind }: { readonly kind: string }) => answer(kind === 'Pod' ? pod : node),
    create: () => answer(review ?? { metadata: {}, status }),
  };
  return { name: 'main', api };
}

async function codeWith(answers: Answers, audiences: readonly string[] = ['spire-server']): Promise<string> {
  try {
    await verifyPodToken(clusterWith(answers), { token: TOKEN, audiences, admits: (account) => account === 'system:agent' });
    return 'verified';
  } catch (error) {
    if (!isIdentityError(error)) throw error;
    return error.message.includes(TOKEN) ? 'leaked' : error.code;
  }
}

const withExtra = (extra: Readonly<Record<string, readonly string[]>>) => ({
  ...STATUS,
  user: { ...USER, extra: { ...USER.extra, ...extra } },
});

describe('the review of a pod token', () => {
  test('takes what all agrees', async () => {
    expect(await codeWith({})).toBe('verified');
    const bound = withExtra({ [`${EXTRA}/node-name`]: ['node-1'], [`${EXTRA}/node-uid`]: ['node-uid'] });
    expect(await codeWith({ status: bound })).toBe('verified');
  });

  test.each([
    ['an API server that knows nothing of audiences', { ...STATUS, audiences: undefined }],
    ['a token for somebody else', { ...STATUS, audiences: ['other'] }],
    ['an empty answer', {}],
    ['a token that is not valid', { authenticated: false, error: 'token has expired' }],
    ['a user', { ...STATUS, user: { ...USER, username: 'jane' } }],
    ['a user whose name looks like more', { ...STATUS, user: { ...USER, username: 'system:serviceaccount:system:agent:x' } }],
    ['another service account', { ...STATUS, user: { ...USER, username: 'system:serviceaccount:other:agent' } }],
    ['a token that is bound to nothing', { ...STATUS, user: { ...USER, extra: {} } }],
    ['a token made on another node', withExtra({ [`${EXTRA}/node-name`]: ['node-2'] })],
    ['a token made on a node of this name that is gone', withExtra({ [`${EXTRA}/node-uid`]: ['former-uid'] })],
  ])('refuses %s', async (_what, status) => {
    expect(await codeWith({ status })).toBe('permission_denied');
  });

  test('takes an answer without audiences where none was asked for', async () => {
    expect(await codeWith({ status: { ...STATUS, audiences: undefined } }, [])).toBe('verified');
  });

  test.each([
    ['of another UID', { ...POD, metadata: { ...POD.metadata, uid: 'other' } }],
    ['that is being deleted', { ...POD, metadata: { ...POD.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } }],
    ['that has finished', { ...POD, status: { phase: 'Succeeded' } }],
    ['of another service account', { ...POD, spec: { ...POD.spec, serviceAccountName: 'other' } }],
    ['on no node', { ...POD, spec: { serviceAccountName: 'agent' } }],
    ['that does not exist', new IdentityError('not_found', 'pods "agent-1" not found')],
  ])('refuses a pod %s', async (_what, pod) => {
    expect(await codeWith({ pod })).toBe('permission_denied');
  });

  test('refuses a node that does not exist', async () => {
    expect(await codeWith({ node: new IdentityError('not_found', 'nodes "node-1" not found') })).toBe('permission_denied');
  });

  test.each(['unavailable', 'deadline_exceeded', 'permission_denied', 'unauthenticated'] as const)(
    'is worth another attempt when the API server answers %s',
    async (code) => {
      expect(await codeWith({ review: new IdentityError(code, 'refused') })).toBe('unavailable');
      expect(await codeWith({ pod: new IdentityError(code, 'refused') })).toBe('unavailable');
    },
  );

  test('passes on when to come again', async () => {
    expect(await codeWith({ review: new IdentityError('resource_exhausted', 'later', { retryAfterMs: 1000 }) })).toBe(
      'resource_exhausted',
    );
  });
});
