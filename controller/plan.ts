import type { HeldDeletions } from './entries/held-deletions.ts';
import type { Parts } from './parts.ts';
import { planPolicies, type PolicyPlan } from './policies/policy-plan.ts';
import { refText } from './ports.ts';
import { statusLine } from './status/sinks.ts';
import { statusOf } from './status/status-of.ts';

/** What a run would do. */
export interface Plan {
  readonly create: readonly PlannedEntry[];
  readonly update: readonly PlannedEntry[];
  readonly delete: readonly PlannedEntry[];
  readonly federation: {
    readonly create: readonly string[];
    readonly update: readonly string[];
    readonly delete: readonly string[];
  };
  readonly policies: PolicyPlan;
  /** Entries that would be refused, because somebody else made them. */
  readonly foreign: readonly PlannedEntry[];
  /** What is wrong with declarations and pods, one line each. */
  readonly problems: readonly string[];
}

/** One entry of a plan. */
export interface PlannedEntry {
  /** At the CA; empty for one that is not there. */
  readonly id: string;
  readonly spiffeId: string;
  readonly parentId: string;
  readonly selectors: readonly string[];
  /** Empty for an entry that nothing declares. */
  readonly declaredBy: string;
  readonly pod: string;
}

/** Compares what ought to be with what is at the CA, and writes nothing. */
export async function makePlan(
  { entries, relationships, declared, index, federation, policies }: Parts,
  signal: AbortSignal,
): Promise<Plan> {
  const foreign = await entries.load(signal);
  const { create, update, delete: remove } = entries.plan();
  const planned = (desired: (typeof create)[number]): PlannedEntry => ({
    id: entries.entryId(desired.entry.key) ?? foreign.get(desired.entry.key) ?? '',
    ...identityOf(desired.entry.key),
    declaredBy: refText(desired.declarer),
    pod: desired.pod,
  });
  const inputs = {
    index,
    entries,
    federation,
    relationships: { failureOf: () => undefined, isInForce: () => true },
    outage: () => undefined,
    now: () => '',
  };
  const problems = Iterator.from(declared.keys())
    .flatMap((key) => {
      const object = declared.get(key);
      const status = object?.isOurs === true ? statusOf(object, inputs) : undefined;
      const line = status && statusLine(status);
      return object === undefined || line === undefined || !line.startsWith('not ready')
        ? []
        : [`${refText(object.ref)}: ${line}`];
    })
    .toArray();
  return {
    create: create.filter(({ entry }) => !foreign.has(entry.key)).map(planned),
    update: update.map(planned),
    delete: remove.map(({ id, key }) => ({ id, ...identityOf(key), declaredBy: '', pod: '' })),
    federation: await relationships.plan(signal),
    policies: await planPolicies(policies.reconciler, signal),
    foreign: create.filter(({ entry }) => foreign.has(entry.key)).map(planned),
    problems: [...problems, ...faultsOfPolicies(policies), ...heldIn([entries.held, policies.reconciler.held])],
  };
}

function heldIn(held: readonly Pick<HeldDeletions, 'problem'>[]): readonly string[] {
  return held.flatMap(({ problem }) => problem.value ?? []);
}

/** What is wrong with objects of authorization that cannot be read. */
function faultsOfPolicies({ declared }: Parts['policies']): readonly string[] {
  const objects = Iterator.from(declared.keys()).map((key) => declared.get(key));
  return objects
    .flatMap((object) => {
      const { ref, fault } = object ?? {};
      return ref === undefined || fault === undefined ? [] : [`${refText(ref)}: not ready (${fault.reason}): ${fault.message}`];
    })
    .toArray();
}

function identityOf(key: string): Pick<PlannedEntry, 'spiffeId' | 'parentId' | 'selectors'> {
  const [spiffeId = '', parentId = '', ...selectors] = key.split('\n');
  return { spiffeId, parentId, selectors };
}

/** Whether a run would write anything. */
export function hasChanges({ create, update, delete: remove, federation, policies }: Plan): boolean {
  const { create: made, update: changed, delete: ended } = federation;
  const { set, delete: unset } = policies;
  return [create, update, remove, made, changed, ended, set, unset].some((list) => list.length > 0);
}

/** A plan as people read it. */
export function planText(plan: Plan): string {
  const entry = (sign: string, { id, spiffeId, parentId, selectors, declaredBy, pod }: PlannedEntry): string => {
    const from = [declaredBy, pod === '' ? '' : `pod ${pod}`, id].filter((each) => each !== '').join(', ');
    return `${sign} ${spiffeId}\n    parent ${parentId}\n    ${selectors.join(' ')}\n    (${from})`;
  };
  const { create, update, federation, policies, foreign, problems } = plan;
  const lines = [
    ...create.map((each) => entry('+', each)),
    ...update.map((each) => entry('~', each)),
    ...plan.delete.map((each) => entry('-', each)),
    ...federation.create.map((name) => `+ federation with ${name}`),
    ...federation.update.map((name) => `~ federation with ${name}`),
    ...federation.delete.map((name) => `- federation with ${name}`),
    ...policies.set.map((name) => `~ ${name}`),
    ...policies.delete.map((name) => `- ${name}`),
    ...policies.refused.map((text) => `! ${text}`),
    ...policies.foreign.map((name) => `! not ours, stays as it is: ${name}`),
    ...foreign.map((each) => entry('! not ours, stays as it is:', each)),
    ...problems.map((problem) => `! ${problem}`),
    ...(policies.set.length + policies.delete.length === 0
      ? []
      : [`policies: ${policies.set.length} to set, ${policies.delete.length} to delete`]),
    `${create.length} to create, ${update.length} to change, ${plan.delete.length} to delete`,
  ];
  return `${lines.join('\n')}\n`;
}
