import { selectorTest } from '../../policy/compile/target.ts';
import type { Destination } from '../../policy/model.ts';
import type { RequestAuthentication } from '../../policy/resources/request-authentication.ts';
import type { TokenRequirement } from '../../policy/users/authenticate.ts';
import type { TokenIssuer } from '../../policy/users/token-issuer.ts';
import type { AuthorizationSettings } from './policy-update.ts';

interface Indexed {
  readonly requirement: TokenRequirement;
  readonly selects: (destination: Destination) => boolean;
}

const NONE: readonly TokenRequirement[] = [];

/** Whose user tokens are accepted where. Never changes. */
export class RequestAuthentications {
  /** By `RequestAuthentication/<namespace>/<name>`. */
  readonly all: ReadonlyMap<string, RequestAuthentication>;
  readonly #byNamespace = new Map<string, Indexed[]>();
  readonly #known = new WeakMap<Destination, readonly TokenRequirement[]>();

  constructor(all: ReadonlyMap<string, RequestAuthentication>, settings: AuthorizationSettings) {
    this.all = all;
    for (const each of all.values()) {
      const indexed = { requirement: requirementOf(each, settings), selects: selectsOf(each) };
      const { namespace } = each.meta;
      const inNamespace = this.#byNamespace.get(namespace);
      if (inNamespace === undefined) this.#byNamespace.set(namespace, [indexed]);
      else inNamespace.push(indexed);
    }
  }

  /** Those that select a destination, for `authenticateUser`. Keep one object for each destination: the answer is kept with it. */
  requirementsOf(destination: Destination): readonly TokenRequirement[] {
    if (this.#byNamespace.size === 0) return NONE;
    const known = this.#known.get(destination);
    if (known !== undefined) return known;
    const inNamespace = this.#byNamespace.get(destination.namespace ?? '') ?? [];
    const found = inNamespace.filter(({ selects }) => selects(destination)).map(({ requirement }) => requirement);
    this.#known.set(destination, found);
    return found;
  }
}

function selectsOf({ selector }: RequestAuthentication): (destination: Destination) => boolean {
  return selector === undefined ? () => true : selectorTest(selector);
}

function requirementOf({ issuers, tokens, headers }: RequestAuthentication, settings: AuthorizationSettings): TokenRequirement {
  return { tokens, headers, issuers: issuers.map((issuer) => withExchangeKeys(issuer, settings)) };
}

/** Where the CA's own exchange has its keys, the CA says; others say it in their discovery document. */
function withExchangeKeys(issuer: TokenIssuer, { exchangeIssuer, exchangeJwksUri }: AuthorizationSettings): TokenIssuer {
  if (issuer.jwksUri !== undefined || exchangeJwksUri === undefined || issuer.issuer !== exchangeIssuer) return issuer;
  return { ...issuer, jwksUri: exchangeJwksUri };
}
