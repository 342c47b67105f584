// Issues SVIDs as fast as it can and prints the serial number of each once it has it, until somebody kills the process.
// argv: the folder that holds its state and its audit log.
import { join } from 'node:path';
import { AuditLog } from '../../ca/audit/audit-log.ts';
import { Authorities } from '../../ca/authorities/authorities.ts';
import type { AuthorityBundle } from '../../ca/authorities/authority.ts';
import { Issuer } from '../../ca/issue/issuer.ts';
import { DiskKeyStore } from '../../ca/keys/disk-key-store.ts';
import type { Authority } from '../../ca/model.ts';
import { systemClock } from '../../core/clock.ts';
import { createLogger } from '../../runtime/log.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import { parseTrustDomain } from '../../spiffe/trust-domain.ts';
import { createTestCsr } from './test-csr.ts';

const dataDir = process.argv[2] ?? '';
const trustDomain = parseTrustDomain('example.org');
const log = createLogger({ level: 'error', name: 'issue-until-killed' });
const clock = systemClock;
const HOUR_MS = 3_600_000;

const published = new Map<string, Authority>();
const bundle: AuthorityBundle = {
  list: () => [...published.values()],
  publish: (authority) => Promise.resolve(void published.set(authority.id, authority)),
  remove: (_kind, id) => Promise.resolve(void published.delete(id)),
};
const keys = await DiskKeyStore.open(join(dataDir, 'keys'));
const authorities = await Authorities.open({ trustDomain, dataDir, keys, bundle, clock, log, lifetimeMs: 24 * HOUR_MS });
const audit = await AuditLog.open({ file: join(dataDir, 'audit.jsonl'), clock, log, maxBytes: 256 * 1024, keepFiles: 1000 });
const ttl = { x509SvidMs: HOUR_MS, agentSvidMs: HOUR_MS, jwtSvidMs: HOUR_MS, witSvidMs: HOUR_MS, caMs: HOUR_MS };
const issuer = new Issuer({ trustDomain, authorities, audit, clock, ttl, workers: 0 });

const csr = createTestCsr();
const spiffeId = parseSpiffeId('spiffe://example.org/web');
const request = { csr, spiffeId, caller: 'test' };
process.stdout.write(`ready ${authorities.activeX509().id}\n`);

async function issueAlone(): Promise<never> {
  for (;;) process.stdout.write(`${(await issuer.issueX509Svid(request)).serialHex}\n`);
}

async function issueBatches(): Promise<never> {
  for (;;) {
    const issued = await issuer.issueX509SvidBatch(Array.from({ length: 10 }, () => request));
    for (const each of issued) if (!(each instanceof Error)) process.stdout.write(`${each.serialHex}\n`);
  }
}

await Promise.all([issueAlone(), issueAlone(), issueBatches()]);
