// Two CA processes on one PostgreSQL, behind one address: what one acknowledges the other knows, and either may die.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DescService } from '@bufbuild/protobuf';
import type { Client } from '@connectrpc/connect';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { Agent } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Bundle } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { LocalAuthority } from '../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts';
import { SVID } from '../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { parseWireBundle } from '../../runtime/bundle-conversion.ts';
import { connectGrpc } from '../../runtime/grpc-client.ts';
import { verifyX509Svid } from '../../spiffe/x509-svid.ts';
import { buildCommand } from '../support/built-command.ts';
import { auditedSerials, serialOf } from '../support/ca-load.ts';
import { DaemonProcess } from '../support/daemon-process.ts';
import { connectRemote } from '../support/every-rpc.ts';
import { freePort } from '../support/free-port.ts';
import { postgresMissing, startPostgres, type PostgresCluster } from '../support/postgres.ts';
import { failureOf } from '../support/rpc-failure.ts';
import { attestByToken } from '../support/test-agent.ts';
import { bundleSource } from '../support/test-ca.ts';
import { createTestCsr } from '../support/test-csr.ts';
import { OWN_SELECTOR, own } from '../support/whole-system.ts';
import { chainsIn, fetchX509, Workload } from '../support/workload.ts';

const missing = postgresMissing();
const RECOVERY_MS = 5_000;

/** One CA process. */
class Replica {
  readonly folder: string;
  readonly grpcPort: number;
  readonly httpPort: number;
  readonly #config: string;
  readonly #command: string;
  process: DaemonProcess;

  constructor(folder: string, options: { command: string; urlFile: string; ports: readonly [number, number] }) {
    this.folder = folder;
    [this.grpcPort, this.httpPort] = options.ports;
    this.#command = options.command;
    mkdirSync(folder);
    this.#config = `
trustDomain: example.org
dataDir: ./data
listen: { grpc: "127.0.0.1:${this.grpcPort}", admin: "unix:./admin/api.sock", http: "127.0.0.1:${this.httpPort}" }
rateLimits: { attestation: 0, signing: 0 }
store: { kind: postgres, urlFile: ${options.urlFile} }
`;
    this.process = this.spawn();
  }

  spawn(): DaemonProcess {
    return (this.process = new DaemonProcess({ kind: 'ca', folder: this.folder, config: this.#config, command: this.#command }));
  }

  local<S extends DescService>(service: S): Client<S> {
    const target = { kind: 'unix', path: join(this.folder, 'admin', 'api.sock') } as const;
    return connectGrpc({ target, clock: systemClock }).client(service);
  }

  async readiness(): Promise<string> {
    const response = await fetch(`http://127.0.0.1:${this.httpPort}/readyz`);
    return `${response.status} ${await response.text()}`;
  }

  async bundle() {
    return parseWireBundle(await this.local(Bundle).getBundle({}));
  }
}

/** One address for all replicas: a new connection goes to the first that accepts it, as with a Kubernetes service. */
class Balancer {
  readonly #server: Server;
  readonly #ports: () => readonly number[];
  /** To which port the last connection went. */
  lastPort = 0;

  constructor(ports: () => readonly number[]) {
    this.#ports = ports;
    this.#server = createServer((socket) =>
      this.#forward(
        socket.on('error', () => {}),
        [...this.#ports()],
      ),
    );
  }

  async listen(): Promise<number> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    // A TCP server's address is never a path.
    return (this.#server.address() as AddressInfo).port;
  }

  close(): void {
    this.#server.close();
  }

  #forward(client: Socket, ports: number[]): void {
    const port = ports.shift();
    if (port === undefined) return void client.destroy();
    const upstream = connect(port, '127.0.0.1');
    let isConnected = false;
    upstream.on('error', () => (isConnected ? client.destroy() : this.#forward(client, ports)));
    upstream.once('connect', () => {
      isConnected = true;
      this.lastPort = port;
      client.pipe(upstream).pipe(client);
      client.once('close', () => upstream.destroy());
      upstream.once('close', () => client.destroy());
    });
  }
}

