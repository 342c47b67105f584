import { systemClock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import type { CommandRun, Invocation } from '../command.ts';
import { formatWireId } from '../entry-fields.ts';
import { allAgents, compareAgents, type AgentFinding } from '../migrate/agents.ts';
import { ourAuthorities, removeAppended, type BundleItem } from '../migrate/authorities.ts';
import { entriesOfAgent, missingSelectors } from '../migrate/entries-of-agent.ts';
import { keepRecord, openSession, withSpire, type MigrationSession } from '../migrate/session.ts';
import { isSettled, planTrust } from '../migrate/trust.ts';
import { formatSeconds, printRows } from '../output.ts';
import { entryFindings } from './migrate-copy.ts';

/** `countersign migrate spire agents` */
export const migrateAgents: CommandRun = async (invocation) => {
  using opened = await openSession(invocation);
  const session = await withSpire({ ...opened, planOnly: true }, invocation);
  const findings = await agentFindings(session);
  const asked = invocation.text('check');
  if (asked !== undefined) return await checkAgent(session, { invocation, asked, findings });
  await printRows(
    invocation,
    findings.map(({ agent, id, state, advice }) => ({
      agent: id,
      attestation: agent.attestationType,
      state,
      svidEndsAt: formatSeconds(agent.x509svidExpiresAt),
      ...(state === 'at SPIRE' ? { toMove: advice } : {}),
    })),
    'blocks',
  );
  return 0;
};

async function agentFindings({ spire, ca }: MigrationSession): Promise<readonly AgentFinding[]> {
  const [theirs, ours] = await Promise.all([allAgents(spire), allAgents(ca)]);
  return compareAgents(theirs, ours, systemClock.nowMs());
}

/** One thing that must be so before, or after, an agent moves. */
interface Check {
  readonly ok: boolean;
  readonly text: string;
}

async function checkAgent(
  session: MigrationSession,
  { invocation, asked, findings }: { invocation: Invocation; asked: string; findings: readonly AgentFinding[] },
): Promise<number> {
  const finding = findings.find(({ id }) => id === asked);
  if (finding === undefined)
    throw new IdentityError('not_found', `SPIRE has no agent ${asked}; see countersign migrate spire agents`);
  const checks = [await trustCheck(session), ...(await entryChecks(session, finding, invocation)), ...stateChecks(finding)];
  for (const { ok, text } of checks) invocation.terminal.write(`${ok ? 'ok  ' : 'NOT '} ${text}\n`);
  const ready = checks.every(({ ok }) => ok);
  const verdict = finding.state === 'moved' ? 'moved' : 'ready to move';
  invocation.terminal.write(`${asked}: ${ready ? verdict : `not ${verdict}`}\n`);
  return ready ? 0 : 1;
}

async function trustCheck(session: MigrationSession): Promise<Check> {
  const plan = await planTrust(session, { record: session.record, nowMs: systemClock.nowMs() });
  if (isSettled(plan)) return { ok: true, text: 'both bundles have the authorities of both' };
  return { ok: false, text: 'the bundles differ: run countersign migrate spire trust' };
}

async function entryChecks(session: MigrationSession, { agent, state }: AgentFinding, invocation: Invocation): Promise<Check[]> {
  const all = await entryFindings(session, invocation);
  const served = entriesOfAgent(agent, all);
  const faults = served.filter(({ verdict }) => verdict !== 'same');
  const count: Check = {
    ok: faults.length === 0,
    text: `${served.length - faults.length} of its ${served.length} entries are here as in SPIRE`,
  };
  const lines = faults.map(({ entry, verdict, note }) => ({
    ok: false,
    text: `${verdict}: entry ${entry.id} ${formatWireId(entry.spiffeId)}${note === undefined ? '' : `: ${note}`}`,
  }));
  if (state !== 'moved') return [count, ...lines];
  const here = (await allAgents(session.ca)).find(({ id }) => formatWireId(id) === formatWireId(agent.id));
  const lacking = here === undefined ? [] : missingSelectors(agent, here, all);
  const selectors = {
    ok: lacking.length === 0,
    text: lacking.length === 0 ? 'its aliases apply to it here' : `it lacks here: ${lacking.join(', ')}`,
  };
  return [count, ...lines, selectors];
}

function stateChecks({ state, agent, advice }: AgentFinding): Check[] {
  if (state === 'moved') return [{ ok: true, text: 'the agent has attested here' }];
  if (state === 'banned')
    return [{ ok: false, text: 'the agent is banned; ban it here as well once it comes: countersign agent ban' }];
  const tokenBound = agent.attestationType === 'join_token';
  return [
    { ok: true, text: `its move takes ${advice}` },
    ...(tokenBound ? [{ ok: true, text: 'its ID will be another one' }] : []),
  ];
}

/** `countersign migrate spire finish` */
export const finishMigration: CommandRun = async (invocation) => {
  using opened = await openSession(invocation);
  const { session, faults } = await obstacles(opened, invocation);
  const isForced = invocation.flag('force');
  for (const fault of faults) invocation.terminal.writeError(`${isForced ? 'in spite of' : 'not yet'}: ${fault}\n`);
  if (faults.length > 0 && !isForced) return 1;
  const taken = (await ourAuthorities(session.ca)).filter(
    ({ appended, fingerprint }) => appended && session.record.taken.includes(fingerprint),
  );
  if (!session.planOnly) {
    await keepRecord(session, { ...session.record, finished: true });
    await removeAppended(session.ca, taken);
  }
  tellRemoved(taken, { invocation, planOnly: session.planOnly });
  return 0;
};

function tellRemoved(
  items: readonly BundleItem[],
  { invocation, planOnly }: { invocation: Invocation; planOnly: boolean },
): void {
  for (const { kind, id } of items) {
    invocation.terminal.write(`${planOnly ? 'would remove' : 'removed'} from our bundle: ${kind} authority ${id}\n`);
  }
  if (items.length === 0) invocation.terminal.write('our bundle has no authority of SPIRE\n');
}

/** What speaks against the end. Once SPIRE is gone, what was noted of it decides. */
async function obstacles(
  opened: MigrationSession,
  invocation: Invocation,
): Promise<{ session: MigrationSession; faults: readonly string[] }> {
  const reached = await withSpire(opened, invocation).catch((error: unknown) => {
    if (error instanceof IdentityError && error.code === 'unavailable') return undefined;
    throw error;
  });
  if (reached === undefined) return withoutSpire(opened);
  const faults = await faultsAtSpire(reached, invocation);
  return { session: reached, faults: [...faults, ...livesUntil(reached.record.spireSvidsEndAt)] };
}

/** Once SPIRE is gone it signs nothing more: what it signed last ends a longest lifetime after it was first found gone. */
async function withoutSpire(opened: MigrationSession): Promise<{ session: MigrationSession; faults: readonly string[] }> {
  const { longestTtlSeconds, spireGoneSince } = opened.record;
  const goneSince = spireGoneSince === 0 ? Math.ceil(systemClock.nowMs() / 1000) : spireGoneSince;
  const session = { ...opened, record: { ...opened.record, spireGoneSince: goneSince } };
  await keepRecord(session, session.record);
  if (longestTtlSeconds === 0) return { session, faults: ['SPIRE does not answer, and it is not known how long its SVIDs live'] };
  return { session, faults: livesUntil(goneSince + longestTtlSeconds) };
}

function livesUntil(endAt: number): string[] {
  return endAt * 1000 > systemClock.nowMs() ? [`SVIDs that SPIRE signed may live until ${formatSeconds(endAt)}`] : [];
}

async function faultsAtSpire(session: MigrationSession, invocation: Invocation): Promise<string[]> {
  const agents = await agentFindings(session);
  const open = (await entryFindings(session, invocation)).filter(({ verdict }) => verdict === 'missing' || verdict === 'left');
  return [
    ...agents.filter(({ state }) => state === 'at SPIRE').map(({ id }) => `the agent ${id} has not moved`),
    ...(open.length === 0 ? [] : [`${open.length} entries of SPIRE are not here: countersign migrate spire compare`]),
  ];
}
