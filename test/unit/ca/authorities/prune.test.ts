import { expect, test } from 'vitest';
import { ExpiredAuthorities } from '../../../../ca/authorities/prune.ts';
import { PRUNE_AFTER_MS } from '../../../../ca/authorities/rotation.ts';
import type { Authority } from '../../../../ca/model.ts';

const HOUR_MS = 3_600_000;
const NOW_MS = Date.UTC(2026, 0, 1);

const authorityOf = (id: string, expiresAtMs: number): Authority => ({
  kind: 'x509',
  id,
  publicBytes: new Uint8Array(),
  expiresAtSeconds: expiresAtMs / 1000,
  tainted: false,
  replicaId: 'gone',
  upstreamSubjectKeyId: '',
});

/** What is removed at each look, an hour apart. */
function looks(
  expired: ExpiredAuthorities,
  authorities: readonly Authority[],
  times: readonly number[],
): readonly (readonly string[])[] {
  return times.map((nowMs, index) => expired.collect(authorities, { nowMs, monotonicMs: index * HOUR_MS }).map(({ id }) => id));
}

test('the authorities of a replica that is gone stay until they ended long ago, and that was seen twice', () => {
  const authorities = [authorityOf('living', NOW_MS + HOUR_MS), authorityOf('ended', NOW_MS), authorityOf('endless', 0)];
  const longAfter = NOW_MS + PRUNE_AFTER_MS;
  expect(looks(new ExpiredAuthorities(), authorities, [NOW_MS - 1, NOW_MS + 1, longAfter])).toEqual([[], [], []]);
  expect(looks(new ExpiredAuthorities(), authorities, [longAfter + 1000, longAfter + 2000])).toEqual([[], ['ended']]);
});

test('a wall clock that jumps ahead and back empties no bundle', () => {
  const authorities = [authorityOf('living', NOW_MS + HOUR_MS)];
  const ahead = NOW_MS + 2 * PRUNE_AFTER_MS + 100 * HOUR_MS;
  expect(looks(new ExpiredAuthorities(), authorities, [NOW_MS, ahead, NOW_MS, ahead, NOW_MS])).toEqual([[], [], [], [], []]);
});
