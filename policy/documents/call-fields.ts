import * as decoders from '../../core/decode.ts';
import type { Decoder } from '../../core/decode.ts';
import { IdentityError } from '../../core/errors.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import { readIpAddress } from '../match/ip.ts';
import type { Destination, Source, User } from '../model.ts';
import { json } from '../schema/json.ts';

const { array, integer, map, object, optional, record, string } = decoders;

const spiffeId = map(string(), parseSpiffeId);

const address = map(string(), (text) => {
  const read = readIpAddress(text);
  if (read === undefined) throw new IdentityError('invalid_argument', `must be an IP address, is "${text}"`);
  return read;
});

/** A caller as documents write it: `{ spiffeId, namespace, serviceAccount, address }`, each of them optional. */
export const sourceField: Decoder<Source> = map(
  object({
    spiffeId: optional(spiffeId),
    namespace: optional(string()),
    serviceAccount: optional(string()),
    address: optional(address),
  }),
  ({ spiffeId: id, namespace, serviceAccount, address: ip }) => ({
    ...(id === undefined ? {} : { spiffeId: id }),
    ...(namespace === undefined ? {} : { namespace }),
    ...(serviceAccount === undefined ? {} : { serviceAccount }),
    ...(ip === undefined ? {} : { address: ip }),
  }),
);

/**
 * A called workload as documents write it: `{ spiffeId, namespace, serviceAccount, selectors, labels, port }`. `labels` are those of its pod, short for
 * the selectors `k8s:pod-label:NAME:VALUE`.
 */
export const destinationField: Decoder<Destination> = map(
  object({
    spiffeId: optional(spiffeId),
    namespace: optional(string()),
    serviceAccount: optional(string()),
    selectors: optional(array(string()), []),
    labels: optional(record(string({ allowEmpty: true })), {}),
    port: optional(integer({ min: 1, max: 65_535 })),
  }),
  ({ spiffeId: id, namespace, serviceAccount, selectors, labels, port }) => ({
    ...(id === undefined ? {} : { spiffeId: id }),
    ...(namespace === undefined ? {} : { namespace }),
    ...(serviceAccount === undefined ? {} : { serviceAccount }),
    selectors: new Set([...selectors, ...Object.entries(labels).map(([name, value]) => `k8s:pod-label:${name}:${value}`)]),
    ...(port === undefined ? {} : { port }),
  }),
);

/** A user as documents write it: `{ issuer, subject, claims, actors }`, the outermost actor first. */
export const userField: Decoder<User> = map(
  object({
    issuer: string(),
    subject: string(),
    claims: optional(record(json), {}),
    actors: optional(array(object({ subject: string(), issuer: optional(string()) })), []),
  }),
  ({ actors, ...user }) => ({
    ...user,
    actors: actors.map(({ subject, issuer }) => ({ subject, ...(issuer === undefined ? {} : { issuer }) })),
  }),
);
