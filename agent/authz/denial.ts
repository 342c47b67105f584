import type { Outcome } from './check.ts';

/** Reasons that are about the request's own text: its sender may know them. */
const ABOUT_REQUEST = /^(?:path|host|method|headers?)_[a-z_]+$/;

const CODES = {
  200: 'permission_denied',
  400: 'invalid_request',
  401: 'unauthenticated',
  403: 'permission_denied',
  503: 'unavailable',
} as const;

const MESSAGES = {
  invalid_request: ['The request cannot be authorized as it is.', 'Send one well-formed access token.'],
  unauthenticated: ['The request needs a valid access token.', 'Sign in, and send the token that is issued for this service.'],
  permission_denied: ['The request is not allowed.', 'Ask the owners of the service for access.'],
  unavailable: ['It cannot be told now whether the request is allowed.', 'Try again later.'],
} as const;

/** What a caller is told of a denial, as JSON. Nothing of policies is in it. */
export function denialBody(outcome: Pick<Outcome, 'status' | 'reason'>): string {
  const { code, message, action } = denialOf(outcome);
  return JSON.stringify({ code, message, action });
}

/** The same in one line of text, for callers that are answered with a status alone, such as those of gRPC. */
export function denialMessage(outcome: Pick<Outcome, 'status' | 'reason'>): string {
  const { message, action } = denialOf(outcome);
  return `${message} ${action}`;
}

function denialOf({ status, reason }: Pick<Outcome, 'status' | 'reason'>): { code: string; message: string; action: string } {
  if (ABOUT_REQUEST.test(reason))
    return { code: reason, message: 'The request can be read in more than one way.', action: 'Send it in its plain form.' };
  const code = CODES[status];
  const [message, action] = MESSAGES[code];
  return { code, message, action };
}
