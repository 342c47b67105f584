import { decode, integer, map, object, optional, string } from '../../core/decode.ts';
import { isIdentityError } from '../../core/errors.ts';
import type { CallOptions, KubeClient } from './client.ts';
import { isRecord } from './errors.ts';
import type { KubeObject, ObjectName } from './object.ts';
import { LEASES } from './resource-types.ts';

/** What a Lease says about who leads. */
export interface LeaseRecord {
  /** Empty when nobody does. */
  readonly holder: string;
  readonly durationMs: number;
  readonly acquireTime: string;
  readonly renewTime: string;
  readonly transitions: number;
}

/** A record and the version of the Lease that holds it. */
export interface StoredLease {
  readonly record: LeaseRecord;
  /** The whole object as it was read: what others keep in it stays. */
  readonly object: KubeObject;
}

const spec = object({
  holderIdentity: optional(string({ allowEmpty: true }), ''),
  leaseDurationSeconds: map(optional(integer({ min: 0 }), 0), (seconds) => seconds * 1000),
  acquireTime: optional(string(), ''),
  renewTime: optional(string(), ''),
  leaseTransitions: optional(integer({ min: 0 }), 0),
});

const FIELDS = ['holderIdentity', 'leaseDurationSeconds', 'acquireTime', 'renewTime', 'leaseTransitions'];

/** Reads the Lease; undefined when there is none. @throws IdentityError as the client does, `invalid_argument` when it is no lease */
export async function readLease(client: KubeClient, name: ObjectName, options: CallOptions): Promise<StoredLease | undefined> {
  const found = await client.find(LEASES, name, options);
  return found === undefined ? undefined : stored(found);
}

/** Makes the Lease; undefined when somebody else was faster. */
export function createLease(
  client: KubeClient,
  name: ObjectName,
  record: LeaseRecord,
  options: CallOptions,
): Promise<StoredLease | undefined> {
  const lease = { metadata: { ...name }, spec: specOf(record) };
  return unlessTaken(client.create(LEASES, lease, options));
}

/** Replaces the record of the Lease as it was read; undefined when it has changed since. */
export function replaceLease(
  client: KubeClient,
  before: StoredLease,
  record: LeaseRecord,
  options: CallOptions,
): Promise<StoredLease | undefined> {
  const others = isRecord(before.object['spec']) ? before.object['spec'] : {};
  return unlessTaken(client.update(LEASES, { ...before.object, spec: { ...others, ...specOf(record) } }, options));
}

async function unlessTaken(write: Promise<KubeObject>): Promise<StoredLease | undefined> {
  try {
    return stored(await write);
  } catch (error) {
    const changed = (['aborted', 'already_exists', 'not_found'] as const).some((code) => isIdentityError(error, code));
    if (changed) return undefined;
    throw error;
  }
}

function stored(lease: KubeObject): StoredLease {
  const given = isRecord(lease['spec']) ? lease['spec'] : {};
  const known = Object.fromEntries(Object.entries(given).filter(([field]) => FIELDS.includes(field)));
  const read = decode(spec, known);
  return {
    object: lease,
    record: {
      holder: read.holderIdentity,
      durationMs: read.leaseDurationSeconds,
      acquireTime: read.acquireTime,
      renewTime: read.renewTime,
      transitions: read.leaseTransitions,
    },
  };
}

function specOf(record: LeaseRecord): Readonly<Record<string, unknown>> {
  return {
    holderIdentity: record.holder,
    leaseDurationSeconds: Math.max(1, Math.ceil(record.durationMs / 1000)),
    acquireTime: record.acquireTime,
    renewTime: record.renewTime,
    leaseTransitions: record.transitions,
  };
}
