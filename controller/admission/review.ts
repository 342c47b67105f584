/** One object that is about to be written, as the API server asks about it (`admission.k8s.io/v1` AdmissionRequest). */
export interface AdmissionRequest {
  /** Names this question; the answer repeats it. */
  readonly uid: string;
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly operation: 'CREATE' | 'UPDATE' | 'DELETE' | 'CONNECT';
  readonly name: string;
  /** Empty for what is not namespaced. */
  readonly namespace: string;
  /** Such as `status`; empty for the object itself. */
  readonly subresource: string;
  /** As it will be stored; undefined when it is being deleted. */
  readonly object: unknown;
  /** As it is stored; undefined when it is being created. */
  readonly oldObject: unknown;
}

/** One thing that is wrong with an object. */
export interface ReviewFault {
  /** Path of the field, such as `spec.spiffeIDTemplate`; empty when it is no single field. */
  readonly field: string;
  /** What is wrong and what to do. */
  readonly message: string;
}

/**
 * What a review came to: `faults` refuse the object, `warnings` are shown to whoever writes it, `retryable` says that the same
 * object may well be accepted in a moment.
 */
export interface Review {
  readonly faults: readonly ReviewFault[];
  readonly warnings: readonly string[];
  readonly retryable?: boolean;
}

/**
 * Judges objects of one kind. What it throws refuses the object: an IdentityError with its message, anything else as an
 * internal error.
 */
export type Reviewer = (request: AdmissionRequest, signal: AbortSignal) => Review | Promise<Review>;

/** Nothing to say. */
export const ACCEPTED: Review = { faults: [], warnings: [] };
