import type { IdentityDeclaration } from '../identity-declaration.ts';
import { presentOr } from '../identity-fields.ts';
import { unlimitedLabelSelector } from '../../policy/schema/label-selector.ts';
import { parserOf } from '../../policy/schema/resource.ts';
import { object, optional, required } from '../../policy/schema/collections.ts';
import { boolean } from '../../policy/schema/scalars.ts';
import { anyText, anyTexts, goDuration, someText, SPIRE_API, trustDomains } from './fields.ts';

const spec = object(
  {
    spiffeIDTemplate: required('', someText),
    podSelector: optional('', unlimitedLabelSelector),
    namespaceSelector: optional('', unlimitedLabelSelector),
    dnsNameTemplates: optional('', anyTexts, []),
    workloadSelectorTemplates: optional('', anyTexts, []),
    ttl: optional('', goDuration),
    jwtTtl: optional('', goDuration),
    federatesWith: optional('', trustDomains, []),
    admin: optional('', boolean, false),
    downstream: optional('', boolean, false),
    autoPopulateDNSNames: optional('', boolean, false),
    fallback: optional('', boolean, false),
    className: optional('', anyText, ''),
    hint: optional('', anyText, ''),
  },
  { unknownFields: 'ignored' },
);

/** SPIRE's ClusterSPIFFEID. */
export const CLUSTER_SPIFFE_ID_TYPE = { ...SPIRE_API, kind: 'ClusterSPIFFEID', plural: 'clusterspiffeids' } as const;

const parse = parserOf(CLUSTER_SPIFFE_ID_TYPE, spec);

/** Reads SPIRE's ClusterSPIFFEID. @throws DecodeError that names every faulty field */
export function parseClusterSpiffeId(object: unknown): IdentityDeclaration {
  const { meta, spec: read } = parse(object);
  const { spiffeIDTemplate, autoPopulateDNSNames, ...same } = read;
  return {
    ...same,
    kind: 'ClusterSPIFFEID',
    meta,
    spiffeIdTemplate: spiffeIDTemplate,
    pathTemplate: undefined,
    autoPopulateDnsNames: autoPopulateDNSNames,
    className: presentOr(read.className, undefined),
    jwtClaims: {},
  };
}
