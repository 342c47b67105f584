import { array, decode, integer, map, object, optional, string, type Decoder } from '../../core/decode.ts';
import { IdentityError } from '../../core/errors.ts';
import { readIpAddress } from '../../policy/match/ip.ts';
import type { RawHeader } from '../../policy/normalize/headers.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import { parseJsonObject } from '../../spiffe/strict-json.ts';
import type { Check, Outcome } from '../authz/check.ts';
import { denialBody } from '../authz/denial.ts';
import type { SelectorSet } from '../cache/selectors.ts';
import { nameOf } from './answer.ts';

const spiffeId = map(string(), (text) => parseSpiffeId(text, 'SPIFFE ID'));
const text = string({ allowEmpty: true });

const header: Decoder<RawHeader> = map(array(text), ([name, value, ...more]) => {
  if (name === undefined || value === undefined || more.length > 0)
    throw new IdentityError('invalid_argument', 'must be a name and a value');
  return [name, value];
});

const address = map(string(), (written) => {
  if (readIpAddress(written) === undefined) throw new IdentityError('invalid_argument', 'is no IP address');
  return written;
});

/** The body of `POST /v1/authorize`. */
const question = object({
  sourceId: optional(spiffeId),
  sourceAddress: optional(address),
  destinationId: optional(spiffeId),
  port: optional(integer({ min: 1, max: 65_535 })),
  request: optional(object({ method: text, target: text, authority: optional(text), headers: optional(array(header), []) })),
});

/**
 * What a workload asks about a call to itself.
 *
 * @throws IdentityError `invalid_argument` that names what is wrong
 */
export function jsonCall(body: Uint8Array, asking: SelectorSet): Check {
  const { request, ...call } = decode(question, parseJsonObject(body, 'body'));
  if (request === undefined) return { point: 'http', asking, ...call };
  const { authority, ...rest } = request;
  return { point: 'http', asking, ...call, request: { ...rest, ...(authority === undefined ? {} : { authority }) } };
}

/** The answer to it, with the body that a denied caller is to get. */
export function jsonAnswer(outcome: Outcome): string {
  const { verdict, status, headers, reason, decision, user, destinationId } = outcome;
  return JSON.stringify({
    verdict,
    status,
    reason,
    headers: Object.fromEntries(headers),
    policy: decision?.policy && nameOf(decision.policy),
    rule: decision?.rule,
    user: user && { issuer: user.issuer, subject: user.subject, actors: user.actors, claims: user.claims },
    destinationId: destinationId?.toString(),
    body: verdict === 'deny' ? denialBody(outcome) : undefined,
  });
}
