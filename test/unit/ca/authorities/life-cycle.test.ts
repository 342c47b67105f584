import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Authorities } from '../../../../ca/authorities/authorities.ts';
import { AUTHORITY_KINDS } from '../../../../ca/authorities/authority.ts';
import { MemoryKeyStore } from '../../../../ca/keys/memory-key-store.ts';
import type { AuthorityKind } from '../../../../ca/model.ts';
import { HOUR_MS, Replica, storeIsDown } from './authorities-fixture.ts';

let replica: Replica;
beforeEach(() => {
  replica = new Replica();
});
afterEach(() => replica.delete());

function activeId(authorities: Authorities, kind: AuthorityKind): string {
  return kind === 'x509' ? authorities.activeX509().id : authorities.activeToken(kind).id;
}

describe('a new replica', () => {
  it('has one published and active authority of each kind, each with an ID of its own', async () => {
    await using authorities = await replica.open();
    const ids = AUTHORITY_KINDS.map((kind) => activeId(authorities, kind));
    expect(new Set(ids).size).toBe(4);
    expect(AUTHORITY_KINDS.flatMap((kind) => replica.bundle.ids(kind))).toEqual(ids);
    expect(replica.bundle.list().every(({ replicaId }) => replicaId === authorities.replicaId)).toBe(true);
    expect(authorities.fault()).toBeUndefined();
    for (const kind of AUTHORITY_KINDS) {
      expect(authorities.states(kind)).toEqual({
        active: {
          authorityId: activeId(authorities, kind),
          expiresAtSeconds: Date.UTC(2026, 0, 2) / 1000,
          upstreamSubjectKeyId: '',
          tainted: false,
        },
        prepared: undefined,
        old: undefined,
      });
    }
  });

  it('does not open while the bundle cannot be written, and opens later', async () => {
    replica.bundle.beforeWrite = storeIsDown;
    await expect(replica.open()).rejects.toMatchObject({ code: 'unavailable' });
    expect(replica.clock.timers).toBe(0);
    replica.bundle.beforeWrite = () => undefined;
    await using authorities = await replica.open();
    expect(replica.bundle.ids('x509')).toEqual([activeId(authorities, 'x509')]);
    expect(readdirSync(join(replica.dir, 'keys'))).toHaveLength(4);
  });
});

describe('rotation by the clock', () => {
  it('goes on for two months without a gap, every key published long before it signs', { timeout: 120_000 }, async () => {
    await using authorities = await replica.open();
    const first = new Map(AUTHORITY_KINDS.map((kind) => [kind, activeId(authorities, kind)]));
    const seen = new Map<string, number>();
    const gaps: string[] = [];
    let shortestMs = Infinity;
    await replica.pass(62 * 24 * HOUR_MS, () => {
      const nowMs = replica.clock.nowMs();
      for (const kind of AUTHORITY_KINDS) {
        const authority = kind === 'x509' ? authorities.activeX509() : authorities.activeToken(kind);
        if (authority.expiresAtMs <= nowMs) gaps.push(`${kind} at ${new Date(nowMs).toISOString()}`);
        const name = `${kind}/${authority.id}`;
        if (seen.has(name) || first.get(kind) === authority.id) continue;
        seen.set(name, nowMs);
        shortestMs = Math.min(shortestMs, nowMs - (replica.bundle.publishedAtMs.get(name) ?? nowMs));
      }
    });
    expect(gaps).toEqual([]);
    // An authority is active from the last sixth of the one before it to its own: two thirds of 24 h from its making.
    expect(seen.size).toBeGreaterThanOrEqual(AUTHORITY_KINDS.length * 70);
    expect(shortestMs).toBeGreaterThanOrEqual(7.9 * HOUR_MS);
    expect(authorities.fault()).toBeUndefined();
    // Those that ended more than a day ago are gone from bundle, state and disk.
    expect(replica.bundle.list().length).toBeLessThanOrEqual(AUTHORITY_KINDS.length * 5);
    expect(readdirSync(join(replica.dir, 'keys')).length).toBeLessThanOrEqual(2 * AUTHORITY_KINDS.length);
  });

  it('prepares at half life and activates in the last sixth', async () => {
    await using authorities = await replica.open();
    const before = activeId(authorities, 'x509');
    await replica.pass(11.9 * HOUR_MS);
    expect(authorities.states('x509').prepared).toBeUndefined();
    await replica.pass(0.2 * HOUR_MS);
    const { prepared } = authorities.states('x509');
    expect(replica.bundle.ids('x509')).toContain(prepared?.authorityId);
    await replica.pass(7.8 * HOUR_MS);
    expect(activeId(authorities, 'x509')).toBe(before);
    await replica.pass(0.2 * HOUR_MS);
    expect(activeId(authorities, 'x509')).toBe(prepared?.authorityId);
    expect(authorities.states('x509')).toMatchObject({ old: { authorityId: before }, prepared: undefined });
    await replica.pass(4 * HOUR_MS);
    expect(authorities.states('x509').old).toBeUndefined();
  });

  it('never lets a key sign that is not in the bundle, and signs with the old one as long as it can', async () => {
    await using authorities = await replica.open();
    const before = activeId(authorities, 'jwt');
    replica.bundle.beforeWrite = storeIsDown;
    await replica.pass(19.9 * HOUR_MS);
    expect(authorities.fault()).toBeUndefined();
    await replica.pass(3 * HOUR_MS);
    expect(activeId(authorities, 'jwt')).toBe(before);
    expect(authorities.fault()).toContain('the store is down');
    replica.bundle.beforeWrite = () => undefined;
    await replica.pass(300_000);
    const { prepared } = authorities.states('jwt');
    expect(replica.bundle.ids('jwt')).toContain(prepared?.authorityId);
    expect(activeId(authorities, 'jwt')).toBe(before);
    await replica.pass(300_000);
    expect(activeId(authorities, 'jwt')).toBe(prepared?.authorityId);
    expect(authorities.fault()).toBeUndefined();
  });

  it('stops signing when the authority ends and none could be published, and recovers', async () => {
    await using authorities = await replica.open();
    replica.bundle.beforeWrite = storeIsDown;
    await replica.pass(24.1 * HOUR_MS);
    expect(() => authorities.activeX509()).toThrow(expect.objectContaining({ code: 'unavailable' }));
    expect(() => authorities.activeToken('jwt')).toThrow(expect.objectContaining({ code: 'unavailable' }));
    expect(() => authorities.states('wit')).toThrow(expect.objectContaining({ code: 'unavailable' }));
    await expect(authorities.prepare('x509')).rejects.toMatchObject({ code: 'unavailable' });
    expect(authorities.fault()).toContain('no x509 authority is in force');
    replica.bundle.beforeWrite = () => undefined;
    await replica.pass(900_000);
    expect(authorities.activeX509().expiresAtMs).toBeGreaterThan(replica.clock.nowMs());
    expect(authorities.fault()).toBeUndefined();
  });

  it('is woken by use when the wall clock jumped past the end', async () => {
    await using authorities = await replica.open();
    const before = activeId(authorities, 'x509');
    replica.clock.step(30 * HOUR_MS);
    expect(() => authorities.activeX509()).toThrow(expect.objectContaining({ code: 'unavailable' }));
    await replica.settle();
    expect(activeId(authorities, 'x509')).not.toBe(before);
  });
});

