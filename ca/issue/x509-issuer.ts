import { sign } from 'node:crypto';
import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import type { CertificateSignatureAlgorithm } from '../../spiffe/leaf-certificate.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import type { AuditRecord, IssuedKind } from '../audit/audit-record.ts';
import type { X509SigningAuthority } from '../authorities/authority.ts';
import { serialToDecimal, serialToHex } from '../authorities/serial-number.ts';
import type { KeyAlgorithm } from '../keys/key-store.ts';
import { hashOf } from '../keys/software-key.ts';
import type { IssuerOptions } from './issuer-options.ts';
import { expiryOf } from './lifetime.ts';
import type { IssuedX509, Requester, SubjectKey } from './requests.ts';
import { failureOf, signElsewhere, signPrepared, type SignedX509 } from './sign-order.ts';
import { signRecorded } from './sign-recorded.ts';
import type { WorkerAuthority } from './signing-messages.ts';
import type { SigningPool } from './signing-pool.ts';
import { SigningQueue } from './signing-queue.ts';
import { admitX509, profileX509, type IssuerProfile, type X509Order } from './x509-order.ts';

/** An X509-SVID to be issued; who may have it has been decided. */
export interface X509Task {
  readonly kind: IssuedKind;
  readonly key: SubjectKey;
  readonly requester: Requester;
  /** Undefined: what the CSR asks for. */
  readonly spiffeId: string | undefined;
  readonly dnsNames: readonly string[];
  readonly ttlSeconds: number | undefined;
  readonly defaultTtlMs: number;
}

const SIGNATURE_ALGORITHMS: Readonly<Record<KeyAlgorithm, CertificateSignatureAlgorithm>> = {
  'ec-p256': 'ecdsa-with-SHA256',
  'ec-p384': 'ecdsa-with-SHA384',
  'rsa-2048': 'sha256WithRSAEncryption',
  'rsa-4096': 'sha256WithRSAEncryption',
};
/** Fewer than this are signed at once where they are: handing them to a thread costs more. */
const MIN_BATCH = 4;

/** Issues X509-SVIDs: single ones here, batches on the threads of a pool. */
export class X509Issuer {
  readonly #options: IssuerOptions;
  readonly #pool: SigningPool | undefined;
  readonly #queue: SigningQueue | undefined;
  readonly #clock: Clock;
  /** Single ones under way. */
  #underWay = 0;

  constructor(options: IssuerOptions, pool: SigningPool | undefined) {
    this.#options = options;
    this.#pool = pool;
    this.#queue = pool === undefined ? undefined : new SigningQueue(pool, (tbs, { hash, key }) => sign(hash, tbs, key));
    this.#clock = options.clock;
  }

