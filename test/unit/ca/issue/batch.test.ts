import { EventEmitter } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { IssuedX509 } from '../../../../ca/issue/issuer.ts';
import { serveSigning } from '../../../../ca/issue/serve-signing.ts';
import { packJob, unpackResults, type ResultMessage, type WorkerAuthority } from '../../../../ca/issue/signing-messages.ts';
import { SigningPool } from '../../../../ca/issue/signing-pool.ts';
import { SigningQueue } from '../../../../ca/issue/signing-queue.ts';
import { profileOf } from '../../../../ca/issue/x509-issuer.ts';
import type { X509Order } from '../../../../ca/issue/x509-order.ts';
import type { SigningKey } from '../../../../ca/keys/key-store.ts';
import { MemoryKeyStore } from '../../../../ca/keys/memory-key-store.ts';
import { IdentityError, isIdentityError } from '../../../../core/errors.ts';
import { parseCertificate } from '../../../../spiffe/certificate.ts';
import { verifyX509Svid } from '../../../../spiffe/x509-svid.ts';
import { createTestCsr } from '../../../support/test-csr.ts';
import { createTestKey } from '../../../support/test-keys.ts';
import { id, IssuingSide, trustDomain } from './issuer-fixture.ts';

const caller = 'spiffe://example.org/spire/agent/x';
const requestFor = (index: number, csr = createTestCsr()) => ({
  csr,
  spiffeId: id(`/w/${index}`),
  caller,
  entryId: `entry-${index}`,
});
const isIssued = (each: IssuedX509 | IdentityError): each is IssuedX509 => !(each instanceof IdentityError);

describe.each([
  ['on worker threads', 2],
  ['on the main thread', 0],
])('a batch %s', (_name, workers) => {
  it('answers each request in its place, with one audit record for each SVID', async () => {
    await using side = await IssuingSide.open({ workers });
    const requests = Array.from({ length: 50 }, (_, index) => requestFor(index));
    requests[3] = requestFor(3, createTestCsr({ signingKey: createTestKey() }));
    requests[17] = { ...requestFor(17), spiffeId: id('/spire/server') };
    requests[31] = requestFor(31, Uint8Array.of(0x30));
    const issued = await side.issuer.issueX509SvidBatch(requests);
    expect(issued.map((each, index) => (isIssued(each) ? each.spiffeId.path : `${index} ${each.code}`))).toEqual(
      requests.map((_, index) => ([3, 17, 31].includes(index) ? `${index} invalid_argument` : `/w/${index}`)),
    );
    const svids = issued.filter(isIssued);
    for (const { chain, spiffeId, serialHex } of svids) {
      expect(verifyX509Svid(chain, side.bundles, side.nowMs).id.equals(spiffeId)).toBe(true);
      expect(parseCertificate(chain[0] ?? new Uint8Array()).serialHex).toBe(serialHex);
    }
    expect(side.records.filter(({ kind }) => kind === 'x509-svid').map(({ serial }) => serial)).toEqual(
      svids.map(({ serialHex }) => serialHex),
    );
    expect(side.records.at(-1)).toMatchObject({ entryId: 'entry-49', spiffeId: 'spiffe://example.org/w/49', caller });
  });

  it('of nothing but faults is answered, too', async () => {
    await using side = await IssuingSide.open({ workers });
    const faulty = Array.from({ length: 10 }, (_, index) => requestFor(index, Uint8Array.of(index)));
    expect((await side.issuer.issueX509SvidBatch(faulty)).every((each) => isIdentityError(each, 'invalid_argument'))).toBe(true);
    expect(await side.issuer.issueX509SvidBatch([])).toEqual([]);
  });

  it('has no two serial numbers the same', async () => {
    await using side = await IssuingSide.open({ workers });
    const csr = createTestCsr();
    const batches = await Promise.all(
      Array.from({ length: 8 }, () =>
        side.issuer.issueX509SvidBatch(Array.from({ length: 64 }, (_, index) => requestFor(index, csr))),
      ),
    );
    expect(
      new Set(
        batches
          .flat()
          .filter(isIssued)
          .map(({ serialHex }) => serialHex),
      ).size,
    ).toBe(512);
  });
});