describe('a clock that is set back', () => {
  it('never revives an authority that had ended, not even after a restart', async () => {
    const ended = await (async () => {
      await using authorities = await replica.open();
      const before = activeId(authorities, 'x509');
      replica.clock.step(25 * HOUR_MS);
      expect(() => authorities.activeX509()).toThrow(expect.objectContaining({ code: 'unavailable' }));
      replica.clock.step(-25 * HOUR_MS);
      await replica.settle();
      expect(activeId(authorities, 'x509')).not.toBe(before);
      return before;
    })();
    await using again = await replica.open();
    expect(activeId(again, 'x509')).not.toBe(ended);
  });

  it('replaces an authority that begins in the future', async () => {
    await using authorities = await replica.open();
    const before = activeId(authorities, 'x509');
    replica.clock.step(-9000);
    await replica.pass(301_000);
    expect(activeId(authorities, 'x509')).toBe(before);
    replica.clock.step(-2 * HOUR_MS);
    await replica.pass(301_000);
    expect(activeId(authorities, 'x509')).not.toBe(before);
    expect(replica.bundle.ids('x509')).toContain(before);
  });
});

describe('expired authorities in the bundle', () => {
  const gone = {
    kind: 'jwt',
    id: 'of-a-replica-that-is-gone',
    publicBytes: new Uint8Array(1),
    tainted: false,
    replicaId: 'gone',
    upstreamSubjectKeyId: '',
  } as const;

  it('are removed a day after their end, also those of a replica that is gone', async () => {
    await using authorities = await replica.open();
    await replica.bundle.publish({ ...gone, expiresAtSeconds: replica.clock.nowMs() / 1000 + 3600 });
    await replica.bundle.publish({ ...gone, id: 'without-end', expiresAtSeconds: 0 });
    await replica.pass(24 * HOUR_MS);
    expect(replica.bundle.ids('jwt')).toContain(gone.id);
    await replica.pass(3.1 * HOUR_MS);
    expect(replica.bundle.ids('jwt')).not.toContain(gone.id);
    expect(replica.bundle.ids('jwt')).toContain('without-end');
    expect(replica.bundle.ids('jwt')).toContain(activeId(authorities, 'jwt'));
  });

  it('are not removed because the wall clock jumped ahead for a while', async () => {
    await using authorities = await replica.open();
    await replica.bundle.publish({ ...gone, expiresAtSeconds: replica.clock.nowMs() / 1000 + 3600 });
    replica.clock.step(365 * 24 * HOUR_MS);
    await replica.pass(0.9 * HOUR_MS);
    replica.clock.step(-365 * 24 * HOUR_MS);
    await replica.pass(3 * HOUR_MS);
    expect(replica.bundle.ids('jwt')).toContain(gone.id);
    expect(authorities.fault()).toBeUndefined();
  });
});

