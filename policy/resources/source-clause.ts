import { list, object, optional } from '../schema/collections.ts';
import { text } from '../schema/scalars.ts';
import { converted } from '../schema/schema.ts';
import type { Schema, ValueOf } from '../schema/schema.ts';
import { IdentityError } from '../../core/errors.ts';
import { readIpBlock } from '../match/ip.ts';
import { namesSomething, values } from './clause.ts';

const spiffeIdPattern = text({
  title: 'SPIFFE ID pattern',
  maxLength: 2048,
  pattern: /^spiffe:\/\/[a-z0-9._*-]+(\/[A-Za-z0-9._*-]+)*$/,
  meaning: 'a SPIFFE ID, such as spiffe://example.org/ns/*/sa/web',
  cheap: true,
});

const namePattern = text({
  title: 'name pattern',
  maxLength: 253,
  pattern: /^[a-z0-9*]([a-z0-9.*-]*[a-z0-9*])?$/,
  meaning: 'a name, such as web or web-*',
  cheap: true,
});

const serviceAccountPattern = text({
  title: 'service account',
  maxLength: 508,
  pattern: /^([a-z0-9*]([a-z0-9.*-]*[a-z0-9*])?\/)?[a-z0-9*]([a-z0-9.*-]*[a-z0-9*])?$/,
  meaning: 'a service account, such as shop/web',
  cheap: true,
});

const trustDomainName = text({
  title: 'trust domain',
  maxLength: 255,
  pattern: /^[a-z0-9._-]+$/,
  meaning: 'the name of a trust domain',
  cheap: true,
});

// The API server sees the characters, the parser the block.
const ipBlock: Schema<string> = converted(
  text({
    title: 'IP block',
    maxLength: 49,
    pattern: IP_BLOCK(),
    meaning: 'an address or a block of addresses, such as 10.0.0.0/8',
    cheap: true,
  }),
  checkedBlock,
);

function checkedBlock(value: string): string {
  if (readIpBlock(value) !== undefined) return value;
  throw new IdentityError('invalid_argument', 'must be an address or a block of addresses, such as 10.0.0.0/8');
}

function IP_BLOCK(): RegExp {
  const byte = '(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])';
  const group = '[0-9A-Fa-f]{1,4}';
  const bits = '(3[0-2]|[12]?[0-9])';
  // IPv6: all eight groups, or fewer around one `::`.
  const before = Array.from({ length: 7 }, (_, index) => `(${group}:){${index + 1}}(:${group}){1,${7 - index - 1}}`).slice(0, 6);
  const v6 = [`(${group}:){7}${group}`, `(${group}:){1,7}:`, ...before, `:(:${group}){1,7}`, '::'].join('|');
  return new RegExp(`^(${byte}(\\.${byte}){3}(/${bits})?|(${v6})(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?)$`);
}

const plain = (maxLength: number): Schema<string> => text({ maxLength });

/** Which users a clause is about: each field that is there must hold. */
export const userClause = namesSomething(
  object({
    issuer: optional('Issuer of the token.', plain(2048)),
    subjects: optional('Subjects; `*` stands for any characters.', values(plain(1024))),
    roles: optional('The user must have one of these roles (the claim `roles`).', values(plain(256))),
    scopes: optional('The token must have all of these scopes (the claim `scope` or `scp`).', values(plain(256))),
  }),
);

const fields = {
  spiffeIDs: optional(
    'SPIFFE IDs. `*` stands for any characters of one segment, `**` at the end for one or more segments.',
    values(spiffeIdPattern),
  ),
  trustDomains: optional('Trust domains.', values(trustDomainName)),
  namespaces: optional('Namespaces of the registered identities; `*` stands for any characters.', values(namePattern)),
  serviceAccounts: optional(
    "Service accounts of the registered identities, `namespace/name`; without a namespace, those of the policy's own.",
    values(serviceAccountPattern),
  ),
  ipBlocks: optional('Addresses of the peer, as the connection has them.', values(ipBlock)),
  users: optional('Users, by tokens that were verified.', list(userClause, { minItems: 1, maxItems: 16 })),
};

/** Who calls: each field that is there must hold, with any of its values, and nothing in `not` may. */
export const sourceClause = namesSomething(
  object({
    ...fields,
    not: optional(
      'None of these may hold. Of an unknown caller it cannot be said who it is not.',
      namesSomething(object(fields)),
    ),
  }),
);

/** Who calls. */
export type SourceClause = ValueOf<typeof sourceClause>;
/** Which users. */
export type UserClause = ValueOf<typeof userClause>;
