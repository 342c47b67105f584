import type { Clock } from '../../core/clock.ts';
import { coveringTargets, decides, overlap, targetText, type Overlap } from '../../policy/overlap.ts';
import { policyKey, type Policy } from '../../policy/policy.ts';
import { refText } from '../ports.ts';
import { turn, type IsOver } from '../turns.ts';

/** What of a policy never decides because of another one. */
interface Relation {
  readonly shadowed: readonly number[];
  readonly conflicts: boolean;
}

interface Placed {
  readonly policy: Policy;
  readonly text: string;
  readonly covering: readonly string[];
}

/** Policies that one is compared with, in each direction: where more have the same target, the rest is left out. */
const MOST_COMPARED = 500;
/** Names in a status. */
const MOST_NAMED = 64;

/**
 * Which policies are shadowed by others, and which conflict. One that changes is compared with those whose targets cover its own or are
 * covered by it, found by the texts of their targets; never all with all.
 */
export class PolicyOverlaps {
  readonly #byKey = new Map<string, Placed>();
  /** Keys by the place and the text of their target. */
  readonly #byTarget = new Map<string, Set<string>>();
  /** Keys by the place and the texts of all targets that cover theirs. */
  readonly #byCovering = new Map<string, Set<string>>();
  /** What was found, by the key of whose rules do not decide and the key of whose do. */
  readonly #found = new Map<string, Map<string, Relation>>();
  readonly #foundBecauseOf = new Map<string, Set<string>>();
  readonly #queue = new Set<string>();
  #current: Generator<void> | undefined;
  #onChanged: (key: string) => void = () => {};
  #wake: () => void = () => {};

  /** Calls `listener` with the key of each policy of which something else is known. */
  onChanged(listener: (key: string) => void): void {
    this.#onChanged = listener;
  }

