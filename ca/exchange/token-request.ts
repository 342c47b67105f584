import { TokenError } from './token-error.ts';

/** What a token is asked for. */
interface Wanted {
  readonly audience: string;
  /** Undefined: all that may be had. */
  readonly scopes: readonly string[] | undefined;
}

/** A request to the token endpoint. */
export type TokenRequest =
  | (Wanted & { readonly grant: 'exchange'; readonly subjectToken: string })
  | (Wanted & { readonly grant: 'clientCredentials' });

/** The parameters of a request, each at most once (RFC 6749 §3.2). */
export type Parameters = ReadonlyMap<string, string>;

export const EXCHANGE_GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange';
export const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const JWT = 'urn:ietf:params:oauth:token-type:jwt';
const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token';

const MAX_AUDIENCE_CHARS = 2048;

/** Reads a form; parameters without a value count as absent (RFC 6749 §3.2). @throws TokenError `invalid_request`, `invalid_target` */
export function parseForm(form: string): Parameters {
  const parameters = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(form)) {
    if (value === '') continue;
    if (parameters.has(name)) {
      // RFC 8693 §2.1 allows several audiences; ours are for one, so that no service can use a token at another.
      if (name === 'audience') throw new TokenError('invalid_target', 'a token is for one audience: ask for each by itself');
      throw new TokenError('invalid_request', 'a parameter is there twice');
    }
    parameters.set(name, value);
  }
  return parameters;
}

/** Reads what is asked for (RFC 8693 §2.1, RFC 6749 §4.4.2). @throws TokenError */
export function parseTokenRequest(parameters: Parameters): TokenRequest {
  const grantType = parameters.get('grant_type');
  if (grantType === undefined) throw new TokenError('invalid_request', 'grant_type is missing');
  if (grantType === 'client_credentials') return { grant: 'clientCredentials', ...wantedOf(parameters) };
  if (grantType !== EXCHANGE_GRANT) {
    throw new TokenError('unsupported_grant_type', `use ${EXCHANGE_GRANT} or client_credentials`);
  }
  return { grant: 'exchange', subjectToken: subjectTokenOf(parameters), ...wantedOf(parameters) };
}

function subjectTokenOf(parameters: Parameters): string {
  const token = parameters.get('subject_token');
  if (token === undefined) throw new TokenError('invalid_request', 'subject_token is missing');
  requireOneOf(parameters.get('subject_token_type'), 'subject_token_type', [ACCESS_TOKEN, JWT, ID_TOKEN]);
  requireOneOf(parameters.get('requested_token_type') ?? ACCESS_TOKEN, 'requested_token_type', [ACCESS_TOKEN, JWT]);
  if (parameters.has('actor_token') || parameters.has('actor_token_type')) {
    throw new TokenError('invalid_request', 'the actor is the workload that asks, as it authenticates: leave actor_token out');
  }
  return token;
}

function requireOneOf(value: string | undefined, name: string, allowed: readonly string[]): void {
  if (value === undefined || !allowed.includes(value))
    throw new TokenError('invalid_request', `${name} must be ${allowed.join(' or ')}`);
}

function wantedOf(parameters: Parameters): Wanted {
  if (parameters.has('resource')) throw new TokenError('invalid_target', 'name the service as audience, not as resource');
  const audience = parameters.get('audience');
  if (audience === undefined)
    throw new TokenError('invalid_target', 'audience is missing: the one service that the token is for');
  if (audience.length > MAX_AUDIENCE_CHARS) throw new TokenError('invalid_target', 'audience is too long');
  const scopes = parameters
    .get('scope')
    ?.split(' ')
    .filter((each) => each !== '');
  return { audience, scopes: scopes === undefined ? undefined : [...new Set(scopes)] };
}
