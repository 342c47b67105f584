import { systemClock } from '../../core/clock.ts';
import type { CommandRun, Invocation } from '../command.ts';
import { formatWireId } from '../entry-fields.ts';
import { allEntries, compareEntries, createHere, updateHere, type EntryFinding, type EntryOutcome } from '../migrate/entries.ts';
import { applyFederation, planFederation, type FederationPlan } from '../migrate/federation.ts';
import { openSession, withSpire, type MigrationSession } from '../migrate/session.ts';

/** `countersign migrate spire copy` */
export const copyRegistrations: CommandRun = async (invocation) => {
  using opened = await openSession(invocation);
  const session = await withSpire(opened, invocation);
  const federation = await planFederation(session);
  const update = invocation.flag('update');
  if (!session.planOnly) await applyFederation(session.ca, federation, update);
  tellFederation(federation, { invocation, update, planOnly: session.planOnly });
  const findings = await entryFindings(session, invocation);
  const outcomes = session.planOnly ? [] : await applyEntries(session, findings, update);
  return tellEntries(findings, { invocation, update, outcomes, planOnly: session.planOnly });
};

/** `countersign migrate spire compare` */
export const compareRegistrations: CommandRun = async (invocation) => {
  using opened = await openSession(invocation);
  const session = await withSpire({ ...opened, planOnly: true }, invocation);
  const federation = await planFederation(session);
  const differing = federationLines(federation);
  for (const line of differing) invocation.terminal.write(`${line}\n`);
  const findings = await entryFindings(session, invocation);
  for (const finding of findings.filter(({ verdict, note }) => verdict !== 'same' || note !== undefined)) {
    invocation.terminal.write(`${finding.verdict}: ${describe(finding)}\n`);
  }
  tellCounts(findings, invocation);
  const open = findings.filter(({ verdict }) => verdict === 'missing' || verdict === 'changed' || verdict === 'left');
  return open.length + differing.length === 0 ? 0 : 1;
};

/** SPIRE's entries beside ours, as the options choose. */
export async function entryFindings({ spire, ca }: MigrationSession, invocation: Invocation): Promise<readonly EntryFinding[]> {
  const [theirs, ours] = await Promise.all([allEntries(spire), allEntries(ca)]);
  return compareEntries(theirs, ours, { leavePrefixes: invocation.texts('leave-prefix'), nowMs: systemClock.nowMs() });
}

async function applyEntries(
  { ca }: MigrationSession,
  findings: readonly EntryFinding[],
  update: boolean,
): Promise<readonly EntryOutcome[]> {
  const missing = findings.filter(({ verdict }) => verdict === 'missing').map(({ entry }) => entry);
  const created = await createHere(ca, missing);
  const updated = update
    ? await updateHere(
        ca,
        findings.filter(({ verdict }) => verdict === 'changed'),
      )
    : [];
  return [...created, ...updated];
}

interface Told {
  readonly invocation: Invocation;
  readonly update: boolean;
  readonly planOnly: boolean;
}

function tellFederation(plan: FederationPlan, { invocation, update, planOnly }: Told): void {
  const would = planOnly ? 'would be copied' : 'copied';
  for (const { trustDomain } of plan.bundles) invocation.terminal.write(`bundle of ${trustDomain}: ${would}\n`);
  for (const { trustDomain } of plan.missing) invocation.terminal.write(`federation with ${trustDomain}: ${would}\n`);
  for (const { trustDomain } of plan.changed) {
    const what = update ? would : 'differs here and stays; --update makes it as in SPIRE';
    invocation.terminal.write(`federation with ${trustDomain}: ${what}\n`);
  }
}

function federationLines({ bundles, missing, changed }: FederationPlan): string[] {
  return [
    ...bundles.map(({ trustDomain }) => `missing: bundle of ${trustDomain}`),
    ...missing.map(({ trustDomain }) => `missing: federation with ${trustDomain}`),
    ...changed.map(({ trustDomain }) => `changed: federation with ${trustDomain}`),
  ];
}

function tellEntries(
  findings: readonly EntryFinding[],
  { invocation, update, planOnly, outcomes }: Told & { readonly outcomes: readonly EntryOutcome[] },
): number {
  const { terminal } = invocation;
  const faults = new Map(outcomes.flatMap(({ id, fault }) => (fault === undefined ? [] : [[id, fault]])));
  const did = { missing: planOnly ? 'would create' : 'created', changed: planOnly ? 'would update' : 'updated' };
  for (const finding of findings) {
    const { verdict, entry, hereId = entry.id } = finding;
    const fault = faults.get(hereId);
    if (fault !== undefined) terminal.writeError(`not copied: ${describe(finding)}: ${fault}\n`);
    else if (verdict === 'missing') terminal.write(`${did.missing}: ${describe(finding)}\n`);
    else if (verdict === 'changed') terminal.write(`${update ? did.changed : 'kept as it is here'}: ${describe(finding)}\n`);
    else if (verdict === 'skipped' || verdict === 'left') terminal.write(`${verdict}: ${describe(finding)}\n`);
  }
  tellCounts(findings, invocation);
  return faults.size === 0 ? 0 : 1;
}

function tellCounts(findings: readonly EntryFinding[], { terminal }: Invocation): void {
  const verdicts = ['same', 'missing', 'changed', 'skipped', 'left', 'extra'] as const;
  const counts = verdicts.map((verdict) => `${findings.filter((each) => each.verdict === verdict).length} ${verdict}`);
  terminal.write(`entries: ${counts.join(', ')}\n`);
}

function describe({ entry, note }: EntryFinding): string {
  const selectors = entry.selectors.map(({ type, value }) => `${type}:${value}`).join(' ');
  const what = `entry ${entry.id} ${formatWireId(entry.spiffeId)} below ${formatWireId(entry.parentId)} (${selectors})`;
  return note === undefined ? what : `${what}: ${note}`;
}
