import { IdentityError } from '../../core/errors.ts';
import type { StaticDeclaration } from '../../crds/static-declaration.ts';
import type { WorkloadMetadata } from '../../policy/workload-metadata.ts';
import { checkDnsName } from '../../spiffe/dns-name.ts';
import { isReservedPath } from '../../spiffe/spiffe-id.ts';
import type { DesiredEntry } from '../ports.ts';
import { checkDeclaration } from './declaration-rules.ts';
import { checkSelector, entryKey, normalizeSelectors } from './entry-key.ts';
import type { IdentitySettings } from './settings.ts';

/**
 * The entry that a static declaration asks for.
 *
 * @throws IdentityError `invalid_argument` or `permission_denied`, naming the field
 */
export function staticEntry(
  declaration: StaticDeclaration,
  settings: Pick<IdentitySettings, 'trustDomain' | 'allowAdminIdentities' | 'declaresWorkloads'>,
): DesiredEntry {
  checkDeclaration(declaration, settings);
  const { spiffeId, parentId, dnsNames, jwtClaims, workload } = declaration;
  const { trustDomain } = settings;
  for (const [id, field] of [
    [spiffeId, 'spec.spiffeID'],
    [parentId, 'spec.parentID'],
  ] as const) {
    if (id.isMemberOf(trustDomain)) continue;
    throw new IdentityError('invalid_argument', `"${id.toString()}" is outside the trust domain ${trustDomain.name}`, { field });
  }
  if (isReservedPath(spiffeId)) {
    const message = `"${spiffeId.toString()}" lies below /spire, which is reserved for the CA and its agents`;
    throw new IdentityError('invalid_argument', message, { field: 'spec.spiffeID' });
  }
  dnsNames.forEach((name, index) => checkDnsName(name, `spec.dnsNames[${index}]`));
  const selectors = declaration.selectors.map(({ type, value }, index) =>
    checkSelector(`${type}:${value}`, `spec.selectors[${index}]`),
  );
  const identity = { spiffeId: spiffeId.toString(), parentId: parentId.toString(), selectors: normalizeSelectors(selectors) };
  return {
    ...identity,
    key: entryKey(identity),
    x509SvidTtlSeconds: Math.floor((declaration.x509SvidTtl?.ms ?? 0) / 1000),
    jwtSvidTtlSeconds: Math.floor((declaration.jwtSvidTtl?.ms ?? 0) / 1000),
    federatesWith: declaration.federatesWith.map(({ name }) => name),
    admin: declaration.admin,
    downstream: declaration.downstream,
    dnsNames,
    hint: declaration.hint,
    storeSvid: declaration.storeSvid,
    jwtClaims: Object.keys(jwtClaims).length === 0 ? undefined : jwtClaims,
    ...(settings.declaresWorkloads && workload !== undefined ? { workload: metadataOf(workload) } : {}),
  };
}

function metadataOf({ namespace, serviceAccount }: NonNullable<StaticDeclaration['workload']>): WorkloadMetadata {
  return { namespace, ...(serviceAccount === undefined ? {} : { serviceAccount }) };
}
