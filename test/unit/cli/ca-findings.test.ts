import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import { caFindings } from '../../../cli/check/ca-findings.ts';
import { GetStatusResponseSchema } from '../../../proto/gen/countersign/admin/v1/inspection_pb.ts';

const NOW_MS = Date.UTC(2026, 0, 1);
const HOUR_S = 3600;

type Status = MessageInitShape<typeof GetStatusResponseSchema>;

function findings(change: Status) {
  const base = { version: '1.2.3', trustDomain: 'example.org', nowMs: BigInt(NOW_MS), agents: { attested: 3, connected: 2 } };
  // The cast is sound: a spread of two parts of a message is a part of it.
  return caFindings(create(GetStatusResponseSchema, { ...base, ...change } as Status), { subject: 'ca', nowMs: NOW_MS });
}

const worst = (change: Status) =>
  findings(change)
    .filter(({ level }) => level !== 'ok')
    .map(({ level, remedy }) => ({ level, remedy: remedy !== undefined }));

function authority(state: string, leftS: number, tainted = false) {
  return { kind: 'x509', id: state, state, expiresAt: BigInt(NOW_MS / 1000 + leftS), tainted };
}

describe('what a status says', () => {
  test('a CA that is well gives no other level than ok', () => {
    expect(worst({ authorities: [authority('active', 8 * HOUR_S)] })).toEqual([]);
  });

  test.each([
    ['a component that failed', { components: [{ name: 'audit', ok: false, reason: 'disk full' }] }, 'error'],
    ['a store that is down', { components: [{ name: 'store', ok: true, reason: 'degraded: no database' }] }, 'warning'],
    ['an authority that ran out', { authorities: [authority('active', -1)] }, 'error'],
    ['one that ends soon with none prepared', { authorities: [authority('active', HOUR_S - 1)] }, 'error'],
    ['a tainted one in force', { authorities: [authority('active', 8 * HOUR_S, true)] }, 'error'],
    ['an agent that lags', { agents: { lagging: [{ agentId: 'spiffe://example.org/a' }] } }, 'error'],
    ['agents that did not come back', { agents: { expired: 2, expiredIds: ['spiffe://example.org/a'] } }, 'warning'],
    ['a clock that is 5.001 s ahead', { nowMs: BigInt(NOW_MS + 5001) }, 'error'],
    ['a clock that is 5.001 s behind', { nowMs: BigInt(NOW_MS - 5001) }, 'error'],
  ])('%s', (_, change, level) => {
    expect(worst(change)).toEqual([{ level, remedy: true }]);
  });

  test('an authority that ends soon is well while the next one is prepared', () => {
    expect(worst({ authorities: [authority('active', HOUR_S - 1), authority('prepared', 20 * HOUR_S)] })).toEqual([]);
  });

  test('an old authority is of no concern', () => {
    expect(worst({ authorities: [authority('active', 8 * HOUR_S), authority('old', -1, true)] })).toEqual([]);
  });
});
