import { IdentityError } from '../core/errors.ts';

/** What is read of a router of Express 4 or 5. */
interface Router {
  readonly caseSensitive: boolean;
  readonly layers: readonly Layer[];
}

interface Layer {
  readonly name: string;
  readonly handle: unknown;
  /** Of a route, the layers of its own. */
  readonly route: unknown;
}

const WHY = 'policies tell upper case from lower case in paths, so a request for /ADMIN would pass a policy about /admin';

/**
 * Why the routes of the Express application that a request came to cannot be trusted to read its path as policies do; undefined where
 * they can, or where the request came through no such application. Express takes `/ADMIN` for `/admin` unless it is told otherwise,
 * and takes down what it was told when its first handler or route is added.
 */
export function routingFault(app: unknown): IdentityError | undefined {
  for (let each = app; isObject(each); each = each['parent']) {
    if (routerOf(each)?.caseSensitive !== true)
      return fault(
        'the Express application ignores letter case',
        "Call app.enable('case sensitive routing') before anything else",
      );
  }
  return isObject(app) ? faultWithin(routerOf(app), new Set()) : undefined;
}

/** Looks into the routers that are used in a router. */
function faultWithin(router: Router | undefined, seen: Set<unknown>): IdentityError | undefined {
  for (const { name, handle, route } of router?.layers ?? []) {
    if (name === 'mounted_app') return fault('an Express application that is mounted in another cannot be looked into', VOUCH);
    for (const inner of [handle, route]) {
      if (seen.has(inner)) continue;
      seen.add(inner);
      const used = isObject(inner) ? routerIn(inner) : undefined;
      if (used === undefined) continue;
      if (inner === handle && !used.caseSensitive)
        return fault('a router ignores letter case', 'Make it with express.Router({ caseSensitive: true })');
      const found = faultWithin(used, seen);
      if (found !== undefined) return found;
    }
  }
  return undefined;
}

const VOUCH = 'Use routers instead, or enable its case sensitive routing and vouch for it with routesAreCaseSensitive: true';

function fault(what: string, action: string): IdentityError {
  return new IdentityError('failed_precondition', `no request is let through: ${what}, and ${WHY}. ${action}.`);
}

/** The router of an application: `_router` in Express 4, where `router` is a name that must not be read. */
function routerOf(app: Readonly<Record<string, unknown>>): Router | undefined {
  const router = '_router' in app ? app['_router'] : app['router'];
  return isObject(router) ? routerIn(router) : undefined;
}

function routerIn(object: Readonly<Record<string, unknown>>): Router | undefined {
  const { stack, caseSensitive } = object;
  if (!Array.isArray(stack)) return undefined;
  const layers = stack.filter(isObject).map(({ name, handle, route }) => ({ name: String(name), handle, route }));
  return { caseSensitive: caseSensitive === true, layers };
}

/** Applications and routers are functions. */
function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'function' || (typeof value === 'object' && value !== null);
}
