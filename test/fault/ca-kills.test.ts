import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sleep, systemClock } from '../../core/clock.ts';
import { Agent } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Bundle } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { connectGrpc } from '../../runtime/grpc-client.ts';
import { buildCommand } from '../support/built-command.ts';
import { Acknowledged, auditedSerials, CaLoad, serialOf } from '../support/ca-load.ts';
import { DaemonProcess } from '../support/daemon-process.ts';
import { connectRemote } from '../support/every-rpc.ts';
import { freePort } from '../support/free-port.ts';
import { failureOf } from '../support/rpc-failure.ts';
import { attestByToken } from '../support/test-agent.ts';
import { chainsIn, fetchX509, Workload } from '../support/workload.ts';

const KILLS = 100;
const AGENTS = 2;
/** After each so many kills the CA is left alone until all agents are in touch again. */
const RECOVER_EVERY = 5;
const RECOVERY_MS = 5_000;

const own = (path: string) => ({ trustDomain: 'example.org', path });

/** An agent process with the workload that it serves. */
interface Node {
  readonly agent: DaemonProcess;
  readonly workload: Workload;
  readonly entryId: string;
}

let command: Awaited<ReturnType<typeof buildCommand>>;
let folder: string;
let grpcPort: number;
let ca: DaemonProcess;
const agents: DaemonProcess[] = [];
const acknowledged = new Acknowledged();
/** Serial numbers that workloads were given; the same SVID arrives many times. */
const workloadSerials = new Set<string>();

