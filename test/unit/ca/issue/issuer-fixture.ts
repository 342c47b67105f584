import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AuditLog } from '../../../../ca/audit/audit-log.ts';
import type { Authorities, AuthoritiesOptions } from '../../../../ca/authorities/authorities.ts';
import { Issuer, type IssuerOptions } from '../../../../ca/issue/issuer.ts';
import { MemoryKeyStore } from '../../../../ca/keys/memory-key-store.ts';
import { Bundle, JwtAuthority, X509Authority, type BundleSource } from '../../../../spiffe/bundle.ts';
import { parseSpiffeId, type SpiffeId } from '../../../../spiffe/spiffe-id.ts';
import { Replica, log, trustDomain } from '../authorities/authorities-fixture.ts';

export { log, trustDomain } from '../authorities/authorities-fixture.ts';
export const HOUR_MS = 3_600_000;
export const TTL = { x509SvidMs: HOUR_MS, agentSvidMs: 2 * HOUR_MS, jwtSvidMs: 300_000, witSvidMs: HOUR_MS, caMs: 24 * HOUR_MS };

export function id(path: string): SpiffeId {
  return parseSpiffeId(`spiffe://example.org${path}`);
}

/** A whole issuing side, with its bundle, clock and audit file. */
export class IssuingSide implements AsyncDisposable {
  readonly replica: Replica;
  readonly authorities: Authorities;
  readonly audit: AuditLog;
  readonly issuer: Issuer;

  private constructor(replica: Replica, parts: { authorities: Authorities; audit: AuditLog; issuer: Issuer }) {
    this.replica = replica;
    this.authorities = parts.authorities;
    this.audit = parts.audit;
    this.issuer = parts.issuer;
  }

  static async open(options: Partial<AuthoritiesOptions & IssuerOptions> = {}): Promise<IssuingSide> {
    const replica = new Replica();
    // In the middle of a second, so that rounding shows.
    replica.clock.step(400);
    const { x509KeyType, tokenKeyType, upstream, keys = new MemoryKeyStore(), lifetimeMs = 24 * HOUR_MS, ...rest } = options;
    const authorities = await replica.open({ keys, lifetimeMs, x509KeyType, tokenKeyType, upstream });
    const { clock } = replica;
    const audit = await AuditLog.open({ file: join(replica.dir, 'audit.jsonl'), clock, log });
    const issuer = new Issuer({ trustDomain, authorities, audit, clock, ttl: TTL, workers: 0, ...rest });
    return new IssuingSide(replica, { authorities, audit, issuer });
  }

  get nowMs(): number {
    return this.replica.clock.nowMs();
  }

  /** What verifiers would trust. */
  get bundles(): BundleSource {
    const parts = this.replica.bundle.list();
    const tokens = (kind: 'jwt' | 'wit') =>
      parts.filter((each) => each.kind === kind).map((each) => new JwtAuthority(each.id, each.publicBytes));
    const bundle = new Bundle({
      trustDomain,
      x509Authorities: parts.filter(({ kind }) => kind === 'x509').map(({ publicBytes }) => new X509Authority(publicBytes)),
      jwtAuthorities: tokens('jwt'),
      witAuthorities: tokens('wit'),
    });
    return { bundleOf: (name) => (name.equals(trustDomain) ? bundle : undefined) };
  }

  /** The audit records so far. */
  get records(): readonly Record<string, unknown>[] {
    const lines = readFileSync(join(this.replica.dir, 'audit.jsonl'), 'utf8').trimEnd().split('\n');
    return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Record<string, unknown>); // Sound: the log writes objects.
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.issuer[Symbol.asyncDispose]();
    await this.authorities[Symbol.asyncDispose]();
    await this.audit[Symbol.asyncDispose]();
    this.replica.delete();
  }
}
