import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Authorities } from '../../../../ca/authorities/authorities.ts';
import { AUTHORITY_KINDS } from '../../../../ca/authorities/authority.ts';
import { DiskKeyStore } from '../../../../ca/keys/disk-key-store.ts';
import type { KeyStore } from '../../../../ca/keys/key-store.ts';
import { HOUR_MS, Replica } from './authorities-fixture.ts';

let replica: Replica;
beforeEach(() => {
  replica = new Replica();
});
afterEach(() => replica.delete());

/** Counts the steps that reach the outside, and ends the process, as it were, at one of them. */
class Crash {
  at = Infinity;
  steps = 0;

  step(): void {
    this.steps++;
    if (this.steps >= this.at) throw new Error('the process ended here');
  }
}

/** A key store whose every write may be the last thing that happens, before it or after it. */
function crashing(keys: KeyStore, crash: Crash): KeyStore {
  return {
    persistent: true,
    load: (id) => keys.load(id),
    list: () => keys.list(),
    create: async (id, algorithm) => {
      crash.step();
      const key = await keys.create(id, algorithm);
      crash.step();
      return key;
    },
    delete: async (id) => {
      crash.step();
      await keys.delete(id);
      crash.step();
    },
  };
}

/** Everything that the life cycle knows, in the order of an administrator who replaces leaked keys. */
async function replaceEverything(authorities: Authorities): Promise<void> {
  // WIT authorities live as JWT authorities do.
  for (const kind of ['x509', 'jwt'] as const) {
    const { active } = authorities.states(kind);
    const { authorityId } = await authorities.prepare(kind);
    await authorities.activate(kind, authorityId);
    await authorities.taint(kind, active.authorityId);
    await authorities.revoke(kind, active.authorityId);
  }
}

describe('a crash at any step', () => {
  it('leaves a state from which the next start goes on, with every signing key in the bundle', { timeout: 60_000 }, async () => {
    let crashes = 0;
    for (let at = 1; ; at++) {
      const trial = new Replica();
      const crash = new Crash();
      crash.at = at;
      trial.bundle.beforeWrite = () => crash.step();
      const keys = await DiskKeyStore.open(join(trial.dir, 'keys'));
      let failed = false;
      try {
        const authorities = await trial.open({ keys: crashing(keys, crash) });
        await using opened = authorities;
        await replaceEverything(opened);
      } catch {
        failed = true;
        crashes++;
      }
      trial.bundle.beforeWrite = () => undefined;
      {
        await using again = await trial.open({ keys });
        expect(again.fault()).toBeUndefined();
        for (const kind of AUTHORITY_KINDS) {
          const signing = kind === 'x509' ? again.activeX509() : again.activeToken(kind);
          expect(trial.bundle.ids(kind)).toContain(signing.id);
        }
        // No key without an authority, no authority without its key; what was revoked half way is gone.
        const { authorities } = JSON.parse(readFileSync(trial.stateFile, 'utf8')) as {
          authorities: { keyId: string; status: string; revoked: boolean }[];
        }; // Sound: the file was just written.
        const used = authorities.filter(({ status }) => status !== 'old').map(({ keyId }) => keyId);
        expect([...(await keys.list())].sort()).toEqual(used.sort());
        expect(authorities.some(({ revoked }) => revoked)).toBe(false);
        await replaceEverything(again);
      }
      trial.delete();
      if (!failed) break;
    }
    expect(crashes).toBeGreaterThan(15);
  });
});

describe('the state file', () => {
  it('is refused when it is damaged, and the text says what to do', async () => {
    await (await replica.open())[Symbol.asyncDispose]();
    for (const damaged of ['', '{', '{"version":2}', '{"version":1,"replicaId":"x","authorities":[{}]}']) {
      writeFileSync(replica.stateFile, damaged);
      await expect(replica.open()).rejects.toMatchObject({
        code: 'failed_precondition',
        message: expect.stringContaining('remove it'),
      });
    }
  });

  it('is refused when others may change it', async () => {
    await (await replica.open())[Symbol.asyncDispose]();
    chmodSync(replica.stateFile, 0o666);
    await expect(replica.open()).rejects.toMatchObject({ code: 'failed_precondition' });
  });

  it('holds no private key', async () => {
    await using authorities = await replica.open();
    const text = readFileSync(replica.stateFile, 'utf8');
    const { key } = authorities.activeX509();
    const { d } = key.keyObject?.export({ format: 'jwk' }) ?? {};
    expect(d).toBeDefined();
    expect(text).not.toContain(Buffer.from(d ?? '', 'base64url').toString('base64'));
    expect(text).not.toContain('PRIVATE');
  });

  it('that cannot be written stops rotation, not signing', async () => {
    await using authorities = await replica.open();
    const before = authorities.activeX509().id;
    rmSync(replica.dir, { recursive: true });
    await replica.pass(21 * HOUR_MS);
    expect(authorities.activeX509().id).toBe(before);
    expect(authorities.fault()).toContain('cannot be replaced');
  });
});
