// Trust both ways: each side's bundle gets the authorities that the other signs with, so that a workload served by either
// verifies an SVID of either. Only what a side signs with itself is carried over, never what it was given.
import type { GrpcConnection } from '../../runtime/grpc-client.ts';
import { appendTo, ourAuthorities, removeAppended, spireAuthorities, type BundleItem } from './authorities.ts';
import type { MigrationRecord } from './record.ts';

/** What brings the two bundles together. */
export interface TrustPlan {
  readonly giveToSpire: readonly BundleItem[];
  readonly takeFromSpire: readonly BundleItem[];
  /** Taken over before and gone from SPIRE's bundle since: revoked there, so it must go here. */
  readonly dropHere: readonly BundleItem[];
  /** Given before and gone from ours since: SPIRE has no call that would remove it. */
  readonly stuckInSpire: readonly BundleItem[];
}

/** Whether there is nothing to do. */
export function isSettled({ giveToSpire, takeFromSpire, dropHere }: TrustPlan): boolean {
  return giveToSpire.length + takeFromSpire.length + dropHere.length === 0;
}

/** Compares the two bundles. */
export async function planTrust(
  { spire, ca }: { spire: GrpcConnection; ca: GrpcConnection },
  { record, nowMs }: { record: MigrationRecord; nowMs: number },
): Promise<TrustPlan> {
  const [theirs, ours] = await Promise.all([spireAuthorities(spire), ourAuthorities(ca)]);
  return trustPlanOf({ theirs, ours, record, nowMs });
}

/** What two bundles lack of each other. */
export function trustPlanOf(now: {
  readonly theirs: readonly BundleItem[];
  readonly ours: readonly BundleItem[];
  readonly record: MigrationRecord;
  readonly nowMs: number;
}): TrustPlan {
  const [theirs, ours] = [now.theirs, now.ours].map((items) => items.filter((each) => isAlive(each, now.nowMs)));
  const own = ours?.filter(({ appended }) => !appended) ?? [];
  const fromUs = new Set([...own.map(({ fingerprint }) => fingerprint), ...now.record.given]);
  const spiresOwn = theirs?.filter(({ fingerprint }) => !fromUs.has(fingerprint)) ?? [];
  const [inSpire, here] = [fingerprints(now.theirs), fingerprints(now.ours)];
  const taken = new Set(now.record.taken);
  const ownNow = fingerprints(own);
  // A SPIRE server without WIT-SVIDs drops their authorities, and its agents have no use for them.
  const spireKnowsWit = now.theirs.some(({ kind }) => kind === 'wit');
  return {
    giveToSpire: own.filter(({ kind, fingerprint }) => !inSpire.has(fingerprint) && (kind !== 'wit' || spireKnowsWit)),
    takeFromSpire: spiresOwn.filter(({ fingerprint }) => !here.has(fingerprint)),
    dropHere: now.ours.filter(({ appended, fingerprint }) => appended && taken.has(fingerprint) && !inSpire.has(fingerprint)),
    stuckInSpire: theirs?.filter(({ fingerprint }) => now.record.given.includes(fingerprint) && !ownNow.has(fingerprint)) ?? [],
  };
}

function isAlive({ expiresAt }: BundleItem, nowMs: number): boolean {
  return expiresAt === 0 || expiresAt * 1000 > nowMs;
}

function fingerprints(items: readonly BundleItem[]): ReadonlySet<string> {
  return new Set(items.map(({ fingerprint }) => fingerprint));
}

/** The record once the plan is carried out. It is written before: what was carried over must never be taken for a side's own. */
export function recordAfter(record: MigrationRecord, { giveToSpire, takeFromSpire }: TrustPlan): MigrationRecord {
  const union = (known: readonly string[], items: readonly BundleItem[]): string[] =>
    [...new Set([...known, ...items.map(({ fingerprint }) => fingerprint)])].sort();
  return { ...record, given: union(record.given, giveToSpire), taken: union(record.taken, takeFromSpire) };
}

/** Carries the plan out: what is trusted more comes before what is trusted less. */
export async function applyTrust(
  { spire, ca }: { spire: GrpcConnection; ca: GrpcConnection },
  { giveToSpire, takeFromSpire, dropHere }: TrustPlan,
): Promise<void> {
  await appendTo(spire, giveToSpire);
  await appendTo(ca, takeFromSpire);
  await removeAppended(ca, dropHere);
}
