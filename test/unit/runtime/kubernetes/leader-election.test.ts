import type { ServerResponse } from 'node:http';

import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import type { KubeClient } from '../../../../runtime/kubernetes/client.ts';
import { LeaderElection, type Lead } from '../../../../runtime/kubernetes/leader-election.ts';
import { json, StandInApi, status, type SeenRequest } from '../../../support/kubernetes/stand-in-api.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

interface Lease {
  metadata: { resourceVersion?: string };
  spec: { holderIdentity: string; leaseTransitions: number; leaseDurationSeconds?: number };
}

/** Keeps one Lease as the API server does. */
class Leases {
  lease: Lease | undefined;
  away = false;
  #version = 0;

  answer({ method, body }: SeenRequest, response: ServerResponse): void {
    if (this.away) return json(response, 503, status(503, 'ServiceUnavailable', 'away'));
    if (method === 'GET') {
      return this.lease === undefined
        ? json(response, 404, status(404, 'NotFound', 'no lease'))
        : json(response, 200, this.lease);
    }
    // The cast is sound: only the election writes here.
    const given = JSON.parse(body) as Lease;
    if (method === 'POST' && this.lease !== undefined) return json(response, 409, status(409, 'AlreadyExists', 'there'));
    if (method === 'PUT' && given.metadata.resourceVersion !== this.lease?.metadata.resourceVersion) {
      return json(response, 409, status(409, 'Conflict', 'changed'));
    }
    this.store(given);
    json(response, 200, this.lease);
  }

