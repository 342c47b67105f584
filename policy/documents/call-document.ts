import { array, decode, map, object, optional, record, string } from '../../core/decode.ts';
import type { Decoder } from '../../core/decode.ts';
import type { Call } from '../model.ts';
import { normalizeRequest } from '../normalize/request.ts';
import type { Normalized } from '../normalize/request.ts';
import { destinationField, sourceField, userField } from './call-fields.ts';

const values: Decoder<readonly string[]> = {
  read: (input, path, faults) =>
    typeof input === 'string' ? [input] : array(string({ allowEmpty: true })).read(input, path, faults),
};

/** A request as a client sends it: `{ method, path, host, headers }`. A header that is sent twice is a list. */
const requestField: Decoder<Normalized> = map(
  object({
    method: optional(string(), 'GET'),
    path: optional(string({ allowEmpty: true }), '/'),
    host: optional(string({ allowEmpty: true })),
    headers: optional(record(values), {}),
  }),
  ({ method, path, host, headers }) =>
    normalizeRequest({
      method,
      target: path,
      ...(host === undefined ? {} : { authority: host }),
      headers: Object.entries(headers).flatMap(([name, each]) => each.map((value) => [name, value] as const)),
    }),
);

/** The fields of a call as people write it. Without `request` it is a connection whose requests are not seen. */
export const CALL_FIELDS = {
  source: optional(sourceField, {}),
  destination: destinationField,
  request: optional(requestField),
  user: optional(userField),
};

/** What {@link CALL_FIELDS} yield. */
export interface CallParts {
  readonly source: Call['source'];
  readonly destination: Call['destination'];
  readonly request: Normalized | undefined;
  readonly user: Call['user'];
}

/** Makes the call. */
export function callOfParts({ source, destination, request, user }: CallParts, atMs: number): Call {
  return { source, destination, ...request, ...(user === undefined ? {} : { user }), atMs };
}

/**
 * Reads one call, as `policy explain --call` takes it.
 *
 * @throws DecodeError that names every faulty field
 * @example
 * parseCall({ source: { spiffeId: 'spiffe://example.org/web' }, destination: { namespace: 'shop' }, request: { path: '/a' } }, clock.nowMs());
 */
export function parseCall(document: unknown, atMs: number): Call {
  return callOfParts(decode(object(CALL_FIELDS), document), atMs);
}
