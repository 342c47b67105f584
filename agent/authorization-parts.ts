import { readFile } from 'node:fs/promises';
import type { RelationSource } from '../policy/relations/source.ts';
import type { LogLevels } from '../runtime/log-levels.ts';
import { openOpenFga } from '../runtime/openfga/relations.ts';
import type { AgentOptions, Assembly } from './assembly.ts';
import type { NodeIdentity } from './attest/node-identity.ts';
import { createAuthorizer } from './authz/authorizer.ts';
import { Bookkeeping } from './authz/bookkeeping.ts';
import type { Authorizer } from './authz/check.ts';
import type { DecidedCallObserver } from './authz/decided-call.ts';
import { EnforcedPolicy } from './authz/enforced-policy.ts';
import { LazyIssuerKeys } from './authz/lazy-issuer-keys.ts';
import { Staleness } from './authz/staleness.ts';
import { UserCheck } from './authz/user-check.ts';
import { VerifiedTokens } from './authz/verified-tokens.ts';
import type { IdentityCache } from './cache/identity-cache.ts';
import type { AgentConfig } from './config.ts';

/** Who decides calls, and by what. */
export interface Authorization {
  readonly policy: EnforcedPolicy;
  readonly staleness: Staleness;
  readonly issuerKeys: LazyIssuerKeys;
  readonly userTokens: VerifiedTokens;
  readonly authorizer: Authorizer;
  readonly users: UserCheck;
  /** Told of each call that is decided, which it tells each of `observers`. */
  readonly onDecided: DecidedCallObserver;
  readonly observers: Set<DecidedCallObserver>;
}

/** Makes what decides calls; nothing decides before policy has come. */
export function createAuthorization(
  { config, clock, levels, issuerRootsPem: rootsPem, relations }: Assembly,
  cache: IdentityCache,
  resources: AsyncDisposableStack,
): Authorization {
  const { maxStaleness, allowPrivateHosts } = config.authorization;
  const log = levels.component('authorization');
  const policy = new EnforcedPolicy(clock, () => cache.entries());
  const staleness = resources.use(new Staleness({ clock, maxStalenessMs: maxStaleness.ms }));
  const keys = resources.use(new LazyIssuerKeys({ clock, log, allowPrivateHosts, rootsPem }));
  const observers = new Set<DecidedCallObserver>();
  const onDecided: DecidedCallObserver = (decided) => {
    for (const observe of observers) observe(decided);
  };
  const userTokens = new VerifiedTokens();
  const { verify } = userTokens;
  const parts = { identities: cache, policy, staleness, keys, verify, clock, log, onDecided };
  const authorizer = createAuthorizer({ ...parts, relations });
  const users = new UserCheck(parts);
  return { policy, staleness, issuerKeys: keys, userTokens, authorizer, users, onDecided, observers };
}

/** Makes what keeps book of decided calls. */
export function createBooks({ config, clock, log, levels, hashKey }: Assembly, { connection }: NodeIdentity): Bookkeeping {
  const reportLog = levels.component('calls');
  return new Bookkeeping({ config: config.authorization, hashKey, connection, clock, log, reportLog });
}

/** Opens the relation store, where one is configured. */
export async function openRelations(
  { config, clock }: AgentOptions,
  levels: LogLevels,
  resources: AsyncDisposableStack,
): Promise<RelationSource | undefined> {
  const { relations } = config.authorization;
  if (relations === undefined) return undefined;
  return resources.use(await openOpenFga(relations.openfga, { clock, log: levels.component('relations') })).relations;
}

/** Reads the roots of the issuers' certificates. */
export function readIssuerRoots({ authorization }: AgentConfig): Promise<readonly string[]> {
  return Promise.all(authorization.webRootFiles.map((file) => readFile(file, 'utf8')));
}