  store(lease: Lease): void {
    this.lease = { ...lease, metadata: { ...lease.metadata, resourceVersion: String((this.#version += 1)) } };
  }
}

/** One process that stands for election, with a clock of its own. */
class Candidate {
  readonly clock = new ManualClock();
  readonly stop = new AbortController();
  readonly client: KubeClient;
  readonly election: LeaderElection;
  /** The signals that its work was run with. */
  readonly terms: AbortSignal[] = [];
  readonly ended: Promise<void>;

  constructor(api: StandInApi, identity: string, lead?: Lead) {
    this.client = api.client(this.clock);
    this.election = new LeaderElection({
      client: this.client,
      namespace: 'system',
      name: 'leader',
      identity,
      clock: this.clock,
      log: pino({ level: 'silent' }),
      random: () => 0,
    });
    this.ended = this.election.run(async (signal) => {
      this.terms.push(signal);
      await (lead ?? untilAborted)(signal);
    }, this.stop.signal);
    this.ended.catch(() => {});
  }

  get leads(): boolean {
    return this.election.leading.value;
  }
}

async function untilAborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}

let api: StandInApi;
let leases: Leases;
let candidates: Candidate[];

beforeEach(async () => {
  leases = new Leases();
  candidates = [];
  api = await StandInApi.start((request, response) => leases.answer(request, response));
});

afterEach(async () => {
  for (const { stop, ended, client, clock } of candidates) {
    stop.abort('end of the test');
    clock.advance(60_000);
    await ended.catch(() => {});
    client[Symbol.dispose]();
  }
  await api[Symbol.asyncDispose]();
});

function candidate(identity: string, lead?: Lead): Candidate {
  const made = new Candidate(api, identity, lead);
  candidates.push(made);
  return made;
}

/** Lets time pass for a candidate, slowly enough that it can do what it does between. */
async function pass(one: Candidate, totalMs: number, stepMs = 500): Promise<void> {
  for (let passedMs = 0; passedMs < totalMs; passedMs += stepMs) {
    // Either it waits for its next attempt, or a request is under way, which is real.
    const before = api.seen.length;
    one.clock.advance(stepMs);
    await new Promise((resolve) => setImmediate(resolve));
    if (api.seen.length !== before || one.clock.timers === 0) await new Promise((resolve) => setTimeout(resolve, 3));
  }
}

/** Waits until a candidate leads, or does not. */
async function leads(one: Candidate, yes: boolean): Promise<void> {
  await expect.poll(() => one.leads, { interval: 2 }).toBe(yes);
}

describe('the election of a leader', () => {
  it('elects one, who stays so as long as it renews', async () => {
    const one = candidate('one');
    await leads(one, true);
    const two = candidate('two');
    for (let round = 0; round < 30; round += 1) {
      await pass(one, 2_000);
      await pass(two, 2_000);
    }
    expect([one.leads, two.leads, one.terms.length]).toEqual([true, false, 1]);
    expect(leases.lease?.spec).toMatchObject({ holderIdentity: 'one', leaseTransitions: 0, leaseDurationSeconds: 15 });
    expect(two.election.holder.value).toBe('one');
  });

  it('hands over at once when the leader is told to stop, after its work has ended', async () => {
    const work = Promise.withResolvers<void>();
    const one = candidate('one', async (signal) => {
      await untilAborted(signal);
      await work.promise;
    });
    await leads(one, true);
    const two = candidate('two');
    one.stop.abort('update');
    await pass(two, 4_000);
    expect([one.terms[0]?.aborted, leases.lease?.spec.holderIdentity]).toEqual([true, 'one']);
    work.resolve();
    await one.ended;
    expect(leases.lease?.spec.holderIdentity).toBe('');
    await pass(two, 2_500);
    await leads(two, true);
    expect(leases.lease?.spec.leaseTransitions).toBe(1);
  });

  it('takes over from one that vanished only after the whole lease, by its own clock, whatever the wall clocks say', async () => {
    const one = candidate('one');
    await leads(one, true);
    const two = candidate('two');
    two.clock.step(7 * 24 * 3600_000);
    await expect.poll(() => two.election.holder.value).toBe('one');
    await pass(two, 14_500);
    expect(two.leads).toBe(false);
    await pass(two, 3_000);
    await leads(two, true);
    expect(leases.lease?.spec.holderIdentity).toBe('two');
  });

  it('ends the work of a leader that cannot renew, well before another may lead, and stands again', async () => {
    const one = candidate('one');
    await leads(one, true);
    leases.away = true;
    await pass(one, 9_500);
    expect(one.terms[0]?.aborted).toBe(false);
    await pass(one, 500);
    expect(one.terms[0]?.aborted).toBe(true);
    await leads(one, false);
    leases.away = false;
    await pass(one, 5_000);
    await leads(one, true);
    expect(one.terms.length).toBe(2);
  });

  it('ends the work as soon as it sees that somebody else has the lease', async () => {
    const one = candidate('one');
    await leads(one, true);
    leases.store({ metadata: {}, spec: { holderIdentity: 'thief', leaseTransitions: 5, leaseDurationSeconds: 15 } });
    await pass(one, 2_500);
    await leads(one, false);
    expect([one.terms.length, one.terms[0]?.aborted]).toEqual([1, true]);
  });

  it('lets one of two win who create the lease together', async () => {
    const [one, two] = [candidate('one'), candidate('two')];
    await expect.poll(() => [one, two].filter(({ leads }) => leads).length).toBe(1);
    await pass(one, 4_000);
    await pass(two, 4_000);
    expect([one, two].filter(({ leads }) => leads).length).toBe(1);
  });

  it('gives the lease back and fails when the work fails', async () => {
    const one = candidate('one', () => Promise.reject(new Error('work fails')));
    await expect(one.ended).rejects.toThrow('work fails');
    expect(one.terms[0]?.aborted).toBe(true);
    expect(leases.lease?.spec.holderIdentity).toBe('');
  });

  it('keeps what others wrote into the lease, and takes one that says nothing', async () => {
    leases.lease = { metadata: {}, spec: { strategy: 'OldestEmulationVersion' } } as unknown as Lease;
    const one = candidate('one');
    await leads(one, true);
    expect(leases.lease?.spec).toMatchObject({ holderIdentity: 'one', strategy: 'OldestEmulationVersion' });
  });

  it('refuses times that do not fit each other', () => {
    const { client } = candidate('one');
    const options = {
      client,
      namespace: 'n',
      name: 'l',
      identity: 'i',
      clock: new ManualClock(),
      log: pino({ level: 'silent' }),
    };
    expect(() => new LeaderElection({ ...options, renewDeadlineMs: 15_000 })).toThrow(
      expect.objectContaining({ code: 'invalid_argument' }),
    );
  });
});
