import { IdentityError } from '../core/errors.ts';

type Properties = Readonly<Record<string, unknown>>;

const WHY = 'policies tell upper case from lower case in paths, so a request for /ADMIN would pass a policy about /admin';
const VOUCH = 'Use routers instead, or enable its case sensitive routing and vouch for it with routesAreCaseSensitive: true';
/** More routers than that within each other use themselves. */
const MAX_DEPTH = 32;

/**
 * Why the routes of the Express application (4 or 5) that a request came to cannot be trusted to read its path as policies do; undefined
 * where they can. Express takes `/ADMIN` for `/admin` unless it is told otherwise, and takes down what it was told when its first
 * handler or route is added: so the routers are looked at, and not the settings. Called for each request, since routes may be added.
 */
export function routingFault(app: unknown): IdentityError | undefined {
  for (let each = app; isObject(each); each = each['parent']) {
    if (routerOf(each)?.['caseSensitive'] !== true)
      return fault(
        'the Express application ignores letter case',
        "Call app.enable('case sensitive routing') before anything else",
      );
  }
  return isObject(app) ? faultWithin(stackOf(routerOf(app)), 0) : undefined;
}

/** Looks into the routers that handle something in a router or in a route. */
function faultWithin(stack: readonly unknown[], depth: number): IdentityError | undefined {
  for (const layer of stack) {
    if (!isObject(layer)) continue;
    if (layer['name'] === 'mounted_app')
      return fault('an Express application that is mounted in another cannot be looked into', VOUCH);
    const found = faultOf(layer, depth);
    if (found !== undefined) return found;
  }
  return undefined;
}

function faultOf({ handle, route }: Properties, depth: number): IdentityError | undefined {
  if (isObject(route)) return faultWithin(stackOf(route), depth + 1);
  const used = stackOf(handle);
  if (used.length === 0) return undefined;
  if (depth > MAX_DEPTH || !isObject(handle) || handle['caseSensitive'] !== true)
    return fault('a router ignores letter case', 'Make it with express.Router({ caseSensitive: true })');
  return faultWithin(used, depth + 1);
}

function fault(what: string, action: string): IdentityError {
  return new IdentityError('failed_precondition', `no request is let through: ${what}, and ${WHY}. ${action}.`);
}

/** The router of an application: `_router` in Express 4, where `router` is a name that must not be read. */
function routerOf(app: Properties): Properties | undefined {
  const router = '_router' in app ? app['_router'] : app['router'];
  return isObject(router) ? router : undefined;
}

/** What a router or route consists of; nothing where it is neither. */
function stackOf(owner: unknown): readonly unknown[] {
  if (!isObject(owner)) return NOTHING;
  const { stack } = owner;
  return Array.isArray(stack) ? stack : NOTHING;
}

const NOTHING: readonly unknown[] = [];

/** Applications and routers are functions. */
function isObject(value: unknown): value is Properties {
  return typeof value === 'function' || (typeof value === 'object' && value !== null);
}
