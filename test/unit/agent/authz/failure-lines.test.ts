import { pino } from 'pino';
import { expect, test } from 'vitest';
import { FailureLines } from '../../../../agent/authz/failure-lines.ts';
import { AuthorizerRig } from '../../../support/authorizer-rig.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

function logInto(lines: Record<string, unknown>[]) {
  // The cast is sound: pino writes objects.
  return pino({}, { write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>) });
}

test('of a flood ten lines are written, then one a second; what is left out is told', () => {
  const [clock, lines]: [ManualClock, Record<string, unknown>[]] = [new ManualClock(), []];
  const failures = new FailureLines(logInto(lines), clock);
  for (let count = 0; count < 500; count += 1) failures.error(new Error('a fault'), 'it failed');
  failures.error(new Error('another'), 'something else failed');
  expect(lines.map(({ msg }) => msg)).toEqual([...Array<string>(10).fill('it failed'), 'something else failed']);
  expect(lines[0]).toMatchObject({ err: { message: 'a fault' } });
  clock.advance(2_000);
  for (let count = 0; count < 5; count += 1) failures.error(new Error('a fault'), 'it failed');
  expect(lines.length).toBe(13);
  clock.advance(8_000);
  expect(lines.at(-1)).toMatchObject({ msg: 'failures left out of the log', leftOut: { 'it failed': 493 } });
  clock.advance(60_000);
  expect(lines.length).toBe(14);
});

test('calls that cannot be decided do not fill the log', async () => {
  const lines: Record<string, unknown>[] = [];
  const identities = {
    entitlementsOf() {
      throw new Error('a fault');
    },
  };
  const rig = new AuthorizerRig({ identities, log: logInto(lines) });
  await rig.enforce([], { defaultAction: 'allow' });
  for (let count = 0; count < 200; count += 1) expect(rig.ask()).toMatchObject({ verdict: 'deny', reason: 'internal' });
  rig.clock.advance(10_000);
  const line = 'a call could not be decided; denied';
  expect(lines.map(({ msg }) => msg)).toEqual([...Array<string>(10).fill(line), 'failures left out of the log']);
  expect(lines.at(-1)).toMatchObject({ leftOut: { [line]: 190 } });
});
