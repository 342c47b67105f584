import type { LabelSelector } from '../schema/label-selector.ts';
import { condition } from '../schema/condition.ts';
import { list, map, object, optional, required } from '../schema/collections.ts';
import { labelSelector } from '../schema/label-selector.ts';
import { READY_COLUMNS } from '../schema/printer-columns.ts';
import type { ResourceMeta } from '../schema/resource-meta.ts';
import { parserOf } from '../schema/resource.ts';
import type { ResourceDefinition } from '../schema/resource.ts';
import { text, wholeNumber, word } from '../schema/scalars.ts';
import type { ValueOf } from '../schema/schema.ts';
import { values } from './clause.ts';

const url = text({
  title: 'URL',
  maxLength: 2048,
  pattern: /^https:\/\/[^ ?#]+$/,
  meaning: 'a URL that begins with https://',
});

const issuer = object({
  issuer: required('The issuer, exactly as its tokens name it (`iss`).', url),
  jwksUri: optional('Where its keys are. Without it: what its discovery document says.', url),
  audiences: required('The token must be for one of these (`aud`).', values(text({ maxLength: 2048 }))),
  claims: optional(
    'Where this issuer keeps what policies ask for: `roles: realm_access.roles` reads roles from there.',
    map(text({ maxLength: 512 }), { maxProperties: 8 }),
    {},
  ),
});

const spec = object({
  selector: optional('Labels of the pods whose requests this is about. Without it: all of the namespace.', labelSelector),
  issuers: required('Issuers whose tokens are accepted.', list(issuer, { minItems: 1, maxItems: 16, keyedBy: 'issuer' })),
  tokens: optional(
    'Whether each request must have a token. A token that is there must be valid in either case.',
    word('Required', 'Optional'),
    'Optional',
  ),
  headers: optional(
    'Headers that may hold the token, as `Bearer` or alone. Without it: `Authorization`.',
    list(text({ maxLength: 256, pattern: /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, meaning: 'a name of a header' }), {
      minItems: 1,
      maxItems: 4,
    }),
  ),
});

const status = object({
  observedGeneration: optional('The generation of the resource that this status is about.', wholeNumber({ min: 0 })),
  conditions: optional(
    'Observations: `Accepted`, `Programmed`, `Ready`.',
    list(condition, { maxItems: 16, keyedBy: 'type' }),
    [],
  ),
});

const type = {
  group: 'countersign.dev',
  version: 'v1alpha1',
  kind: 'RequestAuthentication',
  plural: 'requestauthentications',
  namespaced: true,
} as const;

/** RequestAuthentication: whose user tokens the workloads of a namespace accept. */
export const REQUEST_AUTHENTICATION: ResourceDefinition<ValueOf<typeof spec>> = {
  type,
  shortNames: ['reqauthn'],
  description: 'Names the issuers whose user tokens the workloads of its namespace accept. What a user may do, policies say.',
  spec,
  status,
  columns: READY_COLUMNS,
  example: `
apiVersion: countersign.dev/v1alpha1
kind: RequestAuthentication
metadata:
  name: people
  namespace: shop
spec:
  selector:
    matchLabels:
      app: orders
  issuers:
    - issuer: https://login.example.org
      audiences: [orders]
      claims:
        roles: realm_access.roles
  tokens: Required
`,
};

/** Whose user tokens are accepted where. */
export interface RequestAuthentication {
  readonly meta: ResourceMeta;
  readonly selector: LabelSelector | undefined;
  readonly issuers: readonly ValueOf<typeof issuer>[];
  readonly tokens: 'Required' | 'Optional';
  readonly headers: readonly string[];
}

const parse = parserOf(type, spec);

/** Reads a RequestAuthentication. @throws DecodeError that names every faulty field */
export function parseRequestAuthentication(object: unknown): RequestAuthentication {
  const { meta, spec: read } = parse(object);
  return { ...read, meta, headers: read.headers ?? ['authorization'] };
}
