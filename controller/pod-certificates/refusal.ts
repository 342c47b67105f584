/** How a request ends without a certificate (`certificates.k8s.io` condition types). Both are for good: the pod keeps waiting until it is made anew. */
export type FinalCondition = 'Denied' | 'Failed';

/** A request that cannot be granted, whatever happens later. */
export class RequestRefused extends Error {
  readonly condition: FinalCondition;
  /** CamelCase, such as `UnsupportedKeyType`. */
  readonly reason: string;

  /** @param message what is wrong and what to do, for the pod's owner */
  constructor(condition: FinalCondition, reason: string, message: string) {
    super(message);
    this.name = 'RequestRefused';
    this.condition = condition;
    this.reason = reason;
  }
}

/**
 * A request that may be granted later, such as when somebody declares an identity for the pod. The API has no condition for it:
 * a Kubernetes Event on the pod says it.
 */
export class RequestWaits extends Error {
  /** CamelCase, such as `NoIdentity`. */
  readonly reason: string;

  /** @param message what is missing and what to do, for the pod's owner */
  constructor(reason: string, message: string) {
    super(message);
    this.name = 'RequestWaits';
    this.reason = reason;
  }
}

/** Reasons that the API itself defines. */
export const UNSUPPORTED_KEY_TYPE = 'UnsupportedKeyType';
export const INVALID_ANNOTATIONS = 'InvalidUnverifiedUserAnnotations';
