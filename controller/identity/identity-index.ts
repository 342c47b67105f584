import { isIdentityError } from '../../core/errors.ts';
import type { IdentityDeclaration } from '../../crds/identity-declaration.ts';
import type {
  DesiredEntry,
  EndpointsRecord,
  NamespaceRecord,
  NodeRecord,
  ObjectRef,
  PodRecord,
  Problem,
  ServiceRecord,
} from '../ports.ts';
import { compileDeclaration } from './compiled-declaration.ts';
import {
  createDeclarationState,
  declarationKey,
  DeclarationStore,
  selectsLabels,
  selectsNamespace,
} from './declaration-store.ts';
import { checkDeclaration } from './declaration-rules.ts';
import { fieldsFingerprint } from './entry-key.ts';
import { PodStore } from './pod-store.ts';
import type { DeclarationState, Outcome, PodState } from './state.ts';
import { comparePrecedence, type Precedence } from './precedence.ts';
import { renderParentId, renderPodEntry } from './render-entry.ts';
import { ServiceStore } from './service-store.ts';
import { isOurClass, type IdentitySettings } from './settings.ts';
import { Slots, type Claim, type Declarer } from './slots.ts';
import { covers, needsOf, unionTrim, type Needs } from './trim.ts';

/** What a declaration has come to; the names are those of SPIRE's status. */
export interface DeclarationStats {
  readonly namespacesSelected: number;
  readonly namespacesIgnored: number;
  readonly podsSelected: number;
  readonly podEntryRenderFailures: number;
  readonly entriesMasked: number;
  readonly entriesToSet: number;
  /** Pods that are not on a node yet. */
  readonly podsWaiting: number;
}

interface NodeState {
  readonly record: NodeRecord;
  /** Undefined when the parent ID cannot be rendered. */
  readonly parentId: string | undefined;
  readonly problem: Problem | undefined;
}

interface StaticState extends Declarer {
  readonly claim: Claim;
}

/**
 * Which entries there ought to be: plain state fed by events. An event marks the pods that it concerns; {@link settle} works them
 * off and leaves the keys of the entries that changed. What an event costs is in proportion to those pods, never to all.
 */
export class IdentityIndex {
  readonly #settings: IdentitySettings;
  readonly #pods = new PodStore();
  readonly #nodes = new Map<string, NodeState>();
  readonly #namespaces = new Map<string, NamespaceRecord>();
  readonly #ignored = new Map<string, boolean>();
  readonly #services = new ServiceStore();
  readonly #declarations = new DeclarationStore();
  readonly #statics = new Map<string, StaticState>();
  readonly #slots: Slots;
  readonly #dirtyPods = new Set<PodState>();
  #changedDeclarers = new Set<string>();
  #changedPods = new Set<string>();
  #needs: Needs;

  constructor(settings: IdentitySettings) {
    this.#settings = settings;
    this.#needs = needsOf(settings.parentIdTemplate.references);
    this.#slots = new Slots(({ key }) => this.#changedDeclarers.add(key));
  }

  // What is asked of it.

  /** How many entries there ought to be. */
  get entryCount(): number {
    return this.#slots.size;
  }

  get podCount(): number {
    return this.#pods.size;
  }

  /** The parts of pods and nodes that the declarations read: events must carry at least these. */
  get needs(): Needs {
    return this.#needs;
  }

  /** The entry of a key, with who declares it; undefined when there ought to be none. */
  desired(key: string): { readonly entry: DesiredEntry; readonly declarer: Precedence; readonly pod: string } | undefined {
    const claim = this.#slots.winner(key);
    return claim && { entry: claim.entry, declarer: claim.declarer.precedence, pod: claim.pod };
  }

  /** The keys of all entries that there ought to be. */
  keys(): IterableIterator<string> {
    return this.#slots.keys();
  }

  /** The entries of a pod, by UID, with who declares them, the oldest declaration first: those that hold, not those that are masked. */
  entriesOfPod(uid: string): readonly { readonly entry: DesiredEntry; readonly declaredBy: ObjectRef }[] {
    const claims = claimsOf(this.#pods.withUid(uid)?.outcomes ?? []).filter(
      (claim) => this.#slots.winner(claim.entry.key) === claim,
    );
    const byRank = claims.toSorted((one, other) => comparePrecedence(one.declarer.precedence, other.declarer.precedence));
    return byRank.map(({ entry, declarer }) => ({ entry, declaredBy: declarer.precedence }));
  }

