import type { DesiredEntry, Problem } from '../ports.ts';
import { refText } from '../ports.ts';
import { fieldsFingerprint } from './entry-key.ts';
import { rankOf } from './powers.ts';
import { comparePrecedence, type Precedence } from './precedence.ts';
import { Slots, type Claim, type ProposedClaim } from './slots.ts';
import type { Outcome, PodState } from './state.ts';

/** An entry that ought to be there, with who declares it. */
export interface ClaimedEntry {
  readonly entry: DesiredEntry;
  readonly declarer: Precedence;
  /** `namespace/name`; empty for a static one. */
  readonly pod: string;
}

/** What the declarations have come to: the entries that are claimed, the counters of declarers, and what of it changed. */
export class Claims {
  readonly #slots: Slots;
  #changedDeclarers = new Set<string>();
  #changedPods = new Set<string>();

  constructor() {
    this.#slots = new Slots({
      onCounted: ({ key }) => this.#changedDeclarers.add(key),
      onShifted: ({ pod }) => this.#changedPods.add(pod),
    });
  }

  /** How many entries there ought to be. */
  get size(): number {
    return this.#slots.size;
  }

  /** The keys of all entries that there ought to be. */
  keys(): IterableIterator<string> {
    return this.#slots.keys();
  }

  /** The entry of a key; undefined when there ought to be none. */
  desired(key: string): ClaimedEntry | undefined {
    const claim = this.#slots.winner(key);
    return claim && { entry: claim.entry, declarer: claim.declarer.precedence, pod: claim.pod };
  }

  /** A pod's claims that hold, the oldest declaration first. */
  holdingOf(pod: PodState): readonly Claim[] {
    return claimsOf(pod.outcomes)
      .filter((claim) => this.#slots.winner(claim.entry.key) === claim)
      .toSorted((one, other) => comparePrecedence(one.declarer.precedence, other.declarer.precedence));
  }

  /** Why a claim does not hold; undefined when it does. */
  problemOf(claim: Claim): Problem | undefined {
    const reserver = this.#slots.reserverOf(claim.entry);
    if (reserver !== undefined) return reservedProblem(claim, reserver.precedence);
    const winner = this.#slots.winner(claim.entry.key);
    if (winner === undefined || winner === claim) return undefined;
    const by = refText(winner.declarer.precedence);
    return {
      reason: 'Masked',
      message: `${by}, which is older, declares the same entry (${claim.entry.spiffeId}), so its settings hold`,
      ...podOf(claim),
    };
  }

  /** What would keep a claim that is not here (yet) from holding, or would take the ID from others. */
  rivalryOf(claim: ProposedClaim): Problem | undefined {
    const { entry, declarer } = claim;
    const reserver = this.#slots.reserverOf(entry, declarer.key);
    if (reserver !== undefined) return reservedProblem(claim, reserver.precedence);
    const displaced = rankOf(entry) === 0 ? undefined : this.#displacedBy(claim);
    if (displaced !== undefined) {
      const message = `${refText(displaced)} gives ${entry.spiffeId} to what is to have no such power; its entry would be deleted, but what its workload was issued before is valid until it expires`;
      return { reason: 'Displaces', message, ...podOf(claim) };
    }
    const winner = this.#slots.winner(entry.key);
    if (winner === undefined || winner.declarer.key === declarer.key || rankOf(winner.entry) !== rankOf(entry)) return undefined;
    if (comparePrecedence(winner.declarer.precedence, declarer.precedence) > 0) return undefined;
    const message = `${refText(winner.declarer.precedence)}, which is older, declares the same entry (${entry.spiffeId}), so its settings would hold`;
    return { reason: 'Masked', message, ...podOf(claim) };
  }

  #displacedBy({ entry, declarer }: ProposedClaim): Precedence | undefined {
    return this.#slots
      .claimsOfId(entry.spiffeId)
      .find((other) => other.declarer.key !== declarer.key && rankOf(other.entry) < rankOf(entry))?.declarer.precedence;
  }

  // What changes them.

  add(claim: Claim): void {
    this.#slots.add(claim);
  }

  remove(claim: Claim): void {
    this.#slots.remove(claim);
  }

  /** Takes note that something about a declarer changed. */
  markDeclarer(key: string): void {
    this.#changedDeclarers.add(key);
  }

  /** Puts what became of a pod in place of what had become of it. */
  replaceOutcomes(pod: PodState, next: readonly Outcome[]): void {
    const before = pod.outcomes;
    const after = next.map((outcome) => reuse(outcome, before));
    pod.outcomes = after;
    const kept = new Set(claimsOf(after));
    const known = new Set(claimsOf(before));
    // The new ones first: a key that only changes hands is never without a claim.
    for (const claim of kept) if (!known.has(claim)) this.#addOfPod(claim);
    for (const claim of known) if (!kept.has(claim)) this.#removeOfPod(claim);
    for (const outcome of before) this.#count(outcome, pod, -1);
    for (const outcome of after) this.#count(outcome, pod, 1);
    if (before.some(isProblem) || after.some(isProblem)) this.#changedPods.add(pod.key);
  }

  #addOfPod(claim: Claim): void {
    this.#slots.add(claim);
    this.#tellReserved(claim);
    this.#tellRivals(claim);
  }

  #removeOfPod(claim: Claim): void {
    this.#tellReserved(claim);
    this.#slots.remove(claim);
    this.#tellRivals(claim);
  }

  #tellReserved({ entry, pod }: Claim): void {
    if (this.#slots.reserverOf(entry) !== undefined) this.#changedPods.add(pod);
  }

  /** Masking and unmasking concerns every pod that claims the key. */
  #tellRivals({ entry, pod }: Claim): void {
    const rivals = this.#slots.claims(entry.key);
    if (rivals.length > 1 || (rivals.length === 1 && rivals[0]?.pod !== pod))
      for (const rival of rivals) this.#changedPods.add(rival.pod);
  }

  #count({ declaration, kind }: Outcome, pod: PodState, by: 1 | -1): void {
    if (by === 1) declaration.pods.add(pod);
    else declaration.pods.delete(pod);
    if (kind === 'failure') declaration.renderFailures += by;
    if (kind === 'waiting') declaration.waiting += by;
    this.#changedDeclarers.add(declaration.key);
  }

  // What changed.

  /** The keys of the entries that changed since the last call. */
  takeChangedKeys(): ReadonlySet<string> {
    return this.#slots.takeChangedKeys();
  }

  /** The keys of the declaring objects whose counters changed since the last call. */
  takeChangedDeclarers(): ReadonlySet<string> {
    const changed = this.#changedDeclarers;
    this.#changedDeclarers = new Set();
    return changed;
  }

  /** The keys of pods whose problems may have changed since the last call. */
  takeChangedPods(): ReadonlySet<string> {
    const changed = this.#changedPods;
    this.#changedPods = new Set();
    return changed;
  }
}

