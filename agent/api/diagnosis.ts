import type { MessageInitShape } from '@bufbuild/protobuf';

import type { Diagnosis } from '../../proto/gen/countersign/agent/v1/agent_pb.ts';
import type { EntrySchema } from '../../proto/gen/spire/api/types/entry_pb.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import type { IdentityCache } from '../cache/identity-cache.ts';
import type { AgentEntry } from '../cache/identities.ts';
import type { SelectorSet } from '../cache/selectors.ts';
import type { Workload, WorkloadAttestation } from '../workload-attest/attestation.ts';

const MAX_NEAR_MISSES = 20;

/** What the diagnosis looks at. */
export interface DiagnosisOptions {
  readonly cache: IdentityCache;
  readonly attestation: WorkloadAttestation;
}

/** Explains why a process gets the identities it gets, or none; on the private socket, for `countersign why PID`. */
export function diagnosis({ cache, attestation }: DiagnosisOptions): ServiceHandlers<typeof Diagnosis, Workload> {
  return {
    async explainWorkload({ pid }) {
      using workload = attestation.ofPid(pid);
      const selectors = await workload.attest(new AbortController().signal);
      return {
        selectors: selectors.texts.map(readSelector),
        matching: cache.entitlementsOf(selectors).value.entries.map(describeEntry),
        nearMisses: nearMisses(cache.entries(), selectors),
        entryCount: cache.counts.entries,
      };
    },
  };
}

function nearMisses(entries: Iterable<AgentEntry>, selectors: SelectorSet) {
  return [...entries]
    .map((entry) => ({ entry, missing: entry.selectors.filter((text) => !selectors.has(text)) }))
    .filter(({ entry, missing }) => missing.length > 0 && missing.length < entry.selectors.length)
    .sort((a, b) => a.missing.length - b.missing.length || (a.entry.id < b.entry.id ? -1 : 1))
    .slice(0, MAX_NEAR_MISSES)
    .map(({ entry, missing }) => ({ entry: describeEntry(entry), missing: missing.map(readSelector) }));
}

function readSelector(text: string): { readonly type: string; readonly value: string } {
  const colon = text.indexOf(':');
  return { type: text.slice(0, colon), value: text.slice(colon + 1) };
}

function describeEntry(entry: AgentEntry): MessageInitShape<typeof EntrySchema> {
  const { id, spiffeId, selectors, federatesWith, hint, admin, downstream, dnsNames, revisionNumber } = entry;
  return {
    id,
    spiffeId: { trustDomain: spiffeId.trustDomain.name, path: spiffeId.path },
    selectors: selectors.map(readSelector),
    federatesWith: [...federatesWith],
    hint,
    admin,
    downstream,
    dnsNames: [...dnsNames],
    revisionNumber,
    createdAt: BigInt(entry.createdAtSeconds),
    x509SvidTtl: entry.x509SvidTtlSeconds,
    jwtSvidTtl: entry.jwtSvidTtlSeconds,
  };
}
