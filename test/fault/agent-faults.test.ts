// What an agent process does when it is killed, when its state is damaged, and when the CA is away or rejects it.
import { copyFileSync, readFileSync, rmSync, truncateSync, writeFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sleep, systemClock } from '../../core/clock.ts';
import { Health, HealthCheckResponse_ServingStatus as Serving } from '../../proto/gen/grpc/health/v1/health_pb.ts';
import { SpiffeWorkloadAPI } from '../../proto/gen/spiffe/workload/workload_pb.ts';
import { Agent } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { buildCommand } from '../support/built-command.ts';
import { failureOf } from '../support/rpc-failure.ts';
import { mountSmallDisk, smallDiskMissing } from '../support/small-disk.ts';
import { TestCa } from '../support/test-ca.ts';
import { createTestKey } from '../support/test-keys.ts';
import { OWN_SELECTOR, own, WholeSystem } from '../support/whole-system.ts';
import { fetchX509, WORKLOAD_HEADERS } from '../support/workload.ts';

const KILLS = 40;

let command: Awaited<ReturnType<typeof buildCommand>>;
beforeAll(async () => {
  command = await buildCommand();
});
afterAll(() => command[Symbol.dispose]());

const start = (options: Parameters<typeof WholeSystem.start>[0] = {}) => WholeSystem.start({ command: command.path, ...options });
const stateOf = ({ folder }: WholeSystem): string => join(folder, 'agent', 'data', 'agent.json');

function fetchJwt(system: WholeSystem, audience: string): Promise<unknown> {
  const client = system.connect(system.workloadSocket).client(SpiffeWorkloadAPI);
  return client.fetchJWTSVID({ audience: [audience] }, { headers: WORKLOAD_HEADERS });
}

describe(`${KILLS} kills of an agent at random moments`, () => {
  test('need no new token, lose no identity, and each time it serves again within a second or so', async () => {
    // The agent's SVID is renewed every few seconds, so that kills come in the middle of that, too.
    await using system = await start({ caYaml: 'ttl: { agentSvid: 30s }' });
    rmSync(join(system.folder, 'agent', 'token'));
    const servedMs: number[] = [];
    for (let kill = 0; kill < KILLS; kill += 1) {
      await system.agent?.kill();
      const startMs = performance.now();
      const agent = system.spawnAgent();
      if (kill % 4 === 3) {
        await system.served('spiffe://example.org/web');
        servedMs.push(performance.now() - startMs);
      }
      await sleep(systemClock, Math.random() * 500);
      expect([kill, agent.exitCode, agent.lines.filter((line) => line.includes('fatal'))]).toEqual([kill, undefined, []]);
    }
    const { agents } = await system.admin(Agent).listAgents({});
    expect(agents.map(({ id }) => id?.path)).toEqual([system.agentPath]);
    servedMs.sort((a, b) => a - b);
    console.log(`${KILLS} kills of the agent: serving again in ${servedMs.map(Math.round).join(', ')} ms`);
    expect(servedMs[Math.floor(servedMs.length / 2)]).toBeLessThan(2_500);
    expect(servedMs.at(-1)).toBeLessThan(5_000);
  });
});

describe('the state of an agent', () => {
  test('that is half written is never used: the agent ends and says what to do', async () => {
    await using system = await start();
    await system.agent?.kill();
    const whole = readFileSync(stateOf(system), 'utf8');
    copyFileSync(stateOf(system), `${stateOf(system)}.whole`);
    for (const length of [0, 1, Math.floor(whole.length / 2), whole.length - 1]) {
      truncateSync(stateOf(system), length);
      const agent = system.spawnAgent();
      expect(await agent.ended()).toBe(1);
      expect(agent.log).toMatch(/cannot be used; remove it to attest anew/);
      expect(agent.log).not.toContain(whole.slice(-100, -20));
      copyFileSync(`${stateOf(system)}.whole`, stateOf(system));
    }
    // What a kill in the middle of writing leaves beside it does no harm.
    writeFileSync(`${stateOf(system)}.tmp`, whole.slice(0, 100));
    system.spawnAgent();
    await system.served('spiffe://example.org/web');
  });

  const missing = smallDiskMissing();
  test.skipIf(missing !== undefined)(
    `on a disk that became read-only is resumed all the same (needs the right to mount)`,
    async () => {
      using disk = mountSmallDisk(4);
      await using system = await start({ agentDataDir: disk.path });
      await system.agent?.kill();
      disk.readOnly();
      const agent = system.spawnAgent();
      await system.served('spiffe://example.org/web');
      expect(agent.log).toContain('state of the agent not saved');
    },
  );
});

