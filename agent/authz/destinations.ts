import type { Destination } from '../../policy/model.ts';
import { metadataOf, type WorkloadMetadata } from '../../policy/workload-metadata.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { AgentEntry, IdentityView, WorkloadIdentities } from '../cache/identities.ts';
import type { SelectorSet } from '../cache/selectors.ts';

/** A destination that a call can be decided for. */
export type KnownDestination = Destination & { readonly spiffeId: SpiffeId };

/** Why there is none: the workload has no such identity; or several, none of which is named, or one that says two things. */
export type NoDestination = 'no_identity' | 'ambiguous_identity';

/** Where the identities of a workload are found. */
export interface EntitlementSource {
  /** The shared view of callers with these selectors. */
  entitlementsOf(selectors: SelectorSet): IdentityView;
}

type Found = KnownDestination | NoDestination;

interface Known {
  readonly seen: WorkloadIdentities;
  readonly entries: readonly AgentEntry[];
  /** By named identity ('' for none), then by port (-1 for none). */
  readonly found: Map<string, Map<number, Found>>;
}

// A workload listens on few ports; one that asks about all of them must not fill the memory.
const MAX_PORTS = 64;
const NO_PORT = -1;

/**
 * The workloads that enforcement points ask for. One object for each workload, identity and port, for as long as its entries
 * stay as they are: what applies to it is worked out once.
 */
export class Destinations {
  readonly #identities: EntitlementSource;
  readonly #known = new WeakMap<IdentityView, Known>();

  constructor(identities: EntitlementSource) {
    this.#identities = identities;
  }

  /**
   * The destination of a call: the asking workload, by the identity that is named, or by its only one.
   *
   * @param named an identity that the proxy's configuration names; it must be one of the workload's
   */
  of(asking: SelectorSet, named?: SpiffeId, port: number = NO_PORT): Found {
    const { entries, found } = this.#knownOf(asking);
    const key = named === undefined ? '' : named.toString();
    const byPort = found.get(key) ?? new Map<number, Found>();
    const known = byPort.get(port);
    if (known !== undefined) return known;
    const made = find(entries, { asking, named, port });
    // An identity that is not the workload's is not kept: there would be no end of them.
    if (made === 'no_identity') return made;
    found.set(key, byPort);
    if (byPort.size >= MAX_PORTS) byPort.clear();
    byPort.set(port, made);
    return made;
  }

  #knownOf(asking: SelectorSet): Known {
    const view = this.#identities.entitlementsOf(asking);
    const seen = view.value;
    const known = this.#known.get(view);
    if (known?.seen === seen) return known;
    // A rotation of SVIDs changes the value, not the entries.
    const found = known !== undefined && isSame(known.entries, seen.entries) ? known.found : new Map();
    const next = { seen, entries: seen.entries, found };
    this.#known.set(view, next);
    return next;
  }
}

function isSame(some: readonly AgentEntry[], others: readonly AgentEntry[]): boolean {
  return some.length === others.length && some.every((entry, index) => entry === others[index]);
}

interface Asked {
  readonly asking: SelectorSet;
  readonly named: SpiffeId | undefined;
  readonly port: number;
}

function find(entries: readonly AgentEntry[], { asking, named, port }: Asked): Found {
  const ids = new Map(entries.map(({ spiffeId }) => [spiffeId.toString(), spiffeId]));
  if (named === undefined && ids.size > 1) return 'ambiguous_identity';
  const [only] = ids.values();
  const spiffeId = named === undefined ? only : ids.get(named.toString());
  if (spiffeId === undefined) return 'no_identity';
  const metadata = agreed(
    entries.filter((entry) => entry.spiffeId.equals(spiffeId)).map(({ workload = {} }) => workload),
    asking,
  );
  if (metadata === undefined) return 'ambiguous_identity';
  return { spiffeId, selectors: new Set(asking.texts), ...metadata, ...(port === NO_PORT ? {} : { port }) };
}

/**
 * What the entries and the attested selectors say; undefined where they contradict each other. An agent holds the policies of
 * the namespaces that its entries say, so a workload of another one must not be decided for by these.
 */
function agreed(declared: readonly WorkloadMetadata[], asking: SelectorSet): WorkloadMetadata | undefined {
  const all = [...declared, metadataOf(undefined, asking.texts)];
  const namespaces = new Set(all.flatMap(({ namespace }) => namespace ?? []));
  const accounts = new Set(all.flatMap(({ serviceAccount }) => serviceAccount ?? []));
  if (namespaces.size > 1 || accounts.size > 1) return undefined;
  const [namespace] = namespaces;
  const [serviceAccount] = accounts;
  return { ...(namespace === undefined ? {} : { namespace }), ...(serviceAccount === undefined ? {} : { serviceAccount }) };
}
