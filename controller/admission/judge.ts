import { IdentityError } from '../../core/errors.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../runtime/log.ts';
import { ACCEPTED, type AdmissionRequest, type Review, type Reviewer } from './review.ts';

/** How long a reviewer may take; the API server waits 5 s and then applies the failure policy without our reason. */
export const REVIEW_TIMEOUT_MS = 3_500;

/** What {@link judge} needs besides the question. */
export interface JudgeOptions {
  readonly reviewer: Reviewer;
  /** Whether the reviewer judges deletions; else they pass unasked. */
  readonly judgesDeletion: boolean;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Asks the reviewer, and turns whatever happens into a review: deletions (of most kinds), subresources and updates that leave the spec alone
 * pass unasked, an IdentityError refuses with its text, anything else refuses without detail.
 */
export async function judge(request: AdmissionRequest, options: JudgeOptions): Promise<Review> {
  if (passesUnasked(request, options.judgesDeletion)) return ACCEPTED;
  const ended = new AbortController();
  const late = Promise.withResolvers<Review>();
  const timer = options.clock.setTimer(REVIEW_TIMEOUT_MS, () => {
    ended.abort();
    late.resolve(refused('', 'the review took too long: the controller is overloaded, try again in a moment', true));
  });
  try {
    const review = Promise.resolve().then(() => options.reviewer(request, ended.signal));
    return await Promise.race([review, late.promise]);
  } catch (error) {
    return reviewOfError(error, options.log);
  } finally {
    timer.cancel();
  }
}

function reviewOfError(error: unknown, log: Logger): Review {
  if (!(error instanceof IdentityError)) {
    log.error({ err: error }, 'review failed');
    return refused('', 'the controller could not judge this object; its log says why', true);
  }
  const prefix = error.field === undefined ? '' : `${error.field}: `;
  const message = error.message.startsWith(prefix) ? error.message.slice(prefix.length) : error.message;
  return refused(error.field ?? '', message, error.code === 'unavailable' || error.code === 'deadline_exceeded');
}

function refused(field: string, message: string, retryable: boolean): Review {
  return { faults: [{ field, message }], warnings: [], retryable };
}

function passesUnasked({ operation, subresource, object, oldObject }: AdmissionRequest, judgesDeletion: boolean): boolean {
  if (subresource !== '' || operation === 'CONNECT') return true;
  if (operation === 'DELETE') return !judgesDeletion;
  return operation === 'UPDATE' && JSON.stringify(specOf(object)) === JSON.stringify(specOf(oldObject));
}

function specOf(value: unknown): unknown {
  return typeof value === 'object' && value !== null && 'spec' in value ? value.spec : undefined;
}
