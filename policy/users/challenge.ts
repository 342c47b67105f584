import type { UserOutcome } from './authenticate.ts';

/** How an enforcement point answers a request whose user it cannot accept. */
export interface UserRefusal {
  readonly status: 400 | 401 | 403 | 503;
  /** The `WWW-Authenticate` header (RFC 6750 §3), where the status has one. */
  readonly challenge?: string;
  readonly retryAfterSeconds?: number;
}

/**
 * How to refuse a request (RFC 6750 §3.1): 401 without an error code where there is no token, 400 or 401 with one where it is bad,
 * 503 where it cannot be judged. Undefined where the request goes on to the policies.
 */
export function refusalOf(outcome: UserOutcome): UserRefusal | undefined {
  if (outcome.kind === 'user' || outcome.kind === 'anonymous') return undefined;
  if (outcome.kind === 'missing') return { status: 401, challenge: challenge({}) };
  if (outcome.kind === 'refused') {
    const { error, description } = outcome;
    return { status: error === 'invalid_request' ? 400 : 401, challenge: challenge({ error, error_description: description }) };
  }
  return {
    status: 503,
    ...(outcome.retryAfterMs === undefined ? {} : { retryAfterSeconds: Math.ceil(outcome.retryAfterMs / 1000) }),
  };
}

/** The answer to a user who is known and may not: 403, with the scopes that would do where those were what was missing. */
export function denialOf(missingScopes: readonly string[] = []): UserRefusal {
  if (missingScopes.length === 0) return { status: 403 };
  return { status: 403, challenge: challenge({ error: 'insufficient_scope', scope: missingScopes.join(' ') }) };
}

function challenge(parameters: Readonly<Record<string, string>>): string {
  const written = Object.entries(parameters).map(([name, value]) => `${name}="${quotable(value)}"`);
  return ['Bearer', written.join(', ')].filter((part) => part !== '').join(' ');
}

/** RFC 6750 §3: these characters and no others, so nothing needs escaping. */
function quotable(text: string): string {
  return text.replaceAll(/[^\u0020-\u0021\u0023-\u005B\u005D-\u007E]/g, "'");
}
