import { array, decode, literal, map, object, optional, record, string } from '../../core/decode.ts';
import type { Decoded, Decoder } from '../../core/decode.ts';
import { IdentityError } from '../../core/errors.ts';
import { parseRequestAuthentication } from '../resources/request-authentication.ts';
import { draftKey, fitted } from './fitting.ts';
import type { DraftedPolicy } from './fitting.ts';
import { naming } from './foreign.ts';
import { ruleOf } from './istio-rules.ts';
import { ANY_ID } from './istio-values.ts';
import type { Imported, Loss } from './losses.ts';

/** What the documents do not say. */
export interface IstioOptions {
  /** The mesh's trust domain, which Istio also calls `cluster.local`. */
  readonly trustDomain: string;
  /** Resources there are about the whole mesh; `istio-system` by default. */
  readonly rootNamespace?: string;
}

const anything: Decoder<unknown> = { read: (input) => input ?? undefined };
const texts = array(string());
const refs = optional(array(anything), []);
const selector = optional(object({ matchLabels: optional(record(string({ allowEmpty: true })), {}) }));
const fields = (wrapper: string): Decoder<readonly Readonly<Record<string, readonly string[]>>[] | undefined> =>
  optional(array(map(object({ [wrapper]: optional(record(texts), {}) }), (each) => each[wrapper] ?? {})));

const policySpec = object({
  selector,
  targetRef: anything,
  targetRefs: refs,
  action: optional(literal('ALLOW', 'DENY', 'AUDIT', 'CUSTOM'), 'ALLOW'),
  provider: anything,
  rules: optional(
    array(
      object({
        from: fields('source'),
        to: fields('operation'),
        when: optional(array(object({ key: string(), values: optional(texts, []), notValues: optional(texts, []) })), []),
      }),
    ),
    [],
  ),
});
const jwtRule = record(anything);
const authenticationSpec = object({ selector, targetRef: anything, targetRefs: refs, jwtRules: optional(array(jwtRule), []) });
const mode = optional(object({ mode: optional(literal('UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT'), 'UNSET') }), {
  mode: 'UNSET',
});
const peerSpec = object({ selector, mtls: mode, portLevelMtls: optional(record(mode), {}) });
const metadata = object({ metadata: map(record(anything), readMetadata) });

interface Place {
  readonly name: string;
  readonly namespace: string;
  readonly isDryRun: boolean;
}

function readMetadata({ name, namespace = 'default', annotations = {} }: Readonly<Record<string, unknown>>): Place {
  if (typeof name !== 'string' || typeof namespace !== 'string') {
    throw new IdentityError('invalid_argument', 'must name the resource');
  }
  return { name, namespace, isDryRun: Reflect.get(Object(annotations), 'istio.io/dry-run') === 'true' };
}

interface Context extends Place {
  readonly trustDomain: string;
  readonly isRoot: boolean;
  readonly lose: (field: string, effect: Loss['effect'], why: string) => void;
}

/**
 * Translates Istio's AuthorizationPolicy, RequestAuthentication and PeerAuthentication (`security.istio.io`). No call that Istio denies is allowed by
 * what comes out: an ALLOW loses the rule that cannot be said, a DENY the field. Other documents are passed over.
 *
 * @throws DecodeError for fields that Istio does not have; IdentityError `invalid_argument` where the result does not fit into a resource of ours
 */
export function importIstio(
  documents: readonly object[],
  { trustDomain, rootNamespace = 'istio-system' }: IstioOptions,
): Imported {
  const losses: Loss[] = [];
  const drafts = documents.flatMap((document) => {
    const { apiVersion, kind, metadata: meta, spec = {} } = Object(document);
    if (!String(apiVersion).startsWith('security.istio.io/')) return [];
    const place = decode(metadata, { metadata: meta }).metadata;
    const title = `${kind} ${place.namespace}/${place.name}`;
    const lose: Context['lose'] = (field, effect, why) => void losses.push({ resource: title, field, effect, why });
    const context = { ...place, trustDomain, isRoot: place.namespace === rootNamespace, lose };
    return naming(title, () => translate(String(kind), spec, context)).map((resource) => ({ title, resource, lose }));
  });
  const taken = new Set(drafts.map(({ resource }) => draftKey(resource)));
  return { resources: drafts.flatMap((draft) => checked(draft, taken)), losses };
}

