import type { Clock } from '../../core/clock.ts';
import { Current, type Source } from '../../core/current.ts';
import { IdentityError, isIdentityError, type ErrorCode } from '../../core/errors.ts';
import type { Logger } from '../../runtime/log.ts';
import { CYCLE, takeSome } from '../entries/batches.ts';
import { DriftWatch } from '../entries/drift-watch.ts';
import { Failures } from '../entries/failures.ts';
import { HeldDeletions, type MassDeletion } from '../entries/held-deletions.ts';
import { Patience } from '../entries/patience.ts';
import type { Precedence } from '../identity/precedence.ts';
import { refText, type Problem } from '../ports.ts';
import { runTogether } from '../run-together.ts';
import type { AskedBefore } from './asked-before.ts';
import { KnownPolicies, type PolicyDrift } from './known-policies.ts';
import { batchesOf, policyChanges, type PolicyChanges, type PolicyWrite } from './policy-changes.ts';
import type { PolicyClient, StoredName } from './policy-client.ts';
import type { PolicyIndex } from './policy-index.ts';

/** What {@link PolicyReconciler} needs. */
export interface PolicyReconcilerOptions {
  readonly desired: PolicyIndex;
  readonly client: Pick<PolicyClient, 'list' | 'set' | 'delete'>;
  /** The controller whose resources these are, such as `main`; what others put at the CA is left alone. */
  readonly owner: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** How often what is at the CA is compared with what is known of it. */
  readonly driftCheckMs: number;
  /** What becomes of many resources of ours that nothing declares. */
  readonly massDeletion: MassDeletion;
  /** Told of each resource of which it is known anew whether it is at the CA. */
  readonly onChanged: (key: string) => void;
  /** Which writes are not to be made, by key, and why; nobody is asked where it is not given. */
  readonly asked?: Pick<AskedBefore, 'refusals'> | undefined;
  /** Told of each resource that the CA refuses, each time. */
  readonly onRefused?: (declarer: Precedence, problem: Problem) => void;
}

/** Failures of one resource, which do not keep the others from being written. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set([
  'invalid_argument',
  'failed_precondition',
  'already_exists',
  'not_found',
  'out_of_range',
]);

/**
 * Makes the CA's policies what they ought to be, as the entries are made: what is there is read once when {@link run} begins and known
 * from then on, each change is a key that is looked at again, and nothing is forgotten before the CA has acknowledged it.
 */
export class PolicyReconciler {
  readonly #options: PolicyReconcilerOptions;
  readonly #known: KnownPolicies;
  readonly #dirty = new Set<string>();
  readonly #failures: Failures;
  readonly #patience: Patience;
  readonly #drift: DriftWatch;
  /** What is not deleted although nothing declares it. */
  readonly held: HeldDeletions;
  #wake: () => void = () => {};
  #running = false;
  /** Whether a write may have been done of which no answer came. */
  #isUncertain = false;
  /** Whether everything has been brought into line once since {@link run} began. */
  readonly settled = new Current(false);
  readonly counts = { set: 0, deleted: 0 };

