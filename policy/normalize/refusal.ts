/** The reasons of {@link Refusal}. */
export const REFUSALS = [
  'path_encoded_slash',
  'path_backslash',
  'path_null',
  'path_control_character',
  'path_double_encoding',
  'path_bad_encoding',
  'path_not_utf8',
  'path_above_root',
  'path_dot_segment',
  'path_matrix_parameters',
  'path_trailing_dot',
  'path_bad_character',
  'path_fragment',
  'path_not_absolute',
  'path_leading_slashes',
  'path_too_long',
  'host_invalid',
  'host_mismatch',
  'host_repeated',
  'method_invalid',
  'method_case',
  'header_invalid',
  'header_repeated',
  'headers_too_large',
] as const;

/**
 * Why a request is ambiguous: two programs could read it as two different requests, so none of its readings is matched. Each is
 * a denial with that reason wherever a policy selects the destination.
 */
export type Refusal = (typeof REFUSALS)[number];

/** Thrown within `normalize/` only; `normalizeRequest` turns it into a value. */
export class RefusedRequest extends Error {
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(refusal);
    this.refusal = refusal;
  }
}

/** One of each, made once: to note where it was thrown would cost more than all the rest of a refusal. */
const made = new Map<Refusal, RefusedRequest>();

/** Refuses the request. */
export function refuse(refusal: Refusal): never {
  const error = made.get(refusal) ?? new RefusedRequest(refusal);
  made.set(refusal, error);
  throw error;
}
