import type { Checks } from '../runtime/http.ts';
import type { AuditLog } from './audit/audit-log.ts';
import type { Authorities } from './authorities/authorities.ts';
import type { RegistryFeed } from './registry/feed.ts';

/** The checks behind `/readyz`. */
export function readinessChecks({
  feed,
  authorities,
  audit,
  bundleConfigMap,
}: {
  readonly feed: RegistryFeed;
  readonly authorities: Authorities;
  readonly audit: AuditLog;
  /** Undefined when none is configured. */
  readonly bundleConfigMap: { readonly fault: string | undefined } | undefined;
}): Checks {
  const check = (fault: () => string | undefined, well: string) => () => {
    const reason = fault();
    return { ok: reason === undefined, reason: reason ?? well };
  };
  return {
    // Not unready: without the store the CA still signs for the agents it knows, and nobody else could.
    store: () => ({ ok: true, reason: degraded(feed.outage) ?? 'the registry follows the store' }),
    authorities: check(() => authorities.fault(), 'all authorities are in force'),
    audit: check(() => audit.fault(), 'the audit log is written'),
    // Not unready either: only who comes to the cluster anew needs it.
    ...(bundleConfigMap && {
      bundleConfigMap: () => ({ ok: true, reason: bundleConfigMap.fault ?? 'the bundle ConfigMap is current' }),
    }),
  };
}

function degraded(outage: Error | undefined): string | undefined {
  return outage && `degraded: known agents are served from memory, changes are refused: ${outage.message}`;
}