describe('while the CA is away', () => {
  test('what is there is served, a new JWT is UNAVAILABLE, and all goes on within five seconds of its return', async () => {
    await using system = await start();
    await fetchJwt(system, 'cached');
    await system.ca.kill();
    const { svids } = await fetchX509(system.workloadSocket);
    expect(svids.map(({ spiffeId }) => spiffeId)).toEqual(['spiffe://example.org/web']);
    expect(await failureOf(fetchJwt(system, 'cached'))).toMatchObject({ code: 'ok' });
    const refused = await failureOf(fetchJwt(system, 'other'));
    expect(refused.code).toBe('unavailable');
    expect(refused.message).not.toBe('');
    console.log(`a new JWT while the CA is away: ${refused.code}: ${refused.message}`);

    // Started again meanwhile: it has its own identity, and nothing yet for workloads.
    await system.agent?.kill();
    const agent = system.spawnAgent();
    await agent.logged('agent resumed');
    const early = await failureOf(fetchX509(system.workloadSocket));
    expect(early.code).toBe('unavailable');
    expect(early.message).toContain('not synchronised');
    const health = system.connect(system.workloadSocket).client(Health);
    expect((await health.check({}, { headers: WORKLOAD_HEADERS })).status).toBe(Serving.NOT_SERVING);

    await sleep(systemClock, 3_000);
    system.closeClients();
    await system.spawnCa().logged('"ca serves"');
    const backMs = performance.now();
    await system.served('spiffe://example.org/web');
    const tookMs = performance.now() - backMs;
    console.log(`serving ${Math.round(tookMs)} ms after the CA’s return`);
    expect(tookMs).toBeLessThan(5_000);
    expect(await failureOf(fetchJwt(system, 'other'))).toMatchObject({ code: 'ok' });
    expect(agent.exitCode).toBeUndefined();
  });
});

describe('an agent that the CA rejects', () => {
  test('ends when it is banned or evicted with a used token, says what to do, and stays so', async () => {
    const rows = [
      ['banAgent', /banned this agent/],
      ['deleteAgent', /evicted.*give it a new join token/],
    ] as const;
    for (const [method, text] of rows) {
      await using system = await start();
      const agent = system.agent;
      await system.admin(Agent)[method]({ id: own(system.agentPath) });
      const startMs = performance.now();
      expect(await agent?.ended()).toBe(1);
      console.log(
        `${method}: the agent ended after ${Math.round(performance.now() - startMs)} ms: ${agent?.lines.at(-1)?.slice(0, 250)}`,
      );
      expect(agent?.log).toMatch(text);
      expect(await failureOf(fetchX509(system.workloadSocket))).toMatchObject({ code: 'unavailable' });
      expect(readFileSync(stateOf(system), 'utf8')).not.toContain('privateKey');
      expect(await system.spawnAgent().ended()).toBe(1);
    }
  });

  test('attests again by x509pop when it was evicted, and serves on', async () => {
    const roots = TestCa.create();
    const node = roots.issueX509Svid('/node', { key: createTestKey(), purposes: ['1.3.6.1.5.5.7.3.2'] });
    const agentYaml = 'attestor: { x509pop: { certFile: ./node.pem, keyFile: ./node.key } }';
    const caYaml = 'attestors: { x509pop: { caFile: ./roots.pem } }';
    await using system = await WholeSystem.startCa({ command: command.path, agentYaml, caYaml }, (folder) => {
      mkdirSync(join(folder, 'agent'));
      writeFileSync(join(folder, 'roots.pem'), roots.rootPem);
      writeFileSync(join(folder, 'agent', 'node.pem'), node.chainPem);
      writeFileSync(join(folder, 'agent', 'node.key'), node.keyPem);
    });
    const agent = system.spawnAgent();
    await agent.logged('synchronised with the ca');
    const [known] = (await system.admin(Agent).listAgents({})).agents;
    expect(known?.id?.path).toMatch(/^\/spire\/agent\/x509pop\//);
    const parentId = own(known?.id?.path ?? '');
    await system
      .admin(Entry)
      .batchCreateEntry({ entries: [{ spiffeId: own('/node-web'), parentId, selectors: [OWN_SELECTOR] }] });
    await system.served('spiffe://example.org/node-web');
    const from = agent.lines.length;
    await system.admin(Agent).deleteAgent({ id: parentId });
    await agent.logged('agent attested', from);
    await expect
      .poll(async () => (await system.admin(Agent).listAgents({})).agents.map(({ id }) => id?.path))
      .toEqual([parentId.path]);
    await system.register({ spiffeId: own('/again'), parentId });
    expect(agent.exitCode).toBeUndefined();
  });
});