describe('a restart', () => {
  it('goes on with the same authorities when keys are on the disk', async () => {
    const before = await (async () => {
      await using authorities = await replica.open();
      await replica.pass(13 * HOUR_MS);
      return AUTHORITY_KINDS.map((kind) => authorities.states(kind));
    })();
    const published = replica.bundle.list().length;
    await using authorities = await replica.open();
    expect(AUTHORITY_KINDS.map((kind) => authorities.states(kind))).toEqual(before);
    expect(replica.bundle.list()).toHaveLength(published);
  });

  it('makes new authorities when keys were in memory, and leaves the old ones in the bundle until they end', async () => {
    const { replicaId, ids } = await (async () => {
      await using authorities = await replica.open({ keys: new MemoryKeyStore() });
      return { replicaId: authorities.replicaId, ids: AUTHORITY_KINDS.map((kind) => activeId(authorities, kind)) };
    })();
    await using authorities = await replica.open({ keys: new MemoryKeyStore() });
    expect(authorities.replicaId).toBe(replicaId);
    for (const [index, kind] of AUTHORITY_KINDS.entries()) {
      expect(activeId(authorities, kind)).not.toBe(ids[index]);
      expect(replica.bundle.ids(kind)).toEqual([ids[index], activeId(authorities, kind)]);
      expect(authorities.states(kind).old?.authorityId).toBe(ids[index]);
    }
  });

  it('long after everything ended makes new authorities', async () => {
    await (await replica.open())[Symbol.asyncDispose]();
    replica.clock.advance(100 * 24 * HOUR_MS);
    await using authorities = await replica.open();
    expect(authorities.fault()).toBeUndefined();
    expect(authorities.activeX509().expiresAtMs).toBe(replica.clock.nowMs() + 24 * HOUR_MS);
  });

  it('publishes again what a store put back from a backup lacks', async () => {
    const before = await (async () => {
      await using authorities = await replica.open();
      return activeId(authorities, 'x509');
    })();
    replica.bundle.parts.clear();
    await using authorities = await replica.open();
    expect(activeId(authorities, 'x509')).toBe(before);
    expect(replica.bundle.ids('x509')).toEqual([before]);
  });

  it('does not use a key that is not the authority’s own', async () => {
    const before = await (async () => {
      await using authorities = await replica.open();
      return activeId(authorities, 'x509');
    })();
    const keys = new MemoryKeyStore();
    for (const file of readdirSync(join(replica.dir, 'keys'))) await keys.create(file.replace('.pem', ''), 'ec-p256');
    await using authorities = await replica.open({ keys });
    expect(activeId(authorities, 'x509')).not.toBe(before);
  });

  it('removes keys that a crash left behind, and leaves those of other replicas alone', async () => {
    const keys = new MemoryKeyStore();
    const id = await (async () => {
      await using authorities = await replica.open({ keys });
      return authorities.replicaId;
    })();
    await keys.create(`x509-${id}-orphan`, 'ec-p256');
    await keys.create('x509-0123456789abcdef-other', 'ec-p256');
    await using authorities = await replica.open({ keys });
    expect(authorities.replicaId).toBe(id);
    expect(await keys.list()).not.toContain(`x509-${id}-orphan`);
    expect(await keys.list()).toContain('x509-0123456789abcdef-other');
  });
});

describe('two replicas', () => {
  it('publish to one bundle and sign with authorities of their own', async () => {
    const other = new Replica(replica.clock, replica.bundle);
    try {
      await using one = await replica.open();
      await using two = await other.open();
      expect(one.replicaId).not.toBe(two.replicaId);
      expect([...replica.bundle.ids('x509')].sort()).toEqual([activeId(one, 'x509'), activeId(two, 'x509')].sort());
      expect(new Set(replica.bundle.list().map(({ id }) => id)).size).toBe(8);
    } finally {
      other.delete();
    }
  });
});

it('has no authority for exchanged tokens unless tokens are exchanged', async () => {
  await using authorities = await replica.open({ exchange: false });
  expect(authorities.kinds).toEqual(['x509', 'jwt', 'wit']);
  expect(replica.bundle.ids('exchange')).toEqual([]);
  expect(() => authorities.activeToken('exchange')).toThrow(expect.objectContaining({ code: 'unavailable' }));
  expect(authorities.fault()).toBeUndefined();
});