  /** Issues one: at once when nothing else is under way, else together with the others. @throws IdentityError */
  async issue(task: X509Task): Promise<IssuedX509> {
    const authority = this.#options.authorities.activeX509();
    const order = orderOf(task, authority, this.#clock.nowMs());
    const worker = workerAuthorityOf(authority, this.#options.trustDomain.name);
    const queue = this.#underWay > 0 && worker !== undefined ? this.#queue : undefined;
    this.#underWay++;
    try {
      if (queue === undefined || worker === undefined) return await this.#issueHere(task, order, authority);
      const signed = await queue.sign(order, worker);
      if (signed instanceof IdentityError) throw signed;
      await this.#options.audit.append([recordOf(task, order, signed, authority.id)]);
      return issuedOf(signed, order, authority);
    } finally {
      this.#underWay--;
    }
  }

  async #issueHere(task: X509Task, order: X509Order, authority: X509SigningAuthority): Promise<IssuedX509> {
    const profile = profileOf(authority, this.#options.trustDomain.name);
    const admitted = admitX509(order, profile);
    const outline = { ...admitted, spiffeId: admitted.spiffeId.toString() };
    const record = recordOf(task, order, outline, authority.id);
    // The record goes to the disk while the certificate is made, linted and signed.
    const signed = await signRecorded(this.#options.audit, record, async () => {
      const prepared = profileX509(admitted, order, profile);
      const signature = await authority.key.sign(prepared.tbs, 'der');
      return signPrepared(prepared, profile, () => signature);
    });
    return issuedOf(signed, order, authority);
  }

  /** Issues many; each is issued or failed on its own. @throws IdentityError `unavailable` when none can be issued at all */
  async issueBatch(tasks: readonly X509Task[]): Promise<readonly (IssuedX509 | IdentityError)[]> {
    const authority = this.#options.authorities.activeX509();
    const nowMs = this.#clock.nowMs();
    const orders = tasks.map((task) => orderOf(task, authority, nowMs));
    const signed = await this.#signAll(orders, authority);
    const records: AuditRecord[] = [];
    const issued = signed.map((each, index) => {
      const [task, order] = [tasks[index], orders[index]];
      if (each instanceof IdentityError || task === undefined || order === undefined) return failureOf(each);
      records.push(recordOf(task, order, each, authority.id));
      return issuedOf(each, order, authority);
    });
    if (records.length > 0) await this.#options.audit.append(records);
    return issued;
  }

  #signAll(orders: readonly X509Order[], authority: X509SigningAuthority): Promise<readonly (SignedX509 | IdentityError)[]> {
    const worker = workerAuthorityOf(authority, this.#options.trustDomain.name);
    if (worker !== undefined && this.#pool !== undefined && orders.length >= MIN_BATCH) return this.#pool.sign(orders, worker);
    const profile = profileOf(authority, this.#options.trustDomain.name);
    return Promise.all(orders.map((order) => signElsewhere(order, profile, authority.key)));
  }
}

/** What threads need to sign with the authority; undefined when its key is not in this process. */
function workerAuthorityOf(authority: X509SigningAuthority, trustDomain: string): WorkerAuthority | undefined {
  const { id, key } = authority;
  if (key.keyObject === undefined) return undefined;
  return { id, profile: profileOf(authority, trustDomain), hash: hashOf(key.algorithm), key: key.keyObject };
}

/** What of an authority goes into certificates. */
export function profileOf(authority: X509SigningAuthority, trustDomain: string): IssuerProfile {
  return {
    trustDomain,
    issuerRaw: authority.subjectRaw,
    authorityKeyId: authority.subjectKeyId,
    signatureAlgorithm: SIGNATURE_ALGORITHMS[authority.key.algorithm],
    expiresAtMs: authority.expiresAtMs,
  };
}

function orderOf(task: X509Task, authority: X509SigningAuthority, nowMs: number): X509Order {
  const { key, spiffeId, dnsNames, ttlSeconds, defaultTtlMs: defaultMs } = task;
  const notAfterMs = expiryOf({ nowMs, ttlSeconds, defaultMs, authorityEndMs: authority.expiresAtMs });
  return 'csr' in key
    ? { keyKind: 'csr', key: key.csr, spiffeId, dnsNames, nowMs, notAfterMs }
    : { keyKind: 'spki', key: key.publicKeySpki, spiffeId, dnsNames, nowMs, notAfterMs };
}

function recordOf(
  { kind, requester }: X509Task,
  { nowMs, notAfterMs }: X509Order,
  signed: Pick<SignedX509, 'serial' | 'digest' | 'spiffeId'>,
  authorityId: string,
): AuditRecord {
  return {
    timeMs: nowMs,
    kind,
    spiffeId: signed.spiffeId,
    caller: requester.caller,
    entryId: requester.entryId ?? '',
    serial: serialToHex(signed.serial),
    digest: signed.digest,
    authorityId,
    expiresAtMs: notAfterMs,
  };
}

function issuedOf(signed: SignedX509, { notAfterMs }: X509Order, authority: X509SigningAuthority): IssuedX509 {
  return {
    spiffeId: parseSpiffeId(signed.spiffeId),
    chain: [signed.certificate, ...authority.chain],
    serialHex: serialToHex(signed.serial),
    serialNumber: serialToDecimal(signed.serial),
    expiresAtMs: notAfterMs,
  };
}
