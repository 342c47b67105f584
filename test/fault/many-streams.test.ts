// Clients that hold a thousand streams, or never read: the processes stay small and quick for all others.
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2';
import { create, toBinary } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sleep, systemClock } from '../../core/clock.ts';
import { WatchRequestSchema } from '../../proto/gen/countersign/node/v1/node_pb.ts';
import { Bundle } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { grpcFrame, rawTls, rawUnix } from '../support/raw-rpc.ts';
import { own, WholeSystem } from '../support/whole-system.ts';
import { fetchX509, WORKLOAD_HEADERS } from '../support/workload.ts';

const STREAMS = 1_000;
const FETCH = '/SpiffeWorkloadAPI/FetchX509SVID';
const WATCH = '/countersign.node.v1.Node/Watch';
const EMPTY = grpcFrame(new Uint8Array());
const SUBSCRIBE = grpcFrame(
  toBinary(WatchRequestSchema, create(WatchRequestSchema, { message: { case: 'subscribe', value: {} } })),
);

let system: WholeSystem;
beforeAll(async () => {
  system = await WholeSystem.start();
});
afterAll(() => system[Symbol.asyncDispose]());

function open(session: ClientHttp2Session, path: string): ClientHttp2Stream {
  const head = { ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers', ...WORKLOAD_HEADERS };
  return session.request(head, { endStream: false }).on('error', () => {});
}

/** Resolves when the stream has brought so many bytes. */
function bytes(stream: ClientHttp2Stream, least = 1): Promise<void> {
  let count = 0;
  return new Promise((resolve, reject) => {
    stream.on('data', (chunk: Buffer) => ((count += chunk.length) >= least ? resolve() : undefined));
    stream.once('close', () => reject(new Error(`the stream ended after ${count} bytes`)));
  });
}

async function fetchMs(): Promise<number> {
  const startMs = performance.now();
  expect((await fetchX509(system.workloadSocket)).svids.length).toBeGreaterThan(0);
  return performance.now() - startMs;
}

describe('a thousand idle streams', () => {
  test('[bad input] of a thousand connections to the agent: all are told of a change, and nothing is left of them', async () => {
    const { agent } = system;
    if (agent === undefined) throw new Error('no agent');
    const [filesBefore, memoryBefore] = [await agent.settledFiles(), agent.residentMib()];
    const sessions = Array.from({ length: STREAMS }, () => rawUnix(system.workloadSocket));
    const streams = sessions.map((session) => open(session, FETCH));
    const answered = Promise.all(streams.map((stream) => bytes(stream)));
    for (const stream of streams) stream.end(EMPTY);
    await answered;
    const [files, memory, otherMs] = [agent.openFiles(), agent.residentMib(), await fetchMs()];
    expect(files).toBeGreaterThan(STREAMS);
    expect(otherMs).toBeLessThan(1_000);

    const startMs = performance.now();
    const told = Promise.all(streams.map((stream) => bytes(stream)));
    await system.register({ spiffeId: own('/pushed') });
    await told;
    const toldMs = performance.now() - startMs;
    for (const session of sessions) session.destroy();
    await expect.poll(() => agent.openFiles(), { timeout: 10_000 }).toBeLessThanOrEqual(filesBefore + 1);
    console.log(
      `${STREAMS} streams: agent ${Math.round(memoryBefore)} → ${Math.round(memory)} MiB, ${files} files, another fetch ${Math.round(otherMs)} ms, ` +
        `all told of a change in ${Math.round(toldMs)} ms; files afterwards ${agent.openFiles()}`,
    );
    expect(toldMs).toBeLessThan(5_000);
  });

  test('[bad input] of twenty connections to the CA: each agent is told of its change, and nothing is left of them', async () => {
    const filesBefore = await system.ca.settledFiles();
    const identity = await system.attest();
    const sessions = Array.from({ length: 20 }, () => rawTls(system.grpcPort, identity));
    const streams = Array.from({ length: STREAMS }, (_, index) => open(sessions[index % 20] as ClientHttp2Session, WATCH));
    const answered = Promise.all(streams.map((stream) => bytes(stream)));
    for (const stream of streams) stream.write(SUBSCRIBE);
    await answered;
    const startMs = performance.now();
    const told = Promise.all(streams.map((stream) => bytes(stream)));
    const entry = {
      spiffeId: own('/watched'),
      parentId: own(identity.path),
      selectors: [{ type: 'unix', value: 'uid:4000000' }],
    };
    await system.admin(Entry).batchCreateEntry({ entries: [entry] });
    await told;
    const toldMs = performance.now() - startMs;
    const memory = system.ca.residentMib();
    for (const session of sessions) session.destroy();
    system.closeClients();
    await expect.poll(() => system.ca.openFiles(), { timeout: 10_000 }).toBeLessThanOrEqual(filesBefore + 1);
    console.log(
      `${STREAMS} watches: CA ${Math.round(memory)} MiB, all told in ${Math.round(toldMs)} ms; files afterwards ${system.ca.openFiles()}`,
    );
    expect(toldMs).toBeLessThan(5_000);
  });
});

describe('slow readers', () => {
  test('[bad input] of the agent cost no memory, hold up nobody, and read the newest state at last', async () => {
    const { agent } = system;
    const session = rawUnix(system.workloadSocket);
    const streams = Array.from({ length: 50 }, () => open(session, FETCH));
    // Nobody reads: no data listener, no resume.
    for (const stream of streams) stream.end(EMPTY);
    const memoryBefore = agent?.residentMib() ?? 0;
    const id = await system.register({ spiffeId: own('/slow') });
    for (let turn = 1; turn <= 100; turn += 1) {
      await system.admin(Entry).batchUpdateEntry({ entries: [{ id, hint: `turn-${turn}` }], inputMask: { hint: true } });
    }
    await expect.poll(async () => (await fetchX509(system.workloadSocket)).svids.map(({ hint }) => hint)).toContain('turn-100');
    const memory = agent?.residentMib() ?? 0;
    console.log(`50 slow readers over 100 changes: agent ${Math.round(memoryBefore)} → ${Math.round(memory)} MiB`);
    expect(memory - memoryBefore).toBeLessThan(60);
    const [stream] = streams;
    let text = '';
    stream?.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
    await expect.poll(() => text).toContain('turn-100');
    session.destroy();
    system.closeClients();
  });

  test('[bad input] of the CA cost no memory and hold up nobody', async () => {
    const identity = await system.attest();
    const session = rawTls(system.grpcPort, identity);
    const streams = Array.from({ length: 20 }, () => open(session, WATCH));
    for (const stream of streams) stream.write(SUBSCRIBE);
    const memoryBefore = system.ca.residentMib();
    const entries = Array.from({ length: 200 }, (_, index) => ({
      spiffeId: own(`/bulk/${index}`),
      parentId: own(identity.path),
      selectors: [{ type: 'unix', value: 'uid:4000000' }],
      hint: 'x'.repeat(500),
    }));
    const { results } = await system.admin(Entry).batchCreateEntry({ entries });
    for (let turn = 0; turn < 20; turn += 1) {
      const changed = results.map(({ entry }) => ({ id: entry?.id ?? '', hint: `${turn}`.repeat(300) }));
      await system.admin(Entry).batchUpdateEntry({ entries: changed, inputMask: { hint: true } });
      await sleep(systemClock, 10);
    }
    const startMs = performance.now();
    await system.admin(Bundle).getBundle({});
    const memory = system.ca.residentMib();
    console.log(`20 slow watches over 4,000 changes: CA ${Math.round(memoryBefore)} → ${Math.round(memory)} MiB`);
    expect(performance.now() - startMs).toBeLessThan(1_000);
    expect(memory - memoryBefore).toBeLessThan(120);
    session.destroy();
  });
});
