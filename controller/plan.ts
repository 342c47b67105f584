import type { Parts } from './parts.ts';
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
  { entries, relationships, declared, index, federation }: Parts,
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
    foreign: create.filter(({ entry }) => foreign.has(entry.key)).map(planned),
    problems: entries.held.problem.value === undefined ? problems : [...problems, entries.held.problem.value],
  };
}

function identityOf(key: string): Pick<PlannedEntry, 'spiffeId' | 'parentId' | 'selectors'> {
  const [spiffeId = '', parentId = '', ...selectors] = key.split('\n');
  return { spiffeId, parentId, selectors };
}

/** Whether a run would write anything. */
export function hasChanges({ create, update, delete: remove, federation }: Plan): boolean {
  const { create: made, update: changed, delete: ended } = federation;
  return [create, update, remove, made, changed, ended].some((list) => list.length > 0);
}

/** A plan as people read it. */
export function planText(plan: Plan): string {
  const entry = (sign: string, { id, spiffeId, parentId, selectors, declaredBy, pod }: PlannedEntry): string => {
    const from = [declaredBy, pod === '' ? '' : `pod ${pod}`, id].filter((each) => each !== '').join(', ');
    return `${sign} ${spiffeId}\n    parent ${parentId}\n    ${selectors.join(' ')}\n    (${from})`;
  };
  const { create, update, federation, foreign, problems } = plan;
  const lines = [
    ...create.map((each) => entry('+', each)),
    ...update.map((each) => entry('~', each)),
    ...plan.delete.map((each) => entry('-', each)),
    ...federation.create.map((name) => `+ federation with ${name}`),
    ...federation.update.map((name) => `~ federation with ${name}`),
    ...federation.delete.map((name) => `- federation with ${name}`),
    ...foreign.map((each) => entry('! not ours, stays as it is:', each)),
    ...problems.map((problem) => `! ${problem}`),
    `${create.length} to create, ${update.length} to change, ${plan.delete.length} to delete`,
  ];
  return `${lines.join('\n')}\n`;
}