describe.skipIf(missing !== undefined)(
  `two CA processes on one PostgreSQL${missing === undefined ? '' : ` (skipped: ${missing})`}`,
  () => {
    let command: Awaited<ReturnType<typeof buildCommand>>;
    let folder: string;
    let cluster: PostgresCluster;
    let one: Replica;
    let two: Replica;
    let order: readonly number[] = [];
    let balancer: Balancer;
    let agent: DaemonProcess;
    let parentId: ReturnType<typeof own>;
    const socket = () => join(folder, 'agent', 'api.sock');

    beforeAll(async () => {
      command = await buildCommand();
      folder = mkdtempSync(join(tmpdir(), 'replicas-'));
      cluster = await startPostgres({ durable: true });
      const urlFile = join(folder, 'url');
      writeFileSync(urlFile, cluster.createDatabase());
      const start = async (name: string) =>
        new Replica(join(folder, name), { command: command.path, urlFile, ports: [await freePort(), await freePort()] });
      [one, two] = await Promise.all([start('one'), start('two')]);
      await Promise.all([one, two].map(({ process: ca }) => ca.logged('"ca serves"')));
      order = [one.grpcPort, two.grpcPort];
      balancer = new Balancer(() => order);
      await startAgent(await balancer.listen());
    });
    afterAll(async () => {
      await Promise.all([agent, one?.process, two?.process].map((each) => each?.kill()));
      balancer?.close();
      await cluster[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true, force: true });
      command[Symbol.dispose]();
    });

    async function startAgent(port: number): Promise<void> {
      const home = join(folder, 'agent');
      mkdirSync(home);
      // The token is made at one replica and used at whichever the agent reaches.
      const { value } = await two.local(Agent).createJoinToken({ ttl: 600 });
      writeFileSync(join(home, 'token'), value);
      parentId = own(`/spire/agent/join_token/${value}`);
      const config = `
trustDomain: example.org
dataDir: ./data
server: "127.0.0.1:${port}"
bootstrap: { insecure: true }
attestor: { joinTokenFile: ./token }
workloadAttestors: { unix: {} }
listen: { workload: "unix:./api.sock" }
`;
      agent = new DaemonProcess({ kind: 'agent', folder: home, config, command: command.path });
      await agent.logged('synchronised with the ca');
    }

    const register = async (replica: Replica, path: string): Promise<string> => {
      const entry = { spiffeId: own(path), parentId, selectors: [OWN_SELECTOR] };
      const { results } = await replica.local(Entry).batchCreateEntry({ entries: [entry] });
      expect(results[0]?.status).toMatchObject({ code: 0 });
      return results[0]?.entry?.id ?? '';
    };
    /** The leaf that this process is given for an ID, once it is. */
    const issued = async (path: string): Promise<readonly Uint8Array[]> => {
      let found: readonly Uint8Array[] | undefined;
      const look = async (): Promise<boolean> => {
        const response = await fetchX509(socket());
        const at = response.svids.findIndex(({ spiffeId }) => spiffeId === `spiffe://example.org${path}`);
        found = chainsIn(response)[at];
        return found !== undefined;
      };
      await expect.poll(() => look().catch(() => false), { timeout: 20_000 }).toBe(true);
      return found ?? [];
    };

    test('an entry made at one is issued by the other, and verifies with the bundle of either', async () => {
      expect(balancer.lastPort).toBe(one.grpcPort);
      const startMs = performance.now();
      await register(two, '/made-at-two');
      const chain = await issued('/made-at-two');
      console.log(`an entry made at two was issued by one after ${Math.round(performance.now() - startMs)} ms`);
      expect(auditedSerials(join(one.folder, 'data'))).toContain(serialOf(chain[0] ?? new Uint8Array()));
      for (const replica of [one, two]) {
        const bundle = await replica.bundle();
        expect(bundle.x509Authorities).toHaveLength(2);
        expect(verifyX509Svid(chain, bundleSource(bundle), Date.now()).id.toString()).toBe('spiffe://example.org/made-at-two');
      }
    });

    test('a new authority of one is in the other’s bundle before it signs, through 10 rotations', async () => {
      const authorities = one.local(LocalAuthority);
      for (let rotation = 0; rotation < 10; rotation += 1) {
        const { preparedAuthority } = await authorities.prepareX509Authority({});
        await authorities.activateX509Authority({ authorityId: preparedAuthority?.authorityId ?? '' });
        const csr = createTestCsr({ uris: [`spiffe://example.org/rotation/${rotation}`] });
        const { svid } = await one.local(SVID).mintX509SVID({ csr });
        // At once, without waiting for anything.
        const bundle = await two.bundle();
        expect(() => verifyX509Svid(svid?.certChain ?? [], bundleSource(bundle), Date.now())).not.toThrow();
      }
    });

    test('a replica that is killed: the agent moves over, nothing is lost, its authorities stay in the bundle', async () => {
      const workload = new Workload(socket());
      const fetching = workload.keepFetching(20);
      const { x509Authorities } = await one.local(Bundle).getBundle({});
      const id = await register(one, '/acknowledged-by-one');
      await one.process.kill();
      const startMs = performance.now();
      await register(two, '/after-the-kill');
      const chain = await issued('/after-the-kill');
      const movedMs = performance.now() - startMs;
      expect(balancer.lastPort).toBe(two.grpcPort);
      expect(auditedSerials(join(two.folder, 'data'))).toContain(serialOf(chain[0] ?? new Uint8Array()));
      expect((await two.local(Entry).getEntry({ id })).id).toBe(id);
      const after = await two.local(Bundle).getBundle({});
      expect(after.x509Authorities.map(({ asn1 }) => Buffer.from(asn1).toString('hex'))).toEqual(
        x509Authorities.map(({ asn1 }) => Buffer.from(asn1).toString('hex')),
      );
      await one.spawn().logged('"ca serves"');
      expect((await one.local(Bundle).getBundle({})).x509Authorities).toHaveLength(x509Authorities.length);
      workload[Symbol.dispose]();
      await fetching;
      expect(workload.tally.failures).toEqual([]);
      console.log(
        `the agent had moved, with a new identity, ${Math.round(movedMs)} ms after the kill; ${workload.tally.ok} fetches meanwhile, none failed`,
      );
      expect(movedMs).toBeLessThan(RECOVERY_MS);
    });

    test('a store that is gone: known agents are signed for, changes are UNAVAILABLE, and nothing acknowledged is lost', async () => {
      const id = await register(two, '/before-the-outage');
      await issued('/before-the-outage');
      const { value: token } = await one.local(Agent).createJoinToken({ ttl: 600 });
      cluster.crash();
      try {
        for (const replica of [one, two]) {
          const csr = createTestCsr({ uris: ['spiffe://example.org/minted'] });
          expect(await failureOf(replica.local(SVID).mintX509SVID({ csr }))).toMatchObject({ code: 'ok' });
          const refused = await failureOf(replica.local(Entry).batchDeleteEntry({ ids: [id] }));
          expect(refused.code).toBe('unavailable');
          expect(refused.message).toContain('store');
          expect(await failureOf(attestByToken(connectRemote(replica.grpcPort), token))).toMatchObject({ code: 'unavailable' });
          expect(await replica.readiness()).toMatch(/^200 .*degraded/);
        }
        expect((await fetchX509(socket())).svids.length).toBeGreaterThan(2);
      } finally {
        cluster.start();
      }
      const ready = () => Promise.all([one, two].map((replica) => replica.readiness()));
      await expect.poll(async () => (await ready()).filter((text) => text.includes('degraded')), { timeout: 20_000 }).toEqual([]);
      expect((await one.local(Entry).getEntry({ id })).id).toBe(id);
      expect(await failureOf(attestByToken(connectRemote(two.grpcPort), token))).toMatchObject({ code: 'ok' });
      await register(one, '/after-the-outage');
      await issued('/after-the-outage');
      for (const { process: ca } of [one, two]) expect(ca.exitCode).toBeUndefined();
    });
  },
);
