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
import { Claims, type ClaimedEntry } from './claims.ts';
import { compileDeclaration } from './compiled-declaration.ts';
import { checkDeclaration } from './declaration-rules.ts';
import { problemOf, problemsOf, statsOf, type DeclarationStats, type ReportedReason } from './declaration-stats.ts';
import {
  createDeclarationState,
  declarationKey,
  DeclarationStore,
  isSameSpec,
  selectsLabels,
  selectsNamespace,
} from './declaration-store.ts';
import { NamespaceStore } from './namespace-store.ts';
import { NodeStore } from './node-store.ts';
import { PodEvaluation } from './pod-evaluation.ts';
import { isSamePod, isSuccessor, PodStore } from './pod-store.ts';
import type { Precedence } from './precedence.ts';
import { ServiceStore } from './service-store.ts';
import { isOurClass, type IdentitySettings } from './settings.ts';
import type { ProposedClaim } from './slots.ts';
import type { DeclarationState, Outcome, PodState } from './state.ts';
import { StaticStore, type StaticCounts } from './static-store.ts';
import { needsOf, unionNeeds, type Needs } from './trim.ts';

/**
 * Which entries there ought to be: plain state fed by events. An event marks the pods that it concerns; {@link settle} works them
 * off and leaves the keys of the entries that changed. What an event costs is in proportion to those pods, never to all.
 */
export class IdentityIndex {
  readonly #settings: IdentitySettings;
  readonly #namespaces: NamespaceStore;
  readonly #nodes: NodeStore;
  readonly #services = new ServiceStore();
  readonly #pods = new PodStore();
  readonly #declarations = new DeclarationStore();
  readonly #claims = new Claims();
  readonly #statics = new StaticStore(this.#claims);
  readonly #evaluation: PodEvaluation;
  readonly #dirtyPods = new Set<PodState>();
  #needs: Needs;

