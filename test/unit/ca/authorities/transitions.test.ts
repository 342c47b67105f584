import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Authorities } from '../../../../ca/authorities/authorities.ts';
import { AUTHORITY_KINDS } from '../../../../ca/authorities/authority.ts';
import type { AuthorityKind } from '../../../../ca/model.ts';
import { HOUR_MS, Replica, storeIsDown } from './authorities-fixture.ts';

let replica: Replica;
let authorities: Authorities;
beforeEach(async () => {
  replica = new Replica();
  authorities = await replica.open();
});
afterEach(async () => {
  await authorities[Symbol.asyncDispose]();
  replica.delete();
});

const refused = (code: string) => expect.objectContaining({ name: 'IdentityError', code });

/** Prepares and activates, so that there is an old one; returns its ID. */
async function replaceActive(kind: AuthorityKind): Promise<string> {
  const { active } = authorities.states(kind);
  const { authorityId } = await authorities.prepare(kind);
  await authorities.activate(kind, authorityId);
  return active.authorityId;
}

describe.each(AUTHORITY_KINDS)('an administrator and %s authorities', (kind) => {
  it('prepares one, published and not yet signing', async () => {
    const { active } = authorities.states(kind);
    const prepared = await authorities.prepare(kind);
    expect(replica.bundle.ids(kind)).toEqual([active.authorityId, prepared.authorityId]);
    expect(authorities.states(kind)).toEqual({ active, prepared, old: undefined });
    expect(prepared).toEqual({ ...active, authorityId: prepared.authorityId });
  });

  it('prepares another one in its place', async () => {
    const first = await authorities.prepare(kind);
    const second = await authorities.prepare(kind);
    expect(authorities.states(kind).prepared).toEqual(second);
    await expect(authorities.activate(kind, first.authorityId)).rejects.toEqual(refused('invalid_argument'));
    await authorities.activate(kind, second.authorityId);
  });

  it('activates the prepared one', async () => {
    const { active } = authorities.states(kind);
    const { authorityId } = await authorities.prepare(kind);
    expect(await authorities.activate(kind, authorityId)).toMatchObject({ authorityId });
    const signing = kind === 'x509' ? authorities.activeX509() : authorities.activeToken(kind);
    expect(signing.id).toBe(authorityId);
    expect(authorities.states(kind)).toMatchObject({
      active: { authorityId },
      prepared: undefined,
      old: { authorityId: active.authorityId },
    });
  });

  it('can activate nothing else', async () => {
    const old = await replaceActive(kind);
    const { active } = authorities.states(kind);
    await expect(authorities.activate(kind, '')).rejects.toEqual(refused('invalid_argument'));
    await expect(authorities.activate(kind, 'unknown')).rejects.toEqual(refused('invalid_argument'));
    await expect(authorities.activate(kind, active.authorityId)).rejects.toEqual(refused('invalid_argument'));
    await expect(authorities.activate(kind, old)).rejects.toEqual(refused('internal'));
  });

  it('taints the old one, in the bundle too', async () => {
    const old = await replaceActive(kind);
    expect(await authorities.taint(kind, old)).toMatchObject({ authorityId: old, tainted: true });
    expect(replica.bundle.list().filter(({ tainted }) => tainted)).toMatchObject([{ kind, id: old }]);
    expect([...authorities.taintedX509.value]).toEqual(kind === 'x509' ? [old] : []);
    await expect(authorities.taint(kind, old)).rejects.toEqual(refused('internal'));
  });

  it('can taint nothing else', async () => {
    const { authorityId } = await authorities.prepare(kind);
    const { active } = authorities.states(kind);
    for (const id of ['', 'unknown', authorityId, active.authorityId]) {
      await expect(authorities.taint(kind, id)).rejects.toEqual(refused('invalid_argument'));
    }
    expect(replica.bundle.list().some(({ tainted }) => tainted)).toBe(false);
  });

  it('revokes the tainted one', async () => {
    const old = await replaceActive(kind);
    await expect(authorities.revoke(kind, old)).rejects.toEqual(refused('internal'));
    await authorities.taint(kind, old);
    expect(await authorities.revoke(kind, old)).toMatchObject({ authorityId: old });
    expect(replica.bundle.ids(kind)).toEqual([authorities.states(kind).active.authorityId]);
    expect(authorities.states(kind).old).toBeUndefined();
    expect(authorities.taintedX509.value.size).toBe(0);
    await expect(authorities.revoke(kind, old)).rejects.toEqual(refused('invalid_argument'));
  });

  it('can revoke nothing else', async () => {
    const { authorityId } = await authorities.prepare(kind);
    const { active } = authorities.states(kind);
    for (const id of ['', 'unknown', authorityId, active.authorityId]) {
      await expect(authorities.revoke(kind, id)).rejects.toEqual(refused('invalid_argument'));
    }
  });

  it('is told that the store is down, and can try each step again', async () => {
    const old = await replaceActive(kind);
    replica.bundle.beforeWrite = storeIsDown;
    await expect(authorities.prepare(kind)).rejects.toEqual(refused('unavailable'));
    await expect(authorities.taint(kind, old)).rejects.toEqual(refused('unavailable'));
    replica.bundle.beforeWrite = () => undefined;
    await authorities.taint(kind, old);
    replica.bundle.beforeWrite = storeIsDown;
    await expect(authorities.revoke(kind, old)).rejects.toEqual(refused('unavailable'));
    replica.bundle.beforeWrite = () => undefined;
    await authorities[Symbol.asyncDispose]();
    authorities = await replica.open();
    expect(replica.bundle.ids(kind)).not.toContain(old);
  });

  it('need not repeat a taint that did not reach the bundle', async () => {
    const old = await replaceActive(kind);
    replica.bundle.beforeWrite = storeIsDown;
    await expect(authorities.taint(kind, old)).rejects.toEqual(refused('unavailable'));
    replica.bundle.beforeWrite = () => undefined;
    await replica.pass(301_000);
    expect(replica.bundle.list().filter(({ tainted }) => tainted)).toMatchObject([{ kind, id: old }]);
  });

  it('goes on from every state after a restart', async () => {
    const reopen = async (): Promise<void> => {
      await authorities[Symbol.asyncDispose]();
      authorities = await replica.open();
    };
    const { active } = authorities.states(kind);
    const prepared = await authorities.prepare(kind);
    await reopen();
    expect(authorities.states(kind)).toEqual({ active, prepared, old: undefined });
    await authorities.activate(kind, prepared.authorityId);
    await reopen();
    expect(authorities.states(kind)).toEqual({ active: prepared, prepared: undefined, old: active });
    await authorities.taint(kind, active.authorityId);
    await reopen();
    expect(authorities.states(kind).old).toEqual({ ...active, tainted: true });
    await authorities.revoke(kind, active.authorityId);
    await reopen();
    expect(authorities.states(kind)).toEqual({ active: prepared, prepared: undefined, old: undefined });
  });

  it('may act while the clock does: nothing overlaps', async () => {
    await replica.pass(11.99 * HOUR_MS);
    replica.clock.advance(0.1 * HOUR_MS);
    const [one, two] = await Promise.all([authorities.prepare(kind), authorities.prepare(kind)]);
    expect(one.authorityId).not.toBe(two.authorityId);
    expect(authorities.states(kind).prepared).toEqual(two);
  });
});

