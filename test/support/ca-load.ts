// Work for a CA that may die at any moment, and a record of what it acknowledged.
import { randomUUID, X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../../core/clock.ts';
import { Agent } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { SVID } from '../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { connectGrpc, toIdentityError, type GrpcConnection } from '../../runtime/grpc-client.ts';
import { attestByToken } from './test-agent.ts';
import { createTestCsr } from './test-csr.ts';
import { createTestKey } from './test-keys.ts';

/** Where the CA is reached. */
export interface CaAddress {
  readonly socket: string;
  readonly grpcPort: number;
}

/** What the CA has said that it did. */
export class Acknowledged {
  /** By ID; undefined once its deletion was acknowledged or may have happened. */
  readonly entries = new Map<string, string | undefined>();
  readonly freshTokens = new Set<string>();
  readonly usedTokens = new Set<string>();
  /** Serial numbers of all certificates that arrived, in lower-case hexadecimal as certificates have them. */
  readonly serials: string[] = [];
  readonly agents = new Set<string>();
  /** Failed calls by code. */
  readonly failures = new Map<string, number>();

  addCertificate(der: Uint8Array): void {
    this.serials.push(serialOf(der));
  }
}

/** The serial number of a certificate, in lower-case hexadecimal without zeros in front. */
export function serialOf(der: Uint8Array): string {
  return plainSerial(new X509Certificate(der).serialNumber);
}

function plainSerial(hex: string): string {
  return hex.toLowerCase().replace(/^0+/, '');
}

const csrKey = createTestKey();
const csr = createTestCsr({ key: csrKey, uris: ['spiffe://example.org/minted'] });
const own = (path: string) => ({ trustDomain: 'example.org', path });

/** Keeps a CA busy with everything that changes its state or signs, until stopped. */
export class CaLoad {
  readonly #admin: GrpcConnection;
  readonly #remote: GrpcConnection;
  readonly #acknowledged: Acknowledged;
  #stopped = false;

  constructor(address: CaAddress, acknowledged: Acknowledged) {
    this.#admin = connectGrpc({ target: { kind: 'unix', path: address.socket }, clock: systemClock });
    const target = { kind: 'tcp', host: '127.0.0.1', port: address.grpcPort } as const;
    this.#remote = connectGrpc({ target, clock: systemClock, tls: { verifyServer: () => {} } });
    this.#acknowledged = acknowledged;
  }

  /** Resolves after {@link stop}. */
  async run(): Promise<void> {
    const works = [() => this.#createEntries(), () => this.#deleteEntry(), () => this.#mint(), () => this.#attest()];
    await Promise.all(works.map((work) => this.#repeat(work)));
    this.#admin[Symbol.dispose]();
    this.#remote[Symbol.dispose]();
  }

  stop(): void {
    this.#stopped = true;
  }

  async #repeat(work: () => Promise<void>): Promise<void> {
    while (!this.#stopped) {
      try {
        await work();
      } catch (error) {
        const { code } = toIdentityError(error);
        const { failures } = this.#acknowledged;
        failures.set(code, (failures.get(code) ?? 0) + 1);
        // Without a turn of the event loop a CA that is gone would be asked without end.
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  }

  async #createEntries(): Promise<void> {
    const entries = Array.from({ length: 5 }, () => ({
      spiffeId: own(`/load/${randomUUID()}`),
      parentId: own('/load'),
      selectors: [{ type: 'unix', value: 'uid:4000000' }],
    }));
    const { results } = await this.#admin.client(Entry).batchCreateEntry({ entries });
    for (const { status, entry } of results) {
      if (status?.code === 0 && entry !== undefined) this.#acknowledged.entries.set(entry.id, entry.spiffeId?.path);
    }
  }

  async #deleteEntry(): Promise<void> {
    const { entries } = this.#acknowledged;
    const [id] = [...entries].find(([, path]) => path !== undefined) ?? [];
    await new Promise((resolve) => setTimeout(resolve, 20));
    if (id === undefined) return;
    entries.delete(id); // not known, until it is acknowledged
    const { results } = await this.#admin.client(Entry).batchDeleteEntry({ ids: [id] });
    if (results[0]?.status?.code === 0) entries.set(id, undefined);
  }

  async #mint(): Promise<void> {
    const { svid } = await this.#admin.client(SVID).mintX509SVID({ csr });
    this.#acknowledged.addCertificate(svid?.certChain[0] ?? new Uint8Array());
  }

  async #attest(): Promise<void> {
    const { freshTokens, usedTokens, agents } = this.#acknowledged;
    const token = async (): Promise<string> => (await this.#admin.client(Agent).createJoinToken({ ttl: 3600 })).value;
    freshTokens.add(await token());
    const second = await token();
    const svid = await attestByToken(this.#remote, second, csrKey);
    usedTokens.add(second);
    agents.add(svid.id?.path ?? '');
    this.#acknowledged.addCertificate(svid.certChain[0] ?? new Uint8Array());
  }
}

/** The serial numbers in all audit files below a data folder, as certificates write them. */
export function auditedSerials(dataDir: string): readonly string[] {
  const files = readdirSync(dataDir).filter((name) => name.startsWith('audit.jsonl'));
  const lines = files.flatMap((name) => readFileSync(join(dataDir, name), 'utf8').split('\n').slice(0, -1));
  // The cast is sound: the log writes objects; a token's record has no serial number.
  const records = lines.map((line) => JSON.parse(line) as { kind: string; serial?: string });
  return records.flatMap(({ kind, serial }) => (kind.includes('jwt') || !serial ? [] : [plainSerial(serial)]));
}