  constructor(settings: IdentitySettings) {
    this.#settings = settings;
    this.#namespaces = new NamespaceStore(settings.ignoreNamespaces);
    this.#nodes = new NodeStore(settings);
    this.#needs = needsOf(settings.parentIdTemplate.references);
    this.#evaluation = new PodEvaluation({
      settings,
      namespaces: this.#namespaces,
      nodes: this.#nodes,
      services: this.#services,
      declarations: this.#declarations,
    });
  }

  /**
   * Works off the pods that events have marked.
   *
   * @param isOver whether to leave the rest for later, so that the event loop is not held up; asked before each but the first
   * @returns whether any are left
   */
  settle(isOver: () => boolean = () => false): boolean {
    let isFirst = true;
    for (const pod of this.#dirtyPods) {
      if (!isFirst && isOver()) return true;
      isFirst = false;
      this.#dirtyPods.delete(pod);
      this.#claims.replaceOutcomes(pod, this.#evaluation.outcomesOf(pod));
    }
    return false;
  }

  takeChangedKeys(): ReadonlySet<string> {
    return this.#claims.takeChangedKeys();
  }

  /** The keys of the declaring objects whose counters changed since the last call. */
  takeChangedDeclarers(): ReadonlySet<string> {
    return this.#claims.takeChangedDeclarers();
  }

  /** The keys of pods whose problems may have changed since the last call. */
  takeChangedPods(): ReadonlySet<string> {
    return this.#claims.takeChangedPods();
  }

  // Events.

  putPod(key: string, record: PodRecord): void {
    if (record.finished) return this.removePod(key);
    const present = this.#pods.get(key);
    if (present !== undefined && isSamePod(present.record, record)) return;
    // A name that is used again is another pod; so is one that is said to be on another node, which no pod ever moves to.
    if (present !== undefined && !isSuccessor(present.record, record)) this.removePod(key);
    this.#dirtyPods.add(this.#pods.put(key, record));
  }

  removePod(key: string): void {
    const state = this.#pods.remove(key);
    if (state === undefined) return;
    this.#dirtyPods.delete(state);
    this.#claims.replaceOutcomes(state, []);
  }

  putNode(name: string, record: NodeRecord): void {
    if (this.#nodes.put(name, record)) this.#mark(this.#pods.onNode(name));
  }

  removeNode(name: string): void {
    // Its pods keep their entries: the pods go by themselves, and a node may come back under the same name.
    this.#nodes.remove(name);
  }

  putNamespace(name: string, record: NamespaceRecord): void {
    this.#namespaces.put(record);
    for (const state of this.#declarations.all()) {
      const selected = selectsNamespace(state, record);
      if (selected === state.namespaces.has(name)) continue;
      if (selected) state.namespaces.add(name);
      else state.namespaces.delete(name);
      this.#claims.markDeclarer(state.key);
      this.#mark(Iterator.from(this.#pods.inNamespace(name)).filter((pod) => selectsLabels(state, pod.record.labels)));
    }
  }

  removeNamespace(name: string): void {
    this.#namespaces.remove(name);
    for (const state of this.#declarations.all()) {
      if (state.namespaces.delete(name)) this.#claims.markDeclarer(state.key);
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
    const key = declarationKey({ ...declaration.meta, kind: declaration.kind });
    if (!isOurClass(declaration.className, this.#settings)) return this.removeDeclaration(key);
    const present = this.#declarations.get(key);
    // Each of our own status writes comes back as an event: to render all pods anew for it would write the next one.
    if (present !== undefined && isSameSpec(present.compiled.declaration.meta, declaration.meta)) return;
    checkDeclaration(declaration, this.#settings);
    const state = this.#withNamespaces(createDeclarationState(compileDeclaration(declaration)));
    this.#mark(present?.pods ?? []);
    this.#declarations.put(state);
    this.#claims.markDeclarer(key);
    this.#needs = unionNeeds(this.#needs, state.compiled.needs);
    this.#mark(this.#podsOf(state));
  }

  removeDeclaration(key: string): void {
    const state = this.#declarations.remove(key);
    if (state === undefined) return;
    this.#mark(state.pods);
    this.#narrow();
  }

  /** Takes in an entry that is declared as it stands. */
  putStatic(declarer: Precedence, entry: DesiredEntry): void {
    this.#statics.put(declarer, entry);
  }

  removeStatic(key: string): void {
    this.#statics.remove(key);
  }

  // What is asked of it.

  /** How many entries there ought to be. */
  get entryCount(): number {
    return this.#claims.size;
  }

  get podCount(): number {
    return this.#pods.size;
  }

  /** The parts of pods and nodes that the declarations read: events must carry at least these. */
  get needs(): Needs {
    return this.#needs;
  }

  /** The entry of a key, with who declares it; undefined when there ought to be none. */
  desired(key: string): ClaimedEntry | undefined {
    return this.#claims.desired(key);
  }

  /** The keys of all entries that there ought to be. */
  keys(): IterableIterator<string> {
    return this.#claims.keys();
  }

  /** The entries of a pod, by UID, with who declares them, the oldest declaration first: those that hold, not those that are masked. */
  entriesOfPod(uid: string): readonly { readonly entry: DesiredEntry; readonly declaredBy: ObjectRef }[] {
    const pod = this.#pods.withUid(uid);
    const claims = pod === undefined ? [] : this.#claims.holdingOf(pod);
    return claims.map(({ entry, declarer }) => ({ entry, declaredBy: declarer.precedence }));
  }

  /** What is known of a pod; undefined for an unknown one. */
  pod(key: string): PodRecord | undefined {
    return this.#pods.get(key)?.record;
  }

  /** All that keeps a pod from an identity that something declares for it. */
  problemsOfPod(key: string): readonly Problem[] {
    const outcomes = this.#pods.get(key)?.outcomes ?? [];
    return outcomes.flatMap((outcome) => problemOf(outcome, this.#claims) ?? []);
  }

  /** What a declaration has come to; undefined for one that is not here. */
  stats(key: string): DeclarationStats | undefined {
    const state = this.#declarations.get(key);
    return state && statsOf(state, this.#namespaces);
  }

  /** The namespaces that a declaration selects although they are left alone, sorted. */
  ignoredNamespacesOf(key: string): readonly string[] {
    const selected = this.#declarations.get(key)?.namespaces ?? [];
    return [...selected].filter((name) => this.#namespaces.isIgnored(name)).sort();
  }

  /** Up to `limit` problems, of one reason, of the pods that a declaration selects. */
  problemsOf(key: string, limit: number, reason: ReportedReason): readonly Problem[] {
    const state = this.#declarations.get(key);
    return state === undefined ? [] : problemsOf(state, reason, this.#claims).take(limit).toArray();
  }

  /** The entry counters of a static declaration. */
  staticCounts(key: string): StaticCounts | undefined {
    return this.#statics.counts(key);
  }

  /** Which other object's entry keeps that of a static declaration from being; undefined when none does. */
  staticProblemOf(key: string): Problem | undefined {
    return this.#statics.problemOf(key);
  }

  // What a declaration that is not in force would come to.

  /** The pods that a declaration would select. */
  podsSelectedBy(state: DeclarationState): Iterable<PodState> {
    return this.#podsOf(this.#withNamespaces(state));
  }

  /**
   * What a declaration would make of a pod, given the whole pod and node where what is kept of them is too little.
   *
   * @returns undefined when it cannot be said: the pod is not on a node, or more of it must be given
   */
  previewOf(declaration: DeclarationState, pod: PodRecord, node: NodeRecord | undefined): Outcome | undefined {
    return this.#evaluation.previewOf(declaration, pod, node);
  }

  /** What of other objects would keep a claim that is not here (yet) from holding, or would lose its ID to it. */
  rivalryOf(claim: ProposedClaim): Problem | undefined {
    return this.#claims.rivalryOf(claim);
  }

  // How it works.

  #withNamespaces(state: DeclarationState): DeclarationState {
    for (const namespace of this.#namespaces.all()) {
      if (selectsNamespace(state, namespace)) state.namespaces.add(namespace.name);
    }
    return state;
  }

  *#podsOf(state: DeclarationState): Generator<PodState> {
    for (const namespace of state.namespaces) {
      if (this.#namespaces.isIgnored(namespace)) continue;
      for (const pod of this.#pods.inNamespace(namespace)) if (selectsLabels(state, pod.record.labels)) yield pod;
    }
  }

  /** Less may be kept from now on; what is there stays as it is. */
  #narrow(): void {
    const own = needsOf(this.#settings.parentIdTemplate.references);
    this.#needs = Iterator.from(this.#declarations.all()).reduce((needs, { compiled }) => unionNeeds(needs, compiled.needs), own);
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