  put(policy: Policy): void {
    const key = policyKey(policy.name);
    this.remove(key);
    if (!decides(policy)) return;
    const placed = { policy, text: targetText(policy), covering: coveringTargets(policy) };
    this.#byKey.set(key, placed);
    for (const [index, place] of placesOf(placed)) add(index === 'target' ? this.#byTarget : this.#byCovering, place, key);
    this.#queue.add(key);
    this.#wake();
  }

  remove(key: string): void {
    const placed = this.#byKey.get(key);
    if (placed === undefined) return;
    this.#forget(key);
    this.#byKey.delete(key);
    this.#queue.delete(key);
    for (const [index, place] of placesOf(placed)) drop(index === 'target' ? this.#byTarget : this.#byCovering, place, key);
  }

  /** The policies that together decide first whatever this one would decide; none where a rule of it decides something. */
  shadowedBy(key: string): readonly string[] {
    const relations = [...(this.#found.get(key) ?? [])];
    const shadowed = new Set(relations.flatMap(([, relation]) => relation.shadowed));
    const rules = this.#byKey.get(key)?.policy.rules.length ?? 0;
    if (rules === 0 || shadowed.size < rules) return [];
    return this.#named(relations.filter(([other, relation]) => other !== key && relation.shadowed.length > 0));
  }

  /** The policies that say the opposite of the same calls. */
  conflictsWith(key: string): readonly string[] {
    const denying = [...(this.#found.get(key) ?? [])].filter(([, { conflicts }]) => conflicts);
    const allowing = [...(this.#foundBecauseOf.get(key) ?? [])].filter((other) => this.#found.get(other)?.get(key)?.conflicts);
    return this.#named([...denying, ...allowing.map((other) => [other] as const)]);
  }

  /** The policies that a policy which is not here (yet) would conflict with, or be shadowed by. */
  wouldMeet(policy: Policy): { readonly shadowedBy: readonly string[]; readonly conflictsWith: readonly string[] } {
    const others = new PolicyOverlaps();
    if (decides(policy)) {
      const placed = { policy, text: targetText(policy), covering: coveringTargets(policy) };
      const keys = new Set([...this.#wider(placed), ...this.#narrower(placed)]);
      keys.delete(policyKey(policy.name));
      for (const key of keys) others.#putUnlinked(key, this.#byKey.get(key));
    }
    others.put(policy);
    others.settle();
    const key = policyKey(policy.name);
    return { shadowedBy: others.shadowedBy(key), conflictsWith: others.conflictsWith(key) };
  }

  #putUnlinked(key: string, placed: Placed | undefined): void {
    if (placed === undefined) return;
    this.#byKey.set(key, placed);
    for (const [index, place] of placesOf(placed)) add(index === 'target' ? this.#byTarget : this.#byCovering, place, key);
  }

  /** Compares until the signal aborts. To be run by one at a time. */
  async run(signal: AbortSignal, clock: Clock): Promise<void> {
    signal.addEventListener('abort', () => this.#wake(), { once: true });
    while (!signal.aborted) {
      if (!this.work(turn(clock))) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
          if (signal.aborted || this.#queue.size > 0) resolve();
        });
      }
      await new Promise((resolve) => void setImmediate(resolve));
    }
  }

  /** Compares everything that waits. */
  settle(): void {
    this.work(() => false);
  }

  /** Compares for a while. @returns whether there is more */
  work(isOver: IsOver): boolean {
    for (;;) {
      if (this.#current === undefined) {
        const [key] = this.#queue;
        if (key === undefined) return false;
        this.#queue.delete(key);
        this.#current = this.#compare(key);
      }
      if (this.#current.next().done === true) this.#current = undefined;
      if (isOver()) return this.#current !== undefined || this.#queue.size > 0;
    }
  }

  *#compare(key: string): Generator<void> {
    const placed = this.#byKey.get(key);
    if (placed === undefined) return;
    this.#forget(key);
    for (const other of this.#wider(placed)) yield this.#relate(key, other);
    // Who waits will be compared with this one when its turn comes.
    for (const other of this.#narrower(placed)) if (other !== key && !this.#queue.has(other)) yield this.#relate(other, key);
    this.#onChanged(key);
  }

  #relate(narrowKey: string, wideKey: string): void {
    const [narrow, wide] = [this.#byKey.get(narrowKey), this.#byKey.get(wideKey)];
    if (narrow === undefined || wide === undefined) return;
    const overlaps = overlapsOf(narrow, wide);
    const shadowed = overlaps.flatMap((each, index) => (each === 'shadowed' ? [index] : []));
    const conflicts = overlaps.includes('conflicts');
    if (shadowed.length === 0 && !conflicts) return;
    const relations = this.#found.get(narrowKey) ?? new Map<string, Relation>();
    this.#found.set(narrowKey, relations.set(wideKey, { shadowed, conflicts }));
    add(this.#foundBecauseOf, wideKey, narrowKey);
    this.#onChanged(narrowKey);
    if (conflicts) this.#onChanged(wideKey);
  }

  /** Forgets what was found of a policy and because of it. */
  #forget(key: string): void {
    const others = new Set([...(this.#found.get(key)?.keys() ?? []), ...(this.#foundBecauseOf.get(key) ?? [])]);
    this.#found.delete(key);
    for (const other of others) {
      this.#found.get(other)?.delete(key);
      drop(this.#foundBecauseOf, other, key);
      if (other !== key) this.#onChanged(other);
    }
    this.#foundBecauseOf.delete(key);
  }

  *#wider({ policy, covering }: Placed): Generator<string> {
    const places = new Set(['', policy.name.namespace]);
    const keys = [...places].flatMap((place) => covering.map((text) => this.#byTarget.get(`${place}|${text}`)));
    yield* taken(keys);
  }

  #narrower({ policy, text }: Placed): Generator<string> {
    const place = policy.name.namespace === '' ? '*' : policy.name.namespace;
    return taken([this.#byCovering.get(`${place}|${text}`)]);
  }

  #named(relations: readonly (readonly [key: string, ...unknown[]])[]): readonly string[] {
    const names = relations.flatMap(([key]) => this.#byKey.get(key)?.policy.name ?? []).map(refText);
    return [...new Set(names)].sort().slice(0, MOST_NAMED);
  }
}

function* taken(sets: readonly (ReadonlySet<string> | undefined)[]): Generator<string> {
  // A copy: what is found meanwhile may change them.
  const keys = sets.flatMap((set) => (set === undefined ? [] : [...Iterator.from(set).take(MOST_COMPARED)]));
  yield* keys.slice(0, MOST_COMPARED);
}

/** For each rule of one policy what becomes of it because of another, whose target covers that of the one. */
function overlapsOf(narrow: Placed, wide: Placed): readonly (Overlap | undefined)[] {
  const isMutual = narrow.text === wide.text && narrow.policy.name.namespace === wide.policy.name.namespace;
  return narrow.policy.rules.map((_, index) => {
    const place = { policy: narrow.policy, index };
    const found = wide.policy.rules.map((_rule, other) =>
      overlap(place, { policy: wide.policy, index: other }, { covers: true, isMutual }),
    );
    return found.find((each) => each === 'shadowed') ?? found.find((each) => each !== undefined);
  });
}

function* placesOf({ policy, text, covering }: Placed): Generator<readonly ['target' | 'covering', string]> {
  const { namespace } = policy.name;
  yield ['target', `${namespace}|${text}`];
  for (const each of covering) {
    yield ['covering', `*|${each}`];
    if (namespace !== '') yield ['covering', `${namespace}|${each}`];
  }
}

function add(map: Map<string, Set<string>>, place: string, key: string): void {
  map.set(place, (map.get(place) ?? new Set()).add(key));
}

function drop(map: Map<string, Set<string>>, place: string, key: string): void {
  const set = map.get(place);
  set?.delete(key);
  if (set?.size === 0) map.delete(place);
}