function reservedProblem(claim: ProposedClaim, by: Precedence): Problem {
  const { spiffeId } = claim.entry;
  const message = `${refText(by)} gives ${spiffeId} power over the CA (admin or downstream), which whoever has this ID would have as well; give another ID`;
  return { reason: 'IDReserved', message, ...podOf(claim) };
}

function podOf({ pod }: Pick<Claim, 'pod'>): Pick<Problem, 'pod'> {
  return pod === '' ? {} : { pod };
}

function isProblem({ kind }: Outcome): boolean {
  return kind === 'failure' || kind === 'waiting';
}

function claimsOf(outcomes: readonly Outcome[]): readonly Claim[] {
  return outcomes.flatMap((outcome) => (outcome.kind === 'entry' ? [outcome.claim] : []));
}

/** The outcome with the claim that it had before, when nothing about it changed. */
function reuse(outcome: Outcome, before: readonly Outcome[]): Outcome {
  if (outcome.kind !== 'entry') return outcome;
  const same = before.find((each) => each.kind === 'entry' && each.declaration === outcome.declaration);
  if (same?.kind !== 'entry' || same.claim.entry.key !== outcome.claim.entry.key) return outcome;
  return fieldsFingerprint(same.claim.entry) === fieldsFingerprint(outcome.claim.entry) ? same : outcome;
}