type Draft = DraftedPolicy['resource'] | RequestAuthenticationDraft;

interface RequestAuthenticationDraft extends Pick<DraftedPolicy['resource'], 'apiVersion' | 'metadata'> {
  readonly kind: 'RequestAuthentication';
  readonly spec: object;
}

function translate(kind: string, spec: unknown, context: Context): readonly Draft[] {
  if (kind === 'AuthorizationPolicy') return [authorizationPolicy(decode(policySpec, spec), context)];
  if (kind === 'RequestAuthentication') return requestAuthentication(decode(authenticationSpec, spec), context);
  if (kind === 'PeerAuthentication') return peerAuthentication(decode(peerSpec, spec), context);
  context.lose('kind', 'not carried over', 'not one of the kinds that are translated');
  return [];
}

/** Whatever comes out is what our own parsers read. */
function checked({ title, resource, lose }: Omit<DraftedPolicy, 'resource'> & { readonly resource: Draft }, taken: Set<string>) {
  if (!isAuthentication(resource)) return fitted([{ title, resource, lose }], taken);
  naming(title, () => parseRequestAuthentication(resource));
  return [resource];
}

function isAuthentication(resource: Draft): resource is RequestAuthenticationDraft {
  return resource.kind === 'RequestAuthentication';
}

function authorizationPolicy(spec: Decoded<typeof policySpec>, context: Context): DraftedPolicy['resource'] {
  const isAllow = spec.action === 'ALLOW';
  const { lose } = context;
  const isTargeted = spec.targetRef !== undefined || spec.targetRefs.length > 0;
  if (spec.action === 'CUSTOM')
    lose('spec.action', 'denies more', 'what an external authorizer decides is denied until you write it down');
  const place = context.isRoot ? 'mesh' : 'namespace';
  if (isTargeted)
    lose(
      'spec.targetRefs',
      isAllow ? 'rule dropped' : 'denies more',
      `gateways and services are no targets of ours: ${isAllow ? 'it lets nobody in to' : 'it holds for'} any workload of the ${place}`,
    );
  const rules = isTargeted && isAllow ? [] : spec.rules;
  const translated = rules.map((rule, index) => ruleOf(rule, `spec.rules[${index}]`, { ...context, isAllow }));
  const action = spec.action === 'CUSTOM' ? 'DENY' : spec.action;
  return policyOf(context, spec.selector, { action, rules: translated.filter((rule) => rule !== undefined) });
}

function policyOf(
  { name, namespace, isRoot, isDryRun }: Context,
  selected: Decoded<typeof selector>,
  spec: DraftedPolicy['resource']['spec'],
): DraftedPolicy['resource'] {
  const labels = selected?.matchLabels ?? {};
  return {
    apiVersion: 'countersign.dev/v1alpha1',
    kind: isRoot ? 'ClusterAuthorizationPolicy' : 'AuthorizationPolicy',
    metadata: isRoot ? { name } : { name, namespace },
    spec: {
      ...(Object.keys(labels).length === 0 ? {} : { selector: { matchLabels: labels } }),
      ...(isDryRun ? { mode: 'DryRun' } : {}),
      ...spec,
    },
  };
}

