import type { Bundle } from '../../spiffe/bundle.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import { namespaceOfEntry } from '../entry-metadata.ts';
import type { Agent, Entry } from '../model.ts';
import type { AgentDelta, RevisedBundle, WatchOptions } from './agent-watch.ts';
import { AuthorizationWatch } from './authorization-watch.ts';
import type { AuthorizationDelta, AuthorizationSources } from './authorization-watch.ts';
import type { Bundles } from './bundles.ts';
import type { EntryGraph, EntryRecord } from './entry-graph.ts';
import type { History } from './history.ts';
import { scopeOf } from './policy-scope.ts';
import type { FormerScope } from './policy-scope.ts';
import { findGap } from './resume.ts';
import type { Gap } from './resume.ts';

/** Beyond so many noted IDs, looking at everything is cheaper than looking at each, and bounds what a slow reader costs. */
const MAX_NOTED = 20_000;

/** The registry as a watcher reads it. */
export interface WatcherSources {
  readonly feedId: string;
  readonly graph: EntryGraph;
  readonly history: History;
  readonly bundles: Bundles;
  readonly authorization: AuthorizationSources;
  revision(): number;
  agent(id: SpiffeId): Agent | undefined;
}

const NOTHING: ReadonlySet<EntryRecord> = new Set();

/**
 * Knows which entries may have changed for one agent since its last delta, and makes the next delta of them. It keeps no list
 * of what the agent has: whether an entry is the agent's is seen from the entry upwards, at the time of the delta.
 */
export class Watcher {
  readonly agentId: SpiffeId;
  /** Undefined: the agent did not ask for it. */
  readonly authorization: AuthorizationWatch | undefined;
  readonly #sources: WatcherSources;
  /** Noted IDs in shared lists: a change that concerns a thousand agents is one list. */
  #noted: (readonly string[])[] = [];
  #notedCount = 0;
  /** Where the next delta starts from: undefined needs a snapshot. */
  #since: number | undefined;
  #started = false;
  #federationChanged = false;
  #ownSent: Bundle | undefined;
  readonly #sent = new Map<string, Bundle>();
  #wanted = new Set<string>();
  #aliasIds: ReadonlySet<string> = new Set();
  /** What wakes the reader; replaced with each wait. */
  wake: () => void = () => {};
  dirty = true;
  /** It was sent policies of a revision that the registry had read in part only. */
  isAhead = false;

  constructor(agentId: SpiffeId, sources: WatcherSources, { resume, kinds }: Pick<WatchOptions, 'resume' | 'kinds'>) {
    if (kinds !== undefined && kinds.size > 0) this.authorization = new AuthorizationWatch(sources.authorization, kinds);
    this.agentId = agentId;
    this.#sources = sources;
    this.#since = resume?.feedId === sources.feedId && resume.revision > 0 ? resume.revision : undefined;
    this.updateAliases();
  }

