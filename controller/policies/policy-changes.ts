import type { DesiredPolicy, PolicyIndex } from './policy-index.ts';
import type { KnownPolicies } from './known-policies.ts';

/** What is to be put at the CA. */
export interface PolicyWrite extends DesiredPolicy {
  readonly key: string;
}

/** What has to be written for some resources to be what they ought to be. */
export interface PolicyChanges {
  /** Those that can only take away come first. */
  readonly set: readonly PolicyWrite[];
  /** Keys; those that could only take away come last. */
  readonly remove: readonly string[];
  /** Those of which somebody else's is at the CA. */
  readonly inTheWay: readonly PolicyWrite[];
  /** The keys of those that are as they ought to be. */
  readonly inLine: readonly string[];
}

/** What the changes are made from. */
export interface ComparedPolicies {
  readonly desired: Pick<PolicyIndex, 'desired' | 'isUnreadable'>;
  readonly known: Pick<KnownPolicies, 'get' | 'isForeign'>;
  /** What is not deleted, although nothing declares it. */
  readonly held: { has(key: string): boolean };
}

/** Compares what ought to be with what is known to be there. */
export function policyChanges(keys: readonly string[], { desired, known, held }: ComparedPolicies): PolicyChanges {
  const set: PolicyWrite[] = [];
  const remove: string[] = [];
  const inTheWay: PolicyWrite[] = [];
  const inLine: string[] = [];
  for (const key of keys) {
    const wanted = desired.desired(key);
    const actual = known.get(key);
    if (wanted !== undefined && known.isForeign(key)) inTheWay.push({ key, ...wanted });
    else if (wanted !== undefined && wanted.document !== actual?.document) set.push({ key, ...wanted });
    else if (wanted === undefined && actual !== undefined && !held.has(key) && !desired.isUnreadable(key)) remove.push(key);
    else inLine.push(key);
  }
  const loosens = ({ isRestrictive }: DesiredPolicy): number => (isRestrictive ? 0 : 1);
  const isDenying = (key: string): number => (known.get(key)?.document.includes('"action":"DENY"') === true ? 1 : 0);
  return {
    set: set.sort((one, other) => loosens(one) - loosens(other)),
    remove: remove.sort((one, other) => isDenying(one) - isDenying(other)),
    inTheWay,
    inLine,
  };
}

/** As many as the CA takes in one transaction. */
const MOST_IN_BATCH = 200;
/** Well below what the CA takes in one message, which is 4 MiB. */
const MOST_CHARACTERS = 512 * 1024;

/** Writes in batches, in order: each is one change at the CA. */
export function* batchesOf<T>(items: readonly T[], lengthOf: (item: T) => number): Generator<readonly T[]> {
  let batch: T[] = [];
  let length = 0;
  for (const item of items) {
    const more = lengthOf(item);
    if (batch.length > 0 && (batch.length >= MOST_IN_BATCH || length + more > MOST_CHARACTERS)) {
      yield batch;
      batch = [];
      length = 0;
    }
    batch.push(item);
    length += more;
  }
  if (batch.length > 0) yield batch;
}