  /** When the pod was made and bound, for measuring; undefined for an unknown one. */
  pod(key: string): PodRecord | undefined {
    return this.#pods.get(key)?.record;
  }

  /** The pods of a namespace. */
  podsIn(namespace: string): Iterable<PodRecord> {
    return Iterator.from(this.#pods.inNamespace(namespace)).map(({ record }) => record);
  }

  /** All that keeps a pod from an identity that something declares for it. */
  problemsOfPod(key: string): readonly Problem[] {
    const outcomes = this.#pods.get(key)?.outcomes ?? [];
    return outcomes.flatMap((outcome) => {
      if (outcome.kind === 'failure' || outcome.kind === 'waiting') return [outcome.problem];
      const masked = outcome.kind === 'entry' ? this.#maskedBy(outcome.claim) : undefined;
      return masked === undefined ? [] : [masked];
    });
  }

  /** What a declaration has come to; undefined for one that is not here. */
  stats(key: string): DeclarationStats | undefined {
    const state = this.#declarations.get(key);
    return (
      state && {
        namespacesSelected: state.namespaces.size,
        namespacesIgnored: Iterator.from(state.namespaces)
          .filter((name) => this.#isIgnored(name))
          .reduce((count) => count + 1, 0),
        podsSelected: state.pods.size,
        podEntryRenderFailures: state.renderFailures,
        entriesMasked: state.entriesMasked,
        entriesToSet: state.entriesToSet,
        podsWaiting: state.waiting,
      }
    );
  }

  /** Up to `limit` problems, of one reason, of the pods that a declaration selects. */
  problemsOf(key: string, limit: number, reason: 'RenderFailed' | 'Masked'): readonly Problem[] {
    return Iterator.from(this.#declarations.get(key)?.pods ?? [])
      .flatMap((pod) => pod.outcomes)
      .filter((outcome) => outcome.declaration.key === key)
      .flatMap((outcome) => {
        const problem =
          outcome.kind === 'failure' ? outcome.problem : outcome.kind === 'entry' ? this.#maskedBy(outcome.claim) : undefined;
        return problem?.reason === reason ? [problem] : [];
      })
      .take(limit)
      .toArray();
  }

  /** Which other object's entry masks that of a static declaration; undefined when none does. */
  staticMaskedBy(key: string): Problem | undefined {
    const state = this.#statics.get(key);
    return state && this.#maskedBy(state.claim);
  }

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

  // Events.

  putPod(key: string, record: PodRecord): void {
    if (record.finished) return this.removePod(key);
    const present = this.#pods.get(key);
    if (present !== undefined && samePod(present.record, record)) return;
    // A name that is used again is another pod; so is one that is said to be on another node, which no pod ever moves to.
    if (present !== undefined && !isSuccessor(present.record, record)) this.removePod(key);
    this.#dirtyPods.add(this.#pods.put(key, record));
  }

  removePod(key: string): void {
    const state = this.#pods.remove(key);
    if (state === undefined) return;
    this.#dirtyPods.delete(state);
    this.#replaceOutcomes(state, []);
  }

  putNode(name: string, record: NodeRecord): void {
    const present = this.#nodes.get(name)?.record;
    if (
      present !== undefined &&
      JSON.stringify(present.object) === JSON.stringify(record.object) &&
      present.object.trim === record.object.trim
    )
      return;
    this.#nodes.set(name, this.#nodeState(record));
    this.#mark(this.#pods.onNode(name));
  }

  removeNode(name: string): void {
    // Its pods keep their entries: the pods go by themselves, and a node may come back under the same name.
    this.#nodes.delete(name);
  }

  putNamespace(name: string, record: NamespaceRecord): void {
    this.#namespaces.set(name, record);
    for (const state of this.#declarations.all()) {
      const selected = selectsNamespace(state, record);
      if (selected === state.namespaces.has(name)) continue;
      if (selected) state.namespaces.add(name);
      else state.namespaces.delete(name);
      this.#changedDeclarers.add(state.key);
      this.#mark(Iterator.from(this.#pods.inNamespace(name)).filter((pod) => selectsLabels(state, pod.record.labels)));
    }
  }

  removeNamespace(name: string): void {
    this.#namespaces.delete(name);
    for (const state of this.#declarations.all()) {
      if (state.namespaces.delete(name)) this.#changedDeclarers.add(state.key);
    }
    this.#mark(this.#pods.inNamespace(name));
  }

  putService(key: string, record: ServiceRecord): void {
    this.#markUids(this.#services.put(key, record));
  }

  removeService(key: string): void {
    this.#markUids(this.#services.remove(key));
  }

  putEndpoints(key: string, record: EndpointsRecord): void {
    this.#markUids(this.#services.putEndpoints(key, record));
  }

  removeEndpoints(key: string): void {
    this.#markUids(this.#services.removeEndpoints(key));
  }

  /**
   * Takes a declaration in, in place of what it was before.
   *
   * @throws IdentityError when it cannot be right for any pod; what it was before then stays
   */
  putDeclaration(declaration: IdentityDeclaration): void {
    if (!isOurClass(declaration.className, this.#settings)) return this.removeDeclaration(declarationKey(refOf(declaration)));
    const present = this.#declarations.get(declarationKey(refOf(declaration)));
    // Each of our own status writes comes back as an event: to render all pods anew for it would write the next one.
    if (present !== undefined && isSameSpec(present.compiled.declaration.meta, declaration.meta)) return;
    checkDeclaration(declaration, this.#settings);
    const state = createDeclarationState(compileDeclaration(declaration));
    for (const namespace of this.#namespaces.values()) {
      if (selectsNamespace(state, namespace)) state.namespaces.add(namespace.name);
    }
    this.#mark(this.#declarations.get(state.key)?.pods ?? []);
    this.#declarations.put(state);
    this.#changedDeclarers.add(state.key);
    this.#widen(state.compiled.needs);
    this.#mark(this.#podsSelectedBy(state));
  }

  removeDeclaration(key: string): void {
    const state = this.#declarations.remove(key);
    if (state === undefined) return;
    this.#mark(state.pods);
    this.#narrow();
  }

  /** Takes in an entry that is declared as it stands. */
  putStatic(declarer: Precedence, entry: DesiredEntry): void {
    const key = declarationKey(declarer);
    const present = this.#statics.get(key);
    const state = { key, precedence: declarer, entriesToSet: 0, entriesMasked: 0 };
    const claim: Claim = { entry, declarer: state, pod: '' };
    this.#statics.set(key, Object.assign(state, { claim }));
    // First the new one: where the key stays, nothing must look as if the entry had gone.
    this.#slots.add(claim);
    if (present !== undefined) this.#slots.remove(present.claim);
    this.#changedDeclarers.add(key);
  }

  removeStatic(key: string): void {
    const present = this.#statics.get(key);
    if (present === undefined) return;
    this.#statics.delete(key);
    this.#slots.remove(present.claim);
  }

  hasStatic(key: string): boolean {
    return this.#statics.has(key);
  }

  /** The entry counters of a static declaration. */
  staticCounts(key: string): Pick<Declarer, 'entriesToSet' | 'entriesMasked'> | undefined {
    return this.#statics.get(key);
  }

  /**
   * Works off the pods that events have marked.
   *
   * @param limit how many at most, so that the event loop is not held up
   * @returns whether any are left
   */
  settle(limit = Number.POSITIVE_INFINITY): boolean {
    let count = 0;
    for (const pod of this.#dirtyPods) {
      if (count === limit) return true;
      count += 1;
      this.#dirtyPods.delete(pod);
      this.#replaceOutcomes(pod, this.#evaluate(pod));
    }
    return false;
  }

  // How it works.

  /** The pods that a declaration would select. */
  *podsSelectedBy(state: DeclarationState): Generator<PodState> {
    for (const namespace of this.#namespaces.values()) {
      if (selectsNamespace(state, namespace)) state.namespaces.add(namespace.name);
    }
    yield* this.#podsSelectedBy(state);
  }

  *#podsSelectedBy(state: DeclarationState): Generator<PodState> {
    for (const namespace of state.namespaces) {
      if (this.#isIgnored(namespace)) continue;
      for (const pod of this.#pods.inNamespace(namespace)) if (selectsLabels(state, pod.record.labels)) yield pod;
    }
  }

  #evaluate(pod: PodState): readonly Outcome[] {
    const { namespace, labels } = pod.record;
    if (this.#isIgnored(namespace)) return [];
    const declarations = this.#declarations.selecting(namespace, labels);
    const isFallback = (state: DeclarationState): boolean => state.compiled.declaration.fallback;
    const outcomes = declarations.filter((state) => !isFallback(state)).map((state) => this.#outcomeOf(pod, state));
    const isIdentified = outcomes.some(({ kind }) => kind === 'entry');
    for (const declaration of declarations.filter(isFallback)) {
      outcomes.push(isIdentified ? { kind: 'yielded', declaration } : this.#outcomeOf(pod, declaration));
    }
    return outcomes;
  }

  /**
   * What a declaration would make of a pod, given the whole pod and node where what is kept of them is too little.
   *
   * @returns undefined when it cannot be said: the pod is not on a node, or more of it must be given
   */
  previewOf(declaration: DeclarationState, pod: PodRecord, node: NodeRecord | undefined): Outcome | undefined {
    const known = pod.nodeName === undefined ? undefined : this.#nodes.get(pod.nodeName);
    const on = node ?? known?.record;
    const { needs } = declaration.compiled;
    if (on === undefined || !covers(pod.object.trim, needs.pod) || !covers(on.object.trim, needs.node)) return undefined;
    if (known?.parentId === undefined) return undefined;
    const state: PodState = { key: `${pod.namespace}/${pod.name}`, record: pod, outcomes: [] };
    return this.#render(state, { declaration, node: on, parentId: known.parentId });
  }

  /** The object that declares an entry already and is older; undefined when none is. */
  rivalOf(claim: Claim): Precedence | undefined {
    const winner = this.#slots.winner(claim.entry.key)?.declarer;
    if (winner === undefined || winner.key === claim.declarer.key) return undefined;
    return comparePrecedence(winner.precedence, claim.declarer.precedence) < 0 ? winner.precedence : undefined;
  }

  #outcomeOf(pod: PodState, declaration: DeclarationState): Outcome {
    const { record } = pod;
    const waiting = (reason: string, message: string): Outcome => {
      return { kind: 'waiting', declaration, problem: { reason, message, pod: pod.key } };
    };
    if (record.nodeName === undefined) {
      return waiting('NotScheduled', 'the pod is not on a node yet; it gets its identity when the scheduler has bound it');
    }
    const node = this.#nodes.get(record.nodeName);
    const { needs } = declaration.compiled;
    if (node === undefined || !covers(record.object.trim, needs.pod) || !covers(node.record.object.trim, needs.node)) {
      // What is there stays until everything is known.
      const entry = pod.outcomes.find((outcome) => outcome.declaration.key === declaration.key && outcome.kind === 'entry');
      if (entry?.kind === 'entry') return { kind: 'entry', declaration, claim: { ...entry.claim, declarer: declaration } };
      if (node === undefined) return waiting('NodeUnknown', `the node ${record.nodeName} is not known (yet)`);
      return waiting('Loading', 'the parts of the pod that the template reads are being loaded');
    }
    if (node.parentId === undefined)
      return { kind: 'failure', declaration, problem: { ...PARENT_PROBLEM, ...node.problem, pod: pod.key } };
    return this.#render(pod, { declaration, node: node.record, parentId: node.parentId });
  }

  #render(
    pod: PodState,
    {
      declaration,
      node,
      parentId,
    }: { readonly declaration: DeclarationState; readonly node: NodeRecord; readonly parentId: string },
  ): Outcome {
    const { record } = pod;
    try {
      const services = this.#services.ofPod(record.uid, record.namespace);
      const input = { pod: record, node, parentId, services };
      const entry = renderPodEntry(declaration.compiled, input, this.#settings);
      return { kind: 'entry', declaration, claim: { entry, declarer: declaration, pod: pod.key } };
    } catch (error) {
      // Whatever a template does to one pod, the others get their entries.
      const message = isIdentityError(error) ? error.message : 'the template could not be rendered: an internal error';
      return { kind: 'failure', declaration, problem: { reason: 'RenderFailed', message, pod: pod.key } };
    }
  }

  #replaceOutcomes(pod: PodState, next: readonly Outcome[]): void {
    const before = pod.outcomes;
    const after = next.map((outcome) => reuse(outcome, before));
    pod.outcomes = after;
    const kept = new Set(claimsOf(after));
    const known = new Set(claimsOf(before));
    // The new ones first: a key that only changes hands is never without a claim.
    for (const claim of kept) if (!known.has(claim)) this.#addClaim(claim);
    for (const claim of known) if (!kept.has(claim)) this.#dropClaim(claim);
    for (const outcome of before) this.#count(outcome, pod, -1);
    for (const outcome of after) this.#count(outcome, pod, 1);
    if (before.some(isProblem) || after.some(isProblem)) this.#changedPods.add(pod.key);
  }

  #addClaim(claim: Claim): void {
    this.#slots.add(claim);
    this.#tellRivals(claim);
  }

  #dropClaim(claim: Claim): void {
    this.#slots.remove(claim);
    this.#tellRivals(claim);
  }

  /** Masking and unmasking concerns every pod that claims the key. */
  #tellRivals({ entry, pod }: Claim): void {
    const rivals = this.#slots.claims(entry.key);
    if (rivals.length > 1 || (rivals.length === 1 && rivals[0]?.pod !== pod))
      for (const rival of rivals) this.#changedPods.add(rival.pod);
  }

  #count(outcome: Outcome, pod: PodState, by: 1 | -1): void {
    const { declaration, kind } = outcome;
    if (by === 1) declaration.pods.add(pod);
    else declaration.pods.delete(pod);
    if (kind === 'failure') declaration.renderFailures += by;
    if (kind === 'waiting') declaration.waiting += by;
    this.#changedDeclarers.add(declaration.key);
  }

  #maskedBy(claim: Claim): Problem | undefined {
    const winner = this.#slots.winner(claim.entry.key);
    if (winner === undefined || winner === claim) return undefined;
    const { kind, namespace, name } = winner.declarer.precedence;
    const by = `${kind} ${namespace === '' ? '' : `${namespace}/`}${name}`;
    return {
      reason: 'Masked',
      message: `${by}, which is older, declares the same entry (${claim.entry.spiffeId}), so its settings hold`,
      ...(claim.pod === '' ? {} : { pod: claim.pod }),
    };
  }

  #nodeState(record: NodeRecord): NodeState {
    try {
      return { record, parentId: renderParentId(record, this.#settings), problem: undefined };
    } catch (error) {
      if (!isIdentityError(error)) throw error;
      return { record, parentId: undefined, problem: { reason: 'RenderFailed', message: error.message } };
    }
  }

  #widen(needs: Needs): void {
    const { pod, node } = this.#needs;
    if (covers(pod, needs.pod) && covers(node, needs.node)) return;
    this.#needs = { pod: unionTrim(pod, needs.pod), node: unionTrim(node, needs.node) };
  }

  /** Less may be kept from now on; what is there stays as it is. */
  #narrow(): void {
    this.#needs = needsOf(this.#settings.parentIdTemplate.references);
    for (const { compiled } of this.#declarations.all()) this.#widen(compiled.needs);
  }

  #isIgnored(namespace: string): boolean {
    let ignored = this.#ignored.get(namespace);
    if (ignored === undefined) {
      ignored = this.#settings.ignoreNamespaces.some((pattern) => pattern.test(namespace));
      this.#ignored.set(namespace, ignored);
    }
    return ignored;
  }

  #mark(pods: Iterable<PodState>): void {
    for (const pod of pods) this.#dirtyPods.add(pod);
  }