  /** The agent's ID and those of its node aliases: an entry below any of these is the agent's. */
  get roots(): ReadonlySet<string> {
    return new Set([this.agentId.toString(), ...this.#aliasIds]);
  }

  /** The revision that the agent is at. */
  get revision(): number {
    return this.#since ?? 0;
  }

  /** Notes that these entries may be new to the agent, changed or no longer its own. */
  note(ids: readonly string[], federationChanged: boolean): void {
    this.dirty = true;
    if (federationChanged) this.#federationChanged = true;
    if (!this.#started || this.#since === undefined) return;
    this.#noted.push(ids);
    this.#notedCount += ids.length;
    if (this.#notedCount > MAX_NOTED) {
      // From the revision of its last delta the gap can be found anew, at worst by a snapshot.
      this.#noted = [];
      this.#notedCount = 0;
      this.#started = false;
    }
  }

  /** Whether the agent gets this trust domain's bundle, or would if there was one. */
  wants(trustDomain: string): boolean {
    return this.#wanted.has(trustDomain);
  }

  /** Finds the agent's node aliases anew; returns the IDs of those that came or went. */
  updateAliases(): readonly string[] {
    const before = this.#aliasIds;
    const selectors = this.#sources.agent(this.agentId)?.selectors ?? [];
    this.#aliasIds = new Set([...this.#sources.graph.aliasesOf(selectors)].map(({ entry }) => entry.spiffeId.toString()));
    const after = this.#aliasIds;
    return [...[...before].filter((id) => !after.has(id)), ...[...after].filter((id) => !before.has(id))];
  }

  /** Everything that the agent lacks, up to the registry's present revision. */
  takeDelta(): AgentDelta {
    const delta = this.#makeDelta(this.#since);
    this.isAhead = (delta.authorization?.policyRevision ?? 0) > delta.revision;
    this.dirty = false;
    this.#started = true;
    this.#noted = [];
    this.#notedCount = 0;
    this.#federationChanged = false;
    this.#since = delta.revision;
    return delta;
  }

  #makeDelta(since: number | undefined): AgentDelta {
    if (since !== undefined && this.#started) {
      return this.#with(this.#noteDelta(), (watch) => watch.next(this.roots, since));
    }
    return since !== undefined && this.#canResume(since) ? this.#resume(since) : this.#snapshot();
  }

  #snapshot(): AgentDelta {
    const present = this.#authorized();
    this.#wanted = federatedBy(present);
    this.#sent.clear();
    this.#ownSent = undefined;
    const delta = this.#delta({ snapshot: true, put: [...present], removed: [] });
    return this.#with(delta, (watch) => watch.snapshot(this.roots));
  }

  #resume(since: number): AgentDelta {
    const { graph, history, bundles } = this.#sources;
    const agent = this.#sources.agent(this.agentId);
    const gap = findGap({ graph, history, agentId: this.agentId, agent }, since);
    this.#wanted = graph.federating === 0 ? new Set() : federatedBy(gap.present);
    // What the agent had of bundles is what did not change since, of those that it wanted already.
    const wantedThen = graph.federating === 0 ? new Set<string>() : federatedBy(gap.kept);
    this.#sent.clear();
    for (const { value, revision } of bundles.federated.records()) {
      const { name } = value.trustDomain;
      if (revision <= since && wantedThen.has(name)) this.#sent.set(name, value);
    }
    this.#ownSent = bundles.ownRevision <= since ? bundles.own.value : undefined;
    const changes = this.#delta({ snapshot: false, put: gap.put, removed: gap.removed });
    const delta = this.#with(changes, (watch) => watch.resume(this.roots, since, formerScopes(gap)));
    if (gap.put.length === 0 && gap.removed.length === 0 && bundles.lastRevision <= since) return delta;
    return { ...delta, removedBundles: [...bundles.everKnown()].filter((name) => !this.#sent.has(name)) };
  }

  #noteDelta(): AgentDelta {
    const { graph } = this.#sources;
    const roots = this.roots;
    const put: EntryRecord[] = [];
    const removed: string[] = [];
    for (const id of new Set(this.#noted.flat())) {
      const record = graph.get(id);
      if (record !== undefined && isBelow(graph, record, roots)) put.push(record);
      else removed.push(id);
    }
    // Only a loss needs a look at everything; what is new can but add to what is wanted.
    if (this.#federationChanged) this.#wanted = federatedBy(graph.federating === 0 ? NOTHING : this.#authorized());
    else for (const name of federatedBy(put)) this.#wanted.add(name);
    return this.#delta({ snapshot: false, put, removed });
  }

  #delta({ snapshot, put, removed }: { snapshot: boolean; put: readonly EntryRecord[]; removed: readonly string[] }): AgentDelta {
    const own = this.#changedOwnBundle();
    const { changed, gone } = this.#changedFederated();
    const bundles = own === undefined ? changed : [own, ...changed];
    return { revision: this.#sources.revision(), snapshot, put, removed, bundles, removedBundles: gone };
  }

  #with(delta: AgentDelta, changes: (watch: AuthorizationWatch) => AuthorizationDelta): AgentDelta {
    return this.authorization === undefined ? delta : { ...delta, authorization: changes(this.authorization) };
  }

  #changedOwnBundle(): RevisedBundle | undefined {
    const { own, ownRevision } = this.#sources.bundles;
    if (this.#ownSent === own.value) return undefined;
    this.#ownSent = own.value;
    return { bundle: own.value, revision: ownRevision };
  }

  #changedFederated(): { changed: readonly RevisedBundle[]; gone: readonly string[] } {
    const { federated } = this.#sources.bundles;
    const changed: RevisedBundle[] = [];
    for (const name of this.#wanted) {
      const record = federated.record(name);
      if (record === undefined || this.#sent.get(name) === record.value) continue;
      changed.push({ bundle: record.value, revision: record.revision });
      this.#sent.set(name, record.value);
    }
    const gone = [...this.#sent.keys()].filter((name) => !this.#wanted.has(name) || federated.record(name) === undefined);
    for (const name of gone) this.#sent.delete(name);
    return { changed, gone };
  }

  #authorized(): ReadonlySet<EntryRecord> {
    return this.#sources.graph.descendants(this.roots);
  }

  #canResume(since: number): boolean {
    const { history } = this.#sources;
    if (since > this.#sources.revision() || since < history.floor) return false;
    return !history.hasForgottenAgent(this.agentId.toString(), since);
  }
}

/** Whether an entry is below one of the roots, found from the entry upwards. */
export function isBelow(graph: EntryGraph, { entry }: EntryRecord, roots: ReadonlySet<string>): boolean {
  for (const id of graph.ancestors(entry.parentId.toString())) if (roots.has(id)) return true;
  return false;
}

/** Of which namespaces an agent that comes back had policies. */
function formerScopes({ kept, possible }: Gap): Omit<FormerScope, 'changed'> {
  const scopeOfAll = (entries: readonly Entry[]): FormerScope['surely'] => scopeOf(new Set(entries.map(namespaceOfEntry)));
  return { surely: scopeOfAll([...kept].map(({ entry }) => entry)), possibly: scopeOfAll(possible) };
}

function federatedBy(records: Iterable<EntryRecord>): Set<string> {
  const names = new Set<string>();
  for (const { entry } of records) for (const { name } of entry.federatesWith) names.add(name);
  return names;
}
