import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../runtime/log.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { Issuer } from '../issue/issuer.ts';
import type { Registry } from '../registry/registry.ts';
import type { Mutation, Store } from '../store/store.ts';

/** What the services of the API are built on. */
export interface ApiContext {
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly log: Logger;
  readonly store: Store;
  readonly registry: Registry;
  readonly issuer: Issuer;
}

/**
 * Runs a transaction and waits until the registry shows it, so that whoever made a change reads it back.
 *
 * @throws IdentityError of `work`, or `unavailable`
 */
export async function commit<T>({ store, registry }: ApiContext, work: (tx: Mutation) => Promise<T>): Promise<T> {
  const { value, revision } = await store.mutate(work);
  await registry.waitFor(revision);
  return value;
}