it('a batch with a key that is not in this process is signed through the port', async () => {
  const keys = new MemoryKeyStore();
  const create = keys.create.bind(keys);
  // As hardware or a cloud would: no key object, and an answer that takes a while.
  keys.create = async (keyId, algorithm) => {
    const inner = await create(keyId, algorithm);
    const { id: name, publicKey, publicKeySpki } = inner;
    const later: SigningKey['sign'] = (data, encoding) => Promise.resolve(inner.sign(data, encoding));
    return { id: name, algorithm, publicKey, publicKeySpki, sign: later };
  };
  await using side = await IssuingSide.open({ keys, workers: 2 });
  const issued = await side.issuer.issueX509SvidBatch(
    Array.from({ length: 20 }, (_, index) => requestFor(index, index === 5 ? Uint8Array.of(1) : undefined)),
  );
  expect(issued.filter(isIssued)).toHaveLength(19);
  for (const { chain } of issued.filter(isIssued)) verifyX509Svid(chain, side.bundles, side.nowMs);
  const { token } = await side.issuer.issueJwtSvid({ spiffeId: id('/web'), audience: ['a'], caller });
  expect(token.split('.')).toHaveLength(3);
});

describe('the signing threads', () => {
  let side: IssuingSide;
  let authority: WorkerAuthority;
  let orders: X509Order[];
  beforeEach(async () => {
    side = await IssuingSide.open();
    const active = side.authorities.activeX509();
    const key = active.key.keyObject;
    if (key === undefined) throw new Error('a memory key has a key object');
    authority = { id: active.id, profile: profileOf(active, trustDomain.name), hash: 'sha256', key };
    orders = Array.from({ length: 32 }, (_, index) => ({
      keyKind: 'csr',
      key: createTestCsr(),
      spiffeId: `spiffe://example.org/w/${index}`,
      dnsNames: [],
      nowMs: side.nowMs,
      notAfterMs: Math.floor(side.nowMs / 1000) * 1000 + 60_000,
    }));
  });
  afterEach(() => side[Symbol.asyncDispose]());

  const poolWith = (program: string | undefined, workers = 2): SigningPool => {
    const file = join(side.replica.dir, 'program.mjs');
    if (program !== undefined) writeFileSync(file, program);
    return new SigningPool({
      clock: side.replica.clock,
      workers,
      program: program === undefined ? undefined : pathToFileURL(file),
    });
  };

  it('start with the first batch, take both cores for a large one, and end after a minute without work', async () => {
    await using pool = poolWith(undefined);
    expect(pool.running).toBe(0);
    await pool.sign(orders.slice(0, 8), authority);
    expect(pool.running).toBe(1);
    expect((await pool.sign(orders, authority)).filter((each) => each instanceof IdentityError)).toEqual([]);
    expect(pool.running).toBe(2);
    side.replica.clock.advance(59_000);
    expect(pool.running).toBe(2);
    side.replica.clock.advance(1000);
    expect(pool.running).toBe(0);
    await pool.sign(orders, authority);
    expect(pool.running).toBe(2);
  });

  it('learn of a new authority', async () => {
    await using pool = poolWith(undefined, 1);
    await pool.sign(orders, authority);
    const { privateKey } = createTestKey();
    const [signed] = await pool.sign(orders.slice(0, 1), { ...authority, id: 'another', key: privateKey });
    expect(signed).not.toBeInstanceOf(IdentityError);
    const [again] = await pool.sign(orders.slice(0, 1), authority);
    if (again === undefined || again instanceof IdentityError) throw new Error('expected a certificate');
    expect(verifyX509Svid([again.certificate], side.bundles, side.nowMs).id.path).toBe('/w/0');
  });

  it('that die are replaced once, then the batch fails instead of waiting for ever', async () => {
    await using pool = poolWith(
      `import { parentPort } from 'node:worker_threads'; parentPort.on('message', () => process.exit(1));`,
    );
    await expect(pool.sign(orders, authority)).rejects.toMatchObject({ code: 'internal' });
  });

  it('that throw are replaced once, too', async () => {
    await using pool = poolWith(
      `import { parentPort } from 'node:worker_threads'; parentPort.on('message', () => { throw new Error('broken'); });`,
    );
    await expect(pool.sign(orders, authority)).rejects.toMatchObject({ code: 'internal' });
  });

  it('that cannot even start fail the batch', async () => {
    await using pool = poolWith(`throw new Error('no start');`);
    await expect(pool.sign(orders, authority)).rejects.toMatchObject({ code: 'internal' });
  });

  it('hand over to another one what a dead one left', async () => {
    const program = new URL('../../../../ca/issue/serve-signing.ts', import.meta.url).href;
    const mark = join(side.replica.dir, 'died');
    await using pool = poolWith(
      `
      import { existsSync, writeFileSync } from 'node:fs';
      import { parentPort } from 'node:worker_threads';
      import { serveSigning } from ${JSON.stringify(program)};
      if (existsSync(${JSON.stringify(mark)})) serveSigning(parentPort);
      else parentPort.on('message', () => { writeFileSync(${JSON.stringify(mark)}, ''); process.exit(1); });
    `,
      1,
    );
    const signed = await pool.sign(orders, authority);
    expect(signed.filter((each) => each instanceof IdentityError)).toEqual([]);
    expect(signed).toHaveLength(32);
  });

  it('that say nothing are given up', async () => {
    await using pool = poolWith(`import { parentPort } from 'node:worker_threads'; parentPort.on('message', () => {});`, 1);
    const signed = pool.sign(orders, authority);
    signed.catch(() => undefined);
    side.replica.clock.advance(20_000);
    while (pool.running === 0) await new Promise((resolve) => setImmediate(resolve));
    side.replica.clock.advance(20_000);
    await expect(signed).rejects.toMatchObject({ code: 'internal' });
  });

  it('end with the pool, and who waits is told', async () => {
    const pool = poolWith(`import { parentPort } from 'node:worker_threads'; parentPort.on('message', () => {});`);
    const signed = pool.sign(orders, authority);
    signed.catch(() => undefined);
    await pool[Symbol.asyncDispose]();
    await expect(signed).rejects.toMatchObject({ code: 'unavailable' });
    await expect(pool.sign(orders, authority)).rejects.toMatchObject({ code: 'unavailable' });
    expect(pool.running).toBe(0);
    expect(side.replica.clock.timers).toBe(1); // The authorities' own.
  });

  it('answer over any port', () => {
    const answers: ResultMessage[] = [];
    const port = Object.assign(new EventEmitter(), { postMessage: (message: ResultMessage) => void answers.push(message) });
    serveSigning(port as unknown as Parameters<typeof serveSigning>[0]); // Sound: the two methods that it uses.
    port.emit('message', packJob(7, [...orders, { ...orders[0], key: Uint8Array.of(9) } as X509Order], authority)); // Sound: a whole order with another key.
    port.emit('message', packJob(8, orders.slice(0, 1), undefined));
    expect(answers.map(({ job }) => job)).toEqual([7, 8]);
    const [first, second] = answers.map(unpackResults);
    expect(first?.slice(0, -1).every((each) => !(each instanceof IdentityError))).toBe(true);
    expect(first?.at(-1)).toMatchObject({ code: 'invalid_argument' });
    expect(second).toHaveLength(1);
  });

  it('take no work before they know an authority', () => {
    const port = Object.assign(new EventEmitter(), { postMessage: () => undefined });
    serveSigning(port as unknown as Parameters<typeof serveSigning>[0]); // Sound: the two methods that it uses.
    expect(() => port.emit('message', packJob(1, orders, undefined))).toThrow('before an authority');
  });
});