  #markUids(uids: Iterable<string>): void {
    for (const uid of uids) {
      const pod = this.#pods.withUid(uid);
      if (pod?.outcomes.some(({ declaration }) => declaration.compiled.declaration.autoPopulateDnsNames))
        this.#dirtyPods.add(pod);
    }
  }
}

const PARENT_PROBLEM: Problem = { reason: 'RenderFailed', message: 'the parent ID of the node cannot be rendered' };

function refOf({ kind, meta }: IdentityDeclaration): Pick<ObjectRef, 'kind' | 'namespace' | 'name'> {
  return { kind, namespace: meta.namespace, name: meta.name };
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

function isSuccessor(before: PodRecord, after: PodRecord): boolean {
  return before.uid === after.uid && (before.nodeName === undefined || before.nodeName === after.nodeName);
}

function samePod(one: PodRecord, other: PodRecord): boolean {
  return (
    one.uid === other.uid &&
    one.nodeName === other.nodeName &&
    one.object.trim === other.object.trim &&
    JSON.stringify([one.labels, one.object.metadata, one.object.spec]) ===
      JSON.stringify([other.labels, other.object.metadata, other.object.spec])
  );
}

/** Whether two states of an object have one specification: an API server counts the changes of it. */
function isSameSpec(one: IdentityDeclaration['meta'], other: IdentityDeclaration['meta']): boolean {
  return (
    one.uid !== '' &&
    one.uid === other.uid &&
    one.generation > 0 &&
    one.generation === other.generation &&
    one.deleting === other.deleting
  );
}