describe('a token authority that is not of this replica', () => {
  const foreign = {
    kind: 'jwt',
    id: 'foreign',
    publicBytes: new Uint8Array(1),
    expiresAtSeconds: 4e9,
    replicaId: 'other',
    upstreamSubjectKeyId: '',
  } as const;

  it('can be revoked once it is tainted, as in SPIRE', async () => {
    await replica.bundle.publish({ ...foreign, tainted: false });
    await expect(authorities.revoke('jwt', 'foreign')).rejects.toEqual(refused('internal'));
    await replica.bundle.publish({ ...foreign, tainted: true });
    expect(await authorities.revoke('jwt', 'foreign')).toMatchObject({ authorityId: 'foreign', expiresAtSeconds: 4e9 });
    expect(replica.bundle.ids('jwt')).not.toContain('foreign');
  });

  it('cannot be tainted or activated here', async () => {
    await replica.bundle.publish({ ...foreign, tainted: false });
    await expect(authorities.taint('jwt', 'foreign')).rejects.toEqual(refused('invalid_argument'));
    await expect(authorities.activate('jwt', 'foreign')).rejects.toEqual(refused('invalid_argument'));
  });

  it('cannot be an X.509 authority', async () => {
    await replica.bundle.publish({ ...foreign, kind: 'x509', tainted: true });
    await expect(authorities.revoke('x509', 'foreign')).rejects.toEqual(refused('invalid_argument'));
  });
});

describe('the upstream authority', () => {
  it('cannot be named when there is none', async () => {
    await expect(authorities.taintUpstream('ab')).rejects.toEqual(refused('failed_precondition'));
    await expect(authorities.revokeUpstream('ab')).rejects.toEqual(refused('failed_precondition'));
  });
});
