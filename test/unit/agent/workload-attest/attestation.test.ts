import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Workload, WorkloadAttestation } from '../../../../agent/workload-attest/attestation.ts';
import type { WorkloadAttestor } from '../../../../agent/workload-attest/attestor.ts';
import type { Selector } from '../../../../agent/cache/selectors.ts';
import { IdentityError } from '../../../../core/errors.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

const onLinux = process.platform === 'linux';
const never = new AbortController().signal;

describe.skipIf(!onLinux)('workload attestation (needs Linux)', () => {
  let folder = '';
  let clock: ManualClock;
  let server: Server;
  let client: Socket;
  const logged: string[] = [];
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'attestation-'));
    clock = new ManualClock();
    logged.length = 0;
  });
  afterEach(async () => {
    client.destroy();
    server.close();
    await rm(folder, { recursive: true });
  });

  /** This process's connection to itself, attested by these attestors. */
  async function connected(...attestors: readonly WorkloadAttestor[]): Promise<Workload> {
    const log = pino({ level: 'trace' }, { write: (line: string) => void logged.push(line) });
    const attestation = new WorkloadAttestation({ attestors, clock, log });
    const path = join(folder, 's');
    const accepted = new Promise<Workload>((resolve) => {
      server = createServer((socket) => resolve(attestation.accept(socket))).listen(path);
    });
    await once(server, 'listening');
    client = connect(path);
    return accepted;
  }

  function attestor(name: string, attest: WorkloadAttestor['attest'], freshForMs = 10_000): WorkloadAttestor {
    return { name, needsCgroups: false, freshForMs, attest };
  }

  const says = (...values: readonly string[]): readonly Selector[] => values.map((value) => ({ type: 'a', value }));

  test('merges, sorts and removes duplicates', async () => {
    const workload = await connected(
      attestor('a', () => says('z', 'b')),
      attestor('b', async () => says('b', 'a')),
    );
    expect((await workload.attest(never)).texts).toEqual(['a:a', 'a:b', 'a:z']);
  });

  test('an attestor that fails costs its own selectors only, is logged once and asked again after a second', async () => {
    let asked = 0;
    const workload = await connected(
      attestor('good', () => says('x')),
      attestor('bad', () => {
        asked++;
        throw new IdentityError('unavailable', `down for pid ${asked}`);
      }),
    );
    for (let call = 0; call < 5; call++) expect((await workload.attest(never)).texts).toEqual(['a:x']);
    expect(asked).toBe(1);
    clock.advance(1000);
    await workload.attest(never);
    expect(asked).toBe(2);
    expect(logged).toHaveLength(1);
    expect(JSON.parse(logged[0] ?? '')).toMatchObject({ level: 40, part: 'bad', msg: 'workload attestor failed' });
    clock.advance(60_000);
    await workload.attest(never);
    expect(logged).toHaveLength(2);
  });

  test('is asked again once the least fresh answer is old, and equal answers stay identical', async () => {
    let asked = 0;
    const quick = (): readonly Selector[] => says(asked++ < 2 ? 'old' : 'new');
    const workload = await connected(
      attestor('quick', quick, 1000),
      attestor('slow', async () => says('x')),
    );
    const first = await workload.attest(never);
    clock.advance(999);
    expect(workload.attest(never)).toBe(first);
    clock.advance(1);
    expect(await workload.attest(never)).toBe(first);
    clock.advance(1000);
    expect((await workload.attest(never)).texts).toEqual(['a:new', 'a:x']);
  });

  test('calls at once share one question; one that gives up does not end it for the others', async () => {
    const answer = Promise.withResolvers<readonly Selector[]>();
    let asked = 0;
    const workload = await connected(
      attestor('slow', () => {
        asked++;
        return answer.promise;
      }),
    );
    const impatient = new AbortController();
    const [one, other] = [workload.attest(impatient.signal), workload.attest(never)];
    impatient.abort(new Error('gone'));
    await expect(one).rejects.toThrow('gone');
    answer.resolve(says('x'));
    expect((await other).texts).toEqual(['a:x']);
    expect(asked).toBe(1);
    expect(clock.timers).toBe(0);
  });

  test('an attestor that hangs is done without after 5 s', async () => {
    const hangs = (_: unknown, signal: AbortSignal): Promise<readonly Selector[]> =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
      });
    const workload = await connected(
      attestor('hangs', hangs),
      attestor('good', () => says('x')),
    );
    const found = workload.attest(never);
    clock.advance(5000);
    expect((await found).texts).toEqual(['a:x']);
  });

  test('no answer is given when the connection ended while an attestor waited', async () => {
    const answer = Promise.withResolvers<readonly Selector[]>();
    const workload = await connected(attestor('slow', () => answer.promise));
    const found = workload.attest(never);
    workload[Symbol.dispose]();
    answer.resolve(says('x'));
    await expect(found).rejects.toMatchObject({ code: 'permission_denied' });
  });

  test('the image tells this process', async () => {
    const workload = await connected(attestor('a', () => []));
    expect(workload.inspect()).toMatchObject({ pid: process.pid, uid: process.geteuid?.(), gid: process.getegid?.() });
    expect(workload.inspect().executable?.path).toBe(process.execPath);
  });
});
