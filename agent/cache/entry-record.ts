import type { Clock } from '../../core/clock.ts';
import type { AgentEntry, X509Identity } from './identities.ts';
import type { Lifetime } from '../../runtime/lifetime.ts';

/** Who shows records to callers: what the cache needs to know of a view. */
export interface RecordView {
  readonly records: Set<EntryRecord>;
  /** Whether an X509-SVID was asked for. */
  readonly wantsX509: boolean;
  markDirty(): void;
  publish(): void;
}

/** What the cache knows of one entry: its present form, its X509-SVID, and the views that show it. */
export class EntryRecord {
  entry: AgentEntry;
  /** The views whose callers have the entry's selectors. */
  readonly views = new Set<RecordView>();
  identity: X509Identity | undefined;
  lifetime: Lifetime | undefined;
  /** Whether a signing was tried at least once since the entry came or changed: nobody waits for it any more. */
  attempted = false;
  /** When the entry came, on monotonic time, until its first SVID is there; undefined where nobody measures that. */
  awaitedSinceMs: number | undefined;
  /** Set when the present SVID must be replaced whatever its age: its authority is tainted, or the entry changed. */
  stale = false;
  /** When to ask again for what the CA refused to sign, on monotonic time. */
  retryAtMonotonicMs = 0;

  constructor(entry: AgentEntry) {
    this.entry = entry;
  }

  /** Whether an X509-SVID is kept ready; entries without prefetch have one only while somebody asked for it. */
  get isWanted(): boolean {
    if (!this.entry.disableX509SvidPrefetch) return true;
    for (const view of this.views) if (view.wantsX509) return true;
    return false;
  }

  /** Whether it is time to ask the CA for an X509-SVID. */
  needsSigning(clock: Clock): boolean {
    if (!this.isWanted || clock.monotonicMs() < this.retryAtMonotonicMs) return false;
    return this.identity === undefined || this.stale || (this.lifetime?.isDue(clock) ?? true);
  }

  /** Milliseconds until something about this record has to be done; 0 when it is time. */
  dueInMs(clock: Clock): number {
    const retryInMs = Math.max(0, this.retryAtMonotonicMs - clock.monotonicMs());
    if (this.lifetime === undefined) return this.isWanted ? retryInMs : Infinity;
    const dueInMs = this.stale ? 0 : this.lifetime.dueInMs(clock);
    return Math.min(Math.max(dueInMs, retryInMs), this.lifetime.expiresInMs(clock));
  }

  keep(identity: X509Identity, lifetime: Lifetime): void {
    this.identity = identity;
    this.lifetime = lifetime;
    this.stale = false;
    this.retryAtMonotonicMs = 0;
  }

  drop(): void {
    this.identity = undefined;
    this.lifetime = undefined;
    this.stale = false;
  }
}

/** What of an entry goes into its certificate: only when this changes is it signed anew. */
export function certificateContent({ spiffeId, dnsNames, x509SvidTtlSeconds }: AgentEntry): string {
  return [spiffeId.toString(), x509SvidTtlSeconds, ...dnsNames].join('\0');
}
