// The calls of the conformance table as requests over HTTP/1.1, with real tokens for their users.
import { parseRequestAuthentication, type RequestAuthentication } from '../../../policy/resources/request-authentication.ts';
import type { Destination, Source } from '../../../policy/model.ts';
import type { KeySource } from '../../../policy/users/token-issuer.ts';
import type { WorkloadMetadata } from '../../../policy/workload-metadata.ts';
import { keysOf, TestIssuer } from '../user-tokens.ts';
import { CALLERS, USERS } from './cast.ts';
import type { Row } from './table-types.ts';

/** When the calls of the table happen. */
export const TABLE_TIME_MS = Date.UTC(2026, 0, 31, 12);

const ISSUERS = [...new Set(Object.values(USERS).map(({ issuer }) => issuer))].map((name) => new TestIssuer({ name }));

/** Keys of the issuers of the table's users. */
export const TABLE_KEYS: KeySource = keysOf(...ISSUERS);

/** What is registered of the table's callers. */
export const REGISTERED: ReadonlyMap<string, WorkloadMetadata> = new Map(
  Object.values(CALLERS).flatMap(({ spiffeId, namespace, serviceAccount }: Source) =>
    spiffeId === undefined || namespace === undefined || serviceAccount === undefined
      ? []
      : [[spiffeId.toString(), { namespace, serviceAccount }] as const],
  ),
);

/** Accepts tokens of all of the table's users, and needs none. */
export function acceptingUsers({ namespace = 'none' }: Destination): RequestAuthentication {
  return parseRequestAuthentication({
    apiVersion: 'countersign.dev/v1alpha1',
    kind: 'RequestAuthentication',
    metadata: { name: 'people', namespace },
    spec: { issuers: ISSUERS.map(({ name }) => ({ issuer: name, audiences: ['orders'] })) },
  });
}

/** A row as the lines of a request; a `Host` among its headers stands for the usual one, and comes second where the row names both. */
export function requestOf([, line, , extras = {}]: Row) {
  const { to = 'orders', headers = [], user } = extras;
  const { host = to } = extras;
  const space = line.indexOf(' ');
  const isNamed = headers.some(([name]) => name.toLowerCase() === 'host');
  const isLeftOut = isNamed && (extras.host === undefined || host === '');
  return {
    method: line.slice(0, space),
    target: line.slice(space + 1),
    headers: [
      ...(isLeftOut ? [] : [['Host', host] as const]),
      ...headers,
      ...(user === undefined ? [] : [['authorization', `Bearer ${tokenOf(user)}`] as const]),
    ],
  };
}

function tokenOf(user: keyof typeof USERS): string {
  const { issuer, subject, claims } = USERS[user];
  const signer = ISSUERS.find(({ name }) => name === issuer);
  const seconds = TABLE_TIME_MS / 1000;
  return signer?.sign({ iss: issuer, sub: subject, aud: 'orders', iat: seconds, exp: seconds + 600, ...claims }) ?? '';
}
