import { expect, test } from 'vitest';
import { authorizationConfig } from '../../../../agent/authz/config.ts';
import { decode, DecodeError } from '../../../../core/decode.ts';

const parse = (input: unknown) => decode(authorizationConfig('/etc/agent'), input);

test('without anything, calls are recorded, and one of a hundred that are allowed is logged', () => {
  const { decisionLog, calls, relations, maxStaleness } = parse(undefined);
  expect(decisionLog).toEqual({ sample: 0.01, recordsPerSecond: 20, hashKeyFile: undefined });
  expect(calls).toEqual({ record: true, interval: { ms: 10_000 }, maxKinds: 10_000 });
  expect([relations, maxStaleness.ms]).toEqual([undefined, 86_400_000]);
});

test('what is left out of a part has its default; files are relative to the configuration', () => {
  const { decisionLog, calls, relations } = parse({
    decisionLog: { sample: 1, hashKeyFile: './hash.key' },
    calls: { interval: '1m' },
    relations: { openfga: { url: 'https://fga.example.org/', storeId: '01ARZ3NDEKTSV4RRFFQ69G5FAV', tokenFile: './token' } },
  });
  expect(decisionLog).toMatchObject({ sample: 1, recordsPerSecond: 20, hashKeyFile: '/etc/agent/hash.key' });
  expect(calls).toMatchObject({ record: true, interval: { ms: 60_000 } });
  expect(relations?.openfga).toMatchObject({
    tokenFile: '/etc/agent/token',
    timeout: { ms: 500 },
    consistency: 'minimizeLatency',
    cache: { ttl: { ms: 10_000 }, maxEntries: 10_000 },
  });
});

test.each([
  ['decisionLog.sample', { decisionLog: { sample: 1.5 } }],
  ['decisionLog.sample', { decisionLog: { sample: -0.1 } }],
  ['decisionLog.sample', { decisionLog: { sample: Number.NaN } }],
  ['decisionLog.sample', { decisionLog: { sample: '1' } }],
  ['decisionLog.recordsPerSecond', { decisionLog: { recordsPerSecond: -1 } }],
  ['calls.interval', { calls: { interval: '10ms' } }],
  ['calls.maxKinds', { calls: { maxKinds: 5 } }],
  ['relations.openfga', { relations: {} }],
  ['relations.openfga.storeId', { relations: { openfga: { url: 'http://x', storeId: '../y' } } }],
])('%s: %j is refused', (path, input) => {
  let faults: readonly string[] = [];
  try {
    parse(input);
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    faults = error.faults.map((fault) => fault.path);
  }
  expect(faults).toEqual([path]);
});
