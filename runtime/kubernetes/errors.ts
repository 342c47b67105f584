import { IdentityError, type ErrorCode } from '../../core/errors.ts';

/** A refusal by the API server: the usual code, and Kubernetes' own words for it. */
export class KubeError extends IdentityError {
  /** HTTP status. */
  readonly status: number;
  /** `reason` of the Status, such as `AlreadyExists`; empty where the server gave none. */
  readonly reason: string;
  /** Reasons of the single causes, such as `NamespaceTerminating`. */
  readonly causes: readonly string[];

  constructor(code: ErrorCode, message: string, about: KubeErrorDetails) {
    super(code, message, about.retryAfterMs === undefined ? {} : { retryAfterMs: about.retryAfterMs });
    this.name = 'KubeError';
    this.status = about.status;
    this.reason = about.reason;
    this.causes = about.causes;
  }
}

interface KubeErrorDetails {
  readonly status: number;
  readonly reason: string;
  readonly causes: readonly string[];
  readonly retryAfterMs?: number | undefined;
}

const CODES: Readonly<Record<number, ErrorCode>> = {
  400: 'invalid_argument',
  401: 'unauthenticated',
  403: 'permission_denied',
  404: 'not_found',
  405: 'unimplemented',
  406: 'unimplemented',
  409: 'aborted',
  410: 'out_of_range',
  413: 'invalid_argument',
  415: 'unimplemented',
  422: 'invalid_argument',
  429: 'resource_exhausted',
};

/** The most that is read of a server's explanation. */
const MAX_MESSAGE_CHARS = 2_000;

/** What of a failed answer is turned into an error. */
export interface FailedAnswer {
  readonly status: number;
  /** The body as parsed JSON, or undefined when it was none. */
  readonly body: unknown;
  /** The `retry-after` header. */
  readonly retryAfter?: string | undefined;
  /** What was asked, such as `list pods`; named where the server says nothing. */
  readonly asked: string;
}

/** Turns a failed answer, or the Status in a watch, into an error with the server's message. */
export function errorOf({ status, body, retryAfter, asked }: FailedAnswer): KubeError {
  const told = isRecord(body) ? body : {};
  const details = isRecord(told['details']) ? told['details'] : {};
  const reason = typeof told['reason'] === 'string' ? told['reason'] : '';
  const causes = causesIn(details);
  const said = typeof told['message'] === 'string' && told['message'] !== '' ? told['message'] : `HTTP status ${status}`;
  return new KubeError(codeOf(status, reason, causes), `the API server refused to ${asked}: ${withoutTokens(said)}`, {
    status,
    reason,
    causes,
    retryAfterMs: retryAfterMsOf(details['retryAfterSeconds'], retryAfter),
  });
}

function codeOf(status: number, reason: string, causes: readonly string[]): ErrorCode {
  if (reason === 'AlreadyExists') return 'already_exists';
  if (causes.includes('NamespaceTerminating')) return 'failed_precondition';
  if (reason === 'Expired' || reason === 'Gone') return 'out_of_range';
  return CODES[status] ?? (status >= 500 ? 'unavailable' : 'internal');
}

function causesIn(details: Readonly<Record<string, unknown>>): string[] {
  const causes = Array.isArray(details['causes']) ? details['causes'] : [];
  return causes.filter(isRecord).flatMap(({ reason }) => (typeof reason === 'string' ? [reason] : []));
}

function retryAfterMsOf(inStatus: unknown, header: string | undefined): number | undefined {
  const seconds = typeof inStatus === 'number' && inStatus > 0 ? inStatus : Number(header);
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds, 300) * 1000 : undefined;
}

/** The server may quote what it was sent. A token has a shape that can be recognised. */
function withoutTokens(text: string): string {
  return text.slice(0, MAX_MESSAGE_CHARS).replaceAll(/eyJ[\w-]*\.[\w-]*(?:\.[\w-]*)?/g, '[redacted]');
}

/** Whether a list or watch failed because the version that it named is no longer, or not yet, known: list anew. */
export function isExpired(error: unknown): boolean {
  return error instanceof KubeError && (error.code === 'out_of_range' || error.causes.includes('ResourceVersionTooLarge'));
}

/** Whether a value is a mapping. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
