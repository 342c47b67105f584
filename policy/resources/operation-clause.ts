import { list, object, optional, required } from '../schema/collections.ts';
import { boolean, text } from '../schema/scalars.ts';
import { ruled } from '../schema/schema.ts';
import type { ValueOf } from '../schema/schema.ts';
import { namesOne, namesSomething, values } from './clause.ts';

/** Longest regular expression. */
export const MAX_REGEX_LENGTH = 512;

const path = text({ maxLength: 1024, pattern: /^[/*]/, meaning: 'a path that begins with a slash', cheap: true });
const someText = text({ maxLength: 1024 });
const regex = text({ title: 'regular expression', maxLength: MAX_REGEX_LENGTH });

/** A condition on the path, which is normalised before. */
export const pathClause = namesOne(
  object({
    exact: optional('The path.', path),
    prefix: optional('The path, or what begins with it and a slash: `/a` holds for `/a` and `/a/b`, not for `/ab`.', path),
    suffix: optional('What the path ends with, such as `.css`.', someText),
    template: optional('A path in which `{name}` stands for one segment and `{name=**}`, at the end, for one or more.', path),
    regex: optional('A regular expression (RE2) that the whole path must match.', regex),
  }),
  ['exact', 'prefix', 'suffix', 'template', 'regex'],
);

/** A condition on a header. */
export const headerClause = namesOne(
  object({
    name: required(
      'Name of the header, in any case.',
      text({ maxLength: 256, pattern: /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, meaning: 'a name of a header', cheap: true }),
    ),
    present: optional('Whether it must be there, or must not.', boolean),
    exact: optional('Its value.', someText),
    prefix: optional('What its value begins with.', someText),
    suffix: optional('What its value ends with.', someText),
    regex: optional('A regular expression (RE2) that its whole value must match.', regex),
  }),
  ['present', 'exact', 'prefix', 'suffix', 'regex'],
);

/** A condition on a gRPC call. */
export const grpcClause = namesSomething(
  object({
    service: optional(
      'Full name of the service, such as `shop.v1.Orders`; `*` stands for any characters.',
      text({ maxLength: 512 }),
    ),
    method: optional('Name of the method, such as `Get`; `*` stands for any characters.', text({ maxLength: 256 })),
  }),
);

const port = ruled(
  text({
    title: 'port or range',
    maxLength: 11,
    pattern: /^[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?$/,
    meaning: 'a port, such as 443, or a range, such as 8000-8999',
    cheap: true,
  }),
);

const fields = {
  ports: optional('Ports of the destination, such as `443` or `8000-8999`.', values(port)),
  hosts: optional(
    'Hosts of the request without a port. `*.example.org` holds for all names below example.org.',
    values(
      text({
        title: 'host',
        maxLength: 255,
        pattern: /^([*]|([*][.])?[a-z0-9_-]+([.][a-z0-9_-]+)*|\[[0-9a-f:]+\])$/,
        meaning: 'a host in lower case, such as *.example.org',
        cheap: true,
      }),
    ),
  ),
  methods: optional(
    'HTTP methods, such as `GET`.',
    values(text({ maxLength: 64, pattern: /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, meaning: 'a method', cheap: true })),
  ),
  paths: optional('Paths.', list(pathClause, { minItems: 1, maxItems: 64 })),
  headers: optional('Headers: all of these must hold.', list(headerClause, { minItems: 1, maxItems: 16 })),
  grpc: optional('gRPC services and methods.', list(grpcClause, { minItems: 1, maxItems: 32 })),
};

/** What is asked for: each field that is there must hold, with any of its values (`headers`: with all), and nothing in `not` may. */
export const operationClause = namesSomething(
  object({
    ...fields,
    not: optional('None of these may hold (of `headers`, not any one).', namesSomething(object(fields))),
  }),
);

/** What is asked for. */
export type OperationClause = ValueOf<typeof operationClause>;
/** A condition on the path. */
export type PathClause = ValueOf<typeof pathClause>;
/** A condition on a header. */
export type HeaderClause = ValueOf<typeof headerClause>;
/** A condition on a gRPC call. */
export type GrpcClause = ValueOf<typeof grpcClause>;
