import { DecodeError, decode } from '../core/decode.ts';
import { list, object, optional } from '../policy/schema/collections.ts';
import { condition } from '../policy/schema/condition.ts';
import type { Condition } from '../policy/schema/condition.ts';
import { boolean, wholeNumber } from '../policy/schema/scalars.ts';
import type { Schema, ValueOf } from '../policy/schema/schema.ts';

const count = wholeNumber({ min: 0 });

const commonFields = {
  observedGeneration: optional('The generation of the resource that this status is about.', count),
  conditions: optional(
    'Observations; `Ready` says whether everything declared is in force.',
    list(condition, { maxItems: 16, keyedBy: 'type' }),
    [],
  ),
};

/** What a resource that selects pods came to. The names are those of SPIRE's ClusterSPIFFEID. */
export const identityStats = object({
  namespacesSelected: optional('Namespaces that were selected.', count, 0),
  namespacesIgnored: optional('Selected namespaces that the configuration says to ignore.', count, 0),
  podsSelected: optional('Pods that were selected in the other namespaces.', count, 0),
  podEntryRenderFailures: optional('Pods for which a template failed or gave something that is not allowed.', count, 0),
  entriesMasked: optional('Entries that another, older resource declares for the same pod.', count, 0),
  entriesToSet: optional('Entries that should exist because of this resource.', count, 0),
  entryFailures: optional('Entries that the CA refused.', count, 0),
});

/** What a resource that selects pods came to. */
export type IdentityStats = ValueOf<typeof identityStats>;

/** Status of the kinds that select pods. */
export const identityStatus = object({
  ...commonFields,
  stats: optional('What the resource came to.', identityStats),
});

/** Status of {@link StaticIdentity}; the truth values are SPIRE's. */
export const staticStatus = object({
  ...commonFields,
  rendered: optional('Whether the specification gave an entry.', boolean, false),
  masked: optional('Whether another, older resource declares the same entry.', boolean, false),
  set: optional('Whether the entry exists at the CA.', boolean, false),
});

/** Status of a kind that has nothing to count. */
export const plainStatus = object(commonFields);

/** Status of any of our kinds: what is written to the `status` subresource. */
export interface ResourceStatus {
  readonly observedGeneration: number | undefined;
  readonly conditions: readonly Condition[];
  /** Of the kinds that select pods. */
  readonly stats?: IdentityStats | undefined;
  /** Of a StaticIdentity. */
  readonly rendered?: boolean;
  readonly masked?: boolean;
  readonly set?: boolean;
}

/** Status of SPIRE's ClusterSPIFFEID: nothing but the counts. */
export interface ClusterSpiffeIdStatus {
  readonly stats: IdentityStats;
}

/** Status of SPIRE's ClusterStaticEntry. Its ClusterFederatedTrustDomain has none. */
export interface ClusterStaticEntryStatus {
  readonly rendered: boolean;
  readonly masked: boolean;
  readonly set: boolean;
}

/** The status that an object has, or nothing when it has none that can be read: it will be written anew. */
export function readStatus<T>(schema: Schema<T>, object: { readonly status?: unknown }): T | undefined {
  try {
    return object.status === undefined ? undefined : decode(schema.decoder, object.status);
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}