beforeAll(async () => {
  command = await buildCommand();
  folder = mkdtempSync(join(tmpdir(), 'ca-kills-'));
  grpcPort = await freePort();
  ca = startCa();
  await ca.logged('"ca serves"');
});
afterAll(async () => {
  await Promise.all(agents.map((agent) => agent.kill()));
  await ca[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
  command[Symbol.dispose]();
});

function startCa(): DaemonProcess {
  const config = `
trustDomain: example.org
dataDir: ./data
listen: { grpc: "127.0.0.1:${grpcPort}", admin: "unix:./admin/api.sock" }
rateLimits: { attestation: 0, signing: 0 }
`;
  return new DaemonProcess({ kind: 'ca', folder, config, command: command.path });
}

const socketOfCa = (): string => join(folder, 'admin', 'api.sock');
const connectAdmin = () => connectGrpc({ target: { kind: 'unix', path: socketOfCa() }, clock: systemClock });

async function startNode(index: number): Promise<Node> {
  const home = join(folder, `agent-${index}`);
  mkdirSync(home);
  using admin = connectAdmin();
  const { value: token } = await admin.client(Agent).createJoinToken({ ttl: 600 });
  writeFileSync(join(home, 'token'), token);
  const config = `
trustDomain: example.org
dataDir: ./data
server: "127.0.0.1:${grpcPort}"
bootstrap: { insecure: true }
attestor: { joinTokenFile: ./token }
workloadAttestors: { unix: {} }
listen: { workload: "unix:./api.sock" }
`;
  const agent = new DaemonProcess({ kind: 'agent', folder: home, config, command: command.path });
  agents.push(agent);
  await agent.logged('"agent attested"');
  const entry = {
    spiffeId: own(`/workload/${index}`),
    parentId: own(`/spire/agent/join_token/${token}`),
    selectors: [{ type: 'unix', value: `uid:${process.getuid?.() ?? 0}` }],
    // Short enough to be rotated several times meanwhile.
    x509SvidTtl: 60,
  };
  const { results } = await admin.client(Entry).batchCreateEntry({ entries: [entry] });
  await agent.logged('synchronised with the ca');
  const socket = join(home, 'api.sock');
  await expect.poll(() => failureOf(fetchX509(socket))).toMatchObject({ code: 'ok' });
  const workload = new Workload(socket, (response) => {
    for (const [leaf] of chainsIn(response)) if (leaf !== undefined) workloadSerials.add(serialOf(leaf));
  });
  return { agent, workload, entryId: results[0]?.entry?.id ?? '' };
}

/** How long after the CA serves all workloads have an entry's change that was made just then, in milliseconds. */
async function recoveryMs(nodes: readonly Node[], round: number): Promise<number> {
  const startMs = performance.now();
  using admin = connectAdmin();
  const hint = `round-${round}`;
  const entries = nodes.map(({ entryId: id }) => ({ id, hint }));
  await admin.client(Entry).batchUpdateEntry({ entries, inputMask: { hint: true } });
  await Promise.all(nodes.map(({ workload }) => workload.pushed(({ svids }) => svids[0]?.hint === hint)));
  return performance.now() - startMs;
}

async function allEntries(): Promise<Map<string, string | undefined>> {
  using admin = connectAdmin();
  const found = new Map<string, string | undefined>();
  for (let pageToken = ''; ;) {
    const page = await admin.client(Entry).listEntries({ pageSize: 500, pageToken });
    for (const entry of page.entries) found.set(entry.id, entry.spiffeId?.path);
    if (page.nextPageToken === '') return found;
    pageToken = page.nextPageToken;
  }
}

async function killRepeatedly(nodes: readonly Node[]): Promise<readonly number[]> {
  const recoveries: number[] = [];
  for (let round = 1; round <= KILLS; round += 1) {
    const load = new CaLoad({ socket: socketOfCa(), grpcPort }, acknowledged);
    const loading = load.run();
    // Some while it starts, most while it works.
    const isEarly = Math.random() < 0.15;
    if (!isEarly) await ca.logged('"ca serves"');
    await sleep(systemClock, Math.random() * (isEarly ? 250 : 600));
    await ca.kill('SIGKILL');
    load.stop();
    await loading;
    ca = startCa();
    if (round % RECOVER_EVERY !== 0) continue;
    await ca.logged('"ca serves"');
    recoveries.push(await recoveryMs(nodes, round));
    const { entries, serials, usedTokens } = acknowledged;
    const tally = nodes.map(({ workload }) => workload.tally.ok).join(' and ');
    console.log(
      `${round} kills: ${entries.size} entries, ${serials.length} certificates, ${usedTokens.size} attestations, ` +
        `fetches ${tally}, recovered in ${Math.round(recoveries.at(-1) ?? 0)} ms`,
    );
  }
  return recoveries;
}

describe(`${KILLS} kills of a CA under load`, () => {
  test('lose nothing that was acknowledged, repeat no serial number, and no workload notices', async () => {
    const nodes: Node[] = [];
    for (let index = 0; index < AGENTS; index += 1) nodes.push(await startNode(index));
    using before = connectAdmin();
    const { x509Authorities: authorities } = await before.client(Bundle).getBundle({});
    const fetching = nodes.map(({ workload }) => workload.keepFetching(50));
    const recoveries = await killRepeatedly(nodes);
    for (const { workload } of nodes) workload[Symbol.dispose]();
    await Promise.all(fetching);
    await ca.logged('"ca serves"');

    // No workload was ever refused or kept waiting, and all were in touch again soon.
    for (const { workload } of nodes) expect(workload.tally.failures).toEqual([]);
    expect(Math.max(...recoveries)).toBeLessThan(RECOVERY_MS);
    for (const node of nodes) expect(node.agent.exitCode).toBeUndefined();

    using admin = connectAdmin();
    using remote = connectRemote(grpcPort);
    const present = await allEntries();
    const lost = [...acknowledged.entries].filter(([id, path]) => present.get(id) !== path);
    expect(lost).toEqual([]);
    expect(acknowledged.entries.size).toBeGreaterThan(KILLS);

    const listed = await admin.client(Agent).listAgents({});
    const known = new Set(listed.agents.map(({ id }) => id?.path));
    expect([...acknowledged.agents].filter((path) => !known.has(path))).toEqual([]);
    for (const token of acknowledged.usedTokens) {
      expect(await failureOf(attestByToken(remote, token))).toMatchObject({ code: 'invalid_argument' });
    }
    for (const token of acknowledged.freshTokens) {
      expect(await failureOf(attestByToken(remote, token))).toMatchObject({ code: 'ok' });
    }

    const audited = auditedSerials(join(folder, 'data'));
    expect(new Set(audited).size).toBe(audited.length);
    const received = [...acknowledged.serials, ...workloadSerials];
    expect(new Set(received).size).toBe(received.length);
    const recorded = new Set(audited);
    expect(received.filter((serial) => !recorded.has(serial))).toEqual([]);
    expect((await admin.client(Bundle).getBundle({})).x509Authorities).toEqual(authorities);
    const fetches = nodes.reduce((sum, { workload }) => sum + workload.tally.ok, 0);
    console.log(
      `${KILLS} kills: ${acknowledged.entries.size} entries, ${received.length} certificates (${workloadSerials.size} of workloads), ` +
        `${acknowledged.usedTokens.size} tokens used and ${acknowledged.freshTokens.size} not, ${fetches} fetches, none failed; ` +
        `slowest recovery ${Math.round(Math.max(...recoveries))} ms; failures seen by admins: ${JSON.stringify([...acknowledged.failures])}`,
    );
  });
});
