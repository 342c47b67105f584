import { presentOr } from '../identity-fields.ts';
import { parserOf } from '../../policy/schema/resource.ts';
import { object, optional, required } from '../../policy/schema/collections.ts';
import { boolean } from '../../policy/schema/scalars.ts';
import type { StaticDeclaration } from '../static-declaration.ts';
import { anyText, anyTexts, goDuration, selectors, spiffeId, SPIRE_API, trustDomains } from './fields.ts';

const spec = object(
  {
    spiffeID: required('', spiffeId),
    parentID: required('', spiffeId),
    selectors: required('', selectors),
    federatesWith: optional('', trustDomains, []),
    x509SVIDTTL: optional('', goDuration),
    jwtSVIDTTL: optional('', goDuration),
    dnsNames: optional('', anyTexts, []),
    hint: optional('', anyText, ''),
    admin: optional('', boolean, false),
    downstream: optional('', boolean, false),
    storeSVID: optional('', boolean, false),
    className: optional('', anyText, ''),
  },
  { unknownFields: 'ignored' },
);

/** SPIRE's ClusterStaticEntry. */
export const CLUSTER_STATIC_ENTRY_TYPE = { ...SPIRE_API, kind: 'ClusterStaticEntry', plural: 'clusterstaticentries' } as const;

const parse = parserOf(CLUSTER_STATIC_ENTRY_TYPE, spec);

/** Reads SPIRE's ClusterStaticEntry. @throws DecodeError that names every faulty field */
export function parseClusterStaticEntry(object: unknown): StaticDeclaration {
  const { meta, spec: read } = parse(object);
  const { spiffeID, parentID, x509SVIDTTL, jwtSVIDTTL, storeSVID, ...same } = read;
  return {
    ...same,
    kind: 'ClusterStaticEntry',
    meta,
    spiffeId: spiffeID,
    parentId: parentID,
    x509SvidTtl: x509SVIDTTL,
    jwtSvidTtl: jwtSVIDTTL,
    storeSvid: storeSVID,
    className: presentOr(read.className, undefined),
    jwtClaims: {},
  };
}
