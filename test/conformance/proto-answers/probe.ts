import type { JsonMessage } from '../../support/spire-client.ts';
import { id } from './world.ts';
import type { CallerName } from './world.ts';

/** One call. */
export interface Probe {
  /** Unique within its method. */
  readonly name: string;
  readonly as: CallerName;
  /** Below `spire.api.server.`: `entry.v1.Entry/GetEntry`. */
  readonly method: string;
  /** One message, or several for a client that streams. */
  readonly requests: readonly JsonMessage[];
}

/** Probes of one method by one caller: a name and a request, or a stream of them. */
export interface ProbeGroup {
  readonly as: CallerName;
  readonly method: string;
  readonly requests: Readonly<Record<string, JsonMessage | readonly JsonMessage[]>>;
}

/** The group's probes, in order. */
export function group({ as, method, requests }: ProbeGroup): Probe[] {
  return Object.entries(requests).map(([name, request]) => ({
    name,
    as,
    method,
    // A list is a stream of messages.
    requests: Array.isArray(request) ? request : [request as JsonMessage],
  }));
}

const badIds: Readonly<Record<string, JsonMessage>> = {
  'no trust domain': { path: '/web' },
  'another trust domain': { trustDomain: 'other.test', path: '/web' },
  'an upper-case trust domain': { trustDomain: 'Example.org', path: '/web' },
  'a path without a slash': id('web'),
  'an empty segment': id('/a//b'),
  'a trailing slash': id('/a/'),
  'a dot segment': id('/a/../b'),
  'an escape': id('/a%20b'),
  'a non-ASCII character': id('/ü'),
  'no path': { trustDomain: 'example.org' },
};

/** A request for each way in which a SPIFFE ID can be wrong. */
export function withBadIds(make: (value: JsonMessage) => JsonMessage): Record<string, JsonMessage> {
  return Object.fromEntries(Object.entries(badIds).map(([name, value]) => [`an ID with ${name}`, make(value)]));
}