  constructor(options: PolicyReconcilerOptions) {
    this.#options = options;
    this.#known = new KnownPolicies(options.owner);
    this.#patience = new Patience({ ...options, what: 'policies' });
    this.#drift = new DriftWatch({ ...options, check: (signal) => this.checkDrift(signal) });
    this.held = new HeldDeletions({ ...options, desired: declaredIn(options.desired), describe: heldPolicies });
    this.#failures = new Failures({
      clock: options.clock,
      reasons: { exists: 'PolicyExists', refused: 'PolicyRefused' },
      onDue: (key) => this.enqueue([key]),
      onChanged: ({ kind, namespace, name }) => options.onChanged(`${kind}/${namespace}/${name}`),
    });
  }

  /** Why the CA cannot be written to at the moment. */
  get outage(): Source<IdentityError | undefined> {
    return this.#patience.outage;
  }

  /** How many keys wait to be looked at. */
  get queueLength(): number {
    return this.#dirty.size;
  }

  /** How many resources of ours are known to be at the CA. */
  get policyCount(): number {
    return this.#known.size;
  }

  /** From which revision on a resource is in force as it is declared now; undefined while the CA does not have it so. */
  revisionOf(key: string): bigint | undefined {
    const known = this.#known.get(key);
    return known !== undefined && known.document === this.#options.desired.desired(key)?.document ? known.revision : undefined;
  }

  /** The name of a resource that is at the CA. */
  nameOf(key: string): StoredName {
    return this.#known.get(key)?.name ?? { kind: '', namespace: '', name: key };
  }

  /** Why a resource is not at the CA, or not as declared. */
  failureOf(key: string): Problem | undefined {
    return this.#failures.of(key)[0];
  }

  /** Has these keys looked at again; of no effect while nobody runs it, because a run begins with all. */
  enqueue(keys: Iterable<string>): void {
    if (!this.#running) return;
    for (const key of keys) this.#dirty.add(key);
    if (this.#dirty.size > 0) this.#wake();
  }

  /** Reads what is at the CA and keeps it in line until the signal aborts. To be run by one process at a time. */
  async run(signal: AbortSignal): Promise<void> {
    this.#running = true;
    try {
      await this.#patience.until(signal, () => this.load(signal));
      this.enqueue(this.#options.desired.keys());
      this.enqueue(this.#known.keys());
      await runTogether([(ends) => this.#work(ends), (ends) => this.#drift.run(ends)], signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.#forget();
    }
  }

  /** Reads what is at the CA. */
  async load(signal: AbortSignal): Promise<void> {
    this.#known.clear();
    await this.#read(signal);
    this.#isUncertain = false;
    this.held.begin([...this.#known.keys()]);
  }

  /** What would be written now. */
  plan(): PolicyChanges {
    const keys = [...new Set([...this.#options.desired.keys(), ...this.#known.keys()])];
    return policyChanges(keys, { desired: this.#options.desired, known: this.#known, held: NONE });
  }

  /** Which of some writes would be refused before the CA is told, and why. */
  async refusalsOf(set: readonly PolicyWrite[], signal: AbortSignal): Promise<ReadonlyMap<string, IdentityError>> {
    return (await this.#options.asked?.refusals(set, signal)) ?? new Map();
  }

  async #work(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#wake(), { once: true });
    while (!signal.aborted) {
      if (this.#dirty.size === 0) {
        this.settled.set(true);
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
          if (signal.aborted) resolve();
        });
        // What comes together goes together.
        await new Promise((resolve) => void setImmediate(resolve));
        continue;
      }
      await this.#patience.until(signal, () => this.#cycle(signal));
    }
  }

  /** Looks at some of the keys. Those that no answer came for are looked at again. */
  async #cycle(signal: AbortSignal): Promise<void> {
    if (this.#isUncertain) await this.#reread(signal);
    const keys = takeSome(this.#dirty, CYCLE);
    try {
      const { desired } = this.#options;
      const isOver = (key: string): boolean => desired.desired(key) !== undefined || this.#known.get(key) === undefined;
      this.held.release(keys.filter(isOver));
      const { set, remove, inTheWay, inLine } = policyChanges(keys, { desired, known: this.#known, held: this.held });
      for (const key of inLine) this.#inLine(key);
      for (const write of inTheWay) this.#refused(write, existsElsewhere(write));
      // What is renamed is there under its new name before it goes under its old one.
      const refusals = await this.refusalsOf(set, signal);
      for (const write of set) {
        const error = refusals.get(write.key);
        if (error !== undefined) this.#refused(write, error);
      }
      const admitted = set.filter(({ key }) => !refusals.has(key));
      for (const batch of batchesOf(admitted, ({ document }) => document.length)) await this.#set(batch, signal);
      for (const batch of batchesOf(remove, (key) => key.length)) await this.#delete(batch, signal);
    } catch (error) {
      this.#isUncertain = true;
      for (const key of keys) this.#dirty.add(key);
      throw error;
    }
  }

  /** What was done all the same is not done again: the CA would answer with a revision that changed nothing. */
  async #reread(signal: AbortSignal): Promise<void> {
    const { changed, others } = await this.#read(signal);
    this.enqueue([...changed, ...others]);
    this.#isUncertain = false;
  }

  #read(signal: AbortSignal): Promise<PolicyDrift> {
    const { client, desired } = this.#options;
    return this.#known.read(client.list(signal), (key) => desired.desired(key)?.document);
  }

  #inLine(key: string): void {
    this.#failures.clear(key);
    this.#options.onChanged(key);
  }

  async #set(batch: readonly PolicyWrite[], signal: AbortSignal): Promise<void> {
    try {
      const revision = await this.#options.client.set(
        batch.map(({ name, document }) => ({ name, document })),
        signal,
      );
      for (const { key, name, document } of batch) {
        this.#known.wrote(key, { name, document, revision });
        this.counts.set += 1;
        this.#inLine(key);
      }
    } catch (error) {
      if (!isIdentityError(error) || !REFUSALS.has(error.code)) throw error;
      const [only, ...others] = batch;
      if (only !== undefined && others.length === 0) return this.#refused(only, asInTheWay(error));
      // One that is refused takes the whole change with it: each on its own tells which it is.
      for (const each of batch) await this.#set([each], signal);
    }
  }

  #refused({ key, declarer }: PolicyWrite, error: IdentityError): void {
    this.#options.log.warn(
      { err: error, kind: declarer.kind, namespace: declarer.namespace, name: declarer.name },
      'policy refused',
    );
    const problem = this.#failures.add(key, error, { declarer, pod: '' });
    if (problem !== undefined) this.#options.onRefused?.(declarer, problem);
  }

  async #delete(batch: readonly string[], signal: AbortSignal): Promise<void> {
    const names = batch.flatMap((key) => this.#known.get(key)?.name ?? []);
    await this.#options.client.delete(names, signal);
    for (const key of batch) {
      this.#known.gone(key);
      this.#failures.clear(key);
      this.counts.deleted += 1;
      // It may have come to be wanted again meanwhile.
      if (this.#options.desired.desired(key) !== undefined) this.enqueue([key]);
    }
  }

  #forget(): void {
    this.#running = false;
    this.#known.clear();
    this.#dirty.clear();
    this.held.clear();
    this.#failures.clearAll();
    this.settled.set(false);
  }

  /** Compares what is at the CA with what is known of it; what differs is looked at again. */
  async checkDrift(signal: AbortSignal): Promise<void> {
    const { changed, unknown, others } = await this.#read(signal);
    this.held.appeared(unknown);
    if (changed.length > 0)
      this.#options.log.warn({ changed: changed.length }, 'somebody else wrote policies of this controller');
    this.enqueue([...changed, ...others]);
  }
}

const NONE = { has: () => false };

/** What is there and cannot be read is declared all the same. */
function declaredIn(index: PolicyIndex): { desired(key: string): unknown; keys(): Iterable<string> } {
  return {
    desired: (key) => index.desired(key) ?? (index.isUnreadable(key) ? key : undefined),
    keys: () => index.keys(),
  };
}

function existsElsewhere({ name }: PolicyWrite): IdentityError {
  const message = `the CA has a ${refText(name)} that this controller did not put there; delete it at the CA, and this one will be put in its place`;
  return new IdentityError('already_exists', message);
}

/** The CA lets nobody replace what is another's: somebody put it there since it was read last. */
function asInTheWay(error: IdentityError): IdentityError {
  if (error.code !== 'failed_precondition') return error;
  return new IdentityError('already_exists', error.message, { cause: error });
}

function heldPolicies(count: number): string {
  return (
    `${count} policies of this controller are at the CA and nothing here declares them; they are kept, since more would be open or closed than anybody asked for. ` +
    'If resources are missing here, bring them back; if another controller has the same entryIdPrefix, give one of the two another; ' +
    'if the policies are to go, see what --plan says and start with massDeletion: allow'
  );
}
