import { decode, literal, object, optional, string } from '../../core/decode.ts';
import { IdentityError } from '../../core/errors.ts';
import type { AdmissionRequest, Review, ReviewFault } from './review.ts';

const API_VERSION = 'admission.k8s.io/v1';

/** Longest text of one warning: the API server cuts longer ones off. */
const MAX_WARNING_LENGTH = 240;
/** Most warnings that are told; the API server drops all beyond 4,096 bytes. */
const MAX_WARNINGS = 10;

/** Text that may be missing, as Go leaves out what is empty. */
const text = optional(string({ allowEmpty: true }), '');

/**
 * Reads an AdmissionReview (`admission.k8s.io/v1`) that asks something. Fields that nothing here reads are passed over: they
 * are the API server's, not a user's.
 *
 * @throws IdentityError `invalid_argument` that names the field
 */
export function parseAdmissionReview(json: string): AdmissionRequest {
  const review = fields(parseJson(json), '');
  if (review['apiVersion'] !== API_VERSION || review['kind'] !== 'AdmissionReview') {
    throw new IdentityError('invalid_argument', `expected an AdmissionReview of ${API_VERSION}`, { field: 'apiVersion' });
  }
  const request = fields(review['request'], 'request');
  const known = decode(REQUEST, pick(request, ['uid', 'kind', 'operation', 'name', 'namespace', 'subResource']));
  return {
    uid: known.uid,
    ...known.kind,
    operation: known.operation,
    name: known.name,
    namespace: known.namespace,
    subresource: known.subResource,
    object: request['object'] ?? undefined,
    oldObject: request['oldObject'] ?? undefined,
  };
}

const REQUEST = object({
  uid: string(),
  kind: object({ group: text, version: string(), kind: string() }),
  operation: literal('CREATE', 'UPDATE', 'DELETE', 'CONNECT'),
  name: text,
  namespace: text,
  subResource: text,
});

/** The answer to one question: an AdmissionReview with the review's faults as causes, so that kubectl lists them by field. */
export function admissionAnswer(request: AdmissionRequest, review: Review): Record<string, unknown> {
  const { faults, retryable = false } = review;
  const warnings = shorten(review.warnings);
  return {
    apiVersion: API_VERSION,
    kind: 'AdmissionReview',
    response: {
      uid: request.uid,
      allowed: faults.length === 0,
      ...(warnings.length === 0 ? {} : { warnings }),
      ...(faults.length === 0 ? {} : { status: refusal(request, faults, retryable) }),
    },
  };
}

/** What cannot even be read is answered like this: the question's `uid` is not known. */
export function unreadableAnswer(code: number, message: string): Record<string, unknown> {
  const status = { status: 'Failure', code, reason: 'BadRequest', message };
  return { apiVersion: API_VERSION, kind: 'AdmissionReview', response: { uid: '', allowed: false, status } };
}

function refusal(request: AdmissionRequest, faults: readonly ReviewFault[], retryable: boolean): Record<string, unknown> {
  const message = faults.map(({ field, message: fault }) => (field === '' ? fault : `${field}: ${fault}`)).join('; ');
  if (retryable)
    return { status: 'Failure', code: 503, reason: 'ServiceUnavailable', message, details: { retryAfterSeconds: 1 } };
  const causes = faults.map(({ field, message: fault }) => ({ reason: 'FieldValueInvalid', field, message: fault }));
  const details = { group: request.group, kind: request.kind, name: request.name, causes };
  return { status: 'Failure', code: 422, reason: 'Invalid', message, details };
}

function shorten(warnings: readonly string[]): readonly string[] {
  const shown = warnings.length > MAX_WARNINGS ? warnings.slice(0, MAX_WARNINGS - 1) : warnings;
  const more = warnings.length - shown.length;
  const cut = shown.map((warning) =>
    warning.length > MAX_WARNING_LENGTH ? `${warning.slice(0, MAX_WARNING_LENGTH - 1)}…` : warning,
  );
  return more === 0 ? cut : [...cut, `and ${more} more`];
}

function parseJson(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch (cause) {
    throw new IdentityError('invalid_argument', 'the body is not JSON', { cause });
  }
}

function fields(value: unknown, field: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new IdentityError('invalid_argument', 'expected a JSON object', { field });
  }
  // The cast is sound: a JSON value that is an object and no list maps names to values.
  return value as Readonly<Record<string, unknown>>;
}

function pick(value: Readonly<Record<string, unknown>>, names: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(names.filter((name) => Object.hasOwn(value, name)).map((name) => [name, value[name]]));
}