/** STRICT is a DENY of callers without an SVID. */
function peerAuthentication(
  { selector: selected, mtls, portLevelMtls }: Decoded<typeof peerSpec>,
  context: Context,
): readonly Draft[] {
  const isOfWorkloads = Object.keys(selected?.matchLabels ?? {}).length > 0;
  if (isOfWorkloads && context.isRoot) {
    context.lose('spec.selector', 'not carried over', 'in the root namespace Istio passes it over');
    return [];
  }
  if (!isOfWorkloads && Object.keys(portLevelMtls).length > 0)
    context.lose('spec.portLevelMtls', 'not carried over', 'without a selector Istio passes ports over');
  const ports = Object.entries(isOfWorkloads ? portLevelMtls : {});
  const isStrict = mtls.mode === 'STRICT';
  const others = ports.filter(([, each]) => (each.mode === 'STRICT') !== isStrict && each.mode !== 'UNSET').map(([port]) => port);
  if (!isStrict && mtls.mode !== 'UNSET') {
    context.lose('spec.mtls.mode', 'denies more', 'a STRICT of the namespace or the mesh still holds here');
  }
  for (const [port, each] of ports.filter(([, { mode: own }]) => own === 'DISABLE' || own === 'PERMISSIVE'))
    context.lose(
      `spec.portLevelMtls.${port}`,
      'denies more',
      `${each.mode}: a STRICT of the namespace or the mesh still holds here`,
    );
  const from = [{ not: { spiffeIDs: ANY_ID } }];
  const strictPorts = { from, to: [{ ports: others }] };
  const allButPorts = { from, ...(others.length === 0 ? {} : { to: [{ not: { ports: others } }] }) };
  if (!isStrict && others.length === 0) return [];
  const named = { ...context, name: `${context.name}-strict` };
  return [policyOf(named, selected, { action: 'DENY', rules: [isStrict ? allButPorts : strictPorts] })];
}

function requestAuthentication(spec: Decoded<typeof authenticationSpec>, context: Context): readonly Draft[] {
  const { name, namespace, isRoot, lose } = context;
  if (isRoot || spec.targetRef !== undefined || spec.targetRefs.length > 0) {
    lose(
      'metadata.namespace',
      'not carried over',
      'ours are about pods of one namespace; until you write them, no token is accepted there',
    );
    return [];
  }
  const headers = new Set<string>();
  const found = spec.jwtRules.flatMap((rule, index) => issuerOf(rule, `spec.jwtRules[${index}]`, context, headers));
  const issuers = found.slice(0, MOST_ISSUERS);
  if (found.length > MOST_ISSUERS)
    lose('spec.jwtRules', 'not carried over', `more than ${MOST_ISSUERS} issuers; tokens of the others are not accepted`);
  if (headers.size > MOST_HEADERS)
    lose('spec.jwtRules', 'not carried over', `more than ${MOST_HEADERS} headers; tokens in the others are not seen`);
  if (issuers.length === 0) return [];
  const labels = spec.selector?.matchLabels ?? {};
  const selected = Object.keys(labels).length === 0 ? {} : { selector: { matchLabels: labels } };
  const named = headers.size === 0 ? {} : { headers: [...headers].slice(0, MOST_HEADERS) };
  return [
    {
      apiVersion: 'countersign.dev/v1alpha1',
      kind: 'RequestAuthentication',
      metadata: { name, namespace },
      spec: { ...selected, issuers, ...named },
    },
  ];
}

const MOST_ISSUERS = 16;
const MOST_HEADERS = 4;
const CARRIED = new Set(['issuer', 'audiences', 'jwksUri', 'fromHeaders']);

function issuerOf(
  rule: Readonly<Record<string, unknown>>,
  path: string,
  { lose }: Context,
  headers: Set<string>,
): readonly object[] {
  const { issuer, audiences, jwksUri, jwks, fromHeaders } = rule;
  for (const field of Object.keys(rule).filter((each) => !CARRIED.has(each))) {
    lose(`${path}.${field}`, 'not carried over', 'nothing of ours stands for it');
  }
  const why = whyNoIssuer(issuer, audiences, jwks);
  if (why !== undefined) {
    lose(path, 'not carried over', `${why}; tokens of this issuer are not accepted`);
    return [];
  }
  for (const [index, each] of (Array.isArray(fromHeaders) ? fromHeaders : []).entries()) {
    const { name, prefix } = Object(each);
    if (prefix === undefined || prefix === 'Bearer ') headers.add(String(name));
    else lose(`${path}.fromHeaders[${index}]`, 'not carried over', 'only "Bearer " may stand before a token');
  }
  return [{ issuer, audiences, ...(jwksUri === undefined ? {} : { jwksUri }) }];
}

function whyNoIssuer(issuer: unknown, audiences: unknown, jwks: unknown): string | undefined {
  if (jwks !== undefined) return 'keys come from the issuer, not from the resource';
  if (!Array.isArray(audiences) || audiences.length === 0) return 'ours name the audiences';
  return typeof issuer === 'string' && issuer.startsWith('https://') ? undefined : 'ours are https:// URLs';
}
