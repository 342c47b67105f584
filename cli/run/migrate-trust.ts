import { setTimeout as delay } from 'node:timers/promises';

import { systemClock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import { toIdentityError } from '../../runtime/grpc-client.ts';
import type { CommandRun, Invocation } from '../command.ts';
import type { BundleItem } from '../migrate/authorities.ts';
import { keepRecord, openSession, withSpire, type MigrationSession } from '../migrate/session.ts';
import { applyTrust, isSettled, planTrust, recordAfter, type TrustPlan } from '../migrate/trust.ts';
import { formatSeconds } from '../output.ts';

/** How soon a new authority is carried over. Each side publishes one hours before it signs with it. */
const ROUND_MS = 5_000;

/** `countersign migrate spire trust` */
export const shareTrust: CommandRun = async (invocation) => {
  using opened = await openSession(invocation);
  if (opened.record.finished) {
    throw new IdentityError('failed_precondition', 'this migration is finished; for another, name a new file with --record');
  }
  let session = await round(await withSpire(opened, invocation), invocation, true);
  const { signal } = invocation.terminal;
  while (invocation.flag('watch') && !session.planOnly && !session.record.finished && !signal.aborted) {
    await delay(ROUND_MS, undefined, { signal }).catch(() => {});
    if (!signal.aborted) session = await watchRound(session, invocation);
  }
  return 0;
};

/** A round whose failure is told and passes: either server may be restarted meanwhile. */
async function watchRound(session: MigrationSession, invocation: Invocation): Promise<MigrationSession> {
  try {
    return await round(await withSpire(session, invocation), invocation, false);
  } catch (error) {
    invocation.terminal.writeError(`${toIdentityError(error).message}; trying again\n`);
    return session;
  }
}

async function round(session: MigrationSession, invocation: Invocation, tellSettled: boolean): Promise<MigrationSession> {
  if (session.record.finished) {
    invocation.terminal.write('the migration is finished: nothing is carried over any longer\n');
    return session;
  }
  const plan = await planTrust(session, { record: session.record, nowMs: systemClock.nowMs() });
  const record = recordAfter(session.record, plan);
  if (!session.planOnly) {
    await keepRecord(session, record);
    await applyTrust(session, plan);
  }
  tell(plan, { invocation, planOnly: session.planOnly });
  if (tellSettled && isSettled(plan)) invocation.terminal.write('both bundles have the authorities of both\n');
  return { ...session, record };
}

function tell(plan: TrustPlan, { invocation, planOnly }: { invocation: Invocation; planOnly: boolean }): void {
  const [add, remove] = planOnly ? ['would add', 'would remove'] : ['added', 'removed'];
  const line = (text: string, { kind, id, expiresAt }: BundleItem): void =>
    invocation.terminal.write(`${text}: ${kind} authority ${id}, until ${formatSeconds(expiresAt)}\n`);
  for (const each of plan.giveToSpire) line(`${add} to SPIRE's bundle`, each);
  for (const each of plan.takeFromSpire) line(`${add} to our bundle`, each);
  for (const each of plan.dropHere) line(`${remove} from our bundle, SPIRE has revoked it`, each);
  for (const each of plan.stuckInSpire) line('SPIRE still trusts what we have revoked and has no call to remove it', each);
}
