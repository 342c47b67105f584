import { Backoff } from '../../core/backoff.ts';
import { sleep, type Clock } from '../../core/clock.ts';
import type { Logger } from '../../runtime/log.ts';
import { parseCertificate } from '../../spiffe/certificate.ts';
import { buildCsr } from '../../spiffe/csr-builder.ts';
import { certificateContent, type EntryRecord } from './entry-record.ts';
import type { Issued, IssuedX509Svid, SvidIssuer } from './issuer.ts';
import { createKeyPair, type KeyPair } from '../../spiffe/key-pair.ts';
import { Lifetime } from '../../runtime/lifetime.ts';

// As many as a CA signs in some ten milliseconds; far below SPIRE's limit of 500 a second.
const BATCH_SIZE = 50;
// However long the CA was away, what is due is signed within five seconds of its return.
const RETRY = { initialMs: 500, maxMs: 3_000 } as const;
const RETRY_REFUSED_MS = 30_000;

/** What {@link X509Signer} is made from. */
export interface X509SignerOptions {
  readonly issuer: SvidIssuer;
  readonly clock: Clock;
  readonly log: Logger;
  /** Tells that signing these was tried; each has a new SVID or not. */
  readonly onAttempted: (records: readonly EntryRecord[]) => void;
}

/** Has X509-SVIDs signed, in batches, with keys that it makes; keeps trying while the CA is out of reach. */
export class X509Signer implements Disposable {
  readonly #options: X509SignerOptions;
  readonly #queue = new Set<EntryRecord>();
  /** Those of the queue that a caller waits for. */
  readonly #urgent = new Set<EntryRecord>();
  readonly #stopped = new AbortController();
  #isRunning = false;
  #pause = new AbortController();

  constructor(options: X509SignerOptions) {
    this.#options = options;
  }

  /** Asks for SVIDs for these as soon as possible. */
  enqueue(records: Iterable<EntryRecord>): void {
    for (const record of records) this.#queue.add(record);
    if (this.#isRunning || this.#queue.size === 0) return;
    this.#isRunning = true;
    this.#run().catch((err: unknown) => {
      if (!this.#stopped.signal.aborted) this.#options.log.error({ err }, 'signing of x509-svids failed unexpectedly');
    });
  }

  /** Takes these before all others: a caller waits for them. */
  hurry(records: Iterable<EntryRecord>): void {
    for (const record of records) if (this.#queue.has(record)) this.#urgent.add(record);
  }

  /** Tries at once what failed before: the CA is in touch again. */
  retryNow(): void {
    this.#pause.abort();
  }

  /** Forgets an entry that is gone. */
  remove(record: EntryRecord): void {
    this.#queue.delete(record);
    this.#urgent.delete(record);
  }

  [Symbol.dispose](): void {
    this.#stopped.abort();
    this.#queue.clear();
    this.#urgent.clear();
  }

  async #run(): Promise<void> {
    try {
      await this.#drain(this.#stopped.signal);
    } finally {
      this.#isRunning = false;
    }
  }

  async #drain(signal: AbortSignal): Promise<void> {
    const backoff = new Backoff(RETRY);
    while (this.#queue.size > 0 && !signal.aborted) {
      const batch = this.#takeBatch();
      if (batch.length === 0) return;
      try {
        await this.#sign(batch, signal);
        backoff.reset();
      } catch (err) {
        if (signal.aborted) return;
        this.#options.log.warn({ err, entries: batch.length }, 'x509-svids not signed; trying again');
        for (const record of batch) this.#queue.add(record);
        // The CA is out of reach for all of them: nobody waits for those further back in the queue either.
        this.#conclude([...this.#queue]);
        await this.#pauseFor(backoff.nextMs(), signal);
      }
    }
  }

  async #pauseFor(delayMs: number, signal: AbortSignal): Promise<void> {
    this.#pause = new AbortController();
    // Cut short or not, the loop goes on; it looks at its own signal itself.
    await sleep(this.#options.clock, delayMs, AbortSignal.any([signal, this.#pause.signal])).catch(() => {});
  }

  #takeBatch(): EntryRecord[] {
    const batch: EntryRecord[] = [];
    for (const queue of [this.#urgent, this.#queue]) {
      for (const record of queue) {
        if (batch.length === BATCH_SIZE) return batch;
        this.remove(record);
        // Otherwise it was asked for twice, while the first answer was under way.
        if (record.needsSigning(this.#options.clock)) batch.push(record);
      }
    }
    return batch;
  }

  async #sign(batch: readonly EntryRecord[], signal: AbortSignal): Promise<void> {
    const asked = batch.map((record) => ({ record, key: createKeyPair(), content: certificateContent(record.entry) }));
    const requests = asked.map(({ record: { entry }, key }) => ({ entryId: entry.id, csr: buildCsr(key, entry.spiffeId) }));
    const results = await this.#options.issuer.signX509Svids(requests, signal);
    const concluded: EntryRecord[] = [];
    for (const [index, { record, key, content }] of asked.entries()) {
      // The entry may have changed under way: then the answer is of no use, and the new form waits for its turn.
      if (content !== certificateContent(record.entry)) {
        this.#queue.add(record);
        continue;
      }
      this.#receive(record, key, results[index]);
      concluded.push(record);
    }
    this.#conclude(concluded);
  }

  #receive(record: EntryRecord, key: KeyPair, result: Issued<IssuedX509Svid> | undefined): void {
    const { clock, log } = this.#options;
    try {
      if (result === undefined) throw new Error('the CA left it out of its answer');
      if (!result.ok) throw new Error(result.message);
      keepSigned(record, { key, chainDer: result.value.chainDer, clock });
    } catch (err) {
      record.retryAtMonotonicMs = clock.monotonicMs() + RETRY_REFUSED_MS * (0.5 + Math.random() / 2);
      log.warn({ err, entryId: record.entry.id, spiffeId: record.entry.spiffeId.toString() }, 'x509-svid refused by the ca');
    }
  }

  #conclude(batch: readonly EntryRecord[]): void {
    for (const record of batch) record.attempted = true;
    this.#options.onAttempted(batch);
  }
}

function keepSigned(
  record: EntryRecord,
  { key, chainDer, clock }: { readonly key: KeyPair; readonly chainDer: readonly Uint8Array[]; readonly clock: Clock },
): void {
  const [leafDer] = chainDer;
  if (leafDer === undefined) throw new Error('the CA returned an empty chain');
  const leaf = parseCertificate(leafDer, 'x509_svid');
  const { entry } = record;
  if (leaf.uriSans[0] !== entry.spiffeId.toString() || Buffer.compare(leaf.spki, key.spki) !== 0) {
    throw new Error('the CA returned a certificate that was not asked for');
  }
  const expiresAtMs = leaf.notAfterMs;
  const { privateKeyPkcs8Der } = key;
  const { id: entryId, spiffeId, hint } = entry;
  record.keep(
    // Copied, so that one SVID does not keep the whole batch's message in memory.
    { entryId, spiffeId, hint, entry, expiresAtMs, privateKeyPkcs8Der, certificatesDer: chainDer.map((der) => der.slice()) },
    // The CA dates certificates back a little; half of a short life must not be over when it begins.
    new Lifetime({ notBeforeMs: Math.max(leaf.notBeforeMs, clock.nowMs()), expiresAtMs }, clock, Math.random()),
  );
}
