import type { JwtAuthority } from '../../spiffe/bundle.ts';
import type { BundleSet } from './bundle-set.ts';
import type { JwtSvidCache } from './jwt-svid-cache.ts';
import type { WitSvidCache } from './wit-svid-cache.ts';

/** Drops cached tokens as soon as the authority that signed them is tainted. Returns the function that ends it. */
export function withdrawTainted(bundles: BundleSet, jwtSvids: JwtSvidCache, witSvids: WitSvidCache): () => void {
  return bundles.revision.subscribe(() => {
    jwtSvids.withdraw(taintedKeyIds(bundles.own.jwtAuthorities));
    witSvids.withdraw(taintedKeyIds(bundles.own.witAuthorities));
  });
}

function taintedKeyIds(authorities: ReadonlyMap<string, JwtAuthority>): ReadonlySet<string> {
  return new Set([...authorities.values()].filter(({ tainted }) => tainted).map(({ keyId }) => keyId));
}