describe('single requests that come together', () => {
  const csr = createTestCsr();
  const ask = (side: IssuingSide, index: number) =>
    side.issuer.issueX509Svid(requestFor(index, index % 7 === 3 ? Uint8Array.of(1) : csr));

  it.each([0, 2])('are each answered for themselves, with up to %i threads', async (workers) => {
    await using side = await IssuingSide.open({ workers });
    const all: IssuedX509[] = [];
    // The first rounds start the threads, the later ones are signed by them.
    for (let round = 0; round < 40; round++) {
      const answers = await Promise.allSettled(Array.from({ length: 16 }, (_, index) => ask(side, index)));
      const outcomes = answers.map((answer) =>
        answer.status === 'fulfilled' ? answer.value.spiffeId.path : (answer.reason as IdentityError).code,
      ); // Sound: the issuer throws nothing else.
      expect(outcomes).toEqual(answers.map((_, index) => (index % 7 === 3 ? 'invalid_argument' : `/w/${index}`)));
      all.push(...answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : [])));
    }
    expect(all).toHaveLength(40 * 14);
    expect(new Set(all.map(({ serialHex }) => serialHex)).size).toBe(all.length);
    expect(side.records.filter(({ kind }) => kind === 'x509-svid')).toHaveLength(all.length);
    for (const { chain } of all) verifyX509Svid(chain, side.bundles, side.nowMs);
  });
});

