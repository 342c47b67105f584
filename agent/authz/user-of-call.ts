import type { Call } from '../../policy/model.ts';
import { authenticateUser, type UserOutcome } from '../../policy/users/authenticate.ts';
import type { KeySource } from '../../policy/users/token-issuer.ts';
import type { verifyUserToken } from '../../policy/users/user-token.ts';
import type { Enforcement } from './enforcement.ts';
import { preferDeliveredKeys } from './exchange-keys.ts';

const ANONYMOUS: UserOutcome = { kind: 'anonymous' };
const MISSING: UserOutcome = { kind: 'missing' };
const UNREADABLE_REQUEST: UserOutcome = {
  kind: 'refused',
  error: 'invalid_request',
  description: 'the request is ambiguous, so that its token cannot be told',
};

/** What authentication goes by. */
export interface UserContext {
  readonly enforcement: Enforcement;
  readonly keys: KeySource;
  /** What verifies tokens; `verifyUserToken` unless given. */
  readonly verify?: typeof verifyUserToken | undefined;
}

/**
 * Who the user of a call is, by the RequestAuthentications that select its destination; undefined where there are none. Answers
 * at once where there is no token. Where requests cannot be seen, a required token counts as missing.
 */
export function userOf(call: Call, { enforcement, keys, verify }: UserContext): UserOutcome | Promise<UserOutcome> | undefined {
  const requirements = enforcement.requestAuthentications.requirementsOf(call.destination);
  if (requirements.length === 0) return undefined;
  if (call.refused !== undefined) return UNREADABLE_REQUEST;
  const headers = call.request?.headers;
  const hasToken = requirements.some((each) => each.headers.some((name) => headers?.has(name.toLowerCase())));
  if (headers === undefined || !hasToken) return requirements.some(({ tokens }) => tokens === 'Required') ? MISSING : ANONYMOUS;
  return authenticateUser({
    // A header that came twice is joined by now, and two tokens in one are refused.
    headers: { values: (name) => [headers.get(name)].filter((value) => value !== undefined) },
    requirements,
    keys: preferDeliveredKeys(enforcement.settings, keys),
    verify,
    nowMs: call.atMs,
    ownIssuer: enforcement.settings.exchangeIssuer,
  });
}
