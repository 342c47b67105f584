import { isIdentityError } from '../core/errors.ts';
import type { AuthorityBundle } from './authorities/authority.ts';
import type { Registry } from './registry/registry.ts';
import type { Store } from './store/store.ts';

/** The bundle of all replicas as the authorities see it: written through the store, read from the registry. */
export function createAuthorityBundle({
  store,
  registry,
}: {
  readonly store: Store;
  readonly registry: Registry;
}): AuthorityBundle {
  return {
    list: () => registry.authorities,
    async publish(authority) {
      const { revision } = await store.mutate((tx) => tx.putAuthority(authority));
      await registry.waitFor(revision);
    },
    async remove(kind, id) {
      const { revision } = await store.mutate(async (tx) => {
        await tx.deleteAuthority(kind, id).catch((error: unknown) => {
          if (!isIdentityError(error, 'not_found')) throw error;
        });
      });
      await registry.waitFor(revision);
    },
  };
}