describe('the queue of single orders', () => {
  const order: X509Order = {
    keyKind: 'csr',
    key: Uint8Array.of(1),
    spiffeId: 'spiffe://example.org/w',
    dnsNames: [],
    nowMs: 0,
    notAfterMs: 1000,
  };
  // Sound: the queue only looks at the ID, and a broken CSR is refused before anything else is.
  const authorityOf = (name: string): WorkerAuthority => ({ id: name, profile: {} }) as WorkerAuthority;

  class FakePool {
    isWarm = false;
    readonly size = 2;
    warmedUp = 0;
    readonly batches: (readonly [string, number])[] = [];
    fails = false;
    gate: Promise<void> = Promise.resolve();

    warmUp(): void {
      this.warmedUp++;
    }

    async signTogether(orders: readonly X509Order[], { id: name }: WorkerAuthority) {
      this.batches.push([name, orders.length]);
      await this.gate;
      if (this.fails) throw new IdentityError('internal', 'threads ended');
      return orders.map(() => new IdentityError('invalid_argument', 'from a thread'));
    }
  }
  const queueWith = (pool: FakePool): SigningQueue => new SigningQueue(pool as unknown as SigningPool, () => new Uint8Array()); // Sound: it has what the queue uses.
  const messages = async (answers: readonly Promise<unknown>[]): Promise<readonly boolean[]> =>
    (await Promise.all(answers)).map((each) => String(each).includes('thread'));

  it('signs here what comes alone, and while threads are starting', async () => {
    const pool = new FakePool();
    const queue = queueWith(pool);
    expect(await messages([queue.sign(order, authorityOf('a'))])).toEqual([false]);
    expect(pool.warmedUp).toBe(0);
    expect(await messages(Array.from({ length: 4 }, () => queue.sign(order, authorityOf('a'))))).toEqual([
      false,
      false,
      false,
      false,
    ]);
    expect(pool.warmedUp).toBe(1);
    pool.isWarm = true;
    expect(await messages([queue.sign(order, authorityOf('a'))])).toEqual([false]);
    expect(pool.batches).toEqual([]);
  });

  it('shares what comes together with a thread, and signs here while that one is busy', async () => {
    const pool = new FakePool();
    pool.isWarm = true;
    const gate = Promise.withResolvers<void>();
    pool.gate = gate.promise;
    const queue = queueWith(pool);
    const answers: Promise<unknown>[] = [];
    for (const count of [5, 1, 8]) {
      answers.push(...Array.from({ length: count }, () => queue.sign(order, authorityOf('a'))));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(pool.batches).toEqual([['a', 4]]);
    gate.resolve();
    expect(await messages(answers)).toEqual(answers.map((_, index) => index < 4));
    answers.push(...Array.from({ length: 9 }, () => queue.sign(order, authorityOf('a'))));
    await messages(answers);
    expect(pool.batches).toEqual([
      ['a', 4],
      ['a', 5],
    ]);
  });

  it('listens to callers again before it has signed very many here', async () => {
    const pool = new FakePool();
    const queue = queueWith(pool);
    let answered = 0;
    const answers = Array.from({ length: 40 }, () => queue.sign(order, authorityOf('a')).then(() => answered++));
    const seen: number[] = [];
    while (answered < answers.length) {
      await new Promise((resolve) => setImmediate(resolve));
      seen.push(answered);
    }
    expect(Math.max(...seen.map((count, index) => count - (seen[index - 1] ?? 0)))).toBe(16);
  });

  it('keeps authorities apart', async () => {
    const pool = new FakePool();
    pool.isWarm = true;
    const queue = queueWith(pool);
    const answers = 'aaaabbbb'.split('').map((name) => queue.sign(order, authorityOf(name)));
    await Promise.all(answers);
    expect(pool.batches).toEqual([['a', 4]]);
  });

  it('tells everyone when the threads fail', async () => {
    const pool = new FakePool();
    pool.isWarm = true;
    pool.fails = true;
    const queue = queueWith(pool);
    const answers = await Promise.allSettled(Array.from({ length: 8 }, () => queue.sign(order, authorityOf('a'))));
    expect(answers.filter(({ status }) => status === 'rejected')).toHaveLength(4);
  });
});
