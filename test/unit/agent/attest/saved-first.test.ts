import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createNodeAttestor } from '../../../../agent/attest/node-attestors.ts';
import { NodeIdentity } from '../../../../agent/attest/node-identity.ts';
import { StateFile, type AgentState, type StateFileOptions } from '../../../../agent/attest/state-file.ts';
import { systemClock } from '../../../../core/clock.ts';
import { Agent } from '../../../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { createLogger } from '../../../../runtime/log.ts';
import { parseTrustDomain } from '../../../../spiffe/trust-domain.ts';
import { RunningCa } from '../../../support/running-ca.ts';

const trustDomain = parseTrustDomain('example.org');
const log = createLogger({ level: 'fatal', name: 'test' });

let ca: RunningCa;
let folder: string;
beforeEach(async () => {
  ca = await RunningCa.start();
  folder = await mkdtemp(join(tmpdir(), 'node-'));
  const { value } = await ca.local(Agent).createJoinToken({ ttl: 60 });
  await writeFile(join(folder, 'token'), value);
});
afterEach(async () => {
  await ca[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

/** A disk that is as slow, or as broken, as a test wants it. */
class SlowStateFile extends StateFile {
  readonly asked = Promise.withResolvers<void>();
  readonly #disk: Promise<void>;

  constructor(options: StateFileOptions, disk: Promise<void>) {
    super(options);
    this.#disk = disk;
  }

  override async save(state: AgentState): Promise<void> {
    this.asked.resolve();
    await this.#disk;
    await super.save(state);
  }
}

function identity(state: StateFile): NodeIdentity {
  return new NodeIdentity({
    trustDomain,
    server: { kind: 'tcp', host: '127.0.0.1', port: ca.ca.grpcPort },
    attestor: createNodeAttestor({ kind: 'joinTokenFile', value: join(folder, 'token') }),
    bootstrap: () => Promise.resolve(undefined),
    state,
    clock: systemClock,
    log,
  });
}

test('an SVID is on the disk before it is used: the CA forgets the one before it then', async () => {
  const disk = Promise.withResolvers<void>();
  const state = new SlowStateFile({ dataDir: join(folder, 'data'), trustDomain, keepsKey: true }, disk.promise);
  await using node = identity(state);
  const started = node.start(new AbortController().signal);
  await state.asked.promise;
  expect(node.svid.value).toBeUndefined();
  disk.resolve();
  await started;
  expect(node.svid.value).toBeDefined();
  expect((await state.load())?.svid?.id.toString()).toBe(node.svid.value?.id.toString());
  expect(await readdir(join(folder, 'data'))).toEqual(['agent.json']);
});

test('an agent whose disk fails goes on with the SVID that it has', async () => {
  const broken = Promise.reject(new Error('no space left on device'));
  broken.catch(() => {}); // it is waited for later
  const state = new SlowStateFile({ dataDir: join(folder, 'data'), trustDomain, keepsKey: true }, broken);
  await using node = identity(state);
  await node.start(new AbortController().signal);
  expect(node.svid.value).toBeDefined();
});
