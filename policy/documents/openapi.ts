import { DecodeError } from '../../core/decode.ts';
import type { Fault } from '../../core/decode.ts';
import { IdentityError } from '../../core/errors.ts';
import type { Operation } from '../callers.ts';
import { normalizePath } from '../normalize/path.ts';
import type { NormalizedPath } from '../normalize/path.ts';
import { RefusedRequest } from '../normalize/refusal.ts';

/** An operation of an API description. */
export interface DescribedOperation extends Operation {
  /** `operationId`, where it has one. */
  readonly id: string | undefined;
  /** The path as the description has it, with the base path; {@link Operation.path} may stand for more. */
  readonly shownPath: string;
}

// OpenAPI 3.1 §4.8.9; `query` is of 3.2.
const METHODS = ['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace', 'query'] as const;
const VARIABLE = /\{([^{}]*)\}/g;

type Node = Readonly<Record<string, unknown>>;

/**
 * Reads the operations of an OpenAPI 3 description, each with the base paths of its servers (OpenAPI 3.1 §4.8.5). Everything else in it is
 * not looked at. A segment with a variable in it stands for any segment.
 *
 * @throws DecodeError that names every faulty field, such as `paths./orders.get.servers[0].url`; IdentityError `invalid_argument` for
 *   what is no such description
 */
export function parseOpenApi(document: unknown): readonly DescribedOperation[] {
  const root = rootOf(document);
  const faults: Fault[] = [];
  const found = Object.entries(mapping(root['paths'], 'paths', faults)).flatMap(([path, item]) =>
    path.startsWith('x-') ? [] : operationsOf({ root, path, item, faults }),
  );
  if (faults.length > 0) throw new DecodeError(faults);
  const distinct = new Map(found.map((each) => [`${each.method} ${each.shownPath}`, each]));
  if (distinct.size === 0) throw new IdentityError('invalid_argument', 'describes no operation', { field: 'paths' });
  return [...distinct.values()];
}

function rootOf(document: unknown): Node {
  if (!isNode(document)) throw new IdentityError('invalid_argument', 'must be a mapping');
  const version = document['openapi'];
  if (typeof version === 'string' && /^3\.[0-9]+(\.|$)/.test(version)) return document;
  const what = document['swagger'] === undefined ? 'names no version' : 'is of version 2, which has to be converted';
  throw new IdentityError(
    'invalid_argument',
    `must be 3.x; the description ${version === undefined ? what : 'is of another version'}`,
    {
      field: 'openapi',
    },
  );
}

interface PathOptions {
  readonly root: Node;
  readonly path: string;
  readonly item: unknown;
  readonly faults: Fault[];
}

function operationsOf({ root, path, item, faults }: PathOptions): readonly DescribedOperation[] {
  const at = `paths.${path}`;
  if (!path.startsWith('/')) {
    faults.push({ path: at, message: 'must begin with a slash' });
    return [];
  }
  const node = resolved(root, mapping(item, at, faults), at, faults);
  return METHODS.flatMap((method) => {
    if (node[method] === undefined) return [];
    const operation = mapping(node[method], `${at}.${method}`, faults);
    const [servers, place] = serversOf([
      [operation['servers'], `${at}.${method}.servers`],
      [node['servers'], `${at}.servers`],
      [root['servers'], 'servers'],
    ]);
    const id = typeof operation['operationId'] === 'string' ? operation['operationId'] : undefined;
    return basesOf(servers, place, faults).flatMap((base) => {
      const normal = normalized(`${base}${path}`, at, faults);
      return normal === undefined ? [] : [{ method: method.toUpperCase(), path: normal, id, shownPath: `${base}${path}` }];
    });
  });
}

/** A path item may stand elsewhere in the same document. */
function resolved(root: Node, item: Node, at: string, faults: Fault[]): Node {
  const reference = item['$ref'];
  if (reference === undefined) return item;
  if (typeof reference !== 'string' || !reference.startsWith('#/')) {
    faults.push({ path: `${at}.$ref`, message: 'must point into the same document; put the files together first' });
    return {};
  }
  let found: unknown = root;
  for (const part of reference.slice(2).split('/')) {
    const name = part.replaceAll('~1', '/').replaceAll('~0', '~');
    found = isNode(found) && Object.hasOwn(found, name) ? found[name] : undefined;
  }
  if (isNode(found) && found['$ref'] === undefined) return { ...found, ...item };
  faults.push({ path: `${at}.$ref`, message: 'points to nothing' });
  return {};
}

/** Those of the operation, else of the path, else of the document. */
function serversOf(candidates: readonly (readonly [unknown, string])[]): readonly [unknown, string] {
  const own = candidates.find(([servers]) => Array.isArray(servers) && servers.length > 0);
  return own ?? candidates.find(([servers]) => servers !== undefined && !Array.isArray(servers)) ?? [[{ url: '/' }], 'servers'];
}

function basesOf(servers: unknown, at: string, faults: Fault[]): readonly string[] {
  if (!Array.isArray(servers)) {
    faults.push({ path: at, message: 'must be a list' });
    return [];
  }
  const list: readonly unknown[] = servers;
  return [...new Set(list.flatMap((server, index) => baseOf(server, `${at}[${index}]`, faults)))];
}

function baseOf(server: unknown, at: string, faults: Fault[]): readonly string[] {
  const { url, variables } = mapping(server, at, faults);
  if (typeof url !== 'string') {
    faults.push({ path: `${at}.url`, message: 'must be a text' });
    return [];
  }
  const filled = url.replaceAll(VARIABLE, (_whole, name: string) => {
    const variable = isNode(variables) ? variables[name] : undefined;
    const value = isNode(variable) ? variable['default'] : undefined;
    if (typeof value === 'string') return value;
    faults.push({ path: `${at}.url`, message: `has a variable "${name}" without a default` });
    return '';
  });
  if (URL.canParse(filled, 'http://relative.invalid/')) {
    return [new URL(filled, 'http://relative.invalid/').pathname.replace(/\/+$/, '')];
  }
  faults.push({ path: `${at}.url`, message: 'is no URL' });
  return [];
}

function normalized(path: string, at: string, faults: Fault[]): NormalizedPath | undefined {
  // `{name}.json` cannot be said in a template of ours: any segment, which is more.
  const whole = path.split('/').map((segment) => /\{([^{}]*)\}/.exec(segment)?.[0] ?? segment);
  try {
    return normalizePath(whole.join('/'));
  } catch (error) {
    if (!(error instanceof RefusedRequest)) throw error;
    faults.push({ path: at, message: `is ambiguous (${error.refusal}): no policy allows such a request` });
    return undefined;
  }
}

function mapping(value: unknown, path: string, faults: Fault[]): Node {
  if (isNode(value)) return value;
  faults.push({ path, message: 'must be a mapping' });
  return {};
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
